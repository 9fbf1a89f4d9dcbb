/* clock.h - time through one seam, so that a simulator can own it. Any thread. */
#ifndef TD_BASE_CLOCK_H
#define TD_BASE_CLOCK_H

#include <stdint.h>

#define TD_NS_PER_MS 1000000ull
#define TD_NS_PER_S 1000000000ull

uint64_t td_now_ns(void);          // monotonic
uint64_t td_thread_cpu_ns(void);   // CPU time of the calling thread: for work budgets that other load must not shorten
uint64_t td_wall_s(void);          // seconds since 1970
/* Replaces the monotonic source for a whole process (tests); NULL restores the system's. */
void td_clock_set(uint64_t (*now_ns)(void *), void *ctx);

#endif
