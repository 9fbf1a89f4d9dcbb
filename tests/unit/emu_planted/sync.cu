/* sync.cu - barriers and collectives. */
#include "kernels/cuda/ptx.cuh"

#include "planted.h"

enum { THREADS = 64 };

static bool all_equal(const void *dev, int n, int want, gpu_stream s)
{
    const int *v = (const int *)planted_read(dev, (size_t)n * 4, s);
    for (int i = 0; i < n; i++)
        if (v[i] != want)
            return false;
    return true;
}

template <bool BUG> static __global__ void no_syncthreads(int *out)
{
    TD_SMEM(int, part);
    part[threadIdx.x] = (int)threadIdx.x; // fault: no_syncthreads
    if (!BUG)
        __syncthreads();
    out[threadIdx.x] = part[threadIdx.x ^ 32] + (int)(63 - (threadIdx.x ^ 32)); // fault: no_syncthreads
}

static bool run_no_syncthreads(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(no_syncthreads, bug, 1, THREADS, THREADS * 4, s, out);
    return all_equal(out, THREADS, 63, s);
}

/* The second barrier of a loop: without it the next round overwrites what slow threads still read. */
template <bool BUG> static __global__ void loop_syncthreads(int *out)
{
    TD_SMEM(int, part);
    int sum = 0;
    for (int round = 0; round < 3; round++) {
        part[threadIdx.x] = round; // fault: loop_syncthreads
        __syncthreads();
        sum += part[threadIdx.x ^ 33]; // fault: loop_syncthreads
        if (!BUG)
            __syncthreads();
    }
    out[threadIdx.x] = sum;
}

static bool run_loop_syncthreads(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(loop_syncthreads, bug, 1, THREADS, THREADS * 4, s, out);
    return all_equal(out, THREADS, 3, s);
}

/* Two lanes write the halves of a word; whoever reads the half that was written first races with it too. */
template <bool BUG> static __global__ void half_words(int *out)
{
    TD_SMEM(uint16_t, part);
    if (threadIdx.x < 32)
        part[threadIdx.x] = 9; // fault: half_words
    if (!BUG)
        __syncthreads();
    if (threadIdx.x >= 32)
        out[threadIdx.x - 32] = part[threadIdx.x / 2 * 2 - 32]; // fault: half_words
}

static bool run_half_words(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, 32 * 4, s);
    PLANTED_RUN(half_words, bug, 1, THREADS, 64, s, out);
    return all_equal(out, 32, 9, s);
}

template <bool BUG> static __global__ void no_syncwarp(int *out)
{
    TD_SMEM(int, part);
    part[threadIdx.x] = 7; // fault: no_syncwarp
    if (!BUG)
        __syncwarp();
    out[threadIdx.x] = part[threadIdx.x ^ 1]; // fault: no_syncwarp
}

static bool run_no_syncwarp(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(no_syncwarp, bug, 1, THREADS, THREADS * 4, s, out);
    return all_equal(out, THREADS, 7, s);
}

template <bool BUG> static __global__ void divergent(int *out)
{
    int n = 0;
    if (BUG && threadIdx.x >= 32)
        n += __syncthreads_count(1); // fault: divergent
    else
        n += __syncthreads_count(1); // fault: divergent
    out[threadIdx.x] = n;
}

static bool run_divergent(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(divergent, bug, 1, THREADS, 0, s, out);
    return all_equal(out, THREADS, THREADS, s);
}

template <bool BUG> static __global__ void early_exit(int *out, int n)
{
    if (BUG && (int)threadIdx.x >= n)
        return;
    __syncthreads(); // fault: early_exit
    if ((int)threadIdx.x < n)
        out[threadIdx.x] = 1;
}

static bool run_early_exit(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(early_exit, bug, 1, THREADS, 0, s, out, 40);
    return all_equal(out, 40, 1, s);
}

template <bool BUG> static __global__ void missing_lane(int *out)
{
    int sum = 1;
    if (!BUG || threadIdx.x % 32 != 31)
        for (int d = 16; d > 0; d /= 2)
            sum += __shfl_xor_sync(TD_WARP_ALL, sum, d); // fault: missing_lane
    out[threadIdx.x] = sum;
}

static bool run_missing_lane(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(missing_lane, bug, 1, THREADS, 0, s, out);
    return all_equal(out, THREADS, 32, s);
}

template <bool BUG> static __global__ void split_collective(int *out)
{
    int v;
    if (BUG && threadIdx.x % 2)
        v = __shfl_sync(TD_WARP_ALL, 5, 0); // fault: split_collective
    else
        v = __shfl_sync(TD_WARP_ALL, 5, 0); // fault: split_collective
    out[threadIdx.x] = v;
}

