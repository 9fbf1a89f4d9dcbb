#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t (*clock_fn)(void *);
static void *clock_ctx;

uint64_t td_now_ns(void)
{
    if (clock_fn)
        return clock_fn(clock_ctx);
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * TD_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t td_thread_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * TD_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t td_wall_s(void) { return (uint64_t)time(NULL); }

void td_clock_set(uint64_t (*now_ns)(void *), void *ctx)
{
    clock_fn = now_ns;
    clock_ctx = ctx;
}
