#include "server/loader.h"

#include "base/arena.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

struct loader {
    loader_opts opts;
    pthread_t thread;
    _Atomic double progress;
    atomic_bool cancel;
    pthread_mutex_t lock;
    bool done, left;      // under lock: the thread has a result; nobody waits for it
    bool joined;          // the thread is gone; its starter alone looks
    td_engine *engine;    // until somebody takes it
    td_err err;
};

static void on_progress(void *ctx, double done)
{
    loader *l = ctx;
    atomic_store(&l->progress, done);
    pthread_mutex_lock(&l->lock);
    if (l->opts.progress && !l->left)
        l->opts.progress(l->opts.progress_ctx, done);
    pthread_mutex_unlock(&l->lock);
}

static bool is_canceled(void *ctx) { return atomic_load(&((loader *)ctx)->cancel); }

static void loader_free(loader *l)
{
    if (l->engine)
        td_engine_close(l->engine);
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
    if (left)
        loader_free(l);
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
    l->opts.engine.canceled = is_canceled;
    pthread_mutex_init(&l->lock, NULL);
    int rc = td_thread_start(&l->thread, loading, l);
    if (rc) {
        loader_free(l);
        return td_fail(err, TD_E_NOMEM, "cannot start the loading thread: %s", strerror(rc));
    }
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
    if (done && !l->joined) { // it is about to return
        pthread_join(l->thread, NULL);
        l->joined = true;
    }
    return done;
}

bool loader_leave(loader *l, double patience_s)
{
    if (!l)
        return true;
    if (l->joined) {
        loader_free(l);
        return true;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)patience_s + 1;
    atomic_store(&l->cancel, true);
    bool ended = !pthread_timedjoin_np(l->thread, NULL, &until);
    pthread_mutex_lock(&l->lock);
    bool done = l->done;
    l->left = !ended && !done; // then the thread frees
    pthread_mutex_unlock(&l->lock);
    if (!ended && done)
        pthread_join(l->thread, NULL);
    if (!done)
        return false;
    loader_free(l);
    return true;
}
