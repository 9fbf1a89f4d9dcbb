/* loader.h - opens the engine on a thread of its own, so that probes are answered meanwhile. A server that ends before
 * breaks the opening off and waits for the thread: what it computes with is torn down when the process exits. */
#ifndef TD_SERVER_LOADER_H
#define TD_SERVER_LOADER_H

#include "engine/tandem.h"

typedef struct loader loader;

typedef struct loader_opts {
    td_engine_opts engine;   // strings outlive the process
    void (*progress)(void *ctx, double done);
    void *progress_ctx;
    void (*ready)(void *ctx); // loading thread: loader_result() has something
    void *ready_ctx;
} loader_opts;

td_rc loader_start(const loader_opts *opts, loader **out, td_err *err);
double loader_progress(const loader *l);
/* False while loading. Then *engine is the caller's, or NULL and *err says why. */
bool loader_result(loader *l, td_engine **engine, td_err *err);
/* Breaks off what is not done, and closes an engine that nobody took. NULL is fine. False: the thread stands somewhere,
 * in a read most likely, and did not end in time. It calls nobody any more, but the process must end without tearing
 * anything down. */
bool loader_leave(loader *l, double patience_s);

#endif
