/* The product on Hopper, for every batch size: wgmma with the weights on its 64-row side and 8 to 128 tokens on the
 * other, fed by bulk copies of whole tiles, which lie in memory as the tensor cores want them (gemm.h).
 *
 * One warp asks for tiles; one or two warpgroups of four warps multiply, each 64 rows of weights: two panels of a
 * wide matrix, gate and up of a GLU, or one panel where that gives more blocks. Tiles wait in a ring of stages;
 * `full` says that a stage's bytes are there, `empty` that every warp is done with it. K ascends in steps of 16 as in
 * gemm_mma.cu and the tensor cores add alike in both, so both give the same bits. */
#include "kernels/cuda/gemm.cuh"

#if defined(TD_EMU) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define HAS_WGMMA 1
#endif

template <int TOKS, int PANELS> struct wgmma_shape {
    enum {
        MAKERS = PANELS * 128,
        THREADS = MAKERS + 32,
        W = PANELS * GEMM_TILE_BYTES,
        X = TOKS * 128,
        STAGE = W + X,
        ROOM = 160 * 1024,
        STAGES = ROOM / STAGE < 8 ? ROOM / STAGE : 8,
        PARK = STAGES * STAGE,                 // [TOKS / 2][MAKERS] floats: the first chunk while the second runs
        BARS = PARK + TOKS / 2 * MAKERS * 4,   // full[STAGES], empty[STAGES]
        BYTES = BARS + 2 * STAGES * 8,
    };
};

#ifdef HAS_WGMMA
/* Asks for all tiles, in order. One thread. */
template <int TOKS, int PANELS>
static __device__ __forceinline__ void fetch(const gemm_call &c, const uint8_t *const w[2], int32_t tok0, uint8_t *smem,
                                             uint64_t *full, uint64_t *empty)
{
    typedef wgmma_shape<TOKS, PANELS> S;
    const int32_t tiles = gemm_tiles(c.cols);
    const uint32_t x_bytes = (uint32_t)min(TOKS, c.tok_count - tok0) * 128;
    for (int32_t k = 0; k < tiles; k++) {
        int s = k % S::STAGES;
        uint8_t *stage = smem + s * S::STAGE;
        td_mbar_wait(&empty[s], (uint32_t)(k / S::STAGES + 1) & 1);
        td_mbar_expect_tx(&full[s], S::W + x_bytes);
        td_bulk_load(stage, w[0] + (size_t)k * GEMM_TILE_BYTES, GEMM_TILE_BYTES, &full[s]);
        if (PANELS == 2)
            td_bulk_load(stage + GEMM_TILE_BYTES, w[1] + (size_t)k * GEMM_TILE_BYTES, GEMM_TILE_BYTES, &full[s]);
        td_bulk_load(stage + S::W, c.act + gemm_act_at(c.tok_count, tok0, k * GEMM_COLS), x_bytes, &full[s]);
    }
}

/* Steps [step0, step1) of K from zero into acc, which holds the sums when it returns. */
template <int TOKS, int PANELS>
static __device__ __forceinline__ void make_chunk(int32_t step0, int32_t step1, int group, uint8_t *smem,
                                                  uint64_t *full, uint64_t *empty, float (&acc)[TOKS / 2])
{
    typedef wgmma_shape<TOKS, PANELS> S;
    const bool leader = threadIdx.x % 32 == 0; // of its warp: each warp waits for its own products
    int keep = 0;                              // the chunk's first step forgets what acc held
    for (int32_t k = step0 / TILE_STEPS; k * TILE_STEPS < step1; k++) {
        const int s = k % S::STAGES;
        uint64_t w = td_smem_desc(smem + s * S::STAGE + group * GEMM_TILE_BYTES, 16, 1024, 128);
        uint64_t x = td_smem_desc(smem + s * S::STAGE + S::W, 16, 1024, 128);
        td_mbar_wait(&full[s], (uint32_t)(k / S::STAGES) & 1);
        td_wgmma_fence();
        for (int32_t i = max(step0 - k * TILE_STEPS, 0); i < min(step1 - k * TILE_STEPS, (int32_t)TILE_STEPS); i++) {
            td_wgmma_bf16_ss<TOKS>(acc, w + (uint64_t)(i * 2), x + (uint64_t)(i * 2), keep);
            keep = 1;
        }
        td_wgmma_commit();
        td_wgmma_wait<1>(); // the tile before is done with
        __syncwarp(TD_WARP_ALL);
        if (leader && k > step0 / TILE_STEPS)
            td_mbar_arrive(&empty[(k - 1) % S::STAGES]);
    }
    td_wgmma_wait<0>();
    __syncwarp(TD_WARP_ALL);
    if (leader && step1 % TILE_STEPS == 0) // else the next chunk goes on in the last tile
        td_mbar_arrive(&empty[(step1 / TILE_STEPS - 1) % S::STAGES]);
}

