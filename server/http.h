/* http.h - libmicrohttpd as a library without sockets of its own to the world: it is given socket pairs by conn, runs
 * inside our loop, and hands complete requests to route. Loop thread. */
#ifndef TD_SERVER_HTTP_H
#define TD_SERVER_HTTP_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

struct conn;
struct server;

td_rc http_open(struct server *s, td_err *err);
void http_close(struct server *s);
bool http_adopt(struct server *s, struct conn *c, int fd); // takes fd
void http_run(struct server *s);                           // while there is something to do
/* A whole HTTP answer in OpenAI's error shape, for what the library never sees. It ends the connection. */
void http_plain_error(td_buf *out, int status, const char *reason);
/* {"error":{…}} */
void http_error_json(td_buf *out, int status, const char *message, const char *param, const char *code);

#endif
