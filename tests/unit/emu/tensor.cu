/* tensor.cu - one matrix product, through each way that the card has: all must give the same bits. */
#include "kernels/cuda/ptx.cuh"

#include "tests_emu.h"

/* D[16][8] = A[16][K] B[8][K]^T, one warp; stages of 16 through shared memory by cp.async and ldmatrix. */
template <bool BF16> static __global__ void mma_kernel(const uint16_t *a, const uint16_t *b, float *d, int k_count)
{
    TD_SMEM(uint16_t, smem);
    uint16_t *sa = smem, *sb = smem + 2 * 16 * 16; // [2][16][16], [2][8][16]
    int lane = (int)threadIdx.x;
    float acc[4] = {0, 0, 0, 0};
    int stages = k_count / 16;
    for (int stage = 0; stage <= stages; stage++) {
        if (stage < stages) {
            uint16_t *ta = sa + stage % 2 * 256, *tb = sb + stage % 2 * 128;
            td_cp_async16(ta + lane * 8, a + lane / 2 * k_count + stage * 16 + lane % 2 * 8);
            if (lane < 16)
                td_cp_async16(tb + lane * 8, b + lane / 2 * k_count + stage * 16 + lane % 2 * 8);
        }
        td_cp_async_commit();
        if (stage == 0)
            continue;
        td_cp_async_wait<1>();
        __syncwarp();
        const uint16_t *ta = sa + (stage - 1) % 2 * 256, *tb = sb + (stage - 1) % 2 * 128;
        uint32_t fa[4], fb[2];
        td_ldmatrix_x4(fa, ta + (lane % 16) * 16 + lane / 16 * 8);
        td_ldmatrix_x2(fb, tb + (lane % 8) * 16 + lane / 8 % 2 * 8);
        if (BF16)
            td_mma_bf16_16816(acc, fa, fb);
        else
            td_mma_f16_16816(acc, fa, fb);
        __syncwarp();
    }
    for (int i = 0; i < 4; i++)
        d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = acc[i];
}

GPU_EXTERN void emu_test_mma(bool bf16, const uint16_t *a, const uint16_t *b, float *d, int k, gpu_stream s)
{
    if (bf16)
        TD_LAUNCH((mma_kernel<true>), 1, 32, 2048, s, a, b, d, k);
    else
        TD_LAUNCH((mma_kernel<false>), 1, 32, 2048, s, a, b, d, k);
}