static bool run_split_collective(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(split_collective, bug, 1, THREADS, 0, s, out);
    return all_equal(out, THREADS, 5, s);
}

/* Warps 0 and 1 hand over to warp 2: its barrier must count all three. */
template <bool BUG> static __global__ void named_mismatch(int *out)
{
    TD_SMEM(int, part);
    if (threadIdx.x < 64) {
        part[threadIdx.x] = 4;
        td_named_bar_arrive(1, 96); // fault: named_mismatch
    } else {
        td_named_bar_sync(1, BUG ? 64 : 96); // fault: named_mismatch
        out[threadIdx.x - 64] = part[threadIdx.x - 64] + part[threadIdx.x - 32];
    }
}

static bool run_named_mismatch(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, 32 * 4, s);
    PLANTED_RUN(named_mismatch, bug, 1, 96, 64 * 4, s, out);
    return all_equal(out, 32, 8, s);
}

template <bool BUG> static __global__ void named_too_early(int *out)
{
    TD_SMEM(int, part);
    if (threadIdx.x < 32) {
        if (BUG)
            td_named_bar_arrive(2, 64);
        part[threadIdx.x] = 4; // fault: named_too_early
        if (!BUG)
            td_named_bar_arrive(2, 64);
    } else {
        td_named_bar_sync(2, 64);
        out[threadIdx.x - 32] = part[63 - threadIdx.x]; // fault: named_too_early
    }
}

static bool run_named_too_early(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, 32 * 4, s);
    PLANTED_RUN(named_too_early, bug, 1, 64, 32 * 4, s, out);
    return all_equal(out, 32, 4, s);
}

/* The last block adds what the others left: the fence makes its atomic operation mean something. */
template <bool BUG> static __global__ void last_block(int *part, unsigned *ticket, int *out)
{
    if (threadIdx.x)
        return;
    part[blockIdx.x] = 2; // fault: last_block
    if (!BUG)
        __threadfence();
    if (atomicAdd(ticket, 1u) != gridDim.x - 1)
        return;
    __threadfence();
    int sum = 0;
    for (unsigned b = 0; b < gridDim.x; b++)
        sum += part[b]; // fault: last_block
    *out = sum;
}

static bool run_last_block(bool bug, gpu_stream s)
{
    unsigned zero = 0;
    int *part = (int *)planted_dev(NULL, 8 * 4, s), *out = (int *)planted_dev(NULL, 4, s);
    unsigned *ticket = (unsigned *)planted_dev(&zero, 4, s);
    PLANTED_RUN(last_block, bug, 8, 32, 0, s, part, ticket, out);
    return all_equal(out, 1, 16, s);
}

template <bool BUG> static __global__ void two_blocks(int *out)
{
    if (BUG || blockIdx.x == 0)
        out[threadIdx.x] = 3; // fault: two_blocks
}

static bool run_two_blocks(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(two_blocks, bug, 2, THREADS, 0, s, out);
    return all_equal(out, THREADS, 3, s);
}

template <bool BUG> static __global__ void polls_for_ever(unsigned *flag, int *out)
{
    if (threadIdx.x == 0) {
        out[0] = 9;
        td_st_release(flag, BUG ? 2u : 1u);
    } else if (threadIdx.x == 32) {
        while (td_ld_acquire(flag) != 1u) // fault: polls_for_ever
            ;
        out[1] = 9;
    }
}

static bool run_polls_for_ever(bool bug, gpu_stream s)
{
    unsigned zero = 0, *flag = (unsigned *)planted_dev(&zero, 4, s);
    int *out = (int *)planted_dev(NULL, 8, s);
    PLANTED_RUN(polls_for_ever, bug, 1, THREADS, 0, s, flag, out);
    return all_equal(out, 2, 9, s);
}

#define ROW(name, kind, hooks) {#name, "sync.cu", kind, #name, hooks, run_##name}
const planted planted_sync[] = {
    ROW(no_syncthreads, "race", true), ROW(loop_syncthreads, "race", true), ROW(no_syncwarp, "race", true),
    ROW(half_words, "race", true),
    ROW(divergent, "barrier divergence", false), ROW(early_exit, "barrier divergence", false),
    ROW(missing_lane, "missing lane", false), ROW(split_collective, "divergent collective", false),
    ROW(named_mismatch, "barrier", false), ROW(named_too_early, "race", true), ROW(last_block, "race", true),
    ROW(two_blocks, "race", true), ROW(polls_for_ever, "deadlock", false), {NULL, NULL, NULL, NULL, false, NULL},
};
