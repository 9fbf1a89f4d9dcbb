/* The product of every batch size, with mma.sync: weights on the 16-row side, tokens on the 8-column side.
 *
 * A block makes 64 rows of the weight (with GLU, 64 of gate and the same 64 of up) for up to 128 tokens. Tiles of 64
 * columns stream through a ring of shared memory by cp.async; a warp owns 16 rows and all tokens of the block. K
 * ascends in steps of 16 and the accumulator starts again at a canonical chunk's border, so an element's bits depend on
 * its row, its token and K alone: not on the number of tokens, nor on which block of how many tokens it fell in. */
#include "kernels/cuda/gemm.cuh"

enum { WARPS = GEMM_ROWS / WARP_ROWS };

template <int TOKS, int GLU> struct gemm_smem {
    enum {
        PANELS = GLU ? 2 : 1,
        THREADS = PANELS * WARPS * 32,
        STAGES = TOKS < 128 ? 4 : 3,
        W = PANELS * GEMM_TILE_BYTES,          // [panel][64 rows][64 columns]
        X = TOKS * 128,                        // [TOKS][64 columns]
        STAGE = W + X,
        PARK = STAGES * STAGE,                 // [TOKS / 2][THREADS] floats: the first chunk while the second runs
        BYTES = PARK + TOKS / 2 * THREADS * 4,
    };
};

/* Place of 16-byte group g of row r in a tile. */
static __device__ __forceinline__ uint32_t swizzled(int r, int g) { return (uint32_t)(r * 128 + ((g ^ (r & 7)) << 4)); }

/* Asks for tile k of the weight panels and of the tokens. */
template <int TOKS, int GLU>
static __device__ __forceinline__ void load_tile(const gemm_call &c, const uint8_t *w, size_t panel_at, int32_t tok0,
                                                 int32_t k, uint8_t *stage)
{
    typedef gemm_smem<TOKS, GLU> S;
    const size_t from = panel_at + (size_t)k * GEMM_TILE_BYTES;
    const uint8_t *act = c.act + ((size_t)k * (size_t)c.tok_count + (size_t)tok0) * GEMM_LINE_BYTES;
    const int there = min(TOKS, c.tok_count - tok0) * GEMM_LINE_BYTES, at = (int)threadIdx.x * 16;
    for (int i = at; i < GEMM_TILE_BYTES; i += S::THREADS * 16) {
        td_cp_async16(stage + i, w + from + i);
        if (GLU)
            td_cp_async16(stage + GEMM_TILE_BYTES + i, c.part[1].w + from + i);
    }
    for (int i = at; i < S::X; i += S::THREADS * 16)
        td_cp_async16_zfill(stage + S::W + i, i < there ? act + i : act, i < there ? 16 : 0);
}

/* One step of 16 columns: 16 rows by all tokens. */
template <int TOKS>
static __device__ __forceinline__ void multiply(const uint8_t *w, const uint8_t *x, int step, int row0,
                                                float (&acc)[TOKS / 2])
{
    const int lane = (int)threadIdx.x % 32;
    uint32_t a[4], b[4];
    int r = row0 + (lane & 15);
    td_ldmatrix_x4(a, w + swizzled(r, step * 2 + (lane >> 4)));
#pragma unroll
    for (int t = 0; t < TOKS; t += 16) {
        td_ldmatrix_x4(b, x + swizzled(t + (lane & 7) + (lane >> 4) * 8, step * 2 + ((lane >> 3) & 1)));
        td_mma_bf16_16816(acc + t / 2, a, b);
        td_mma_bf16_16816(acc + t / 2 + 4, a, b + 2);
    }
}

template <int TOKS, int GLU>
static __global__ void __launch_bounds__((GLU ? 2 : 1) * WARPS * 32) mma_kernel(const gemm_call c)
{
    typedef gemm_smem<TOKS, GLU> S;
    TD_SMEM(uint8_t, smem);
    const int warp = (int)threadIdx.x / 32, row0 = warp % WARPS * WARP_ROWS;
    const bool is_up = GLU && warp >= WARPS;
    const int32_t tok0 = (int32_t)blockIdx.y * TOKS, tiles = gemm_tiles(c.cols);
    const gemm_part &p = c.part[GLU ? (int)is_up : part_of(c, (int32_t)blockIdx.x)];
    const int32_t panel = (int32_t)blockIdx.x - (GLU ? 0 : p.panel0);
    const size_t panel_at = (size_t)panel * (size_t)tiles * GEMM_TILE_BYTES;
    const uint8_t *w = GLU ? c.part[0].w : p.w;
    float *park = (float *)(void *)(smem + S::PARK) + threadIdx.x;
    float acc[TOKS / 2] = {};

    for (int k = 0; k < S::STAGES - 1; k++) {
        if (k < tiles)
            load_tile<TOKS, GLU>(c, w, panel_at, tok0, k, smem + k * S::STAGE);
        td_cp_async_commit();
    }
    for (int32_t k = 0; k < tiles; k++) {
        td_cp_async_wait<S::STAGES - 2>();
        __syncthreads(); // tile k is there for all, and all are done with the stage that is filled next
        int32_t ahead = k + S::STAGES - 1;
        if (ahead < tiles)
            load_tile<TOKS, GLU>(c, w, panel_at, tok0, ahead, smem + ahead % S::STAGES * S::STAGE);
        td_cp_async_commit();
        const uint8_t *stage = smem + k % S::STAGES * S::STAGE;
#pragma unroll
        for (int s = 0; s < TILE_STEPS; s++) {
            if (p.chunk_steps && k * TILE_STEPS + s == p.chunk_steps) {
                park_chunk<TOKS, S::THREADS>(acc, park);
#pragma unroll
                for (int i = 0; i < TOKS / 2; i++)
                    acc[i] = 0.0f;
            }
            multiply<TOKS>(stage + (is_up ? GEMM_TILE_BYTES : 0), stage + S::W, s, row0, acc);
        }
    }
    if (p.chunk_steps)
        join_chunks<TOKS, S::THREADS>(acc, park);
    if (!GLU) {
        store<TOKS>(c, p, panel * GEMM_ROWS + row0, tok0, acc);
        return;
    }
    td_cp_async_wait<0>();
    __syncthreads(); // the stages are free: gate and up meet there
    store_glu<TOKS, S::THREADS>(c, panel * GEMM_ROWS + row0, tok0, is_up, warp % WARPS, acc, (float *)(void *)smem);
}

template <int TOKS> static void launch(const gemm_call &c, gpu_stream stream)
{
    dim3 grid((unsigned)c.panels, (unsigned)((c.tok_count + TOKS - 1) / TOKS));
    if (c.glu)
        TD_LAUNCH((mma_kernel<TOKS, 1>), grid, (gemm_smem<TOKS, 1>::THREADS), (gemm_smem<TOKS, 1>::BYTES), stream, c);
    else
        TD_LAUNCH((mma_kernel<TOKS, 0>), grid, (gemm_smem<TOKS, 0>::THREADS), (gemm_smem<TOKS, 0>::BYTES), stream, c);
}

void GPU_SYM(gemm_mma)(const gemm_call *c, gpu_stream stream)
{
    if (c->tok_count <= 16)
        launch<16>(*c, stream);
    else if (c->tok_count <= 32)
        launch<32>(*c, stream);
    else if (c->tok_count <= 64)
        launch<64>(*c, stream);
    else
        launch<128>(*c, stream);
}
