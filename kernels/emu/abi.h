/* abi.h - what kernels compiled by the host compiler call, through emu.cuh. Every call carries its place in the source
 * (file, line), which is what a fault's message names. Only fibers call these, but emu_launch, which launchers do. */
#ifndef TD_KERNELS_EMU_ABI_H
#define TD_KERNELS_EMU_ABI_H

#include "kernels/cuda/gpu_rt.h"
#include "kernels/emu/emu.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emu_uint3 {
    uint32_t x, y, z;
} emu_uint3;

typedef struct emu_launch_cfg {
    uint32_t grid[3], block[3], cluster[3];
    size_t smem_bytes; // dynamic shared memory
    gpu_stream stream;
    bool pdl; // may begin before the kernel ahead of it ends
} emu_launch_cfg;

/* Queues a kernel; `args` is copied and given to `run` in every fiber. A wrong configuration is the last error. */
void emu_launch(const char *name, const char *file, int line, const emu_launch_cfg *cfg, void (*run)(const void *args),
                const void *args, size_t args_bytes);

// A fiber stays on its OS thread and keeps its place, so the compiler may keep these.
emu_uint3 emu_thread_idx(void) __attribute__((const));
emu_uint3 emu_block_idx(void) __attribute__((const));
emu_uint3 emu_block_dim(void) __attribute__((const));
emu_uint3 emu_grid_dim(void) __attribute__((const));
void *emu_smem_base(void) __attribute__((const));

/* Lanes meet: the last one to arrive runs `fn` over all requests, which lie on the lanes' stacks. */
typedef void (*emu_collective_fn)(void **req, uint32_t mask);
void emu_meet(emu_collective_fn fn, uint32_t mask, void *req, const char *what, const char *file, int line);

enum { EMU_VOTE_NONE, EMU_VOTE_OR, EMU_VOTE_AND, EMU_VOTE_COUNT };
int32_t emu_syncthreads(int32_t vote, int32_t pred, const char *file, int line);
void emu_named_sync(uint32_t id, uint32_t threads, const char *file, int line);
void emu_named_arrive(uint32_t id, uint32_t threads, const char *file, int line);
void emu_syncwarp(uint32_t mask, const char *file, int line);
enum { EMU_SHFL_IDX, EMU_SHFL_UP, EMU_SHFL_DOWN, EMU_SHFL_XOR };
uint32_t emu_shfl(int32_t kind, uint32_t mask, uint32_t value, uint32_t lane, uint32_t width, const char *file,
                  int line);
uint32_t emu_ballot(uint32_t mask, int32_t pred, const char *file, int line);

enum {
    EMU_ADD, EMU_MAX_S, EMU_MIN_S, EMU_MAX_U, EMU_MIN_U, EMU_OR, EMU_AND, EMU_XOR, EMU_EXCH, EMU_CAS, EMU_ADD_F32,
    EMU_LOAD, EMU_STORE
};
uint32_t emu_atomic32(int32_t op, void *at, uint32_t value, uint32_t compare, const char *file, int line);
uint64_t emu_atomic64(int32_t op, void *at, uint64_t value, uint64_t compare, const char *file, int line);
void emu_threadfence(const char *file, int line);
void emu_threadfence_block(const char *file, int line);

// tensor.c
void emu_mma_16816(float *d, const uint32_t *a, const uint32_t *b, bool bf16, const char *file, int line);
void emu_matrix(uint32_t *r, void *row, int32_t count, bool trans, bool store, const char *file, int line);

// copy.c
void emu_cp_async(void *shared, const void *global, uint32_t bytes, uint32_t from_src, const char *file, int line);
void emu_cp_async_commit(const char *file, int line);
void emu_cp_async_wait(uint32_t newest, const char *file, int line);

// async.c, tma.c
void emu_mbar_init(void *bar, uint32_t count, const char *file, int line);
void emu_mbar_arrive(void *bar, uint32_t tx, bool arrive, const char *file, int line);
void emu_mbar_wait(void *bar, uint32_t parity, const char *file, int line);
bool emu_mbar_try_wait(void *bar, uint32_t parity, const char *file, int line);
void emu_fence_proxy_async(const char *file, int line);
void emu_tma_load(void *shared, const void *map, void *bar, uint32_t rank, const int32_t *at, const char *file,
                  int line);
void emu_tma_store(const void *map, void *shared, uint32_t rank, const int32_t *at, const char *file, int line);
void emu_bulk_load(void *shared, const void *global, uint32_t bytes, void *bar, const char *file, int line);
void emu_bulk_store(void *global, void *shared, uint32_t bytes, const char *file, int line);
void emu_bulk_commit(const char *file, int line);
void emu_bulk_wait(uint32_t newest, const char *file, int line);

// wgmma.c
typedef struct emu_wgmma_args {
    uint64_t a, b; // descriptors; a: 0 where A is in registers
    uint32_t n;
    bool a_regs, trans_a, trans_b, scale_d, fp8;
} emu_wgmma_args;
void emu_wgmma(const emu_wgmma_args *args, float *d, const uint32_t *a, const char *file, int line);
void emu_wgmma_fence(const char *file, int line);
void emu_wgmma_commit(const char *file, int line);
void emu_wgmma_wait(uint32_t newest, const char *file, int line);

// cluster.c
uint32_t emu_cluster_rank(void) __attribute__((const));
uint32_t emu_cluster_size(void) __attribute__((const));
void *emu_cluster_map(const void *shared, uint32_t rank, const char *file, int line);
void emu_cluster_sync(const char *file, int line);
void emu_griddep_wait(const char *file, int line);
void emu_griddep_launch(const char *file, int line);
void emu_setmaxnreg(uint32_t regs, bool more, const char *file, int line);
void emu_mbar_arrive_remote(void *bar, uint32_t rank, const char *file, int line);

#ifdef __cplusplus
}
#endif

#endif
