/* The engine thread: takes what arrived, forgets what was cancelled or is late, steps, and sleeps when there is nothing
 * to do: no timer runs while the engine is idle. */
#include "engine/engine.h"

#include "base/clock.h"
#include "engine/emit.h"

#include <time.h>

/* Ends the requests of a list that `late` picks. Restarts after each, since ending one may unlink its sisters. */
static void end_some(td_engine *e, seq_list *l, bool (*pick)(const td_request *, uint64_t), uint64_t now, td_rc rc,
                     const char *message)
{
    for (seq *q = l->head; q;) {
        if (!q->req->ended && pick(q->req, now)) {
            emit_end(e, q->req, rc, message);
            q = l->head;
        } else {
            q = q->next;
        }
    }
}

static bool was_cancelled(const td_request *r, uint64_t now)
{
    (void)now;
    return atomic_load(&r->cancel);
}

static bool is_late(const td_request *r, uint64_t now) { return r->deadline_ns && now > r->deadline_ns; }

static void sweep(td_engine *e)
{
    if (atomic_exchange(&e->cancels, 0)) {
        end_some(e, &e->sched.running, was_cancelled, 0, TD_E_CANCELED, "canceled");
        end_some(e, &e->sched.waiting, was_cancelled, 0, TD_E_CANCELED, "canceled");
    }
    uint64_t now = td_now_ns();
    end_some(e, &e->sched.running, is_late, now, TD_E_DEADLINE, "the request's deadline passed while it was answered");
    end_some(e, &e->sched.waiting, is_late, now, TD_E_DEADLINE, "the request's deadline passed in the queue");
}

static void note_gauges(td_engine *e)
{
    metrics_lock(&e->metrics);
    e->metrics.m.running = e->sched.running.count;
    e->metrics.m.waiting = e->sched.waiting.count;
    metrics_unlock(&e->metrics);
}

/* Waits until there is something to do; false: the engine stops. `briefly`: something waits for blocks that operations
 * still hold, so look again soon. */
static bool wait_for_work(td_engine *e, bool briefly)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 5000000;
    if (until.tv_nsec >= 1000000000)
        until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&e->lock);
    int rc = 0;
    bool busy = sched_busy(&e->sched);
    while (!e->stop && !e->inbox_head && !e->asks && !atomic_load(&e->cancels) && rc == 0 && (briefly || !busy))
        rc = briefly ? pthread_cond_timedwait(&e->wake, &e->lock, &until) : pthread_cond_wait(&e->wake, &e->lock);
    debug_answer(e);
    bool go_on = !e->stop;
    pthread_mutex_unlock(&e->lock);
    return go_on;
}

static void end_all(td_engine *e, td_rc rc, const char *message)
{
    engine_take_inbox(e);
    while (e->sched.running.head)
        emit_end(e, e->sched.running.head->req, rc, message);
    while (e->sched.waiting.head)
        emit_end(e, e->sched.waiting.head->req, rc, message);
}

static void step(td_engine *e)
{
    if (!atomic_load(&e->fault))
        engine_step(e);
    const char *fault = atomic_load(&e->fault);
    if (fault)
        end_all(e, TD_E_FAULT, fault);
}

void *engine_thread(void *engine)
{
    td_engine *e = engine;
    bool stuck = false;
    while (wait_for_work(e, stuck)) {
        atomic_store(&e->step_ns, td_now_ns());
        engine_take_inbox(e);
        sweep(e);
        sched_form(&e->sched);
        stuck = e->sched.plan_count == 0 && sched_busy(&e->sched);
        if (e->sched.plan_count)
            step(e);
        note_gauges(e);
        emit_flush(e);
    }
    end_all(e, TD_E_CANCELED, "the engine was closed");
    emit_flush(e);
    note_gauges(e);
    return NULL;
}
