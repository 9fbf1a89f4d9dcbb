/* loop.h - one thread's event loop: descriptors, tasks from other threads, and the next moment to look at deadlines.
 *
 * Sleeps for ever when nothing is armed. All calls are the loop thread's but loop_post() and loop_wake(), which any
 * thread may make; loop_wake() also from a signal handler. */
#ifndef TD_SERVER_LOOP_H
#define TD_SERVER_LOOP_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct loop_fd loop_fd;
struct loop_fd { // embedded in what owns the descriptor
    int fd;
    uint32_t events; // EPOLL* asked for; 0 with fd ≥ 0 still reports errors
    void (*ready)(loop_fd *f, uint32_t events);
};

typedef struct loop_task loop_task;
struct loop_task { // embedded; posted at most once until it ran
    loop_task *next;
    atomic_bool queued;
    void (*run)(loop_task *t);
};

typedef struct loop {
    int epoll;
    loop_fd wake;                 // eventfd
    _Atomic(loop_task *) posted;  // newest first
    uint64_t next_ns;             // when tick() is due; 0 = never
    bool quit;
    bool again;                   // turn() was not done: look at events, but do not wait for any
    void (*tick)(void *ctx, uint64_t now_ns); // a deadline may have passed; re-arms with loop_at()
    void (*turn)(void *ctx);                  // after each round of events and tasks
    void *ctx;
} loop;

td_rc loop_open(loop *l, td_err *err);
void loop_close(loop *l);
void loop_run(loop *l); // until quit
td_rc loop_add(loop *l, loop_fd *f, td_err *err);
void loop_set(loop *l, loop_fd *f, uint32_t events); // no call to the kernel when nothing changes
void loop_del(loop *l, loop_fd *f);                  // before the descriptor is closed
void loop_at(loop *l, uint64_t when_ns);             // tick() not later than then
void loop_run_tasks(loop *l);                        // what was posted, without waiting
void loop_post(loop *l, loop_task *t);
void loop_wake(loop *l);

#endif
