#include "server/loop.h"

#include "base/check.h"
#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_PER_ROUND = 256, TICK_MS_MIN = 10 }; // deadlines that near to each other are looked at together

static void wake_ready(loop_fd *f, uint32_t events)
{
    (void)events;
    uint64_t n;
    while (read(f->fd, &n, sizeof n) < 0 && errno == EINTR)
        ;
}

td_rc loop_open(loop *l, td_err *err)
{
    l->wake = (loop_fd){.fd = -1, .events = EPOLLIN, .ready = wake_ready};
    l->next_ns = 0;
    l->quit = l->again = false;
    atomic_init(&l->posted, NULL);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll >= 0)
        l->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll < 0 || l->wake.fd < 0)
        return td_fail(err, TD_E_IO, "cannot make an event loop: %s", strerror(errno));
    return loop_add(l, &l->wake, err);
}

void loop_close(loop *l)
{
    if (l->wake.fd >= 0)
        close(l->wake.fd);
    if (l->epoll >= 0)
        close(l->epoll);
    l->epoll = l->wake.fd = -1;
}

td_rc loop_add(loop *l, loop_fd *f, td_err *err)
{
    struct epoll_event ev = {.events = f->events, .data.ptr = f};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, f->fd, &ev))
        return td_fail(err, TD_E_IO, "cannot watch a descriptor: %s", strerror(errno));
    return TD_OK;
}

void loop_set(loop *l, loop_fd *f, uint32_t events)
{
    if (f->events == events)
        return;
    f->events = events;
    struct epoll_event ev = {.events = events, .data.ptr = f};
    td_assert(epoll_ctl(l->epoll, EPOLL_CTL_MOD, f->fd, &ev) == 0);
}

void loop_del(loop *l, loop_fd *f) { epoll_ctl(l->epoll, EPOLL_CTL_DEL, f->fd, NULL); }

void loop_at(loop *l, uint64_t when_ns)
{
    if (when_ns && (!l->next_ns || when_ns < l->next_ns))
        l->next_ns = when_ns;
}

void loop_wake(loop *l)
{
    uint64_t one = 1;
    ssize_t ignored = write(l->wake.fd, &one, sizeof one);
    (void)ignored;
}

void loop_post(loop *l, loop_task *t)
{
    if (atomic_exchange(&t->queued, true))
        return;
    loop_task *head = atomic_load(&l->posted);
    do
        t->next = head;
    while (!atomic_compare_exchange_weak(&l->posted, &head, t));
    if (!head) // who finds the list empty wakes the loop, for all that follow
        loop_wake(l);
}

void loop_run_tasks(loop *l)
{
    loop_task *t = atomic_exchange(&l->posted, NULL), *first = NULL;
    while (t) { // oldest first again
        loop_task *next = t->next;
        t->next = first;
        first = t;
        t = next;
    }
    while (first) {
        t = first;
        first = t->next;
        atomic_store(&t->queued, false); // from here it may be posted again, or free itself
        t->run(t);
    }
}

static int wait_ms(const loop *l)
{
    if (l->again)
        return 0;
    if (!l->next_ns)
        return -1;
    uint64_t now = td_now_ns();
    if (now >= l->next_ns)
        return 0;
    uint64_t ms = (l->next_ns - now) / TD_NS_PER_MS + 1;
    return ms > 3600000 ? 3600000 : (int)ms;
}

void loop_run(loop *l)
{
    struct epoll_event ev[EVENTS_PER_ROUND];
    while (!l->quit) {
        int n = epoll_wait(l->epoll, ev, EVENTS_PER_ROUND, wait_ms(l));
        td_assert(n >= 0 || errno == EINTR);
        for (int i = 0; i < n; i++) {
            loop_fd *f = ev[i].data.ptr;
            f->ready(f, ev[i].events);
        }
        loop_run_tasks(l);
        uint64_t now = l->next_ns ? td_now_ns() : 0;
        if (l->next_ns && now >= l->next_ns) {
            l->next_ns = 0;
            l->tick(l->ctx, now);
            if (l->next_ns)
                l->next_ns = TD_MAX(l->next_ns, now + TICK_MS_MIN * TD_NS_PER_MS);
        }
        l->again = false;
        l->turn(l->ctx);
    }
}
