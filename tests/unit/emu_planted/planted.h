/* planted.h - bugs on purpose. Each is a tiny kernel with a switch: with it on, the emulator must end the process and
 * say which class, which kernel and which line (the one marked `fault: NAME`); with it off, the same code is right and
 * gives the right answer under every schedule. */
#ifndef TESTS_PLANTED_H
#define TESTS_PLANTED_H

#include "kernels/cuda/gpu_rt.h"

#include <stdbool.h>

typedef struct planted {
    const char *name;   // as in the mark
    const char *file;   // that has the mark
    const char *kind;   // class in the message; a|b: which of them depends on who comes first
    const char *kernel; // "" where the host is at fault
    bool hooks;         // seen only where accesses are checked
    bool (*run)(bool bug, gpu_stream s); // false: a wrong answer
} planted;

#ifdef __cplusplus
extern "C" {
#endif
extern const planted planted_sync[], planted_memory[], planted_copies[], planted_bulk[], planted_wgmma[];
extern const planted planted_grid[], planted_host[];
#ifdef __cplusplus
}
#endif

/* Device memory with these bytes, and what it holds after the stream's work. For the short life of a test process. */
GPU_EXTERN void *planted_dev(const void *from, size_t bytes, gpu_stream s);
GPU_EXTERN void *planted_read(const void *dev, size_t bytes, gpu_stream s);

#define PLANTED_RUN(kernel, bug, grid, block, smem, s, ...)             \
    do {                                                                \
        if (bug)                                                        \
            TD_LAUNCH((kernel<true>), grid, block, smem, s, __VA_ARGS__); \
        else                                                            \
            TD_LAUNCH((kernel<false>), grid, block, smem, s, __VA_ARGS__); \
    } while (0)

#endif
