/* Products of bf16 weights and bf16 activations on tensor cores (mma.sync m16n8k16), one family for every number of
 * tokens: weights stand on the 16-row side, tokens on the 8-column side, so one token wastes little. A block owns 64
 * weight rows and 8 to 64 tokens; tiles of 64 k come through a ring of shared-memory stages. An output's sum is one
 * chain over ascending steps of 16 k in each canonical chunk, then (0+1): the tile's size does not show.
 *
 * A stage's rows are 128 bytes, eight pieces of 16; piece c of row r lies at c ^ (r & 7), which keeps ldmatrix free of
 * bank conflicts. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/gpu_matmul.h"

enum { WARPS = 4, THREADS = 32 * WARPS, N_TILE = 16 * WARPS, K_TILE = 64, ROW_BYTES = 2 * K_TILE, STAGES = 4 };

static __device__ __forceinline__ uint8_t *piece(uint8_t *tile, int32_t row, int32_t c)
{
    return tile + row * ROW_BYTES + ((c ^ row) & 7) * 16;
}

/* Queues the copy of `count` rows from row0 on, 64 k from k_byte on; rows beyond the last repeat it. */
static __device__ __forceinline__ void copy_rows(uint8_t *tile, int32_t count, const uint8_t *src, size_t stride,
                                                 int32_t row0, int32_t row_last, size_t k_byte)
{
    for (int32_t i = (int32_t)threadIdx.x; i < count * 8; i += THREADS) {
        int32_t row = i / 8, c = i % 8;
        const uint8_t *from = src + (size_t)min(row0 + row, row_last) * stride + k_byte + (size_t)c * 16;
        td_cp_async16(piece(tile, row, c), from);
    }
}

template <int TILES> static __device__ __forceinline__ void zero(float acc[TILES][4])
{
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            acc[j][i] = 0.0f;
}

/* long: the ring, the tensor cores' steps and the epilogue share registers */
template <int TILES> static __global__ void __launch_bounds__(THREADS) matmul_bf16_kernel(gpu_product p)
{
    enum { T_TILE = 8 * TILES, STAGE_BYTES = (N_TILE + T_TILE) * ROW_BYTES };
    TD_SMEM(uint8_t, smem);
    int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
    int32_t n0 = (int32_t)blockIdx.x * N_TILE, t0 = (int32_t)blockIdx.y * T_TILE;
    int32_t k_tiles = (p.cols + K_TILE - 1) / K_TILE, half = p.chunks == 2 ? p.cols / 2 : -1;
    float acc[TILES][4], sum[TILES][4];
    zero<TILES>(acc);
    for (int32_t kt = 0; kt < k_tiles + STAGES - 1; kt++) {
        if (kt >= STAGES - 1) {
            td_cp_async_wait<STAGES - 2>();
            __syncthreads(); // tile kt - STAGES + 1 is there, and nobody reads the slot that is filled next
        }
        if (kt < k_tiles) {
            uint8_t *slot = smem + kt % STAGES * STAGE_BYTES;
            copy_rows(slot, N_TILE, p.w, p.w_stride, n0, p.rows - 1, (size_t)kt * ROW_BYTES);
            copy_rows(slot + N_TILE * ROW_BYTES, T_TILE, p.x, p.x_stride, t0, p.tok_count - 1, (size_t)kt * ROW_BYTES);
        }
        td_cp_async_commit(); // empty at the end, so that the count stays
        int32_t at = kt - (STAGES - 1);
        if (at < 0)
            continue;
        uint8_t *w_tile = smem + at % STAGES * STAGE_BYTES, *x_tile = w_tile + N_TILE * ROW_BYTES;
#pragma unroll
        for (int32_t k32 = 0; k32 < 2; k32++) {
            uint32_t b[TILES][4];
#pragma unroll
            for (int j = 0; j < TILES; j++)
                td_ldmatrix_x4(b[j], piece(x_tile, 8 * j + lane % 8, 4 * k32 + lane / 8));
#pragma unroll
            for (int32_t k16 = 0; k16 < 2; k16++) {
                uint32_t a[4];
                td_ldmatrix_x4(a, piece(w_tile, 16 * warp + lane % 16, 4 * k32 + 2 * k16 + lane / 16));
                if (at * K_TILE + 32 * k32 + 16 * k16 == half) { // the second chunk begins
#pragma unroll
                    for (int j = 0; j < TILES; j++)
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            sum[j][i] = acc[j][i];
                    zero<TILES>(acc);
                }
#pragma unroll
                for (int j = 0; j < TILES; j++)
                    td_mma_bf16_16816(acc[j], a, b[j] + 2 * k16);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int32_t n = n0 + 16 * warp + lane / 4 + 8 * (i / 2), t = t0 + 8 * j + 2 * (lane % 4) + i % 2;
            if (n < p.rows && t < p.tok_count)
                finish(p.end, t, n, half >= 0 ? sum[j][i] + acc[j][i] : acc[j][i]);
        }
}

template <int TILES> static void launch(const gpu_product *p, gpu_stream s)
{
    dim3 grid((unsigned)((p->rows + N_TILE - 1) / N_TILE), (unsigned)((p->tok_count + 8 * TILES - 1) / (8 * TILES)));
    size_t smem = (size_t)STAGES * (N_TILE + 8 * TILES) * ROW_BYTES;
    TD_LAUNCH(matmul_bf16_kernel<TILES>, grid, THREADS, smem, s, *p);
}

void GPU_SYM(matmul_bf16)(const gpu_product *p, gpu_stream s)
{
    td_assert(p->w_stride % ROW_BYTES == 0 && p->x_stride == p->w_stride); // both padded with zeros to whole tiles
    if (p->tok_count <= 8)
        launch<1>(p, s);
    else if (p->tok_count <= 16)
        launch<2>(p, s);
    else if (p->tok_count <= 32)
        launch<4>(p, s);
    else
        launch<8>(p, s);
}
