#include "server/work.h"

#include "base/arena.h"
#include "base/limits.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { WORKERS_MAX = 64 };

typedef struct work_queue {
    work_job *first, *last;
} work_queue;

struct work_pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    work_queue small, large;
    int32_t running_large, passed; // passed: small jobs taken while a large one could have been
    bool quit;
    int32_t count;
    pthread_t thread[WORKERS_MAX];
};

static work_job *take_from(work_queue *q)
{
    work_job *j = q->first;
    if (j)
        q->first = j->next;
    return j;
}

/* The next job that this worker may begin. */
static work_job *take(work_pool *w)
{
    bool large = w->large.first && (w->running_large + 1 < w->count || w->running_large == 0);
    if (large && w->small.first && ++w->passed <= TD_HTTP_LARGE_JOB_TURN)
        large = false;
    if (!large)
        return take_from(&w->small);
    w->passed = 0;
    return take_from(&w->large);
}

static void *worker(void *arg)
{
    work_pool *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        work_job *j = take(w);
        if (!j && w->quit)
            break; // what is left is large, and goes to those who run one now
        if (!j) {
            pthread_cond_wait(&w->more, &w->lock);
            continue;
        }
        bool large = j->large; // who runs it may free it
        w->running_large += large;
        pthread_mutex_unlock(&w->lock);
        j->run(j);
        pthread_mutex_lock(&w->lock);
        w->running_large -= large;
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
        int rc = td_thread_start(&w->thread[w->count], worker, w);
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
    work_queue *q = j->large ? &w->large : &w->small;
    if (q->first)
        q->last->next = j;
    else
        q->first = j;
    q->last = j;
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
