/* local.h - the HTTP server inside this process, on a unix socket that nobody else can reach: how run-batch gets
 * exactly the answers, checks and errors that `serve` gives. Main thread; the server has threads of its own. */
#ifndef TD_TOOLS_LOCAL_H
#define TD_TOOLS_LOCAL_H

#include "base/flags.h"

typedef struct local local;

/* Returns when the model is loaded. names: what requests may call the model, beside MODEL and its base name. */
td_rc local_open(const flags *f, local **out, td_err *err);
const char *local_socket(const local *l); // a path to the socket, of this process alone
/* What its answers say in system_fingerprint: the model and the numerics. */
td_rc local_fingerprint(const local *l, char *out, size_t size, td_err *err);
/* Why the server is gone, TD_OK while it is there. */
td_rc local_ended(const local *l, td_err *err);
void local_close(local *l);

#endif
