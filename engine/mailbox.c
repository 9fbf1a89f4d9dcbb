/* What passes between other threads and the engine thread: requests that arrive, cancels, and what the engine lets
 * others know of its state. */
#include "engine/engine.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

td_rc engine_submit(td_engine *e, td_request *r, td_err *err)
{
    if (atomic_load(&e->draining))
        return td_fail(err, TD_E_UNAVAILABLE, "the server is draining and takes no new requests");
    if (atomic_load(&e->fault))
        return td_fail(err, TD_E_FAULT, "the engine has failed: %s", atomic_load(&e->fault));
    if (atomic_fetch_add(&e->queued, 1) >= e->info.max_num_queued + e->info.max_num_seqs) {
        atomic_fetch_sub(&e->queued, 1);
        return td_fail(err, TD_E_BUSY, "the queue of %d requests is full; try again later", e->info.max_num_queued);
    }
    if (td_engine_idle(e))
        atomic_store(&e->step_ns, td_now_ns()); // the time without work is no time without progress
    atomic_fetch_add(&e->live, 1);
    atomic_fetch_add(&r->refs, 1); // the engine's
    pthread_mutex_lock(&e->lock);
    if (e->inbox_tail)
        e->inbox_tail->inbox_next = r;
    else
        e->inbox_head = r;
    e->inbox_tail = r;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    return TD_OK;
}

void engine_take_inbox(td_engine *e)
{
    pthread_mutex_lock(&e->lock);
    td_request *r = e->inbox_head;
    e->inbox_head = e->inbox_tail = NULL;
    pthread_mutex_unlock(&e->lock);
    while (r) {
        td_request *next = r->inbox_next;
        sched_add(&e->sched, &r->seqs[0]);
        r = next;
    }
}

void engine_leave_step(td_engine *e, td_request *r)
{
    if (atomic_exchange(&r->in_step, false) && atomic_fetch_sub(&e->step_open, 1) == 1)
        atomic_store(&e->step_cancel, 1);
}

void engine_cancel(td_engine *e, td_request *r)
{
    engine_leave_step(e, r);
    pthread_mutex_lock(&e->lock);
    atomic_fetch_add(&e->cancels, 1);
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void td_engine_drain(td_engine *e) { atomic_store(&e->draining, true); }
bool td_engine_idle(td_engine *e) { return atomic_load(&e->live) == 0; }
const char *td_engine_fault(td_engine *e) { return atomic_load(&e->fault); }

uint64_t td_engine_stall_ns(td_engine *e)
{
    if (td_engine_idle(e))
        return 0;
    uint64_t at = atomic_load(&e->step_ns), now = td_now_ns();
    return now > at ? now - at : 0;
}

bool engine_faulty(td_engine *e)
{
    if (atomic_load(&e->fault))
        return true;
    const char *why = e->dev->ops->fault ? e->dev->ops->fault(e->dev) : NULL;
    if (!why && td_fault_hit(TD_FAULT_DEVICE))
        why = "a fault was asked for";
    if (!why)
        return false;
    td_error("the device is lost, no request can be computed any more: %s", why);
    atomic_store(&e->fault, why);
    return true;
}
