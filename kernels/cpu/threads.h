/* threads.h - how many compute threads a machine, an affinity mask and a cgroup leave. */
#ifndef TD_KERNELS_CPU_THREADS_H
#define TD_KERNELS_CPU_THREADS_H

#include <stdint.h>

/* `root` comes before /proc and /sys: "" for the system's, a made-up tree in tests. At least 1. */
int32_t cpu_threads_default(const char *root);
/* Processors that cgroup v1 or v2 quotas of this process leave, rounded down but at least 1; 0 = no quota. */
int32_t cpu_threads_quota(const char *root);

#endif