/* out = transpose of a 16 x 16 matrix: ldmatrix.trans and stmatrix. */
static __global__ void transpose_kernel(const uint16_t *in, uint16_t *out)
{
    TD_SMEM(uint16_t, t);
    int lane = (int)threadIdx.x;
    for (int i = lane; i < 256; i += 32)
        t[i] = in[i];
    __syncwarp();
    uint32_t r[4];
    td_ldmatrix_x4_trans(r, t + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
    td_stmatrix_x4(t + 256 + (lane % 8 + lane / 8 % 2 * 8) * 16 + lane / 16 * 8, r);
    __syncwarp();
    for (int i = lane; i < 256; i += 32)
        out[i] = t[256 + i];
}

GPU_EXTERN void emu_test_transpose(const uint16_t *in, uint16_t *out, gpu_stream s)
{
    TD_LAUNCH(transpose_kernel, 1, 32, 1024, s, in, out);
}

/* D[64][N] = A[64][K] B[N][K]^T with one warpgroup: tiles of 64 columns of k by tensor copies with swizzle, products by
 * wgmma from shared memory, two at a time in flight. */
template <int N, int SWIZZLE> static __global__ void wgmma_kernel(const __grid_constant__ gpu_tensor_map map_a,
                                                                  const __grid_constant__ gpu_tensor_map map_b,
                                                                  float *d, int k_count)
{
    constexpr int COLS = SWIZZLE / 2; // of a tile
    TD_SMEM(uint8_t, smem);
    uint8_t *ta = smem, *tb = smem + 64 * SWIZZLE;
    uint64_t *bar = (uint64_t *)(tb + N * SWIZZLE);
    int t = (int)threadIdx.x;
    float acc[N / 2];
    if (t == 0) {
        td_mbar_init(bar, 1);
        td_fence_mbar_init();
    }
    __syncthreads();
    for (int k = 0; k < k_count; k += COLS) {
        if (t == 0) {
            td_mbar_expect_tx(bar, (64 + N) * SWIZZLE);
            td_tma_load_2d(ta, &map_a, bar, k, 0);
            td_tma_load_2d(tb, &map_b, bar, k, 0);
        }
        td_mbar_wait(bar, (uint32_t)(k / COLS % 2));
        td_wgmma_fence();
        for (int i = 0; i < COLS / 16; i++) {
            uint64_t da = td_smem_desc(ta + i * 32, 16, 8 * SWIZZLE, SWIZZLE);
            uint64_t db = td_smem_desc(tb + i * 32, 16, 8 * SWIZZLE, SWIZZLE);
            td_wgmma_bf16_ss<N>(acc, da, db, k + i > 0);
            td_wgmma_commit();
            td_wgmma_wait<1>();
        }
        td_wgmma_wait<0>();
        __syncthreads();
    }
    for (int j = 0; j < N / 8; j++)
        for (int e = 0; e < 4; e++)
            d[(t / 32 * 16 + t % 32 / 4 + e / 2 * 8) * N + j * 8 + t % 4 * 2 + e % 2] = acc[j * 4 + e];
}

static gpu_tensor_map tile_map(const uint16_t *x, uint32_t rows, int k, int swizzle)
{
    gpu_tensor_map map = {};
    gpu_tensor_desc d = {(void *)x, 2, 2, swizzle, {(uint32_t)k, rows, 0, 0, 0}, {(uint32_t)swizzle / 2, rows, 0, 0, 0},
                         {0, (uint64_t)k * 2, 0, 0, 0}};
    if (GPU_SYM(rt_tensor_map)(&map, &d) != GPU_OK)
        map.opaque[0] = 0;
    return map;
}

#define WGMMA(N, SWIZZLE)                                                                                             \
    if (n == N && swizzle == SWIZZLE)                                                                                 \
    TD_LAUNCH((wgmma_kernel<N, SWIZZLE>), 1, 128, (64 + N) * SWIZZLE + 8, s, tile_map(a, 64, k, SWIZZLE),             \
              tile_map(b, N, k, SWIZZLE), d, k)

GPU_EXTERN void emu_test_wgmma(int n, int swizzle, const uint16_t *a, const uint16_t *b, float *d, int k, gpu_stream s)
{
    WGMMA(8, 128);
    WGMMA(32, 64);
    WGMMA(64, 32);
    WGMMA(128, 128);
    WGMMA(256, 128);
}

/* The same without swizzle: tiles of 8 x 16-byte matrices that threads write, A once from registers, and B once with k
 * as rows. */
template <int N, bool A_REGS, bool B_TRANS> static __global__ void wgmma_plain_kernel(const uint16_t *a,
                                                                                      const uint16_t *b, float *d)
{
    TD_SMEM(uint16_t, smem);
    uint16_t *ta = smem, *tb = smem + 64 * 16;
    int t = (int)threadIdx.x, row = t / 32 * 16 + t % 32 / 4, col = t % 4 * 2;
    for (int i = t; i < 64 * 16; i += 128) // [k / 8][row / 8][8][8]
        ta[(i % 16 / 8 * 8 + i / 16 / 8) * 64 + i / 16 % 8 * 8 + i % 8] = a[i];
    for (int i = t; i < N * 16; i += 128) {
        int n = i / 16, k = i % 16;
        int matrix = (k / 8 * (N / 8) + n / 8) * 64;
        tb[matrix + (B_TRANS ? k % 8 * 8 + n % 8 : n % 8 * 8 + k % 8)] = b[i];
    }
    td_fence_proxy_async();
    __syncthreads();
    float acc[N / 2];
    uint32_t regs[4];
    for (int i = 0; i < 4; i++)
        regs[i] = *(const uint32_t *)(a + (row + i % 2 * 8) * 16 + col + i / 2 * 8);
    uint64_t da = td_smem_desc(ta, 8 * 128, 128, 0), db = td_smem_desc(tb, N / 8 * 128, 128, 0);
    td_wgmma_fence();
    if (A_REGS)
        td_wgmma_bf16_rs<N, B_TRANS>(acc, regs, db, 0);
    else
        td_wgmma_bf16_ss<N, 0, B_TRANS>(acc, da, db, 0);
    td_wgmma_commit();
    td_wgmma_wait<0>();
    for (int j = 0; j < N / 8; j++)
        for (int e = 0; e < 4; e++)
            d[(row + e / 2 * 8) * N + j * 8 + col + e % 2] = acc[j * 4 + e];
}

GPU_EXTERN void emu_test_wgmma_plain(int kind, const uint16_t *a, const uint16_t *b, float *d, gpu_stream s)
{
    if (kind == 0)
        TD_LAUNCH((wgmma_plain_kernel<32, false, false>), 1, 128, (64 + 32) * 32, s, a, b, d);
    else if (kind == 1)
        TD_LAUNCH((wgmma_plain_kernel<32, true, false>), 1, 128, (64 + 32) * 32, s, a, b, d);
    else
        TD_LAUNCH((wgmma_plain_kernel<32, true, true>), 1, 128, (64 + 32) * 32, s, a, b, d);
}

/* fp8: D[64][32] = A[64][128] B[32][128]^T, tiles with a swizzle of 128 bytes, k in steps of 32. */
static __global__ void fp8_kernel(const __grid_constant__ gpu_tensor_map map_a,
                                  const __grid_constant__ gpu_tensor_map map_b, float *d)
{
    TD_SMEM(uint8_t, smem);
    uint8_t *ta = smem, *tb = smem + 64 * 128;
    uint64_t *bar = (uint64_t *)(tb + 32 * 128);
    int t = (int)threadIdx.x;
    if (t == 0) {
        td_mbar_init(bar, 1);
        td_fence_mbar_init();
        td_mbar_expect_tx(bar, 96 * 128);
        td_tma_load_2d(ta, &map_a, bar, 0, 0);
        td_tma_load_2d(tb, &map_b, bar, 0, 0);
    }
    __syncthreads();
    while (!td_mbar_try_wait(bar, 0))
        ;
    float acc[16];
    td_wgmma_fence();
    for (int k = 0; k < 4; k++)
        td_wgmma_e4m3_ss<32>(acc, td_smem_desc(ta + k * 32, 16, 1024, 128), td_smem_desc(tb + k * 32, 16, 1024, 128),
                             k > 0);
    td_wgmma_commit();
    td_wgmma_wait<0>();
    for (int j = 0; j < 4; j++)
        for (int e = 0; e < 4; e++)
            d[(t / 32 * 16 + t % 32 / 4 + e / 2 * 8) * 32 + j * 8 + t % 4 * 2 + e % 2] = acc[j * 4 + e];
}

GPU_EXTERN void emu_test_fp8(const uint8_t *a, const uint8_t *b, float *d, gpu_stream s)
{
    gpu_tensor_map map[2] = {};
    for (int i = 0; i < 2; i++) {
        uint32_t rows = i ? 32 : 64;
        gpu_tensor_desc t = {(void *)(i ? b : a), 2, 1, 128, {128, rows, 0, 0, 0}, {128, rows, 0, 0, 0},
                             {0, 128, 0, 0, 0}};
        if (GPU_SYM(rt_tensor_map)(&map[i], &t) != GPU_OK)
            map[i].opaque[0] = 0;
    }
    TD_LAUNCH(fp8_kernel, 1, 128, 96 * 128 + 8, s, map[0], map[1], d);
}

/* A box of 8 x 2 x 3 x 2 floats out of a tensor of four dimensions, over its edges; then the first 8 x 2 x 3 of it into
 * a tensor of three, over its edge. */
static __global__ void boxes_kernel(const __grid_constant__ gpu_tensor_map from,
                                    const __grid_constant__ gpu_tensor_map to, float *raw, int x, int y, int z, int w)
{
    TD_SMEM(float, box);
    uint64_t *bar = (uint64_t *)(box + 96);
    if (threadIdx.x == 0) {
        td_mbar_init(bar, 1);
        td_fence_mbar_init();
        td_mbar_expect_tx(bar, 96 * 4);
        td_tma_load_4d(box, &from, bar, x, y, z, w);
        td_mbar_wait(bar, 0);
        td_tma_store_3d(&to, box, 1, 0, 1);
        td_bulk_commit();
        td_bulk_wait<0>();
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < 96; i += 32)
        raw[i] = box[i];
}

GPU_EXTERN void emu_test_boxes(const float *from, float *to, float *raw, const int32_t *at, gpu_stream s)
{
    gpu_tensor_map map[2] = {};
    gpu_tensor_desc f = {(void *)from, 4, 4, 0, {12, 4, 5, 3, 0}, {8, 2, 3, 2, 0}, {0, 48, 192, 960, 0}};
    gpu_tensor_desc t = {to, 3, 4, 0, {8, 2, 3, 0, 0}, {8, 2, 3, 0, 0}, {0, 32, 64, 0, 0}};
    if (GPU_SYM(rt_tensor_map)(&map[0], &f) != GPU_OK || GPU_SYM(rt_tensor_map)(&map[1], &t) != GPU_OK)
        map[0].opaque[0] = 0;
    TD_LAUNCH(boxes_kernel, 1, 32, 96 * 4 + 8, s, map[0], map[1], raw, at[0], at[1], at[2], at[3]);
}
