/* Paged attention with mma.sync, prefill and decode in one kernel. A block takes a work item (attn_list.cuh) for one
 * key head: up to 64 rows, each a (token, query head), against its chunks of keys.
 *
 * More than 16 rows: each of the four warps owns 16 rows and walks all keys. 16 rows and less (decode): the warps share
 * the rows; each makes the scores of 16 of the tile's 64 keys, they meet in shared memory, every warp computes the same
 * weights from them, and each adds the values of its own dims. Both are the same sums in the same order.
 *
 * Keys and values of the next tile arrive by cp.async while this one is used. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/attn_list.cuh"
#include "base/check.h"
#include "kernels/cuda/gpu_attn.h"

enum { WARPS = 4, THREADS = WARPS * 32, KEY_FRAGS = ATTN_TILE / 8 };

template <int D> struct attn_shape {
    enum {
        PITCH = (D * 2 + 127) / 128 * 128,     // bytes of a row in shared memory
        TILE = ATTN_TILE * PITCH,
        STAGES = D <= 128 ? 2 : 1,
        DIM16 = D / 16,                        // groups of 16 dims
        Q = 0,
        KV = Q + ATTN_ROWS * PITCH,            // [stage][k|v][64][PITCH]
        RUN = KV + STAGES * 2 * TILE,          // [warp][DIM16][8][32] floats: the running O
        SCORES = RUN + ATTN_ROWS * D * 4,      // [KEY_FRAGS][4][32] floats
        BYTES = SCORES + KEY_FRAGS * 4 * 32 * 4,
    };
};

static __device__ __forceinline__ int32_t group_of(const attn_call &c) { return c.q_heads / c.kv_heads; }

/* Place of 16-byte group g of row r. */
template <int D> static __device__ __forceinline__ uint32_t place(int r, int g)
{
    return (uint32_t)(r * attn_shape<D>::PITCH + (((g & ~7) | ((g ^ r) & 7)) << 4));
}

/* What a lane knows of its two rows (lane / 4 and 8 more) in its warp's 16. */
struct row_state {
    int32_t first[2], last[2];   // keys that the row sees; last < 0 where there is no such row
    float m[2], l[2], run_m[2], run_l[2];
};

template <int D>
static __device__ __forceinline__ void load_q(const attn_call &c, const attn_item &it, int32_t head, uint8_t *q)
{
    for (int i = (int)threadIdx.x; i < ATTN_ROWS * D / 2; i += THREADS) {
        int r = i / (D / 2), d = i % (D / 2) * 2;
        float2 v = make_float2(0.0f, 0.0f);
        if (r < it.tok_count * group_of(c)) {
            const float *from = c.q + (size_t)(it.tok0 + r / group_of(c)) * (size_t)c.q_stride;
            v = *(const float2 *)(from + (size_t)(head * group_of(c) + r % group_of(c)) * D + d);
        }
        *(uint32_t *)(q + place<D>(r, d / 8) + d % 8 * 2) =
            (uint32_t)td_f32_to_bf16(v.x) | (uint32_t)td_f32_to_bf16(v.y) << 16;
    }
}

/* Asks for the K and V of 64 keys; those beyond the context, or of blocks that a window left behind, become 0. */
template <int D>
static __device__ __forceinline__ void load_tile(const attn_call &c, int32_t row, int32_t head, int32_t key0,
                                                 uint8_t *stage)
{
    const int32_t ctx = c.row_ctx[row], *page = c.page + (size_t)row * (size_t)c.page_max;
    const size_t v_bytes = (size_t)c.kv_heads * (size_t)c.block_tok * D * 2;
    for (int i = (int)threadIdx.x; i < ATTN_TILE * D / 8; i += THREADS) {
        int j = i / (D / 8), g = i % (D / 8);
        int32_t key = key0 + j, block = key < ctx ? page[key / c.block_tok] : -1;
        const uint8_t *from = c.base;
        if (block >= 0)
            from += (size_t)block * c.block_stride +
                    ((size_t)head * (size_t)c.block_tok + (size_t)(key % c.block_tok)) * D * 2 + (size_t)g * 16;
        td_cp_async16_zfill(stage + place<D>(j, g), from, block >= 0 ? 16 : 0);
        td_cp_async16_zfill(stage + attn_shape<D>::TILE + place<D>(j, g), block >= 0 ? from + v_bytes : from,
                      block >= 0 ? 16 : 0);
    }
}

