/* host.cu - what a host does wrong with streams. */
#include "kernels/cuda/ptx.cuh"

#include "planted.h"

enum { N = 64 };

static __global__ void fill(int *x, int v) { x[threadIdx.x] = v; }

static __global__ void add_one(const int *x, int *out)
{
    out[threadIdx.x] = x[threadIdx.x] + 1; // fault: no_event_wait
}

static bool all(const void *dev, int want, gpu_stream s)
{
    const int *v = (const int *)planted_read(dev, N * 4, s);
    for (int i = 0; i < N; i++)
        if (v[i] != want)
            return false;
    return true;
}

/* A kernel on one stream reads what a kernel on another writes. Where the reader runs first, it is the write that
 * comes too late. */
static __global__ void fill_late(int *x, int v)
{
    x[threadIdx.x] = v; // fault: no_event_wait
}

static bool run_no_event_wait(bool bug, gpu_stream s)
{
    gpu_stream other = NULL;
    gpu_event done = NULL;
    GPU_SYM(rt_stream_create)(&other);
    GPU_SYM(rt_event_create)(&done);
    int *x = (int *)planted_dev(NULL, N * 4, s), *out = (int *)planted_dev(NULL, N * 4, s);
    GPU_SYM(rt_stream_sync)(s);
    TD_LAUNCH(fill_late, 1, N, 0, other, x, 5);
    GPU_SYM(rt_event_record)(done, other);
    if (!bug)
        GPU_SYM(rt_stream_wait)(s, done);
    TD_LAUNCH(add_one, 1, N, 0, s, x, out);
    bool ok = all(out, 6, s);
    GPU_SYM(rt_device_sync)();
    return ok;
}

/* The staging buffer is filled again before the copy out of it ran. */
static bool run_staging_reused(bool bug, gpu_stream s)
{
    int *x = (int *)planted_dev(NULL, N * 4, s), *y = (int *)planted_dev(NULL, N * 4, s);
    void *stage = NULL;
    GPU_SYM(rt_host_alloc)(N * 4, &stage);
    for (int i = 0; i < N; i++)
        ((int *)stage)[i] = 1;
    GPU_SYM(rt_copy_h2d)(x, stage, N * 4, s);
    if (!bug)
        GPU_SYM(rt_stream_sync)(s);
    for (int i = 0; i < N; i++)
        ((int *)stage)[i] = 2;
    GPU_SYM(rt_copy_h2d)(y, stage, N * 4, s);
    return all(x, 1, s) && all(y, 2, s);
}

/* A copy on another stream overwrites what a kernel reads. */
static bool run_copy_too_early(bool bug, gpu_stream s)
{
    gpu_stream other = NULL;
    gpu_event done = NULL;
    GPU_SYM(rt_stream_create)(&other);
    GPU_SYM(rt_event_create)(&done);
    int *x = (int *)planted_dev(NULL, N * 4, s), *y = (int *)planted_dev(NULL, N * 4, s);
    int *out = (int *)planted_dev(NULL, N * 4, s);
    TD_LAUNCH(fill, 1, N, 0, s, x, 5);
    TD_LAUNCH(fill, 1, N, 0, s, y, 9);
    GPU_SYM(rt_stream_sync)(s);
    TD_LAUNCH(add_one, 1, N, 0, s, x, out);
    GPU_SYM(rt_event_record)(done, s);
    if (!bug)
        GPU_SYM(rt_stream_wait)(other, done);
    GPU_SYM(rt_copy_d2d)(x, y, N * 4, other);
    bool ok = all(out, 6, s);
    GPU_SYM(rt_device_sync)();
    return ok;
}

const planted planted_host[] = {
    {"no_event_wait", "host.cu", "race between streams", "", true, run_no_event_wait},
    {"staging_reused", "", "staging reused", "", false, run_staging_reused},
    {"copy_too_early", "", "race between streams", "", true, run_copy_too_early},
    {NULL, NULL, NULL, NULL, false, NULL},
};
