/* gemm.cuh - what the products' kernels share: their call, the fragments' places and the epilogues.
 *
 * Both tensor-core instructions leave a warp's 16 weight rows by 8 tokens alike: element j of four at row lane / 4 (+ 8
 * for j >= 2) and token lane % 4 * 2 (+ 1 for odd j). A thread's sums are float acc[TOKS / 2]. */
#ifndef TD_KERNELS_CUDA_GEMM_CUH
#define TD_KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/epilogue.cuh"
#include "kernels/cuda/gemm.h"

enum { WARP_ROWS = 16, TILE_STEPS = GEMM_COLS / GEMM_STEP };

static __device__ __forceinline__ int frag_row(int j) { return (int)threadIdx.x % 32 / 4 + (j >= 2 ? 8 : 0); }
static __device__ __forceinline__ int frag_tok(int j) { return (int)threadIdx.x % 4 * 2 + (j & 1); }

/* The part that panel number i of all belongs to. */
static __device__ __forceinline__ int part_of(const gemm_call &c, int32_t i)
{
    int part = 0;
    while (part + 1 < c.part_count && i >= c.part[part + 1].panel0)
        part++;
    return part;
}

/* At a chunk's border its sums wait in shared memory, each thread's own, while the next chunk runs. */
template <int TOKS, int THREADS>
static __device__ __forceinline__ void park_chunk(float (&acc)[TOKS / 2], float *park)
{
#pragma unroll
    for (int i = 0; i < TOKS / 2; i++)
        park[i * THREADS] = acc[i];
}

template <int TOKS, int THREADS>
static __device__ __forceinline__ void join_chunks(float (&acc)[TOKS / 2], const float *park)
{
#pragma unroll
    for (int i = 0; i < TOKS / 2; i++)
        acc[i] = park[i * THREADS] + acc[i];
}

template <int TOKS>
static __device__ __forceinline__ void store(const gemm_call &c, const gemm_part &p, int32_t row0, int32_t tok0,
                                             const float (&acc)[TOKS / 2])
{
#pragma unroll
    for (int i = 0; i < TOKS / 2; i++) {
        int32_t n = row0 + frag_row(i % 4), t = tok0 + i / 4 * 8 + frag_tok(i % 4);
        if (n < p.rows && t < c.tok_count)
            finish(p.end, t, n, acc[i]);
    }
}

/* Gate and up meet in shared memory: the warps of up leave theirs there, those of gate finish. `warp`: of four. All
 * threads that make sums come here. */
template <int TOKS, int THREADS>
static __device__ __forceinline__ void store_glu(const gemm_call &c, int32_t row0, int32_t tok0, bool is_up, int warp,
                                                 const float (&acc)[TOKS / 2], float *meet)
{
    const gemm_part &p = c.part[is_up];
    float *mine = meet + (size_t)warp * (TOKS / 2 * 32) + threadIdx.x % 32;
    float v[TOKS / 2];
#pragma unroll
    for (int i = 0; i < TOKS / 2; i++) {
        int32_t n = row0 + frag_row(i % 4);
        v[i] = p.end.bias && n < p.rows ? acc[i] + p.end.bias[n] : acc[i];
        if (is_up)
            mine[i * 32] = v[i];
    }
    td_named_bar_sync(1, THREADS);
    if (is_up)
        return;
#pragma unroll
    for (int i = 0; i < TOKS / 2; i++) {
        int32_t n = row0 + frag_row(i % 4), t = tok0 + i / 4 * 8 + frag_tok(i % 4);
        float gate = p.end.kind == GF_SILU_GATE ? kern_silu(v[i]) : kern_gelu_tanh(v[i]);
        if (n < p.rows && t < c.tok_count)
            p.end.out[(size_t)t * (size_t)p.end.out_stride + (size_t)n] = gate * mine[i * 32];
    }
}

#endif
