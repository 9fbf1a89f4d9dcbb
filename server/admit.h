/* admit.h - whether a request may begin, decided on its head, before its body is read or a worker touches it. */
#ifndef TD_SERVER_ADMIT_H
#define TD_SERVER_ADMIT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct call;
struct server;

/* Key, media type, readiness, queue and memory. On success a heavy request is counted until admit_leave(). */
td_rc admit_enter(struct call *c, td_err *err);
void admit_leave(struct call *c);
bool admit_body(struct call *c, uint64_t bytes);     // counts body bytes; false: too many in memory
/* Counts what waits for the client, in place of what was counted for it before; false: too much waits for all. */
bool admit_answer(struct call *c, uint64_t bytes);
int32_t admit_retry_after_s(struct server *s);       // when to try again, with jitter

#endif
