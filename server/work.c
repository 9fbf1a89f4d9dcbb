#include "server/work.h"

#include "base/arena.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { WORKERS_MAX = 64 };

struct work_pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    work_job *first, *last;
    bool quit;
    int32_t count;
    pthread_t thread[WORKERS_MAX];
};

static void *worker(void *arg)
{
    work_pool *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->first && !w->quit)
            pthread_cond_wait(&w->more, &w->lock);
        work_job *j = w->first;
        if (!j)
            break;
        w->first = j->next;
        pthread_mutex_unlock(&w->lock);
        j->run(j);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

td_rc work_open(int32_t threads, work_pool **out, td_err *err)
{
    work_pool *w = td_alloc(sizeof *w);
    if (!w)
        return td_fail(err, TD_E_NOMEM, "not enough memory for workers");
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    threads = threads < 1 ? 1 : threads > WORKERS_MAX ? WORKERS_MAX : threads;
    for (; w->count < threads; w->count++) {
        int rc = pthread_create(&w->thread[w->count], NULL, worker, w);
        if (rc) {
            work_close(w);
            return td_fail(err, TD_E_NOMEM, "cannot start a worker thread: %s", strerror(rc));
        }
    }
    *out = w;
    return TD_OK;
}

void work_submit(work_pool *w, work_job *j)
{
    j->next = NULL;
    pthread_mutex_lock(&w->lock);
    if (w->first)
        w->last->next = j;
    else
        w->first = j;
    w->last = j;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
}

void work_close(work_pool *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
    for (int32_t i = 0; i < w->count; i++)
        pthread_join(w->thread[i], NULL);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    td_free(w);
}
