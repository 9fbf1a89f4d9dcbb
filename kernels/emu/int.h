/* int.h - the emulator's inside: fibers, blocks, groups, workers, and the shadow of memory.
 *
 *   launch (one kernel call) = groups; group = the blocks of one cluster, most often one block; block = fibers
 *
 * A worker is an OS thread that runs one group to its end before it takes the next; all fibers of a group live on it
 * and never move. Nothing here is locked: what workers share is in the launch and is atomic.
 *
 * Time for the race detector: every fiber has a clock that its releases (barrier, arrive, fence) advance; a fiber
 * knows how much of each other's time happened before its own, of its warp always, of others from the first barrier
 * object on (`wide`). A full __syncthreads starts a new epoch of the block, and all of an older epoch lies before. */
#ifndef TD_KERNELS_EMU_INT_H
#define TD_KERNELS_EMU_INT_H

#include "kernels/emu/abi.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN 1
#endif
#endif

enum {
    EMU_WARP = 32,
    EMU_GROUP_WARPS = 4,       // of a warpgroup
    EMU_BLOCK_MAX = 1024,      // threads
    EMU_SMEM_MAX = 227 * 1024, // bytes a block may have
    EMU_RED_ZONE = 1024,       // bytes around a block's shared memory
    EMU_NAMED_BARS = 16,
    EMU_CLUSTER_MAX = 16,      // blocks
    EMU_MBARS_MAX = 64,        // mbarrier objects of a block
    EMU_STREAMS_MAX = 32,
    EMU_PAGE = 4096,
};

/* The place of an operation (kernel, copy, fill) in the order of streams: `before` says up to which operation of each
 * stream all is over when this one begins. */
typedef struct emu_when {
    uint32_t id; // never 0; names the operation in the shadow
    uint32_t before[EMU_STREAMS_MAX];
} emu_when;

typedef struct emu_fiber emu_fiber;
typedef struct emu_transfer emu_transfer;
typedef struct emu_mbar emu_mbar;
typedef struct emu_block emu_block;
typedef struct emu_group emu_group;
typedef struct emu_worker emu_worker;
typedef struct emu_launch_op emu_launch_op;

typedef enum emu_state {
    EMU_READY,
    EMU_AT_BARRIER,  // __syncthreads or a named barrier
    EMU_AT_WARP,     // a collective of lanes
    EMU_AT_WGMMA,    // a collective of four warps
    EMU_AT_MBAR,     // an mbarrier's phase
    EMU_AT_CLUSTER,  // barrier.cluster
    EMU_AT_GRID,     // griddepcontrol.wait
    EMU_AT_REGS,     // setmaxnreg.inc without free registers
    EMU_DONE,
} emu_state;

/* One access in the shadow. */
typedef struct emu_rec {
    uint32_t epoch; // 0: none
    uint32_t clock;
    uint32_t op;    // the launch or copy
    uint32_t group; // in the launch
    uint32_t pc;    // from the start of the program; 0: a wrapper's
    uint16_t gid;   // fiber in the group
    uint16_t rel;   // releases of the group before it
    uint8_t mask;   // bytes of the granule
    uint8_t kind;   // EMU_ACC_*
} emu_rec;

// ISSUE: the start of a copy in flight; DELIVER, BULK: its end; ASYNC: a read by the async proxy (wgmma, bulk stores)
enum { EMU_ACC_PLAIN, EMU_ACC_ATOMIC, EMU_ACC_ISSUE, EMU_ACC_DELIVER, EMU_ACC_BULK, EMU_ACC_ASYNC };
enum { EMU_IN_FLIGHT_NONE, EMU_IN_FLIGHT_CP_ASYNC, EMU_IN_FLIGHT_BULK };

/* What is known of 4 bytes. */
typedef struct emu_cell {
    emu_rec write, other, read[2]; // other: the write before, to bytes that the last one left
    uint8_t in_flight; // EMU_IN_FLIGHT_*: what a copy will overwrite
    uint8_t generic;   // the last write was not the async proxy's
    uint8_t layout;    // swizzle of the tensor copy that wrote it / 16, + 1; 0: something else
} emu_cell;

/* A time as a barrier object holds it: for each fiber of the group the clock up to which all is ordered before. */
typedef struct emu_time {
    uint32_t *clock; // [group fibers]; NULL: nothing yet
} emu_time;

/* One collective of lanes that is filling: which lanes, what they call, their requests. */
typedef struct emu_rendezvous {
    emu_collective_fn fn;
    uint32_t mask, arrived;
    const char *what, *file;
    int line;
} emu_rendezvous;

