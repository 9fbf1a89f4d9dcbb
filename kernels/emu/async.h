/* async.h - mbarriers and bulk copies (TMA): what is in flight in a block and what counts it.
 *
 * A copy is issued with its mbarrier, stays in the block's list, and is delivered when no thread of the group can go on
 * without it: as late as can be, in the schedule's order. Until then its destination is NaN bytes, marked. */
#ifndef TD_KERNELS_EMU_ASYNC_H
#define TD_KERNELS_EMU_ASYNC_H

#include "kernels/emu/int.h"

struct emu_mbar {
    uint32_t off;       // in the block's shared memory
    uint32_t count;     // arrivals of a phase
    int32_t pending;    // of the running phase
    int64_t tx;         // bytes expected and not arrived
    uint32_t phase;     // running one; its parity is phase % 2
    emu_block *block;
    emu_time time, done; // releases of the running phase; of those that are over
};

enum { EMU_DIMS_MAX = 5 };

/* What rt_tensor_map leaves in a gpu_tensor_map. */
typedef struct emu_tensor_map {
    uint64_t magic;
    uint8_t *base;
    uint64_t stride[EMU_DIMS_MAX - 1]; // bytes, of dims 1 ...
    uint32_t dim[EMU_DIMS_MAX];        // elements, fastest first
    uint16_t box[EMU_DIMS_MAX];
    uint8_t rank, elem_bytes, swizzle_bytes; // 0, 32, 64, 128
} emu_tensor_map;

struct emu_transfer {
    emu_transfer *next;
    emu_fiber *fiber;
    uint32_t clock;   // of the fiber at issue
    const char *file;
    int line;
    uint8_t *shared;
    uint8_t *global;  // plain bulk copy; NULL: by map
    uint32_t bytes;   // in shared memory
    emu_tensor_map map;
    int32_t at[EMU_DIMS_MAX];
    emu_mbar *mbar;   // loads
    uint32_t batch;   // stores: commit groups of the fiber before it
    bool store;
};

bool emu_async_progress(emu_group *g);    // delivers something that somebody may wait for; false: nothing in flight
void emu_async_blame(emu_fiber *f, bool bytes); // f is stuck: the fault, when it waits for an mbarrier (with bytes off)
void emu_async_close(emu_block *b);       // the block has ended; nothing may be in flight
emu_mbar *emu_mbar_of(const void *bar);   // of the running fiber's block
void emu_mbar_complete(emu_transfer *t);  // its bytes arrived
void emu_transfer_run(emu_transfer *t);   // moves the bytes
uint32_t emu_swizzle(uint32_t off, uint32_t swizzle_bytes); // where a byte of a swizzled tile lies

#endif
