/* bench_machine.h - what the machine can do at best: the denominators of bench roof and bench kernels. Main thread;
 * each call takes some tens of milliseconds and reports the best of a few tries, since other load only ever slows one
 * down. */
#ifndef TD_TOOLS_BENCH_MACHINE_H
#define TD_TOOLS_BENCH_MACHINE_H

#include "base/err.h"
#include "kernels/roof.h"

enum { BENCH_THREADS_MAX = 64 };

/* GB/s that `threads` threads read together from memory much larger than the caches, on 2 MiB pages or on small ones.
 */
td_rc bench_read_rate(int threads, bool huge, double *gb_s, td_err *err);
/* Multiply-adds a second, in 1e9, of one instruction loop on `threads` threads together. */
td_rc bench_mac_rate(const kern_roof *loop, int threads, double *gmac_s, td_err *err);
/* Whether a device of level `level` ("avx2", …) may use this loop, and this CPU has it. */
bool bench_loop_fits(const kern_roof *loop, const char *level);

#endif
