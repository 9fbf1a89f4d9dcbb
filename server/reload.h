/* reload.h - certificate, key and API keys read again while serving: when asked, and with ssl_refresh when the files
 * change. What is broken is reported and the old ones stay. Loop thread. */
#ifndef TD_SERVER_RELOAD_H
#define TD_SERVER_RELOAD_H

#include "base/err.h"

#include <stdint.h>

struct server;

td_rc reload_open(struct server *s, td_err *err); // loads the first time
void reload_close(struct server *s);
void reload_now(struct server *s);
void reload_tick(struct server *s, uint64_t now_ns);

#endif
