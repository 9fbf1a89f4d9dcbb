/* Paged attention over a bf16 cache on tensor cores (mma.sync m16n8k16), one kernel for prefill and decode. A block
 * takes the queries of one request's tokens with all query heads that share a key head as rows of one tile, 16 a warp,
 * so that grouped heads read the cache once. Keys and values come 64 at a time through two shared-memory stages;
 * scores and the output of a chunk stay in registers. At a chunk's end the output joins the running one, which lies in
 * `out`.
 *
 * Queries and weights are rounded to bf16; sums are float. Rows in shared memory are padded by 16 bytes, which keeps
 * ldmatrix free of bank conflicts for every head dim. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/gpu_attn.h"

enum { KEY_TILES = ATTN_TILE / 8 };

template <int D, int WARPS> struct attn_shape {
    enum {
        THREADS = 32 * WARPS,
        ROWS = 16 * WARPS,             // queries of a block
        PITCH = 2 * D + 16,            // bytes of a row in shared memory
        PIECES = D / 8,                // of 16 bytes in a row
        TILE_BYTES = ATTN_TILE * PITCH,
        SMEM = ROWS * PITCH + 4 * TILE_BYTES + 64, // q, two stages of K and V, attn_find
    };
};

/* A row of the tile: query head `group` of the tile's token `tok`. */
typedef struct attn_lane {
    int32_t tok, head; // flat token, or -1; query head
    int32_t pos, first; // it sees keys [first, pos]
} attn_lane;

static __device__ __forceinline__ attn_lane lane_of(const attn_call &a, const attn_work &w, int32_t kv_head,
                                                    int32_t row)
{
    int32_t groups = a.q_heads / a.kv_heads, tok = row / groups;
    attn_lane l = {-1, 0, -1, 0};
    if (tok >= w.tok_count)
        return l;
    l.tok = w.tok0 + tok;
    l.head = kv_head * groups + row % groups;
    l.pos = a.pos[l.tok];
    l.first = attn_first(a, l.pos);
    return l;
}

template <int D, int WARPS>
static __device__ void copy_queries(const attn_call &a, const attn_work &w, int32_t kv_head, uint8_t *q_tile)
{
    typedef attn_shape<D, WARPS> S;
    for (int32_t i = (int32_t)threadIdx.x; i < S::ROWS * (D / 2); i += S::THREADS) {
        int32_t row = i / (D / 2), d = 2 * (i % (D / 2));
        attn_lane l = lane_of(a, w, kv_head, row);
        uint32_t both = 0;
        if (l.tok >= 0) {
            const float *q = a.q + (size_t)l.tok * (size_t)a.q_stride + (size_t)(l.head * D + d);
            both = (uint32_t)kern_f32_to_bf16(q[0]) | (uint32_t)kern_f32_to_bf16(q[1]) << 16;
        }
        *(uint32_t *)(q_tile + row * S::PITCH + 2 * d) = both;
    }
}

/* Queues the copy of 64 keys (kind 0) or values (1); what is not stored becomes 0. */
template <int D, int WARPS>
static __device__ void copy_tile(const attn_call &a, int32_t row, int32_t kind, int32_t head, int32_t key0, int32_t ctx,
                                 uint8_t *tile)
{
    typedef attn_shape<D, WARPS> S;
    for (int32_t i = (int32_t)threadIdx.x; i < ATTN_TILE * S::PIECES; i += S::THREADS) {
        int32_t key = i / S::PIECES, c = i % S::PIECES;
        const uint8_t *from = attn_row(a, row, kind, head, key0 + key, ctx);
        td_cp_async16_zfill(tile + key * S::PITCH + c * 16, from ? from + c * 16 : a.base, from ? 16 : 0);
    }
}

/* Scores of 16 queries and 64 keys, as the tensor cores hold them: s[j][0, 1] of row lane/4, keys 8j + 2(lane%4) + 0
 * and 1; s[j][2, 3] of row lane/4 + 8. */
