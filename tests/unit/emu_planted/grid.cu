/* grid.cu - kernels that overlap, clusters, and registers that move between warpgroups. */
#include "kernels/cuda/ptx.cuh"

#include "planted.h"

enum { THREADS = 64 };

static bool all(const void *dev, int n, int want, gpu_stream s)
{
    const int *v = (const int *)planted_read(dev, (size_t)n * 4, s);
    for (int i = 0; i < n; i++)
        if (v[i] != want)
            return false;
    return true;
}

static __global__ void primary(int *x)
{
    td_griddep_launch();
    x[blockIdx.x * blockDim.x + threadIdx.x] = 20; // fault: griddep
}

/* Overlaps with the kernel ahead: what that one writes is there only after the wait. */
template <bool BUG> static __global__ void dependent(const int *x, const int *table, int *out)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    int add = table[threadIdx.x];
    if (!BUG)
        td_griddep_wait();
    out[i] = x[i] + add; // fault: griddep
}

static bool run_griddep(bool bug, gpu_stream s)
{
    int table[THREADS];
    for (int i = 0; i < THREADS; i++)
        table[i] = 3;
    const int *t = (const int *)planted_dev(table, sizeof table, s);
    int *x = (int *)planted_dev(NULL, 4 * THREADS * 4, s), *out = (int *)planted_dev(NULL, 4 * THREADS * 4, s);
    td_launch_cfg cfg = {dim3(4), dim3(THREADS), dim3(1), 0, s, true};
    TD_LAUNCH(primary, 4, THREADS, 0, s, x);
    if (bug)
        TD_LAUNCH_EX(dependent<true>, cfg, x, t, out);
    else
        TD_LAUNCH_EX(dependent<false>, cfg, x, t, out);
    return all(out, 4 * THREADS, 23, s);
}

/* Needs nothing of the kernel ahead, but the one behind may take this one's end for the end of both. */
template <bool BUG> static __global__ void never_waits(int *out)
{
    if (!BUG)
        td_griddep_wait();
    out[threadIdx.x] = 1;
}

static bool run_never_waits(bool bug, gpu_stream s)
{
    int *x = (int *)planted_dev(NULL, 4 * THREADS * 4, s), *out = (int *)planted_dev(NULL, THREADS * 4, s);
    td_launch_cfg cfg = {dim3(1), dim3(THREADS), dim3(1), 0, s, true};
    TD_LAUNCH(primary, 4, THREADS, 0, s, x);
    if (bug)
        TD_LAUNCH_EX(never_waits<true>, cfg, out); // fault: never_waits
    else
        TD_LAUNCH_EX(never_waits<false>, cfg, out);
    return all(out, THREADS, 1, s);
}

/* `dependent` again, recorded and launched twice. */
static bool run_griddep_graph(bool bug, gpu_stream s)
{
    int table[THREADS];
    for (int i = 0; i < THREADS; i++)
        table[i] = 3;
    const int *t = (const int *)planted_dev(table, sizeof table, s);
    int *x = (int *)planted_dev(NULL, 4 * THREADS * 4, s), *out = (int *)planted_dev(NULL, 4 * THREADS * 4, s);
    td_launch_cfg cfg = {dim3(4), dim3(THREADS), dim3(1), 0, s, true};
    gpu_graph g = NULL;
    GPU_SYM(rt_stream_sync)(s);
    GPU_SYM(rt_graph_begin)(s);
    TD_LAUNCH(primary, 4, THREADS, 0, s, x);
    if (bug)
        TD_LAUNCH_EX(dependent<true>, cfg, x, t, out);
    else
        TD_LAUNCH_EX(dependent<false>, cfg, x, t, out);
    GPU_SYM(rt_graph_end)(s, &g);
    GPU_SYM(rt_graph_launch)(g, s);
    GPU_SYM(rt_graph_launch)(g, s);
    return all(out, 4 * THREADS, 23, s);
}

/* Each block of a cluster of two reads what the other wrote. */
enum { CLUSTER_NONE, CLUSTER_NO_SYNC, CLUSTER_EXIT };

