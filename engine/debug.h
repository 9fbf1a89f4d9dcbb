/* debug.h - a look into the engine from another thread, taken between two steps. The asker waits; the engine thread
 * writes. Private to engine/. */
#ifndef TD_ENGINE_DEBUG_H
#define TD_ENGINE_DEBUG_H

#include "engine/tandem.h"

typedef struct debug_ask { // on the asker's stack, in the engine's list while it waits; under the engine's lock
    struct debug_ask *next;
    td_debug what;
    int32_t from, count;
    td_buf *out;
    td_rc rc;
    td_err err;
    bool done;
} debug_ask;

/* Answers everybody who asks. Engine thread, holding the lock. */
void debug_answer(td_engine *e);

#endif