template <int D, int WARPS>
static __device__ __forceinline__ void score_tile(const uint8_t *q_tile, const uint8_t *k_tile, float s[KEY_TILES][4])
{
    typedef attn_shape<D, WARPS> S;
    int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
#pragma unroll
    for (int j = 0; j < KEY_TILES; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[j][i] = 0.0f;
    for (int d16 = 0; d16 < D / 16; d16++) {
        uint32_t q[4], k[4];
        td_ldmatrix_x4(q, q_tile + (16 * warp + lane % 16) * S::PITCH + 32 * d16 + 16 * (lane / 16));
#pragma unroll
        for (int j = 0; j < KEY_TILES; j += 2) { // 16 keys: matrices (keys 0-7, 8-15) of both halves of d
            td_ldmatrix_x4(k, k_tile + (8 * j + lane % 8 + 8 * (lane / 16)) * S::PITCH + 32 * d16 +
                                  16 * (lane / 8 % 2));
            td_mma_bf16_16816(s[j], q, k);
            td_mma_bf16_16816(s[j + 1], q, k + 2);
        }
    }
}

/* Scale, cap and mask of one row's scores; the greatest. half: 0 = s[j][0, 1], 1 = s[j][2, 3]. */
static __device__ __forceinline__ float mask_row(const attn_call &a, const attn_lane &l, int32_t key0, int half,
                                                 float s[KEY_TILES][4])
{
    float m = -__builtin_inff();
#pragma unroll
    for (int j = 0; j < KEY_TILES; j++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
            int32_t key = key0 + 8 * j + 2 * ((int32_t)threadIdx.x % 4) + i % 2;
            bool seen = key <= l.pos && key >= l.first;
            s[j][i] = seen ? attn_score(a, s[j][i]) : -__builtin_inff();
            m = fmaxf(m, s[j][i]);
        }
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 1));
    return fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 2));
}

template <int D> struct attn_state { // of two rows: lane/4 and lane/4 + 8
    float m[2], l[2];  // l: this thread's keys only
    float o[D / 8][4];
};

template <int D> static __device__ __forceinline__ void forget(attn_state<D> &st)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        st.m[h] = -__builtin_inff();
        st.l[h] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < D / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            st.o[n][i] = 0.0f;
}

static __device__ __forceinline__ uint32_t pack_bf16(float lo, float hi)
{
    return (uint32_t)kern_f32_to_bf16(lo) | (uint32_t)kern_f32_to_bf16(hi) << 16;
}

/* Scores to weights, and both rows' state forward by one tile of values. */
template <int D, int WARPS>
static __device__ __forceinline__ void weigh_tile(const uint8_t *v_tile, float s[KEY_TILES][4], const float max[2],
                                                  attn_state<D> &st)
{
    typedef attn_shape<D, WARPS> S;
    int32_t lane = (int32_t)threadIdx.x % 32;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float m = fmaxf(st.m[h], max[h]), scale = attn_exp(st.m[h], m), sum = 0.0f;
#pragma unroll
        for (int j = 0; j < KEY_TILES; j++)
#pragma unroll
            for (int i = 2 * h; i < 2 * h + 2; i++)
                sum += s[j][i] = attn_exp(s[j][i], m);
        st.l[h] = fmaf(st.l[h], scale, sum);
        st.m[h] = m;
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
            st.o[n][2 * h] *= scale;
            st.o[n][2 * h + 1] *= scale;
        }
    }
