/* Attention in plain float: for caches of floats and f16, and for head dims that the tensor cores' kernel does not
 * have. One block a query head of a token. Tiles, chunks and merges are those of attn.cuh. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/gpu_attn.h"

enum { THREADS = 128, PER_THREAD = TD_MODEL_HEAD_DIM_MAX / THREADS };

static __device__ __forceinline__ float value_at(const uint8_t *row, int32_t type, int32_t d)
{
    if (type == KV_F32)
        return ((const float *)row)[d];
    uint16_t h = ((const uint16_t *)row)[d];
    return type == KV_F16 ? kern_f16_to_f32(h) : kern_bf16_to_f32(h);
}

typedef struct plain_shared {
    float p[ATTN_TILE];              // scores, then weights
    const uint8_t *v[ATTN_TILE];
    float max[THREADS / 32], sum[THREADS / 32];
    int32_t find[3 + THREADS / 32];
} plain_shared;

typedef struct plain_state {
    float m, l, o[PER_THREAD];
} plain_state;

static __device__ __forceinline__ void forget(plain_state *st)
{
    st->m = -__builtin_inff();
    st->l = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++)
        st->o[i] = 0.0f;
}

/* Scores of the tile's keys into s->p, the greatest as the result. */
static __device__ float scores(const attn_call &a, const float *q, int32_t row, int32_t head, int32_t key0, int32_t pos,
                               plain_shared *s)
{
    int32_t i = (int32_t)threadIdx.x, key = key0 + i, ctx = a.row_ctx[row];
    float x = -__builtin_inff();
    if (i < ATTN_TILE) {
        const uint8_t *k = attn_row(a, row, 0, head, key, ctx);
        if (k && key <= pos && key >= attn_first(a, pos)) {
            float dot = 0.0f;
            for (int32_t d = 0; d < a.D; d++)
                dot = fmaf(q[d], value_at(k, a.kv_type, d), dot);
            x = attn_score(a, dot);
        }
        s->p[i] = x;
        s->v[i] = attn_row(a, row, 1, head, key, ctx);
    }
    for (int d = 16; d > 0; d /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
    if (i % 32 == 0)
        s->max[i / 32] = x;
    __syncthreads();
    return fmaxf(s->max[0], s->max[1]);
}

static __device__ void tile(const attn_call &a, float max, plain_state *st, plain_shared *s)
{
    int32_t i = (int32_t)threadIdx.x;
    float m = fmaxf(st->m, max), scale = attn_exp(st->m, m), p = 0.0f;
    if (i < ATTN_TILE)
        s->p[i] = p = attn_exp(s->p[i], m);
    for (int d = 16; d > 0; d /= 2)
        p += __shfl_xor_sync(0xffffffffu, p, d);
    if (i % 32 == 0)
        s->sum[i / 32] = p;
    __syncthreads();
    st->l = fmaf(st->l, scale, s->sum[0] + s->sum[1]);
    st->m = m;
#pragma unroll
    for (int n = 0; n < PER_THREAD; n++) {
        int32_t d = i + n * THREADS;
        if (d >= a.D)
            break;
        float o = st->o[n] * scale;
        for (int32_t j = 0; j < ATTN_TILE; j++)
            if (s->p[j] > 0.0f)
                o = fmaf(s->p[j], value_at(s->v[j], a.kv_type, d), o);
        st->o[n] = o;
    }
    __syncthreads(); // p and v may be written again
}

static __device__ __forceinline__ void merge(plain_state *all, const plain_state *st)
{
    if (st->m == -__builtin_inff())
        return;
    float m = fmaxf(all->m, st->m), old = attn_exp(all->m, m), fresh = attn_exp(st->m, m);
    all->l = fmaf(all->l, old, st->l * fresh);
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++)
        all->o[i] = fmaf(all->o[i], old, st->o[i] * fresh);
    all->m = m;
}

static __global__ void __launch_bounds__(THREADS) attention_plain_kernel(attn_call a)
{
    TD_SMEM(plain_shared, s);
    float *q = (float *)(s + 1);
    int32_t head = (int32_t)blockIdx.y, kv_head = head / (a.q_heads / a.kv_heads);
    attn_work w = attn_find(a, (int32_t)blockIdx.x, 1, s->find);
    if (w.tok_count == 0)
        return;
    int32_t pos = a.pos[w.tok0], last = pos / ATTN_TILE;
    for (int32_t d = (int32_t)threadIdx.x; d < a.D; d += THREADS)
        q[d] = a.q[(size_t)w.tok0 * (size_t)a.q_stride + (size_t)(head * a.D + d)];
    __syncthreads();
    plain_state all, st;
    forget(&all);
    forget(&st);
    for (int32_t t = attn_first(a, pos) / ATTN_TILE; t <= last; t++) {
        tile(a, scores(a, q, w.row, kv_head, t * ATTN_TILE, pos, s), &st, s);
        if ((t + 1) % ATTN_CHUNK_TILES == 0 || t == last) {
            merge(&all, &st);
            forget(&st);
        }
    }
    float inv = 1.0f / all.l;
#pragma unroll
    for (int n = 0; n < PER_THREAD; n++) {
        int32_t d = (int32_t)threadIdx.x + n * THREADS;
        if (d < a.D)
            a.out[((size_t)w.tok0 * (size_t)a.q_heads + (size_t)head) * (size_t)a.D + (size_t)d] = all.o[n] * inv;
    }
}

void GPU_SYM(attention_plain)(const attn_call *a, int32_t tok_count, gpu_stream s)
{
    dim3 grid((unsigned)tok_count, (unsigned)a->q_heads);
    TD_LAUNCH(attention_plain_kernel, grid, THREADS, sizeof(plain_shared) + (size_t)a->D * sizeof(float), s, *a);
}
