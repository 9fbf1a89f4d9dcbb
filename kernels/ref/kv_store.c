#include "kernels/cpu/kv.h"
#include "kernels/cpu/tiles.h"
#include "kernels/ref/ref_attn.h"

static void head_norm(float *x, int32_t dims, const float *weight, float eps)
{
    float lane[16] = {0};
    for (int32_t i = 0; i < dims; i++)
        lane[i % 16] = __builtin_fmaf(x[i], x[i], lane[i % 16]);
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            lane[i] += lane[i + w];
    float r = 1.0f / __builtin_sqrtf(lane[0] / (float)dims + eps);
    for (int32_t i = 0; i < dims; i++)
        x[i] = x[i] * r * weight[i];
}

/* (x1, x2) turned by the angle of table entry i; step apart, half of them. */
static void head_rope(float *x, const float *table, int32_t dims, bool pairs)
{
    int32_t half = dims / 2;
    for (int32_t i = 0; i < half; i++) {
        float *x1 = pairs ? x + 2 * i : x + i, *x2 = pairs ? x + 2 * i + 1 : x + i + half;
        float c = table[2 * i], s = table[2 * i + 1], a = *x1, b = *x2;
        *x1 = __builtin_fmaf(b, -s, a * c);
        *x2 = __builtin_fmaf(a, s, b * c);
    }
}

static void store_code(kern_kv_type type, uint8_t *codes, int32_t i, float x)
{
    uint16_t h = type == KV_F16 ? kern_f32_to_f16(x) : kern_f32_to_bf16(x);
    if (type == KV_F32)
        memcpy(codes + 4 * i, &x, 4);
    else
        memcpy(codes + 2 * i, &h, 2);
}

static int8_t q8_code(float x, float inv)
{
    float y = x * inv;
    y = y > 127.0f ? 127.0f : y < -127.0f ? -127.0f : y;
    return (int8_t)((y + 12582912.0f) - 12582912.0f); // 1.5 * 2^23: rounds to nearest even
}

/* One head's row of one token: element d at codes[d * step], scale of block b at scales[b * scale_step]. */
static void store_row(kern_kv_type type, const float *x, int32_t dims, uint8_t *codes, int32_t first, int32_t step,
                      uint16_t *scales, int32_t scale_step)
{
    if (type != KV_Q8_0) {
        for (int32_t d = 0; d < dims; d++)
            store_code(type, codes, first + d * step, x[d]);
        return;
    }
    for (int32_t b = 0; b < dims / KV_Q8_DIMS; b++) {
        const float *xb = x + b * KV_Q8_DIMS;
        uint32_t amax = 0;
        for (int32_t i = 0; i < KV_Q8_DIMS; i++)
            amax = TD_MAX(amax, kern_to_bits(xb[i]) & 0x7fffffff);
        uint16_t scale = kv_q8_scale(amax);
        float inv = kv_q8_inverse(scale);
        scales[b * scale_step] = scale;
        for (int32_t i = 0; i < KV_Q8_DIMS; i++)
            codes[first + (b * KV_Q8_DIMS + i) * step] = inv == 0.0f ? 0 : (uint8_t)q8_code(xb[i], inv);
    }
}

static void store_token(const kern_kv_store_args *a, int64_t t)
{
    const kern_kv_layer *kv = a->kv;
    int32_t D = kv->head_dim, slot = a->batch->group[a->group].kv_slot[t], lane = slot % kv->block_tok % KV_LANES;
    float *x = a->qkv + t * a->qkv_stride;
    for (int32_t h = 0; h < a->q_heads + kv->heads; h++) {
        const float *norm = h < a->q_heads ? a->q_norm : a->k_norm;
        if (norm)
            head_norm(x + h * D, D, norm, a->eps);
        if (a->rope)
            head_rope(x + h * D, a->rope + t * a->rope_dims, a->rope_dims, a->rope_pairs);
    }
    for (int32_t h = 0; h < kv->heads; h++) {
        kv_group16 g = kv_group_at(kv, slot, h);
        const float *k = x + (a->q_heads + h) * D, *v = k + kv->heads * D;
        store_row(kv->type, k, D, g.k, lane, KV_LANES, g.k_scale + lane, KV_LANES);
        store_row(kv->type, v, D, g.v, lane * D, 1, g.v_scale + lane * (D / KV_Q8_DIMS), 1);
    }
}

void ref_kv_store(const kern_kv_store_args *a, int64_t t0, int64_t t1)
{
    int32_t toks = kv_store_tile_toks(a);
    for (int64_t t = t0 * toks; t < TD_MIN(t1 * toks, a->batch->tok_count); t++)
        store_token(a, t);
}
