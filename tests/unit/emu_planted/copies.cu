/* copies.cu - cp.async: a wait that is missing or too weak, a stage that is filled while it is read. */
#include "kernels/cuda/ptx.cuh"

#include "planted.h"

enum { THREADS = 32, ROUNDS = 4 };

static const int *ramp(size_t n, gpu_stream s)
{
    static int v[4096];
    for (int i = 0; i < 4096; i++)
        v[i] = i;
    return (const int *)planted_dev(v, n * 4, s);
}

static bool is_ramp(const void *dev, int n, gpu_stream s)
{
    const int *v = (const int *)planted_read(dev, (size_t)n * 4, s);
    for (int i = 0; i < n; i++)
        if (v[i] != i)
            return false;
    return true;
}

template <bool BUG> static __global__ void no_copy_wait(const int *x, int *out)
{
    TD_SMEM(int, stage);
    td_cp_async16(stage + 4 * threadIdx.x, x + 4 * threadIdx.x);
    td_cp_async_commit();
    if (!BUG)
        td_cp_async_wait<0>();
    __syncthreads();
    for (int i = (int)threadIdx.x; i < 4 * THREADS; i += THREADS)
        out[i] = stage[i]; // fault: no_copy_wait
}

static bool run_no_copy_wait(bool bug, gpu_stream s)
{
    const int *x = ramp(4 * THREADS, s);
    int *out = (int *)planted_dev(NULL, 4 * THREADS * 4, s);
    PLANTED_RUN(no_copy_wait, bug, 1, THREADS, 4 * THREADS * 4, s, x, out);
    return is_ramp(out, 4 * THREADS, s);
}

/* Waits for one group too few: the stage that is read is the newest one. */
template <bool BUG> static __global__ void weak_copy_wait(const int *x, int *out)
{
    TD_SMEM(int, stage);
    for (int round = 0; round < ROUNDS; round++) {
        int *at = stage + round % 2 * 4 * THREADS;
        td_cp_async16(at + 4 * threadIdx.x, x + round * 4 * THREADS + 4 * threadIdx.x);
        td_cp_async_commit();
        if (BUG)
            td_cp_async_wait<1>();
        else
            td_cp_async_wait<0>();
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 4 * THREADS; i += THREADS)
            out[round * 4 * THREADS + i] = at[i]; // fault: weak_copy_wait
        __syncthreads();
    }
}

static bool run_weak_copy_wait(bool bug, gpu_stream s)
{
    const int *x = ramp(ROUNDS * 4 * THREADS, s);
    int *out = (int *)planted_dev(NULL, ROUNDS * 4 * THREADS * 4, s);
    PLANTED_RUN(weak_copy_wait, bug, 1, THREADS, 2 * 4 * THREADS * 4, s, x, out);
    return is_ramp(out, ROUNDS * 4 * THREADS, s);
}

/* The copy's own thread waited, but the others read without a barrier. */
template <bool BUG> static __global__ void no_copy_barrier(const int *x, int *out)
{
    TD_SMEM(int, stage);
    td_cp_async16(stage + 4 * threadIdx.x, x + 4 * threadIdx.x); // fault: no_copy_barrier
    td_cp_async_commit();
    td_cp_async_wait<0>(); // fault: no_copy_barrier
    if (!BUG)
        __syncthreads();
    for (int i = (int)threadIdx.x; i < 4 * THREADS; i += THREADS)
        out[i] = stage[i]; // fault: no_copy_barrier
}

static bool run_no_copy_barrier(bool bug, gpu_stream s)
{
    const int *x = ramp(4 * THREADS, s);
    int *out = (int *)planted_dev(NULL, 4 * THREADS * 4, s);
    PLANTED_RUN(no_copy_barrier, bug, 1, THREADS, 4 * THREADS * 4, s, x, out);
    return is_ramp(out, 4 * THREADS, s);
}

/* Two stages, but the next copy is issued into the stage that slow threads still read. */
template <bool BUG> static __global__ void stage_reused(const int *x, int *out)
{
    TD_SMEM(int, stage);
    td_cp_async16(stage + 4 * threadIdx.x, x + 4 * threadIdx.x);
    td_cp_async_commit();
    for (int round = 0; round < ROUNDS; round++) {
        td_cp_async_wait<0>();
        __syncthreads();
        int *at = stage + round % 2 * 4 * THREADS;
        int *next = BUG ? at : stage + (round + 1) % 2 * 4 * THREADS;
        int sum = 0;
        for (int i = 0; i < 4; i++)
            sum += at[(int)(threadIdx.x * 4 + 4) % (4 * THREADS) + i]; // fault: stage_reused
        out[round * THREADS + (int)threadIdx.x] = sum;
        if (round + 1 < ROUNDS)
            td_cp_async16(next + 4 * threadIdx.x, // fault: stage_reused
                          x + (round + 1) * 4 * THREADS + 4 * threadIdx.x); // fault: stage_reused
        td_cp_async_commit();
    }
}

static bool run_stage_reused(bool bug, gpu_stream s)
{
    const int *x = ramp(ROUNDS * 4 * THREADS, s);
    int *out = (int *)planted_dev(NULL, ROUNDS * THREADS * 4, s);
    PLANTED_RUN(stage_reused, bug, 1, THREADS, 2 * 4 * THREADS * 4, s, x, out);
    const int *v = (const int *)planted_read(out, ROUNDS * THREADS * 4, s);
    for (int i = 0; i < ROUNDS * THREADS; i++) {
        int from = i / THREADS * 4 * THREADS + (i % THREADS * 4 + 4) % (4 * THREADS);
        if (v[i] != 4 * from + 6)
            return false;
    }
    return true;
}

template <bool BUG> static __global__ void misaligned_copy(const int *x, int *out)
{
    TD_SMEM(int, stage);
    td_cp_async16(stage + 4 * threadIdx.x, x + 4 * threadIdx.x + (BUG ? 1 : 0)); // fault: misaligned_copy
    td_cp_async_commit();
    td_cp_async_wait<0>();
    __syncwarp();
    for (int i = 0; i < 4; i++)
        out[threadIdx.x * 4 + i] = stage[threadIdx.x * 4 + i];
}

static bool run_misaligned_copy(bool bug, gpu_stream s)
{
    const int *x = ramp(4 * THREADS + 4, s);
    int *out = (int *)planted_dev(NULL, 4 * THREADS * 4, s);
    PLANTED_RUN(misaligned_copy, bug, 1, THREADS, 4 * THREADS * 4, s, x, out);
    return is_ramp(out, 4 * THREADS, s);
}

#define ROW(name, kind, hooks) {#name, "copies.cu", kind, #name, hooks, run_##name}
const planted planted_copies[] = {
    ROW(no_copy_wait, "cp.async in flight", true), ROW(weak_copy_wait, "cp.async in flight", true),
    ROW(no_copy_barrier, "race", true), ROW(stage_reused, "race", true), ROW(misaligned_copy, "misaligned", false),
    {NULL, NULL, NULL, NULL, false, NULL},
};
