/* act.h - one token's activation row, as products read it: the same bytes at every level.
 *
 *   KA_F32    float [cols]
 *   KA_BF16   bf16 [cols rounded up to 2], the pad is 0
 *   KA_Q8_32  int8 q[cols] | float d[nb] | float ds[nb] = d * sum | int32 neg[nb] = -sum       nb = cols / 32
 *   KA_Q8_256 int8 q[cols] | float d[nb] | int16 s32[nb][8] | int16 s16[nb][16]                nb = cols / 256
 *
 * Quantising, in this order: a = largest |x| of the block, compared as bits, so that no order matters; where a is
 * infinite or NaN, d = NaN and q = 0: a product with such a block is NaN. Where a < 1e-30, d = 0 and q = 0. Else
 * d = a / 127, q = x * (127 / a) rounded to nearest even; that stays within ±127, which the 16-bit sums of the 4-bit
 * products rely on. Sums are of q, over the block or over 32 or 16 columns. */
#ifndef TD_KERNELS_CPU_ACT_H
#define TD_KERNELS_CPU_ACT_H

#include "base/check.h"
#include "kernels/tensor.h"

#define ACT_AMAX_MIN 1e-30f // below it a block counts as zeros; far from where 127 / a would overflow

/* An odd number of cache lines: rows a power of two apart would share the sets of a cache. */
static inline size_t act_stride(kern_act_kind kind, int32_t cols)
{
    size_t n = (size_t)cols;
    switch (kind) {
    case KA_F32: n *= 4; break;
    case KA_BF16: n = (n + 1) / 2 * 4; break;
    case KA_Q8_32: n += n / 32 * 12; break;
    default: n += n / 256 * (4 + 16 + 32); break;
    }
    return td_align_up(n, 64) | 64;
}

typedef struct act_q32 {
    const int8_t *q;
    const float *d, *ds;
    const int32_t *neg;
} act_q32;

static inline act_q32 act_q32_of(const void *row, int32_t cols)
{
    const char *p = (const char *)row + cols;
    int32_t nb = cols / 32;
    return (act_q32){row, (const float *)(const void *)p, (const float *)(const void *)(p + 4 * nb),
                     (const int32_t *)(const void *)(p + 8 * nb)};
}

typedef struct act_q256 {
    const int8_t *q;
    const float *d;
    const int16_t *s32, *s16;
} act_q256;

static inline act_q256 act_q256_of(const void *row, int32_t cols)
{
    const char *p = (const char *)row + cols;
    int32_t nb = cols / 256;
    return (act_q256){row, (const float *)(const void *)p, (const int16_t *)(const void *)(p + 4 * nb),
                      (const int16_t *)(const void *)(p + 20 * nb)};
}

/* One row of floats to its activation form at `row`; cols is a multiple of the kind's block. Same bytes at each level.
 */
typedef void (*act_row_fn)(kern_act_kind kind, const float *x, int32_t cols, void *row);
void act_row_ref(kern_act_kind kind, const float *x, int32_t cols, void *row);
void act_row_avx2(kern_act_kind kind, const float *x, int32_t cols, void *row);
void act_row_avx512(kern_act_kind kind, const float *x, int32_t cols, void *row);

#endif
