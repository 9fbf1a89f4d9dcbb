/* kv_store_fast.h - one token's way into the cache, shared by the vector levels.
 *
 * Included once by kv_store_<isa>.c, which defines the functions declared at the top. */
#ifndef TD_KERNELS_CPU_KV_STORE_FAST_H
#define TD_KERNELS_CPU_KV_STORE_FAST_H

#include "kernels/cpu/act.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/kv.h"
#include "kernels/cpu/tiles.h"

/* Table of one token, taken apart. Half-split: cos and sin [dims / 2]; pairs: both [dims], sin with the sign of its
 * place: -, +, -, +. */
typedef struct kv_turn {
    float c[TD_MODEL_HEAD_DIM_MAX], s[TD_MODEL_HEAD_DIM_MAX];
} kv_turn;

static void head_norm(float *x, int32_t dims, const float *weight, float eps);
static void turn_half(float *x, const kv_turn *turn, int32_t half);
static void turn_pairs(float *x, const kv_turn *turn, int32_t dims);
static void to_f16(const float *x, int32_t n, uint16_t *out);
static void to_bf16(const float *x, int32_t n, uint16_t *out);
/* 32 values to codes; returns their scale. */
static uint16_t to_q8(const float *x, int8_t *out);

static void turn_load(const kern_kv_store_args *a, int64_t t, kv_turn *turn)
{
    const float *table = a->rope + t * a->rope_dims;
    for (int32_t i = 0; i < a->rope_dims / 2; i++)
        if (a->rope_pairs) {
            turn->c[2 * i] = turn->c[2 * i + 1] = table[2 * i];
            turn->s[2 * i] = -table[2 * i + 1];
            turn->s[2 * i + 1] = table[2 * i + 1];
        } else {
            turn->c[i] = table[2 * i];
            turn->s[i] = table[2 * i + 1];
        }
}

static void store_k(kern_kv_type type, const float *x, int32_t D, kv_group16 g, int32_t lane)
{
    uint16_t half[TD_MODEL_HEAD_DIM_MAX];
    int8_t code[KV_Q8_DIMS];
    if (type == KV_F32) {
        float *k = (float *)(void *)g.k + lane;
        for (int32_t d = 0; d < D; d++)
            k[d * KV_LANES] = x[d];
    } else if (type == KV_Q8_0) {
        for (int32_t d = 0; d < D; d += KV_Q8_DIMS) {
            g.k_scale[d / KV_Q8_DIMS * KV_LANES + lane] = to_q8(x + d, code);
            for (int32_t i = 0; i < KV_Q8_DIMS; i++)
                g.k[(d + i) * KV_LANES + lane] = (uint8_t)code[i];
        }
    } else {
        uint16_t *k = (uint16_t *)(void *)g.k + lane;
        (type == KV_F16 ? to_f16 : to_bf16)(x, D, half);
        for (int32_t d = 0; d < D; d++)
            k[d * KV_LANES] = half[d];
    }
}

static void store_v(kern_kv_type type, const float *x, int32_t D, kv_group16 g, int32_t lane)
{
    uint8_t *v = g.v + (size_t)lane * (size_t)D * kv_code_bytes(type);
    if (type == KV_F32)
        memcpy(v, x, (size_t)D * sizeof *x);
    else if (type == KV_Q8_0)
        for (int32_t d = 0; d < D; d += KV_Q8_DIMS)
            g.v_scale[(lane * D + d) / KV_Q8_DIMS] = to_q8(x + d, (int8_t *)v + d);
    else
        (type == KV_F16 ? to_f16 : to_bf16)(x, D, (uint16_t *)(void *)v);
}

static void store_token(const kern_kv_store_args *a, int64_t t)
{
    const kern_kv_layer *kv = a->kv;
    int32_t D = kv->head_dim, slot = a->batch->group[a->group].kv_slot[t], lane = slot % kv->block_tok % KV_LANES;
    float *x = a->qkv + t * a->qkv_stride;
    kv_turn turn;
    if (a->rope)
        turn_load(a, t, &turn);
    for (int32_t h = 0; h < a->q_heads + kv->heads; h++) {
        const float *norm = h < a->q_heads ? a->q_norm : a->k_norm;
        if (norm)
            head_norm(x + h * D, D, norm, a->eps);
        if (a->rope && a->rope_pairs)
            turn_pairs(x + h * D, &turn, a->rope_dims);
        else if (a->rope)
            turn_half(x + h * D, &turn, a->rope_dims / 2);
    }
    for (int32_t h = 0; h < kv->heads; h++) {
        kv_group16 g = kv_group_at(kv, slot, h);
        const float *k = x + (a->q_heads + h) * D;
        store_k(kv->type, k, D, g, lane);
        store_v(kv->type, k + kv->heads * D, D, g, lane);
    }
}

static void store_tiles(const kern_kv_store_args *a, int64_t t0, int64_t t1)
{
    int32_t toks = kv_store_tile_toks(a);
    for (int64_t t = t0 * toks; t < TD_MIN(t1 * toks, a->batch->tok_count); t++)
        store_token(a, t);
}

#endif