/* Products of 16 rows with key fragments [n0, n1), an even number of them. */
template <int D, int N>
static __device__ __forceinline__ void scores(const uint8_t *q, int row0, const uint8_t *k, int n0, float s[N][4])
{
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            s[n][j] = 0.0f;
#pragma unroll (D <= 192 ? 4 : 2)
    for (int d = 0; d < attn_shape<D>::DIM16; d++) {
        uint32_t a[4], b[4];
        td_ldmatrix_x4(a, q + place<D>(row0 + (lane & 15), d * 2 + (lane >> 4)));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            int key = (n0 + n) * 8 + (lane & 7) + (lane >> 4) * 8;
            td_ldmatrix_x4(b, k + place<D>(key, d * 2 + ((lane >> 3) & 1)));
            td_mma_bf16_16816(s[n], a, b);
            td_mma_bf16_16816(s[n + 1], a, b + 2);
        }
    }
}

/* Scores to weights, in place. alpha: what remains of the sums so far. */
static __device__ __forceinline__ void softmax(const attn_call &c, int32_t key0, row_state &st, float s[KEY_FRAGS][4],
                                               float alpha[2])
{
    const int quad = (int)threadIdx.x % 4;
    const float none = -__builtin_inff();
    float top[2] = {none, none}, sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int n = 0; n < KEY_FRAGS; n++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int32_t key = key0 + n * 8 + quad * 2 + (j & 1), h = j / 2;
            float x = c.softcap > 0.0f ? c.softcap * kern_tanh(s[n][j] * c.scale) * KERN_LOG2E : s[n][j] * c.scale;
            s[n][j] = key >= st.first[h] && key <= st.last[h] ? x : none;
            top[h] = fmaxf(top[h], s[n][j]);
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        top[h] = fmaxf(top[h], __shfl_xor_sync(TD_WARP_ALL, top[h], 1));
        top[h] = fmaxf(st.m[h], fmaxf(top[h], __shfl_xor_sync(TD_WARP_ALL, top[h], 2)));
        alpha[h] = attn_alpha(st.m[h], top[h]);
        st.m[h] = top[h];
    }
#pragma unroll
    for (int n = 0; n < KEY_FRAGS; n++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            s[n][j] = s[n][j] == none ? 0.0f : kern_exp2(s[n][j] - st.m[j / 2]);
            sum[j / 2] += s[n][j];
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(TD_WARP_ALL, sum[h], 1);
        sum[h] += __shfl_xor_sync(TD_WARP_ALL, sum[h], 2);
        st.l[h] = fmaf(st.l[h], alpha[h], sum[h]);
    }
}

/* o += weights times the values of dim groups g0, g0 + step… */
template <int D, int N>
static __device__ __forceinline__ void add_values(const float p[KEY_FRAGS][4], const uint8_t *v, int g0, int step,
                                                  const float alpha[2], float o[N][8])
{
    const int lane = (int)threadIdx.x % 32;
    uint32_t a[KEY_FRAGS / 2][4];
#pragma unroll
    for (int n = 0; n < KEY_FRAGS; n++) {
        a[n / 2][n % 2 * 2] = (uint32_t)td_f32_to_bf16(p[n][0]) | (uint32_t)td_f32_to_bf16(p[n][1]) << 16;
        a[n / 2][n % 2 * 2 + 1] = (uint32_t)td_f32_to_bf16(p[n][2]) | (uint32_t)td_f32_to_bf16(p[n][3]) << 16;
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        int g = g0 + i * step;
        if (g >= attn_shape<D>::DIM16)
            break;
#pragma unroll
        for (int j = 0; j < 8; j++)
            o[i][j] *= alpha[j / 2 % 2];
#pragma unroll
        for (int k = 0; k < KEY_FRAGS / 2; k++) {
            uint32_t b[4];
            td_ldmatrix_x4_trans(b, v + place<D>(k * 16 + (lane & 15), g * 2 + (lane >> 4)));
            td_mma_bf16_16816(o[i], a[k], b);
            td_mma_bf16_16816(o[i] + 4, a[k], b + 2);
        }
    }
}

