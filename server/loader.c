#include "server/loader.h"

#include "base/arena.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct loader {
    loader_opts opts;
    _Atomic double progress;
    pthread_mutex_t lock;
    bool done, left;      // under lock: the thread has a result; nobody waits for it
    td_engine *engine;
    td_err err;
};

static void on_progress(void *ctx, double done)
{
    loader *l = ctx;
    atomic_store(&l->progress, done);
    if (l->opts.progress)
        l->opts.progress(l->opts.progress_ctx, done);
}

static void loader_free(loader *l)
{
    pthread_mutex_destroy(&l->lock);
    td_free(l);
}

static void *loading(void *arg)
{
    loader *l = arg;
    td_engine *engine = NULL;
    td_err err = TD_ERR_INIT;
    if (td_engine_open(&l->opts.engine, &engine, &err))
        engine = NULL;
    pthread_mutex_lock(&l->lock);
    bool left = l->left;
    l->engine = engine;
    l->err = err;
    l->done = true;
    if (!left)
        l->opts.ready(l->opts.ready_ctx);
    pthread_mutex_unlock(&l->lock);
    if (left) {
        if (engine)
            td_engine_close(engine);
        loader_free(l);
    }
    return NULL;
}

td_rc loader_start(const loader_opts *opts, loader **out, td_err *err)
{
    loader *l = td_alloc(sizeof *l);
    if (!l)
        return td_fail(err, TD_E_NOMEM, "not enough memory to load a model");
    l->opts = *opts;
    l->opts.engine.progress = on_progress;
    l->opts.engine.progress_ctx = l;
    pthread_mutex_init(&l->lock, NULL);
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, loading, l);
    if (rc) {
        loader_free(l);
        return td_fail(err, TD_E_NOMEM, "cannot start the loading thread: %s", strerror(rc));
    }
    pthread_detach(thread);
    *out = l;
    return TD_OK;
}

double loader_progress(const loader *l) { return atomic_load(&l->progress); }

bool loader_result(loader *l, td_engine **engine, td_err *err)
{
    pthread_mutex_lock(&l->lock);
    bool done = l->done;
    if (done) {
        *engine = l->engine;
        l->engine = NULL;
        *err = l->err;
    }
    pthread_mutex_unlock(&l->lock);
    return done;
}

void loader_leave(loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    bool done = l->done;
    l->left = true;
    pthread_mutex_unlock(&l->lock);
    if (done)
        loader_free(l);
}