/* Lines of tokens that the last tile of tokens lacks are 0 throughout, in every stage. */
template <int TOKS, int PANELS>
static __device__ __forceinline__ void clear_missing(const gemm_call &c, int32_t tok0, uint8_t *smem)
{
    typedef wgmma_shape<TOKS, PANELS> S;
    const int there = min(TOKS, c.tok_count - tok0) * GEMM_LINE_BYTES;
    if (there == S::X)
        return;
    for (int s = 0; s < S::STAGES; s++)
        for (int i = there + (int)threadIdx.x * 16; i < S::X; i += S::THREADS * 16)
            *(uint4 *)(void *)(smem + s * S::STAGE + S::W + i) = make_uint4(0, 0, 0, 0);
    td_fence_proxy_async(); // the tensor cores read it
}

template <int TOKS, int PANELS, bool GLU>
static __global__ void __launch_bounds__(PANELS * 128 + 32, 1) wgmma_kernel(const gemm_call c)
{
    typedef wgmma_shape<TOKS, PANELS> S;
    TD_SMEM(uint8_t, smem);
    uint64_t *full = (uint64_t *)(void *)(smem + S::BARS), *empty = full + S::STAGES;
    // Through a shuffle, so that the compiler sees the same in all lanes.
    const int warp = __shfl_sync(TD_WARP_ALL, (int)threadIdx.x / 32, 0), group = warp / 4;
    const int32_t tok0 = (int32_t)blockIdx.y * TOKS, panel = (int32_t)blockIdx.x * (GLU ? 1 : PANELS);
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            td_mbar_init(&full[i], 1);
            td_mbar_init(&empty[i], PANELS * 4);
        }
        td_fence_mbar_init();
    }
    clear_missing<TOKS, PANELS>(c, tok0, smem);
    __syncthreads();
    if (warp == PANELS * 4) {
        if (threadIdx.x % 32 == 0) {
            const uint8_t *w[2];
            for (int i = 0; i < 2; i++) { // a second panel beyond the last repeats it
                int32_t n = min(panel + (GLU ? 0 : i), c.panels - 1);
                const gemm_part &p = c.part[GLU ? i : part_of(c, n)];
                w[i] = p.w + (size_t)(n - (GLU ? 0 : p.panel0)) * (size_t)gemm_tiles(c.cols) * GEMM_TILE_BYTES;
            }
            fetch<TOKS, PANELS>(c, w, tok0, smem, full, empty);
        }
        return;
    }
    const int32_t n = GLU ? panel : panel + group;
    if (!GLU && n >= c.panels)
        return;
    const gemm_part &p = c.part[GLU ? group : part_of(c, n)];
    float *park = (float *)(void *)(smem + S::PARK) + threadIdx.x;
    float acc[TOKS / 2];
    if (p.chunk_steps) {
        make_chunk<TOKS, PANELS>(0, p.chunk_steps, group, smem, full, empty, acc);
        park_chunk<TOKS, S::MAKERS>(acc, park);
    }
    make_chunk<TOKS, PANELS>(p.chunk_steps, gemm_tiles(c.cols) * TILE_STEPS, group, smem, full, empty, acc);
    if (p.chunk_steps)
        join_chunks<TOKS, S::MAKERS>(acc, park);
    if (!GLU) {
        store<TOKS>(c, p, (n - p.panel0) * GEMM_ROWS + warp % 4 * WARP_ROWS, tok0, acc);
        return;
    }
    td_named_bar_sync(1, S::MAKERS); // the stages are free: gate and up meet there
    store_glu<TOKS, S::MAKERS>(c, panel * GEMM_ROWS + warp % 4 * WARP_ROWS, tok0, group == 1, warp % 4, acc,
                               (float *)(void *)smem);
}
#else
template <int TOKS, int PANELS, bool GLU> static __global__ void wgmma_kernel(const gemm_call) {}
#endif

template <int TOKS, int PANELS, bool GLU> static void launch(const gemm_call &c, gpu_stream stream)
{
    typedef wgmma_shape<TOKS, PANELS> S;
    int32_t per = GLU ? 1 : PANELS;
    dim3 grid((unsigned)((c.panels + per - 1) / per), (unsigned)((c.tok_count + TOKS - 1) / TOKS));
    TD_LAUNCH((wgmma_kernel<TOKS, PANELS, GLU>), grid, S::THREADS, S::BYTES, stream, c);
}

template <int TOKS> static void launch_toks(const gemm_call &c, gpu_stream stream)
{
    int32_t toks_tiles = (c.tok_count + TOKS - 1) / TOKS;
    if (c.glu)
        launch<TOKS, 2, true>(c, stream);
    else if (c.panels * toks_tiles >= GEMM_BLOCKS * 2)
        launch<TOKS, 2, false>(c, stream);
    else
        launch<TOKS, 1, false>(c, stream);
}

void GPU_SYM(gemm_wgmma)(const gemm_call *c, gpu_stream stream)
{
    if (c->tok_count <= 8)
        launch_toks<8>(*c, stream);
    else if (c->tok_count <= 16)
        launch_toks<16>(*c, stream);
    else if (c->tok_count <= 32)
        launch_toks<32>(*c, stream);
    else if (c->tok_count <= 64)
        launch_toks<64>(*c, stream);
    else
        launch_toks<128>(*c, stream);
}