#pragma unroll
    for (int k16 = 0; k16 < KEY_TILES / 2; k16++) {
        const float *lo = s[2 * k16], *hi = s[2 * k16 + 1];
        uint32_t p[4] = {pack_bf16(lo[0], lo[1]), pack_bf16(lo[2], lo[3]), pack_bf16(hi[0], hi[1]),
                         pack_bf16(hi[2], hi[3])};
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) { // 16 dims: matrices (keys 0-7, 8-15) of both halves
            uint32_t v[4];
            td_ldmatrix_x4_trans(v, v_tile + (16 * k16 + lane % 16) * S::PITCH + 16 * n + 16 * (lane / 16));
            td_mma_bf16_16816(st.o[n], p, v);
            td_mma_bf16_16816(st.o[n + 1], p, v + 2);
        }
    }
}

typedef struct attn_running { // of two rows, over the chunks so far; O lies in out
    float m[2], l[2];
} attn_running;

template <int D>
static __device__ void merge_chunk(const attn_call &a, const attn_lane row[2], attn_state<D> &st, attn_running &all)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float l = st.l[h] + __shfl_xor_sync(0xffffffffu, st.l[h], 1);
        l += __shfl_xor_sync(0xffffffffu, l, 2);
        bool seen = st.m[h] != -__builtin_inff();
        float m = fmaxf(all.m[h], st.m[h]), old = attn_exp(all.m[h], m), fresh = attn_exp(st.m[h], m);
        if (row[h].tok < 0 || !seen)
            continue;
        float *out = a.out + ((size_t)row[h].tok * (size_t)a.q_heads + (size_t)row[h].head) * (size_t)D;
        bool begun = all.m[h] != -__builtin_inff();
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *o = out + 8 * n + 2 * ((int32_t)threadIdx.x % 4) + i;
                float now = st.o[n][2 * h + i] * fresh;
                *o = begun ? fmaf(*o, old, now) : now;
            }
        all.l[h] = fmaf(all.l[h], old, l * fresh);
        all.m[h] = m;
    }
    forget<D>(st);
}

template <int D>
static __device__ __forceinline__ void finish_rows(const attn_call &a, const attn_lane row[2], const attn_running &all)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (row[h].tok < 0)
            continue;
        // Where nothing was seen (a NaN query) there is no output yet, and 0 / 0 says so.
        bool begun = all.m[h] != -__builtin_inff();
        float inv = 1.0f / all.l[h];
        float *out = a.out + ((size_t)row[h].tok * (size_t)a.q_heads + (size_t)row[h].head) * (size_t)D;
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *o = out + 8 * n + 2 * ((int32_t)threadIdx.x % 4) + i;
                *o = (begun ? *o : 0.0f) * inv;
            }
    }
}

/* long: two stages in flight and the state of two rows in registers */
template <int D, int WARPS>
static __global__ void __launch_bounds__(32 * WARPS) attention_bf16_kernel(attn_call a)
{
    typedef attn_shape<D, WARPS> S;
    TD_SMEM(uint8_t, smem);
    uint8_t *q_tile = smem, *stages = smem + S::ROWS * S::PITCH;
    int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32, kv_head = (int32_t)blockIdx.y;
    int32_t tile_tok = S::ROWS / (a.q_heads / a.kv_heads);
    attn_work w = attn_find(a, (int32_t)blockIdx.x, tile_tok, (int32_t *)(stages + 4 * S::TILE_BYTES));
    if (w.tok_count == 0)
        return;
    copy_queries<D, WARPS>(a, w, kv_head, q_tile);
    attn_lane row[2] = {lane_of(a, w, kv_head, 16 * warp + lane / 4), lane_of(a, w, kv_head, 16 * warp + lane / 4 + 8)};
    int32_t ctx = a.row_ctx[w.row], from = attn_first(a, a.pos[w.tok0]) / ATTN_TILE;
    int32_t last = a.pos[w.tok0 + w.tok_count - 1] / ATTN_TILE;
    attn_state<D> st;
    attn_running all = {{-__builtin_inff(), -__builtin_inff()}, {0.0f, 0.0f}};
    forget<D>(st);
    for (int32_t t = from - 1; t <= last; t++) {
        if (t < last) { // the next tile, while this one is computed
            uint8_t *to = stages + ((t + 1 - from) & 1) * 2 * S::TILE_BYTES;
            copy_tile<D, WARPS>(a, w.row, 0, kv_head, (t + 1) * ATTN_TILE, ctx, to);
            copy_tile<D, WARPS>(a, w.row, 1, kv_head, (t + 1) * ATTN_TILE, ctx, to + S::TILE_BYTES);
        }
        td_cp_async_commit();
        if (t < from)
            continue;
        td_cp_async_wait<1>();
        __syncthreads();
        const uint8_t *k_tile = stages + ((t - from) & 1) * 2 * S::TILE_BYTES;
        float s[KEY_TILES][4], max[2];
        score_tile<D, WARPS>(q_tile, k_tile, s);
#pragma unroll
        for (int h = 0; h < 2; h++)
            max[h] = mask_row(a, row[h], t * ATTN_TILE, h, s);
        weigh_tile<D, WARPS>(k_tile + S::TILE_BYTES, s, max, st);
        if ((t + 1) % ATTN_CHUNK_TILES == 0 || t == last)
            merge_chunk<D>(a, row, st, all);
        __syncthreads(); // the stage is filled again
    }
    finish_rows<D>(a, row, all);
}

