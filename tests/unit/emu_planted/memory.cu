/* memory.cu - accesses to where nothing is, or not on their own boundary. */
#include "kernels/cuda/ptx.cuh"

#include "planted.h"

enum { THREADS = 32 };

static bool all_one(const void *dev, int n, gpu_stream s)
{
    const float *v = (const float *)planted_read(dev, (size_t)n * 4, s);
    for (int i = 0; i < n; i++)
        if (v[i] != 1)
            return false;
    return true;
}

template <bool BUG> static __global__ void past_shared(float *out)
{
    TD_SMEM(float, part);
    part[threadIdx.x + (BUG ? 1 : 0)] = 1; // fault: past_shared
    __syncwarp();
    out[threadIdx.x] = part[threadIdx.x];
}

static bool run_past_shared(bool bug, gpu_stream s)
{
    float *out = (float *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(past_shared, bug, 1, THREADS, THREADS * 4, s, out);
    return all_one(out, THREADS, s);
}

template <bool BUG> static __global__ void past_global(float *out, int n)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (BUG ? i <= n : i < n)
        out[i] = 1; // fault: past_global
}

static bool run_past_global(bool bug, gpu_stream s)
{
    float *out = (float *)planted_dev(NULL, 50 * 4, s);
    PLANTED_RUN(past_global, bug, 2, THREADS, 0, s, out, 50);
    return all_one(out, 50, s);
}

template <bool BUG> static __global__ void before_global(const float *x, float *out)
{
    out[threadIdx.x] = x[(int)threadIdx.x - (BUG ? 1 : 0)]; // fault: before_global
}

static bool run_before_global(bool bug, gpu_stream s)
{
    float x[THREADS];
    for (int i = 0; i < THREADS; i++)
        x[i] = 1;
    float *dx = (float *)planted_dev(x, sizeof x, s), *out = (float *)planted_dev(NULL, sizeof x, s);
    PLANTED_RUN(before_global, bug, 1, THREADS, 0, s, dx, out);
    return all_one(out, THREADS, s);
}

template <bool BUG> static __global__ void host_pointer(const float *host, const float *dev, float *out)
{
    out[threadIdx.x] = BUG ? host[threadIdx.x] : dev[threadIdx.x]; // fault: host_pointer
}

static bool run_host_pointer(bool bug, gpu_stream s)
{
    static float x[THREADS];
    void *pinned = NULL;
    GPU_SYM(rt_host_alloc)(sizeof x, &pinned);
    for (int i = 0; i < THREADS; i++)
        x[i] = ((float *)pinned)[i] = 1;
    float *dx = (float *)planted_dev(x, sizeof x, s), *out = (float *)planted_dev(NULL, sizeof x, s);
    PLANTED_RUN(host_pointer, bug, 1, THREADS, 0, s, (const float *)pinned, dx, out);
    return all_one(out, THREADS, s);
}

template <bool BUG> static __global__ void misaligned(const float *x, float4 *out)
{
    out[threadIdx.x] = *(const float4 *)(x + 4 * threadIdx.x + (BUG ? 1 : 0)); // fault: misaligned
}

static bool run_misaligned(bool bug, gpu_stream s)
{
    float x[THREADS * 4 + 4];
    for (int i = 0; i < THREADS * 4 + 4; i++)
        x[i] = 1;
    float *dx = (float *)planted_dev(x, sizeof x, s), *out = (float *)planted_dev(NULL, sizeof x, s);
    PLANTED_RUN(misaligned, bug, 1, THREADS, 0, s, dx, (float4 *)out);
    return all_one(out, THREADS * 4, s);
}

/* What nobody wrote is NaN: a sum over it shows. */
template <bool BUG> static __global__ void never_written(float *out)
{
    TD_SMEM(float, part);
    if (!BUG || threadIdx.x != 5)
        part[threadIdx.x] = 1.0f / 32;
    __syncthreads();
    float sum = 0;
    for (int i = 0; i < THREADS; i++)
        sum += part[i];
    if (BUG && sum != sum)
        sum = part[THREADS]; // fault: never_written
    out[threadIdx.x] = sum;
}

static bool run_never_written(bool bug, gpu_stream s)
{
    float *out = (float *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(never_written, bug, 1, THREADS, THREADS * 4, s, out);
    return all_one(out, THREADS, s);
}

#define ROW(name, kind) {#name, "memory.cu", kind, #name, true, run_##name}
const planted planted_memory[] = {
    ROW(past_shared, "out of bounds"), ROW(past_global, "out of bounds"), ROW(before_global, "out of bounds"),
    ROW(host_pointer, "out of bounds"), ROW(misaligned, "misaligned"), ROW(never_written, "out of bounds"),
    {NULL, NULL, NULL, NULL, false, NULL},
};