/* The chunk's (m, l, O) into the running one, and a new chunk. */
template <int N> static __device__ __forceinline__ void close_chunk(row_state &st, float o[N][8], float *run)
{
    attn_join join[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        join[h] = attn_join_of(st.run_m[h], st.m[h]);
        st.run_l[h] = attn_joined(st.run_l[h], st.l[h], join[h]);
        st.run_m[h] = join[h].m;
        st.m[h] = -__builtin_inff();
        st.l[h] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float *r = run + (i * 8 + j) * 32;
            *r = attn_joined(*r, o[i][j], join[j / 2 % 2]);
            o[i][j] = 0.0f;
        }
    }
}

/* Row and dim of element j of a lane's part of 16 rows by 16 dims. */
static __device__ __forceinline__ int o_row(int j) { return (int)threadIdx.x % 32 / 4 + j / 2 % 2 * 8; }
static __device__ __forceinline__ int o_dim(int j) { return (int)threadIdx.x % 4 * 2 + j % 2 + j / 4 * 8; }

template <int D, int N>
static __device__ __forceinline__ void write_answer(const attn_call &c, const attn_item &it, int32_t head, int row0,
                                                    int g0, int step, const row_state &st, const float *run)
{
    float inv[2] = {1.0f / st.run_l[0], 1.0f / st.run_l[1]};
#pragma unroll
    for (int i = 0; i < N; i++) {
        int g = g0 + i * step;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            int r = row0 + o_row(j);
            if (g >= attn_shape<D>::DIM16 || r >= it.tok_count * group_of(c))
                continue;
            size_t at = (size_t)(it.tok0 + r / group_of(c)) * (size_t)(c.kv_heads * group_of(c)) +
                        (size_t)(head * group_of(c) + r % group_of(c));
            c.out[at * D + (size_t)(g * 16 + o_dim(j))] = run[(i * 8 + j) * 32] * inv[j / 2 % 2];
        }
    }
}

/* One chunk's (m, l, O) of up to 16 rows for attn_merge. */
template <int D, int N>
static __device__ __forceinline__ void write_part(const attn_call &c, const attn_list &l, const attn_item &it,
                                                  int32_t head, int g0,
                                                  int step, const row_state &st, const float o[N][8])
{
    float *part = l.parts + ((size_t)it.part * (size_t)c.kv_heads + (size_t)head) * (ATTN_SPLIT_ROWS * (D + 2));
    int rows = it.tok_count * group_of(c);
#pragma unroll
    for (int i = 0; i < N; i++) {
        int g = g0 + i * step;
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (g < attn_shape<D>::DIM16 && o_row(j) < rows)
                part[o_row(j) * D + g * 16 + o_dim(j)] = o[i][j];
    }
    for (int h = 0; h < 2 && threadIdx.x < 32 && threadIdx.x % 4 == 0; h++) {
        part[ATTN_SPLIT_ROWS * D + o_row(h * 2)] = st.m[h];
        part[ATTN_SPLIT_ROWS * (D + 1) + o_row(h * 2)] = st.l[h];
    }
}

static __device__ __forceinline__ row_state rows_begin(const attn_call &c, const attn_item &it, int row0)
{
    row_state st;
    for (int h = 0; h < 2; h++) {
        int r = row0 + (int)threadIdx.x % 32 / 4 + h * 8;
        bool in = r < it.tok_count * group_of(c);
        st.last[h] = in ? c.pos[it.tok0 + r / group_of(c)] : -1;
        st.first[h] = in ? attn_first(c, st.last[h]) : 0;
        st.m[h] = st.run_m[h] = -__builtin_inff();
        st.l[h] = st.run_l[h] = 0.0f;
    }
    return st;
}

