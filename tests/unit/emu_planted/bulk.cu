/* bulk.cu - mbarriers, bulk copies and tensor copies. */
#include "kernels/cuda/ptx.cuh"

#include "planted.h"

enum { THREADS = 64, TILE = 256 }; // floats of a stage

static const float *ramp(int n, gpu_stream s)
{
    static float v[8192];
    for (int i = 0; i < 8192; i++)
        v[i] = (float)i;
    return (const float *)planted_dev(v, (size_t)n * 4, s);
}

static bool is_ramp(const void *dev, int n, gpu_stream s)
{
    const float *v = (const float *)planted_read(dev, (size_t)n * 4, s);
    for (int i = 0; i < n; i++)
        if (v[i] != (float)i)
            return false;
    return true;
}

enum { BUG_NONE, BUG_PARITY, BUG_FEW_BYTES, BUG_MANY_BYTES, BUG_NO_WAIT, BUG_EARLY_REUSE };

/* Warp 0 fills a ring of two stages, warp 1 empties it: full and empty barriers per stage. */
template <int BUG> static __global__ void ring(const float *x, float *out, int rounds)
{
    TD_SMEM(float, smem);
    uint64_t *full = (uint64_t *)(smem + 2 * TILE), *empty = full + 2;
    int lane = (int)threadIdx.x % 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) {
            td_mbar_init(full + i, 1);
            td_mbar_init(empty + i, 32);
        }
        td_fence_mbar_init();
    }
    __syncthreads();
    for (int r = 0; r < rounds; r++) {
        float *stage = smem + r % 2 * TILE;
        uint32_t parity = (uint32_t)(r / 2 % 2);
        uint32_t bytes = BUG == BUG_FEW_BYTES ? TILE * 2u : BUG == BUG_MANY_BYTES ? TILE * 8u : TILE * 4u;
        if (threadIdx.x == 0) {
            td_mbar_wait(empty + r % 2, parity ^ 1); // fault: no_bulk_wait
            td_mbar_expect_tx(full + r % 2, bytes);
            const float *g = x + r * TILE;
            uint64_t *bar = full + r % 2;
            td_bulk_load(stage, g, TILE * 4, bar); // fault: early_reuse // fault: wrong_parity // fault: no_bulk_wait
        } else if (threadIdx.x >= 32) {
            if (BUG != BUG_NO_WAIT)
                td_mbar_wait(full + r % 2, BUG == BUG_PARITY ? parity ^ 1 : parity); // fault: few_bytes
            if (BUG == BUG_EARLY_REUSE)
                td_mbar_arrive(empty + r % 2);
            for (int i = lane; i < TILE; i += 32)
                out[r * TILE + i] = stage[i]; // fault: no_bulk_wait // fault: wrong_parity // fault: early_reuse
            if (BUG != BUG_EARLY_REUSE)
                td_mbar_arrive(empty + r % 2);
        }
    }
}

static bool run_ring(int bug, gpu_stream s)
{
    enum { ROUNDS = 6 };
    const float *x = ramp(ROUNDS * TILE, s);
    float *out = (float *)planted_dev(NULL, ROUNDS * TILE * 4, s);
    size_t smem = 2 * TILE * 4 + 4 * 8;
    switch (bug) {
    case BUG_PARITY: TD_LAUNCH(ring<BUG_PARITY>, 1, THREADS, smem, s, x, out, ROUNDS); break;
    case BUG_FEW_BYTES: TD_LAUNCH(ring<BUG_FEW_BYTES>, 1, THREADS, smem, s, x, out, ROUNDS); break;
    case BUG_MANY_BYTES: TD_LAUNCH(ring<BUG_MANY_BYTES>, 1, THREADS, smem, s, x, out, ROUNDS); break;
    case BUG_NO_WAIT: TD_LAUNCH(ring<BUG_NO_WAIT>, 1, THREADS, smem, s, x, out, ROUNDS); break;
    case BUG_EARLY_REUSE: TD_LAUNCH(ring<BUG_EARLY_REUSE>, 1, THREADS, smem, s, x, out, ROUNDS); break;
    default: TD_LAUNCH(ring<BUG_NONE>, 1, THREADS, smem, s, x, out, ROUNDS);
    }
    return is_ramp(out, ROUNDS * TILE, s);
}

static bool run_wrong_parity(bool bug, gpu_stream s) { return run_ring(bug ? BUG_PARITY : BUG_NONE, s); }
static bool run_few_bytes(bool bug, gpu_stream s) { return run_ring(bug ? BUG_FEW_BYTES : BUG_NONE, s); }
static bool run_many_bytes(bool bug, gpu_stream s) { return run_ring(bug ? BUG_MANY_BYTES : BUG_NONE, s); }
static bool run_no_bulk_wait(bool bug, gpu_stream s) { return run_ring(bug ? BUG_NO_WAIT : BUG_NONE, s); }
static bool run_early_reuse(bool bug, gpu_stream s) { return run_ring(bug ? BUG_EARLY_REUSE : BUG_NONE, s); }

/* A barrier for 32 that 31 arrive at. */
template <bool BUG> static __global__ void lost_arrival(float *out)
{
    TD_SMEM(uint64_t, bar);
    if (threadIdx.x == 0)
        td_mbar_init(bar, 32);
    __syncthreads();
    if (threadIdx.x < (BUG ? 31 : 32))
        td_mbar_arrive(bar);
    if (threadIdx.x >= 32)
        td_mbar_wait(bar, 0); // fault: lost_arrival
    out[threadIdx.x] = (float)threadIdx.x;
}