template <int D, int WARPS> static void launch(const attn_call *a, int32_t tok_count, gpu_stream s)
{
    typedef attn_shape<D, WARPS> S;
    int32_t tile_tok = S::ROWS / (a->q_heads / a->kv_heads); // a tile more for each request's last, partial one
    dim3 grid((unsigned)(tok_count / tile_tok + a->row_count), (unsigned)a->kv_heads);
    TD_LAUNCH((attention_bf16_kernel<D, WARPS>), grid, S::THREADS, S::SMEM, s, *a);
}

/* Decoding requests have one query a key head's group each; more warps would have nothing to do. */
template <int D> static void launch_for(const attn_call *a, int32_t tok_count, gpu_stream s)
{
    if (tok_count <= a->row_count && a->q_heads / a->kv_heads <= 16)
        launch<D, 1>(a, tok_count, s);
    else
        launch<D, 4>(a, tok_count, s);
}

bool GPU_SYM(attention_bf16)(const attn_call *a, int32_t tok_count, gpu_stream s)
{
    if (a->kv_type != KV_BF16 || a->q_heads / a->kv_heads > 64)
        return false;
    switch (a->D) {
    case 64: launch_for<64>(a, tok_count, s); return true;
    case 96: launch_for<96>(a, tok_count, s); return true;
    case 128: launch_for<128>(a, tok_count, s); return true;
    case 256: launch_for<256>(a, tok_count, s); return true;
    default: return false;
    }
}

/* Outputs that wait for their chunks lie in `out` itself. */
size_t GPU_SYM(op_attn_scratch_bytes)(int32_t tok_max, int32_t q_heads, int32_t head_dim, int32_t ctx_max)
{
    (void)tok_max, (void)q_heads, (void)head_dim, (void)ctx_max;
    return 0;
}

void GPU_SYM(op_attention)(const kern_attn_args *a, gpu_stream s)
{
    const kern_batch *b = a->batch;
    const kern_batch_group *g = &b->group[a->group];
    const kern_kv_layer *kv = a->kv;
    td_assert(a->q_heads % kv->heads == 0 && kv->head_dim <= TD_MODEL_HEAD_DIM_MAX && kv->type != KV_Q8_0);
    attn_call c = {b->pos, b->row_tok0, b->row_ctx, g->page, b->row_count, g->page_max, kv->block_tok, kv->base,
                   kv->block_stride, kv->type, kv->heads, a->q_heads, kv->head_dim, a->q, a->q_stride, a->scale,
                   a->softcap, a->window, a->out};
    if (b->tok_count && !GPU_SYM(attention_bf16)(&c, b->tok_count, s))
        GPU_SYM(attention_plain)(&c, b->tok_count, s);
}