/* long: the walk over an item's tiles. SHARED: all warps work on the same 16 rows. */
template <int D, bool SHARED>
static __device__ void attend(const attn_call &c, const attn_list &l, const attn_item &it, int32_t head, uint8_t *smem)
{
    typedef attn_shape<D> S;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int row0 = SHARED ? 0 : warp * 16, g0 = SHARED ? warp : 0, step = SHARED ? WARPS : 1;
    const int N = SHARED ? (S::DIM16 + WARPS - 1) / WARPS : S::DIM16;
    float *run = (float *)(void *)(smem + S::RUN) + (size_t)warp * (size_t)(ATTN_ROWS / WARPS * D) + lane;
    float *meet = (float *)(void *)(smem + S::SCORES) + lane;
    row_state st = rows_begin(c, it, row0);
    float o[N][8] = {};
    for (int i = 0; i < N * 8; i++)
        run[i * 32] = 0.0f;

    const int32_t key_lo = max(attn_first(c, c.pos[it.tok0]), it.chunk0 * ATTN_CHUNK);
    const int32_t key_hi = min(c.pos[it.tok0 + it.tok_count - 1], it.chunk1 * ATTN_CHUNK - 1);
    const int32_t tile0 = key_lo / ATTN_TILE, tile1 = key_hi / ATTN_TILE + 1;
    load_q<D>(c, it, head, smem + S::Q);
    load_tile<D>(c, it.row, head, tile0 * ATTN_TILE, smem + S::KV);
    td_cp_async_commit();
    for (int32_t t = tile0; t < tile1; t++) {
        const uint8_t *k = smem + S::KV + (t - tile0) % S::STAGES * 2 * S::TILE, *v = k + S::TILE;
        if (S::STAGES > 1 && t + 1 < tile1)
            load_tile<D>(c, it.row, head, (t + 1) * ATTN_TILE,
                         smem + S::KV + (t + 1 - tile0) % S::STAGES * 2 * S::TILE);
        td_cp_async_commit();
        td_cp_async_wait<S::STAGES - 1>();
        __syncthreads();
        float s[KEY_FRAGS][4], alpha[2];
        if (SHARED) {
            float part[2][4];
            scores<D, 2>(smem + S::Q, 0, k, warp * 2, part);
            for (int i = 0; i < 8; i++)
                meet[(warp * 8 + i) * 32] = part[i / 4][i % 4];
            __syncthreads();
            for (int i = 0; i < KEY_FRAGS * 4; i++)
                s[i / 4][i % 4] = meet[i * 32];
        } else {
            scores<D, KEY_FRAGS>(smem + S::Q, row0, k, 0, s);
        }
        softmax(c, t * ATTN_TILE, st, s, alpha);
        add_values<D, N>(s, v, g0, step, alpha, o);
        if (it.part < 0 && (t + 1 == tile1 || (t + 1) * ATTN_TILE % ATTN_CHUNK == 0))
            close_chunk<N>(st, o, run);
        __syncthreads(); // all are done with the tile before its stage is filled again
        if (S::STAGES == 1 && t + 1 < tile1)
            load_tile<D>(c, it.row, head, (t + 1) * ATTN_TILE, smem + S::KV);
    }
    if (it.part < 0)
        write_answer<D, N>(c, it, head, row0, g0, step, st, run);
    else
        write_part<D, N>(c, l, it, head, g0, step, st, o);
}

template <int D>
static __global__ void __launch_bounds__(THREADS, 1) attention_kernel(const attn_call c, const attn_list l)
{
    TD_SMEM(uint8_t, smem);
    const int32_t items = l.counts->items, head = (int32_t)blockIdx.y;
    for (int32_t i = (int32_t)blockIdx.x; i < items; i += (int32_t)gridDim.x) {
        const attn_item it = l.items[i];
        if (it.tok_count * group_of(c) <= ATTN_SPLIT_ROWS)
            attend<D, true>(c, l, it, head, smem);
        else
            attend<D, false>(c, l, it, head, smem);
        __syncthreads();
    }
}

