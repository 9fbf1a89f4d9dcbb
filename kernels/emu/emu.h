/* emu.h - the CUDA emulator's controls, for tests and for the emulated device.
 *
 * The emulator runs the kernels of kernels/cuda as host code: a fiber per CUDA thread, warps and blocks over it, memory
 * and streams behind gpu_rt.h. What a kernel does wrong ends the process with one line that names the class of fault,
 * the kernel, the block, the thread and the place (docs/internals/emulator.md).
 *
 * Settings are for the whole process and must not change while work is queued. */
#ifndef TD_KERNELS_EMU_EMU_H
#define TD_KERNELS_EMU_EMU_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum emu_order {
    EMU_FORWARD, // blocks and threads by ascending number; a stream runs when somebody waits for it
    EMU_REVERSE, // descending; other streams run first
    EMU_RANDOM,  // by a seed, drawn again at every turn
} emu_order;

void emu_set_schedule(emu_order order, uint64_t seed);
/* Whether memory accesses are checked (bounds, alignment, races, copies in flight). On by default where the build has
 * the hooks; then one OS thread runs all blocks, so that a schedule can be repeated. Off: blocks over `threads`. */
void emu_set_checks(bool on);
bool emu_has_checks(void); // the build has the hooks
void emu_set_threads(int32_t threads); // 0: as many as CPUs

typedef struct emu_counters {
    uint64_t launches, blocks, threads; // run so far
    uint64_t switches;                  // from fiber to fiber
    uint64_t accesses;                  // checked ones
} emu_counters;

emu_counters emu_get_counters(void);

#ifdef __cplusplus
}
#endif

#endif