typedef struct emu_copy { // cp.async: until its wait
    uint8_t *dst;
    const uint8_t *src;
    uint16_t bytes, from_src; // the rest is zero
    uint32_t batch;           // commit groups of this fiber before it
} emu_copy;

struct emu_fiber {
    void *sp;
    char *stack_lo, *stack_hi;
    emu_worker *worker;
    emu_block *block;
    emu_fiber *next_free;
    uint32_t tid, gid, warp, lane; // gid: in the group, warps of all its blocks aligned to 32
    uint32_t idx[3];
    emu_state state;
    const char *what, *file; // where it last called in
    int line;
    // times
    uint32_t clock;
    uint32_t seen[EMU_WARP]; // of the own warp
    uint32_t *wide;          // [group fibers] or NULL
    uint32_t proxy_fence;    // clock of the last fence.proxy.async, + 1; 0: none
    bool fenced;             // a __threadfence since the last release
    // waits
    void *meet_req; // of the collective it waits in
    uint32_t bar_id;
    int32_t vote;
    emu_mbar *mbar;
    uint32_t mbar_parity;
    uint64_t polled; // value that the last poll saw
    uint32_t polls;  // in a row that saw the same
    bool polling;    // it yields in one
    uint32_t regs_in_flight; // wgmma results that are not there yet
    // cp.async
    emu_copy *copies;
    uint32_t copy_count, copy_cap, copy_batch; // batch: commit groups so far
    uint32_t bulk_batch;                       // of bulk stores
    void *fake_stack;                          // ASan's
};

typedef struct emu_bar { // __syncthreads (0) and named ones
    uint32_t count, expected; // arrived and wanted; expected 0: idle
    const char *file, *what;
    int line;
    emu_time time;
    int32_t any, all, sum; // of the votes
} emu_bar;

typedef struct emu_wgmma_state emu_wgmma_state;

struct emu_block {
    emu_group *group;
    uint32_t idx[3], rank; // rank in the cluster
    uint32_t thread_count, alive, warp_count;
    emu_fiber **fibers; // [thread_count]
    struct emu_smem_buf *smem_buf;
    uint8_t *smem;      // 1024-aligned
    emu_cell *shadow;   // of smem
    size_t smem_bytes;
    uint32_t epoch, first_epoch;
    emu_bar bars[EMU_NAMED_BARS];
    emu_rendezvous *meet; // [warp_count][EMU_WARP] slots
    uint32_t *meet_used;  // [warp_count] of them
    uint32_t *ended;      // [warp_count] lanes that have
    emu_mbar *mbars;      // [EMU_MBARS_MAX] or NULL
    uint32_t mbar_count;
    emu_transfer *transfers; // bulk copies in flight, oldest first
    emu_wgmma_state *wgmma; // [warp_count] or NULL
    uint32_t wgmma_in_flight;
    int32_t regs_free, regs_of[EMU_BLOCK_MAX / EMU_WARP]; // setmaxnreg, by warp; 0: as launched
    bool exited;            // some fiber has
};

struct emu_group {
    emu_launch_op *op;
    emu_worker *worker;
    uint32_t index; // in the launch
    uint32_t block_count, fiber_count, fiber_stride; // stride: threads of a block, up to 32
    emu_block *blocks; // [block_count]
    emu_fiber **order; // [fibers]
    uint32_t alive;
    uint32_t cluster_epoch, cluster_count;
    emu_time cluster_time;
    uint32_t *acquired; // [groups of the launch] or NULL: how many releases of each lie before
    uint16_t releases;
    emu_group *next;    // parked at griddepcontrol.wait
};

/* One kernel call. */
struct emu_launch_op {
    const char *name, *file;
    int line;
    uint32_t grid[3], block[3], cluster[3];
    size_t smem_bytes;
    bool pdl;
    void (*run)(const void *args);
    void *args_block, *args; // args: aligned, in the block
    size_t args_bytes;
    emu_when when;       // its place among the operations of all streams
    uint32_t group_count;
    _Atomic uint32_t next_group;
    uint32_t *group_order; // [group_count]
    struct emu_release *releases; // addresses that order groups
    emu_group *parked;     // groups whose prologue ran
    emu_worker *parked_worker;
    bool primary_done;     // the kernel ahead has ended
    _Atomic bool waited;   // some thread called griddepcontrol.wait
};

