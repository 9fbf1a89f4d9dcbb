/* loader.h - opens the engine on a thread of its own, so that probes are answered meanwhile. Opening cannot be broken
 * off: a server that ends before it leaves the thread behind, which then closes what it opened. */
#ifndef TD_SERVER_LOADER_H
#define TD_SERVER_LOADER_H

#include "engine/tandem.h"

typedef struct loader loader;

typedef struct loader_opts {
    td_engine_opts engine;   // strings outlive the process
    void (*progress)(void *ctx, double done);
    void *progress_ctx;
    void (*ready)(void *ctx); // loading thread: loader_result() has something; not called after loader_leave()
    void *ready_ctx;
} loader_opts;

td_rc loader_start(const loader_opts *opts, loader **out, td_err *err);
double loader_progress(const loader *l);
/* False while loading. Then *engine is the caller's, or NULL and *err says why. */
bool loader_result(loader *l, td_engine **engine, td_err *err);
void loader_leave(loader *l); // NULL is fine

#endif
