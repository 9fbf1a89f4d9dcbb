/* wgmma.cu - asynchronous products: descriptors, fences, waits. */
#include "kernels/cuda/ptx.cuh"

#include "planted.h"

enum { THREADS = 128, N = 16, ROW_BYTES = 128, TILE_A = 64 * ROW_BYTES, TILE_B = N * ROW_BYTES };

enum {
    BUG_NONE, BUG_NO_WAIT, BUG_STRIDE, BUG_STRIDE_FAR, BUG_SWIZZLE, BUG_START, BUG_NO_FENCE, BUG_STAGE_REUSED,
    BUG_THREE_WARPS, BUG_NEVER_WAITED
};

/* Ones times ones: every result is 64. Tiles of 64 columns come by tensor copy with a swizzle of 128 bytes. */
template <int BUG> static __global__ void tiles(const __grid_constant__ gpu_tensor_map map_a,
                                                const __grid_constant__ gpu_tensor_map map_b, float *out)
{
    TD_SMEM(uint8_t, smem);
    uint8_t *ta = smem, *tb = smem + TILE_A;
    uint64_t *bar = (uint64_t *)(tb + TILE_B);
    if (threadIdx.x == 0) {
        td_mbar_init(bar, 1);
        td_fence_mbar_init();
        td_mbar_expect_tx(bar, TILE_A + TILE_B);
        td_tma_load_2d(ta, &map_a, bar, 0, 0);
        td_tma_load_2d(tb, &map_b, bar, 0, 0);
    }
    __syncthreads();
    td_mbar_wait(bar, 0);
    float acc[N / 2];
    const uint32_t stride = BUG == BUG_STRIDE ? 512 : BUG == BUG_STRIDE_FAR ? 2048 : 1024;
    const uint32_t swizzle = BUG == BUG_SWIZZLE ? 64 : 128;
    if (BUG != BUG_NO_FENCE)
        td_wgmma_fence();
    for (int k = 0; k < 4; k++) {
        uint64_t da = td_smem_desc(ta + k * 32, 16, 1024, 128);
        uint64_t db = td_smem_desc(tb + (BUG == BUG_START ? 128 : 0) + k * 32, 16, stride, swizzle);
        if (BUG == BUG_THREE_WARPS && threadIdx.x >= 96)
            continue;
        td_wgmma_bf16_ss<N>(acc, da, db, k > 0); // fault: wgmma
    }
    td_wgmma_commit();
    if (BUG == BUG_STAGE_REUSED && threadIdx.x == 0) {
        td_mbar_expect_tx(bar, TILE_B);
        td_tma_load_2d(tb, &map_b, bar, 0, 0); // fault: wgmma_stage
    }
    if (BUG != BUG_NO_WAIT && BUG != BUG_NEVER_WAITED)
        td_wgmma_wait<0>();
    for (int i = 0; BUG != BUG_NEVER_WAITED && i < N / 2; i++)
        out[threadIdx.x * (N / 2) + i] = acc[i]; // fault: wgmma_result
}

static gpu_tensor_map ones_map(uint32_t rows, gpu_stream s)
{
    static uint16_t ones[64 * 64];
    for (int i = 0; i < 64 * 64; i++)
        ones[i] = 0x3f80;
    gpu_tensor_map map = {};
    gpu_tensor_desc d = {planted_dev(ones, sizeof ones, s), 2, 2, 128, {64, rows, 0, 0, 0}, {64, rows, 0, 0, 0},
                         {0, 128, 0, 0, 0}};
    if (GPU_SYM(rt_tensor_map)(&map, &d) != GPU_OK)
        map.opaque[0] = 0;
    return map;
}

static bool all(const float *dev, int n, float want, gpu_stream s)
{
    const float *v = (const float *)planted_read(dev, (size_t)n * 4, s);
    for (int i = 0; i < n; i++)
        if (v[i] != want)
            return false;
    return true;
}

#define TILES_CASE(bug) \
    case bug: TD_LAUNCH(tiles<bug>, 1, THREADS, TILE_A + TILE_B + 8, s, a, b, out); break

