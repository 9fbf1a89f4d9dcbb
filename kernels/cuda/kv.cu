/* Head norm, rope and store into the cache: one warp a head of one token. And tokens between the cache and the
 * canonical form. A cache block of one layer is [k|v][head][tok][dim], so a canonical slab is a gather of rows of D
 * values. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/gpu_ops.h"
#include "kernels/half.h"

enum { WARPS = 4 };

/* Where a layer's rows of D values lie. */
typedef struct kv_rows {
    uint8_t *base;
    size_t block_stride;
    int32_t heads, block_tok;
    uint32_t row_bytes;
} kv_rows;

static kv_rows rows_of(const kern_kv_layer *kv)
{
    td_assert(kv->type == KV_F32 || kv->type == KV_F16 || kv->type == KV_BF16);
    kv_rows r = {kv->base, kv->block_stride, kv->heads, kv->block_tok,
                 (uint32_t)kv->head_dim * (kv->type == KV_F32 ? 4u : 2u)};
    return r;
}

/* kind: 0 = K, 1 = V. */
static __device__ __forceinline__ uint8_t *row_at(const kv_rows &r, int32_t kind, int32_t head, int32_t slot)
{
    int32_t block = slot / r.block_tok, tok = slot % r.block_tok;
    size_t row = ((size_t)(kind * r.heads + head)) * (size_t)r.block_tok + (size_t)tok;
    return r.base + (size_t)block * r.block_stride + row * r.row_bytes;
}

typedef struct store_call {
    kv_rows rows;
    int32_t type, D, q_heads, tok_count;
    const int32_t *slot;
    float *qkv;
    int32_t qkv_stride;
    const float *q_norm, *k_norm, *rope;
    float eps;
    int32_t rope_dims, rope_pairs;
} store_call;

static __device__ __forceinline__ void store_value(int32_t type, uint8_t *row, int32_t d, float v)
{
    if (type == KV_F32)
        ((float *)row)[d] = v;
    else
        ((uint16_t *)row)[d] = type == KV_F16 ? kern_f32_to_f16(v) : kern_f32_to_bf16(v);
}

/* Sum of squares of the lanes' elements, then butterflies: the tree depends on D alone. */
static __device__ __forceinline__ float head_inv_rms(const float *x, const store_call &a, int32_t lane)
{
    float sum = 0.0f;
    for (int32_t d = lane; d < a.D; d += 32)
        sum = fmaf(x[d], x[d], sum);
    for (int i = 16; i > 0; i /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, i);
    return 1.0f / sqrtf(sum / (float)a.D + a.eps);
}

/* Value of dim d after the rotation of the first rope_dims. */
static __device__ __forceinline__ float rotated(const float *x, const float *table, const store_call &a, int32_t d)
{
    if (d >= a.rope_dims)
        return x[d];
    int32_t half = a.rope_dims / 2, i = a.rope_pairs ? d / 2 : d % half;
    bool second = a.rope_pairs ? d & 1 : d >= half;
    float c = table[2 * i], s = table[2 * i + 1];
    float other = x[a.rope_pairs ? d ^ 1 : second ? d - half : d + half];
    return second ? fmaf(other, s, x[d] * c) : fmaf(other, -s, x[d] * c);
}

static __global__ void kv_store_kernel(store_call a)
{
    TD_SMEM(float, smem);
    int32_t warp = (int32_t)threadIdx.x / 32, lane = (int32_t)threadIdx.x % 32;
    int32_t head = (int32_t)blockIdx.y * WARPS + warp, t = (int32_t)blockIdx.x;
    if (head >= a.q_heads + 2 * a.rows.heads)
        return;
    float *x = a.qkv + (size_t)t * (size_t)a.qkv_stride + (size_t)head * (size_t)a.D, *h = smem + warp * a.D;
    bool is_q = head < a.q_heads, is_v = head >= a.q_heads + a.rows.heads;
    const float *norm = is_q ? a.q_norm : is_v ? NULL : a.k_norm, *rope = is_v ? NULL : a.rope;
    if (is_q && !norm && !rope)
        return;
    float r = norm ? head_inv_rms(x, a, lane) : 1.0f;
    for (int32_t d = lane; d < a.D; d += 32)
        h[d] = norm ? x[d] * r * norm[d] : x[d];
    __syncwarp(0xffffffffu);
    int32_t kv_head = head - a.q_heads - (is_v ? a.rows.heads : 0);
    uint8_t *to = is_q ? NULL : row_at(a.rows, is_v, kv_head, a.slot[t]);
    for (int32_t d = lane; d < a.D; d += 32) {
        float v = rope ? rotated(h, rope + (size_t)t * (size_t)a.rope_dims, a, d) : h[d];
        if (!is_v)
            x[d] = v;
        if (!is_q)
            store_value(a.type, to, d, v);
    }
}

void GPU_SYM(op_kv_store)(const kern_kv_store_args *a, gpu_stream s)
{
    const kern_kv_layer *kv = a->kv;
    int32_t heads = a->q_heads + 2 * kv->heads;
    td_assert(!a->rope || (a->rope_dims > 0 && a->rope_dims % 2 == 0 && a->rope_dims <= kv->head_dim));
    store_call c = {rows_of(kv), kv->type, kv->head_dim, a->q_heads, a->batch->tok_count,
                    a->batch->group[a->group].kv_slot, a->qkv, a->qkv_stride, a->q_norm, a->k_norm, a->rope, a->eps,
                    a->rope ? a->rope_dims : 0, a->rope_pairs};
    dim3 grid((unsigned)a->batch->tok_count, (unsigned)((heads + WARPS - 1) / WARPS));
    if (a->batch->tok_count)
        TD_LAUNCH(kv_store_kernel, grid, 32 * WARPS, (size_t)(WARPS * kv->head_dim) * sizeof(float), s, c);
}

/* ---- canonical form ---- */

typedef struct move_call {
    kv_rows rows;
    const int32_t *slot;
    uint8_t *canon;
    int32_t pack;
} move_call;

/* T: what a row consists of. A warp a row. */
template <typename T> static __global__ void kv_move_kernel(move_call a)
{
    int32_t t = (int32_t)blockIdx.x, plane = (int32_t)blockIdx.y, tok_count = (int32_t)gridDim.x;
    T *cache = (T *)row_at(a.rows, plane / a.rows.heads, plane % a.rows.heads, a.slot[t]);
    T *canon = (T *)(a.canon + ((size_t)plane * (size_t)tok_count + (size_t)t) * a.rows.row_bytes);
    for (uint32_t i = threadIdx.x; i < a.rows.row_bytes / sizeof(T); i += 32) {
        if (a.pack)
            canon[i] = cache[i];
        else
            cache[i] = canon[i];
    }
}

void GPU_SYM(op_kv_move)(const kern_kv_move_args *a, bool pack, gpu_stream s)
{
    move_call c = {rows_of(a->kv), a->slot, a->canon, pack};
    uintptr_t where = (uintptr_t)c.rows.base | c.rows.block_stride | c.rows.row_bytes | (uintptr_t)a->canon;
    dim3 grid((unsigned)a->tok_count, (unsigned)(2 * a->kv->heads));
    if (a->tok_count == 0)
        return;
    if (where % 16 == 0)
        TD_LAUNCH((kv_move_kernel<uint4>), grid, 32, 0, s, c);
    else
        TD_LAUNCH((kv_move_kernel<uint16_t>), grid, 32, 0, s, c);
}
