/* access_log.h - one line per request on stderr, as text or JSON. Status 499 is a client that left. Loop thread. */
#ifndef TD_SERVER_ACCESS_LOG_H
#define TD_SERVER_ACCESS_LOG_H

struct call;
struct conn;

void access_log_call(const struct call *c);
/* A request that http_guard refused: there is no call, and its path cannot be trusted. */
void access_log_refused(const struct conn *c, int status, const char *reason);

#endif