static bool run_lost_arrival(bool bug, gpu_stream s)
{
    float *out = (float *)planted_dev(NULL, THREADS * 4, s);
    PLANTED_RUN(lost_arrival, bug, 1, THREADS, 8, s, out);
    return is_ramp(out, THREADS, s);
}

/* What threads wrote goes out by a bulk store: the writers fence, then the barrier, then the store. */
template <bool BUG> static __global__ void no_proxy_fence(float *out)
{
    TD_SMEM(float, tile);
    for (int i = (int)threadIdx.x; i < TILE; i += THREADS)
        tile[i] = (float)i;
    if (!BUG)
        td_fence_proxy_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        td_bulk_store(out, tile, TILE * 4); // fault: no_proxy_fence
        td_bulk_commit();
        td_bulk_wait<0>();
    }
}

static bool run_no_proxy_fence(bool bug, gpu_stream s)
{
    float *out = (float *)planted_dev(NULL, TILE * 4, s);
    PLANTED_RUN(no_proxy_fence, bug, 1, THREADS, TILE * 4, s, out);
    return is_ramp(out, TILE, s);
}

template <bool BUG> static __global__ void store_not_waited(float *out)
{
    TD_SMEM(float, tile);
    for (int i = (int)threadIdx.x; i < TILE; i += THREADS)
        tile[i] = (float)i;
    td_fence_proxy_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        td_bulk_store(out, tile, TILE * 4); // fault: store_not_waited
        td_bulk_commit();
        if (!BUG)
            td_bulk_wait<0>();
    }
}

static bool run_store_not_waited(bool bug, gpu_stream s)
{
    float *out = (float *)planted_dev(NULL, TILE * 4, s);
    PLANTED_RUN(store_not_waited, bug, 1, THREADS, TILE * 4, s, out);
    return is_ramp(out, TILE, s);
}

/* A box of 16 rows of 32 floats from a tensor of 40 x 48. */
enum { COLS = 48, ROWS = 40, BOX_X = 32, BOX_Y = 16 };

template <bool SWAPPED> static __global__ void box(const __grid_constant__ gpu_tensor_map map, float *out, int x, int y)
{
    TD_SMEM(float, tile);
    uint64_t *bar = (uint64_t *)(tile + BOX_X * BOX_Y);
    if (threadIdx.x == 0) {
        td_mbar_init(bar, 1);
        td_fence_mbar_init();
        td_mbar_expect_tx(bar, BOX_X * BOX_Y * 4);
        if (SWAPPED)
            td_tma_load_2d(tile, &map, bar, y, x); // fault: box_outside // fault: box_too_large
        else
            td_tma_load_2d(tile, &map, bar, x, y); // fault: box_too_large
    }
    __syncthreads();
    td_mbar_wait(bar, 0);
    for (int i = (int)threadIdx.x; i < BOX_X * BOX_Y; i += THREADS)
        out[i] = tile[i];
}

static gpu_tensor_map box_map(const float *x, uint32_t box_y)
{
    gpu_tensor_map map;
    gpu_tensor_desc d = {(void *)x, 2, 4, 0, {COLS, ROWS, 0, 0, 0}, {BOX_X, box_y, 0, 0, 0}, {0, COLS * 4, 0, 0, 0}};
    if (GPU_SYM(rt_tensor_map)(&map, &d) != GPU_OK)
        map.opaque[0] = 0;
    return map;
}

static bool box_right(const float *out, int x, int y, gpu_stream s)
{
    const float *v = (const float *)planted_read(out, BOX_X * BOX_Y * 4, s);
    for (int i = 0; i < BOX_X * BOX_Y; i++) {
        int cx = x + i % BOX_X, cy = y + i / BOX_X;
        if (v[i] != (cx < COLS && cy < ROWS ? (float)(cy * COLS + cx) : 0.0f))
            return false;
    }
    return true;
}

static bool run_box_outside(bool bug, gpu_stream s)
{
    const float *x = ramp(ROWS * COLS, s);
    float *out = (float *)planted_dev(NULL, BOX_X * BOX_Y * 4, s);
    PLANTED_RUN(box, bug, 1, THREADS, BOX_X * BOX_Y * 4 + 8, s, box_map(x, BOX_Y), out, 44, 32);
    return box_right(out, 44, 32, s);
}

static bool run_box_too_large(bool bug, gpu_stream s)
{
    const float *x = ramp(ROWS * COLS, s);
    float *out = (float *)planted_dev(NULL, BOX_X * BOX_Y * 4, s);
    TD_LAUNCH(box<false>, 1, THREADS, BOX_X * BOX_Y * 4 + 8, s, box_map(x, bug ? BOX_Y + 1 : BOX_Y), out, 0, 8);
    return box_right(out, 0, 8, s);
}

#define ROW(name, kind, kernel, hooks) {#name, "bulk.cu", kind, kernel, hooks, run_##name}
const planted planted_bulk[] = {
    ROW(wrong_parity, "bulk copy in flight|race", "ring", true), ROW(few_bytes, "mbarrier bytes", "ring", false),
    {"many_bytes", "", "mbarrier bytes", "ring", false, run_many_bytes},
    ROW(no_bulk_wait, "bulk copy in flight|race|mbarrier phase", "ring", true),
    ROW(early_reuse, "bulk copy in flight|race", "ring", true),
    ROW(lost_arrival, "mbarrier phase", "lost_arrival", false),
    ROW(no_proxy_fence, "missing fence.proxy.async", "no_proxy_fence", true),
    ROW(store_not_waited, "bulk copy in flight", "store_not_waited", false),
    ROW(box_outside, "tensor copy", "box", false), ROW(box_too_large, "out of bounds", "box", false),
    {NULL, NULL, NULL, NULL, false, NULL},
};