static bool run_tiles(int bug, gpu_stream s)
{
    gpu_tensor_map a = ones_map(64, s), b = ones_map(N, s);
    float *out = (float *)planted_dev(NULL, THREADS * N / 2 * 4, s);
    switch (bug) {
        TILES_CASE(BUG_NONE);
        TILES_CASE(BUG_NO_WAIT);
        TILES_CASE(BUG_STRIDE);
        TILES_CASE(BUG_STRIDE_FAR);
        TILES_CASE(BUG_SWIZZLE);
        TILES_CASE(BUG_START);
        TILES_CASE(BUG_NO_FENCE);
        TILES_CASE(BUG_STAGE_REUSED);
        TILES_CASE(BUG_THREE_WARPS);
        TILES_CASE(BUG_NEVER_WAITED);
    }
    return all(out, THREADS * N / 2, 64, s);
}

/* The tile of B is written by threads, as 8 x 16-byte matrices without swizzle; A comes from registers. */
enum { OWN_NONE, OWN_NO_PROXY_FENCE, OWN_LEAD };

template <int BUG> static __global__ void own_tile(float *out)
{
    TD_SMEM(uint16_t, tile); // [k / 8][n / 8][8][8], behind it as much again
    for (int i = (int)threadIdx.x; i < N * 16; i += THREADS)
        tile[i] = 0x3f80; // fault: own_tile
    if (BUG != OWN_NO_PROXY_FENCE)
        td_fence_proxy_async();
    __syncthreads();
    float acc[N / 2];
    const uint32_t a[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
    uint64_t db = td_smem_desc(tile, BUG == OWN_LEAD ? N * 32 : N / 8 * 128, 128, 0);
    td_wgmma_fence();
    td_wgmma_bf16_rs<N>(acc, a, db, 0); // fault: own_tile
    td_wgmma_commit();
    td_wgmma_wait<0>();
    for (int i = 0; i < N / 2; i++)
        out[threadIdx.x * (N / 2) + i] = acc[i];
}

static bool run_own(int bug, gpu_stream s)
{
    float *out = (float *)planted_dev(NULL, THREADS * N / 2 * 4, s);
    if (bug == OWN_NO_PROXY_FENCE)
        TD_LAUNCH(own_tile<OWN_NO_PROXY_FENCE>, 1, THREADS, N * 64, s, out);
    else if (bug == OWN_LEAD)
        TD_LAUNCH(own_tile<OWN_LEAD>, 1, THREADS, N * 64, s, out);
    else
        TD_LAUNCH(own_tile<OWN_NONE>, 1, THREADS, N * 64, s, out);
    return all(out, THREADS * N / 2, 16, s);
}

#define TILES(name, bug) \
    static bool run_##name(bool on, gpu_stream s) { return run_tiles(on ? bug : BUG_NONE, s); }
#define OWN(name, bug) \
    static bool run_##name(bool on, gpu_stream s) { return run_own(on ? bug : OWN_NONE, s); }
TILES(no_wait, BUG_NO_WAIT)
TILES(stride, BUG_STRIDE)
TILES(stride_far, BUG_STRIDE_FAR)
TILES(swizzle, BUG_SWIZZLE)
TILES(start, BUG_START)
TILES(no_fence, BUG_NO_FENCE)
TILES(stage_reused, BUG_STAGE_REUSED)
TILES(three_warps, BUG_THREE_WARPS)
TILES(never_waited, BUG_NEVER_WAITED)
OWN(no_proxy_fence, OWN_NO_PROXY_FENCE)
OWN(lead, OWN_LEAD)

#define ROW(name, mark, kind, kernel, hooks) {mark, "wgmma.cu", kind, kernel, hooks, run_##name}
const planted planted_wgmma[] = {
    ROW(no_wait, "wgmma_result", "wgmma in flight", "tiles", true),
    ROW(stride, "wgmma", "wgmma descriptor", "tiles", false),
    ROW(stride_far, "wgmma", "wgmma descriptor", "tiles", false),
    ROW(swizzle, "wgmma", "wgmma descriptor", "tiles", true),
    ROW(start, "wgmma", "wgmma descriptor", "tiles", false),
    ROW(no_fence, "wgmma", "wgmma fence", "tiles", false),
    ROW(stage_reused, "wgmma_stage", "wgmma in flight", "tiles", true),
    {"three_warps", "", "wgmma", "tiles", false, run_three_warps},
    ROW(never_waited, "wgmma", "wgmma in flight", "tiles", false),
    ROW(no_proxy_fence, "own_tile", "missing fence.proxy.async", "own_tile", true),
    ROW(lead, "own_tile", "wgmma descriptor", "own_tile", true),
    {NULL, NULL, NULL, NULL, false, NULL},
};