struct emu_worker {
    void *sched_sp;
    emu_group *group;
    emu_fiber *free_fibers;
    uint32_t fiber_count; // made so far
    struct emu_smem_buf *free_smem;
    uint32_t epoch;   // last one given out
    uint64_t switches, accesses; // since it was taken
    uint64_t random;
    const void *sched_stack; // ASan's
    size_t sched_stack_bytes;
    void *sched_fake;
};

extern _Thread_local emu_fiber *emu_cur; // NULL outside kernels
extern bool emu_checking;                // the hooks look

// fiber.c
emu_fiber *emu_fiber_take(emu_worker *w);
void emu_fiber_give(emu_fiber *f);
void emu_fiber_resume(emu_fiber *f);   // from the scheduler
void emu_fiber_yield(void);            // to the scheduler, state is set
void emu_fiber_block(emu_state state, const char *what, const char *file, int line);

// sched.c
void emu_launch_run(emu_launch_op *op);
void emu_launch_prologue(emu_launch_op *op); // griddepcontrol: up to its wait
uint64_t emu_random(uint64_t *state);
emu_order emu_get_order(void);
uint64_t emu_get_seed(void);
void emu_block_report(emu_group *g);   // stderr: where each fiber stands

// fault.c
__attribute__((noreturn, format(printf, 2, 3))) void emu_fail(const char *kind, const char *fmt, ...);
__attribute__((noreturn, format(printf, 3, 4))) void emu_fail_at(const void *pc, const char *kind, const char *fmt,
                                                                 ...);
__attribute__((noreturn)) void emu_fail_kernel(const emu_launch_op *op, const char *kind, const char *text);
void emu_enter(const char *what, const char *file, int line); // every call from a kernel
bool emu_place_text(const void *pc, char *out, size_t cap);   // "file:line"

// sched.c: whoever polls lets others run; one that polls for ever waits for what cannot come
void emu_poll(bool same); // same: it saw what it saw before

// block.c
void emu_fiber_exited(emu_fiber *f);

// mem.c: the emulator's own memory, which no test makes fail; td_free frees it
void *emu_alloc(size_t bytes); // zeroed
void *emu_realloc(void *old, size_t bytes);
// what rt_malloc and rt_host_alloc gave out
typedef struct emu_region {
    uint8_t *lo, *hi;
    bool device;
    emu_cell *shadow; // of device memory, [bytes / 4], mapped and touched as needed
    void *block;      // what to free
} emu_region;
void *emu_mem_alloc(size_t bytes, bool device); // NULL: none left
bool emu_mem_free(void *p, bool device);        // false: p is not the start of one
emu_region *emu_mem_find(const void *at);       // the region that holds the byte, or NULL
size_t emu_mem_used(void);                      // bytes of device memory given out

// when.c
bool emu_when_before(uint32_t id, const emu_when *w); // operation `id` was over when w began
void emu_when_name(uint32_t id, uint32_t stream, uint32_t seq, const char *what); // before it runs
const char *emu_when_what(uint32_t id);
bool emu_when_later(uint32_t id, const emu_when *w);  // it comes after w in w's own stream order
void emu_release_fenced(emu_fiber *f, const void *at, bool writes); // atomics as the way between groups
void emu_releases_drop(emu_launch_op *op);

// race.c
void emu_copy_access(const emu_when *w, const void *at, size_t bytes, bool write, const char *what);
void emu_access(const void *at, size_t bytes, bool write, int kind, const void *pc); // ends the process on a fault
emu_block *emu_shared_block(const emu_fiber *f, const void *at); // of f's cluster; NULL: not shared memory
void emu_tile_access(emu_block *b, size_t off, uint32_t swizzle_bytes); // 16 bytes that wgmma reads: written, and so
void emu_tile_mark(const void *shared, size_t bytes, uint32_t swizzle_bytes);
void emu_in_flight(const void *shared, size_t bytes, int what); // marks shared memory of the fiber's group
// wgmma.c: called where something of the kind is in flight
void emu_regs_access(const void *at, size_t bytes, bool write, const void *pc); // the own stack
void emu_wgmma_reads(emu_block *b, size_t off, size_t bytes, const void *pc);   // before a write to shared memory
void emu_wgmma_close(emu_block *b);

// time.c
void emu_time_release(emu_fiber *f, emu_time *t); // f's past becomes part of t; f's clock goes on
void emu_time_acquire(emu_fiber *f, const emu_time *t);
void emu_time_drop(emu_time *t);
void emu_time_merge(emu_time *to, emu_time *from, uint32_t n); // from becomes nothing
void emu_time_warp(emu_block *b, uint32_t warp, uint32_t mask);
void emu_time_block(emu_block *b); // a full barrier

#endif
