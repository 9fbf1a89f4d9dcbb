/* memory.h - how much memory this process may still take, and who says so.
 *
 * Two answers, because they call for different manners: what the machine has free is shared with everybody and may be
 * gone the next moment; a bound on this process (--max-rss, a control group, RLIMIT_AS, RLIMIT_DATA) is its own to use
 * up, and ends it when it is crossed. Page cache that the kernel would give back counts as free in both. Any thread. */
#ifndef TD_BASE_MEMORY_H
#define TD_BASE_MEMORY_H

#include <stdint.h>

typedef struct td_memory {
    uint64_t machine_bytes; // free, on the whole machine
    uint64_t bound_bytes;   // what the tightest bound leaves; UINT64_MAX: there is none
    uint64_t limit_bytes;   // of that bound, in all
    const char *bound;      // its name, for messages; NULL: there is none
} td_memory;

/* What a plan may take of the bound: all but a margin for what comes and goes. UINT64_MAX: there is no bound. */
uint64_t td_memory_plannable(const td_memory *m);
/* max_rss: the caller's own bound on resident memory, 0 = none. root: where /proc and /sys are, "" but in tests. */
td_memory td_memory_now(uint64_t max_rss, const char *root);
/* Of this process, without pages of files, which the kernel takes back when it needs them. */
uint64_t td_memory_resident(void);

#endif