template <int BUG> static __global__ void exchange(int *out)
{
    TD_SMEM(int, mine);
    mine[threadIdx.x] = 5 + (int)td_cluster_rank(); // fault: no_cluster_sync
    if (BUG == CLUSTER_NO_SYNC)
        __syncthreads();
    else
        td_cluster_sync();
    const int *other = td_cluster_map(mine, td_cluster_rank() ^ 1);
    if (BUG == CLUSTER_EXIT && blockIdx.x % 2 == 0 && out[gridDim.x * blockDim.x] == 0)
        return;
    for (int turn = 0; BUG == CLUSTER_EXIT && turn < 3; turn++)
        __syncthreads();
    int sum = other[threadIdx.x] + mine[threadIdx.x]; // fault: no_cluster_sync // fault: cluster_exit
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
    if (BUG != CLUSTER_EXIT)
        td_cluster_sync();
}

static bool run_exchange(int bug, gpu_stream s)
{
    int zero[4 * THREADS + 1] = {0};
    int *out = (int *)planted_dev(zero, sizeof zero, s);
    td_launch_cfg cfg = {dim3(4), dim3(THREADS), dim3(2), THREADS * 4, s, false};
    if (bug == CLUSTER_NO_SYNC)
        TD_LAUNCH_EX(exchange<CLUSTER_NO_SYNC>, cfg, out);
    else if (bug == CLUSTER_EXIT)
        TD_LAUNCH_EX(exchange<CLUSTER_EXIT>, cfg, out);
    else
        TD_LAUNCH_EX(exchange<CLUSTER_NONE>, cfg, out);
    return all(out, 4 * THREADS, 11, s);
}

static bool run_no_cluster_sync(bool bug, gpu_stream s) { return run_exchange(bug ? CLUSTER_NO_SYNC : 0, s); }
static bool run_cluster_exit(bool bug, gpu_stream s) { return run_exchange(bug ? CLUSTER_EXIT : 0, s); }

/* A producer group gives registers to two consumer groups; with too much asked for, nobody ever gets them. */
template <bool BUG> static __global__ void registers(int *out)
{
    if (threadIdx.x < 128)
        td_setmaxnreg_dec<40>();
    else if (BUG)
        td_setmaxnreg_inc<248>(); // fault: setmaxnreg
    else
        td_setmaxnreg_inc<232>();
    out[threadIdx.x] = 1;
}

static bool run_setmaxnreg(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, 384 * 4, s);
    PLANTED_RUN(registers, bug, 1, 384, 0, s, out);
    return all(out, 384, 1, s);
}

/* A remote arrival: rank 1 tells rank 0 that its memory is written. */
template <bool BUG> static __global__ void remote_arrival(int *out)
{
    TD_SMEM(uint64_t, bar);
    int *data = (int *)(bar + 1);
    if (td_cluster_rank() == 0 && threadIdx.x == 0)
        td_mbar_init(bar, 32);
    td_cluster_sync();
    if (td_cluster_rank() == 1 && threadIdx.x < 32) {
        td_cluster_map(data, 0)[threadIdx.x] = 8; // fault: remote_arrival
        td_mbar_arrive_remote(bar, 0);
    } else if (td_cluster_rank() == 0) {
        if (!BUG)
            td_mbar_wait(bar, 0);
        out[blockIdx.x / 2 * THREADS + threadIdx.x] = data[threadIdx.x % 32]; // fault: remote_arrival
    }
    td_cluster_sync();
}

static bool run_remote_arrival(bool bug, gpu_stream s)
{
    int *out = (int *)planted_dev(NULL, 2 * THREADS * 4, s);
    td_launch_cfg cfg = {dim3(4), dim3(THREADS), dim3(2), 8 + 32 * 4, s, false};
    if (bug)
        TD_LAUNCH_EX(remote_arrival<true>, cfg, out);
    else
        TD_LAUNCH_EX(remote_arrival<false>, cfg, out);
    return all(out, 2 * THREADS, 8, s);
}

#define ROW(name, kind, kernel, hooks) {#name, "grid.cu", kind, kernel, hooks, run_##name}
const planted planted_grid[] = {
    ROW(griddep, "missing griddepcontrol.wait", "primary", true),
    {"griddep", "grid.cu", "missing griddepcontrol.wait", "primary", true, run_griddep_graph},
    ROW(never_waits, "missing griddepcontrol.wait", "never_waits", false),
    ROW(no_cluster_sync, "race", "exchange", true), ROW(cluster_exit, "cluster", "exchange", true),
    ROW(setmaxnreg, "setmaxnreg", "registers", false), ROW(remote_arrival, "race", "remote_arrival", true),
    {NULL, NULL, NULL, NULL, false, NULL},
};
