/* kv.h - the cache layout of the CPU back end: where the K and V of a token lie inside a block.
 *
 * One layer's part of a block, H heads, B tokens (a multiple of 16), D dims (a multiple of 8; of 32 for q8_0):
 *
 *   K codes   [head][B/16][D][16]      tokens in lanes: q·k of 16 keys is D fused multiply-adds and no horizontal sum
 *   V codes   [head][B][D]             dims in lanes: p·v broadcasts p
 *   K scales  [head][B/16][D/32][16]   q8_0 only, f16
 *   V scales  [head][B][D/32]          q8_0 only, f16
 *
 * A code is a float, an f16, a bf16 or an int8. One value of q8_0 is code * scale, exact in a float (7 + 11 bits), so
 * attention over a q8_0 cache is attention over the floats it stands for. Plain functions of the shape; any thread. */
#ifndef TD_KERNELS_CPU_KV_H
#define TD_KERNELS_CPU_KV_H

#include "base/check.h"
#include "kernels/half.h"
#include "kernels/kernels.h"

enum { KV_LANES = 16, KV_Q8_DIMS = 32 }; // tokens side by side in K; dims that share a q8_0 scale

static inline size_t kv_code_bytes(kern_kv_type type)
{
    return type == KV_F32 ? 4 : type == KV_Q8_0 ? 1 : 2;
}

/* Codes of K, or of V: both take the same room. */
static inline size_t kv_codes_bytes(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t block_tok)
{
    return (size_t)heads * (size_t)head_dim * (size_t)block_tok * kv_code_bytes(type);
}

static inline size_t kv_scales_bytes(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t block_tok)
{
    return type == KV_Q8_0 ? (size_t)heads * (size_t)(head_dim / KV_Q8_DIMS) * (size_t)block_tok * 2 : 0;
}

/* The 16 tokens that hold token `slot` (block * block_tok + offset) of one head: K group, V rows and their scales. */
typedef struct kv_group16 {
    uint8_t *k;        // [D][16] codes
    uint8_t *v;        // [16][D] codes
    uint16_t *k_scale; // [D/32][16]
    uint16_t *v_scale; // [16][D/32]
} kv_group16;

static inline kv_group16 kv_group_at(const kern_kv_layer *kv, int64_t slot, int32_t head)
{
    int32_t bt = kv->block_tok, D = kv->head_dim;
    size_t block = (size_t)(slot / bt), group = (size_t)(slot % bt) / KV_LANES;
    size_t codes = kv_codes_bytes(kv->type, kv->heads, D, bt), scales = kv_scales_bytes(kv->type, kv->heads, D, bt);
    size_t index = (size_t)head * (size_t)(bt / KV_LANES) + group; // of the 16-token group among the block's
    uint8_t *base = kv->base + block * kv->block_stride;
    size_t code_off = index * (size_t)D * KV_LANES * kv_code_bytes(kv->type);
    size_t scale_off = index * (size_t)(D / KV_Q8_DIMS) * KV_LANES;
    uint16_t *s = (uint16_t *)(void *)(base + 2 * codes);
    return (kv_group16){base + code_off, base + codes + code_off, s + scale_off, s + scales / 2 + scale_off};
}

/* How 32 dims become q8_0: a = largest |x|, compared as bits. Infinite or NaN: scale NaN, codes 0, so that the value
 * reads back as NaN. Else scale = f16(a / 127), at most 65504, and code = x / scale to nearest even, clamped to ±127;
 * all 0 where the scale is 0. Codes use x * (1 / scale). */
#define KV_Q8_SCALE_NAN 0x7e00
#define KV_Q8_SCALE_MAX 65504.0f

static inline uint16_t kv_q8_scale(uint32_t amax_bits)
{
    if (amax_bits >= 0x7f800000)
        return KV_Q8_SCALE_NAN;
    float d = kern_from_bits(amax_bits) / 127.0f;
    return kern_f32_to_f16(d > KV_Q8_SCALE_MAX ? KV_Q8_SCALE_MAX : d);
}

/* What to multiply by before rounding; 0 where all codes are 0. An f16 that is not 0 is far above float's denormals. */
static inline float kv_q8_inverse(uint16_t scale)
{
    return scale == 0 || scale == KV_Q8_SCALE_NAN ? 0.0f : 1.0f / kern_f16_to_f32(scale);
}

#endif