/* The parts of a split item, ascending, as one block would have joined them. */
template <int D> static __global__ void __launch_bounds__(THREADS) merge_kernel(const attn_call c, const attn_list l)
{
    const int32_t head = (int32_t)blockIdx.y;
    const size_t part_floats = ATTN_SPLIT_ROWS * (D + 2), next = part_floats * (size_t)c.kv_heads;
    for (int32_t i = (int32_t)blockIdx.x; i < l.counts->merges; i += (int32_t)gridDim.x) {
        const attn_merge mg = l.merges[i];
        const float *part0 = l.parts + ((size_t)mg.part * (size_t)c.kv_heads + (size_t)head) * part_floats;
        for (int at = (int)threadIdx.x; at < mg.tok_count * group_of(c) * D; at += THREADS) {
            int r = at / D, d = at % D;
            float m = -__builtin_inff(), sum = 0.0f, o = 0.0f;
            for (int32_t p = 0; p < mg.part_count; p++) {
                const float *part = part0 + (size_t)p * next;
                attn_join j = attn_join_of(m, part[ATTN_SPLIT_ROWS * D + r]);
                sum = attn_joined(sum, part[ATTN_SPLIT_ROWS * (D + 1) + r], j);
                o = attn_joined(o, part[r * D + d], j);
                m = j.m;
            }
            size_t row = (size_t)(mg.tok0 + r / group_of(c)) * (size_t)(c.kv_heads * group_of(c)) +
                         (size_t)(head * group_of(c) + r % group_of(c));
            c.out[row * D + (size_t)d] = o * (1.0f / sum);
        }
    }
}

template <int D> static void launch(const attn_call &c, const attn_list &l, int32_t items, gpu_stream stream)
{
    dim3 grid((unsigned)items, (unsigned)c.kv_heads), merge_grid((unsigned)c.row_count, (unsigned)c.kv_heads);
    TD_LAUNCH((attention_kernel<D>), grid, THREADS, attn_shape<D>::BYTES, stream, c, l);
    TD_LAUNCH((merge_kernel<D>), merge_grid, THREADS, 0, stream, c, l);
}

static size_t align256(size_t n) { return (n + 255) / 256 * 256; }

/* Items of whole requests; splitting adds at most ATTN_PARTS. */
static int32_t whole_items(int32_t row_count, int32_t tok_count, int32_t group)
{
    return row_count + tok_count / (ATTN_ROWS / group);
}

/* counts | items | merges | parts */
static size_t place_list(int32_t row_count, int32_t items, int32_t head_dim, uint8_t *at, attn_list *l)
{
    size_t counts = align256(sizeof *l->counts), item = align256((size_t)items * sizeof *l->items);
    size_t merge = align256((size_t)row_count * sizeof *l->merges);
    l->counts = (attn_counts *)(void *)at;
    l->items = (attn_item *)(void *)(at + counts);
    l->merges = (attn_merge *)(void *)(at + counts + item);
    l->parts = (float *)(void *)(at + counts + item + merge);
    return counts + item + merge + (size_t)ATTN_PARTS * ATTN_SPLIT_ROWS * (size_t)(head_dim + 2) * sizeof(float);
}

size_t GPU_SYM(attention_mma_bytes)(int32_t tok_max, int32_t q_heads, int32_t head_dim)
{
    attn_list l; // at most as many requests as tokens, and each query head its own group
    uint8_t none;
    int32_t items = whole_items(tok_max, tok_max, TD_MIN(q_heads, (int32_t)ATTN_ROWS)) + ATTN_PARTS;
    return place_list(tok_max, items, head_dim, &none, &l);
}

bool GPU_SYM(attention_mma)(const attn_call *a, int32_t tok_count, void *scratch, gpu_stream stream)
{
    int32_t group = a->q_heads / a->kv_heads;
    if (a->kv_type != KV_BF16 || group > ATTN_ROWS || a->kv_heads > ATTN_PARTS || a->q_stride % 2 != 0)
        return false;
    attn_call c = *a; // scale: to units of log2, or into the cap
    attn_list l;
    c.scale = a->softcap > 0.0f ? a->scale / a->softcap : a->scale * KERN_LOG2E;
    int32_t whole = whole_items(a->row_count, tok_count, group), items = TD_MAX(whole, (int32_t)ATTN_BLOCKS);
    place_list(a->row_count, whole + ATTN_PARTS, a->D, (uint8_t *)scratch, &l);
    if (a->D != 64 && a->D != 96 && a->D != 128 && a->D != 192 && a->D != 256)
        return false;
    GPU_SYM(attention_plan)(&c, &l, stream);
    switch (a->D) {
    case 64: launch<64>(c, l, items, stream); break;
    case 96: launch<96>(c, l, items, stream); break;
    case 128: launch<128>(c, l, items, stream); break;
    case 192: launch<192>(c, l, items, stream); break;
    default: launch<256>(c, l, items, stream); break;
    }
    return true;
}
