/* Activation rows and the embedding lookup, in plain C: the truth for the faster levels. */
#include "base/err.h"
#include "kernels/cpu/act.h"
#include "kernels/cpu/cpu.h"
#include "kernels/half.h"
#include "kernels/ref/ref.h"

/* Scale of a block, and what to multiply its values by; the rules stand in act.h. */
static float block_scale(const float *x, int32_t n, float *inv)
{
    uint32_t top = 0;
    for (int32_t i = 0; i < n; i++)
        top = TD_MAX(top, kern_to_bits(x[i]) & 0x7fffffff);
    float a = kern_from_bits(top);
    *inv = 0;
    if (top >= 0x7f800000)
        return kern_from_bits(0x7fc00000);
    if (a < ACT_AMAX_MIN)
        return 0;
    *inv = 127.0f / a;
    return a / 127.0f;
}

static int32_t block_codes(const float *x, int32_t n, float inv, int8_t *q)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < n; i++) {
        // Adding 1.5 * 2^23 rounds to the nearest whole number, ties to even, and leaves it in the low bits.
        uint32_t bits = inv != 0 ? kern_to_bits(x[i] * inv + KERN_EXP_MAGIC) - kern_to_bits(KERN_EXP_MAGIC) : 0;
        q[i] = (int8_t)(int32_t)bits;
        sum += q[i];
    }
    return sum;
}

static void row_q32(const float *x, int32_t cols, void *row)
{
    act_q32 a = act_q32_of(row, cols);
    for (int32_t b = 0; b < cols / 32; b++) {
        float inv, d = block_scale(x + 32 * b, 32, &inv);
        int32_t sum = block_codes(x + 32 * b, 32, inv, (int8_t *)a.q + 32 * b);
        ((float *)a.d)[b] = d;
        ((float *)a.ds)[b] = d * (float)sum;
        ((int32_t *)a.neg)[b] = -sum;
    }
}

static void row_q256(const float *x, int32_t cols, void *row)
{
    act_q256 a = act_q256_of(row, cols);
    for (int32_t b = 0; b < cols / 256; b++) {
        float inv, d = block_scale(x + 256 * b, 256, &inv);
        ((float *)a.d)[b] = d;
        for (int32_t s = 0; s < 8; s++) {
            const float *xs = x + 256 * b + 32 * s;
            int8_t *q = (int8_t *)a.q + 256 * b + 32 * s;
            int32_t s0 = block_codes(xs, 16, inv, q), s1 = block_codes(xs + 16, 16, inv, q + 16);
            ((int16_t *)a.s16)[16 * b + 2 * s] = (int16_t)s0;
            ((int16_t *)a.s16)[16 * b + 2 * s + 1] = (int16_t)s1;
            ((int16_t *)a.s32)[8 * b + s] = (int16_t)(s0 + s1);
        }
    }
}

void act_row_ref(kern_act_kind kind, const float *x, int32_t cols, void *row)
{
    uint16_t *h = row;
    switch (kind) {
    case KA_F32: memcpy(row, x, (size_t)cols * 4); break;
    case KA_BF16:
        for (int32_t k = 0; k < cols; k++)
            h[k] = kern_f32_to_bf16(x[k]);
        if (cols & 1)
            h[cols] = 0;
        break;
    case KA_Q8_32: row_q32(x, cols, row); break;
    default: row_q256(x, cols, row); break;
    }
}

int64_t cpu_quant_tiles(const kern_quant_args *a) { return a->out->tok_count; }

void ref_quant(const kern_quant_args *a, int64_t t0, int64_t t1)
{
    for (int64_t t = t0; t < t1; t++)
        act_row_ref(a->out->kind, a->x + t * a->x_stride, a->out->cols,
                    (char *)a->out->data + (size_t)t * a->out->stride);
}
