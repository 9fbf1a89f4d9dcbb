/* matmul_float.h - register tiles of F32, F16 and BF16 weights, for either vector width. Included once by a level's
 * file.
 *
 * One stream through the panel, whatever the number of chunks: several at once would hide the latency of the chains and
 * lose half the bandwidth. */
#ifndef TD_KERNELS_CPU_MATMUL_FLOAT_H
#define TD_KERNELS_CPU_MATMUL_FLOAT_H

#include "kernels/cpu/vec.h"

/* One step of the chains of n tokens at column k, a pair of columns for BF16: 16 rows at w. */
MM_INLINE void float_step(const kern_type type, const int n, const uint8_t *w, const uint8_t *x, size_t stride,
                          VF (*acc)[MM_TOK])
{
    const size_t half = (type == KT_F16 ? 2 : 4) * LANES;
    const V top = v_set32(-65536);
    VF even[HALVES], odd[HALVES];
#pragma GCC unroll 2
    for (int h = 0; h < HALVES; h++) {
        const uint8_t *p = w + (size_t)h * half;
        if (type == KT_BF16) {
            odd[h] = vf_bits(v_and(v_load(p), top));
            even[h] = vf_bits(v_shl(v_load(p), 16));
        } else {
            even[h] = type == KT_F16 ? v_half(p) : vf_load((const float *)(const void *)p);
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < n; t++) {
        V pair = v_set32(mm_word(x + (size_t)t * stride));
        VF x0 = vf_bits(type == KT_BF16 ? v_shl(pair, 16) : pair), x1 = vf_bits(v_and(pair, top));
#pragma GCC unroll 2
        for (int h = 0; h < HALVES; h++) {
            if (type == KT_BF16)
                acc[h][t] = vf_fma(odd[h], x1, acc[h][t]);
            acc[h][t] = vf_fma(even[h], x0, acc[h][t]);
        }
    }
}

MM_INLINE void tile_float(const kern_type type, const int n, const mm_job *job, int32_t tok0)
{
    const int32_t steps = (type == KT_BF16 ? (job->cols + 1) / 2 : job->cols) / job->chunks;
    const uint8_t *w = job->panel, *x = job->act + (size_t)tok0 * job->act_stride;
    mm_stack stack;
    for (int32_t c = 0; c < job->chunks; c++) {
        VF acc[HALVES][MM_TOK];
#pragma GCC unroll 2
        for (int h = 0; h < HALVES; h++)
#pragma GCC unroll 16
            for (int t = 0; t < n; t++)
                acc[h][t] = vf_zero();
        for (int32_t k = 0; k < steps; k++, w += job->geom.block_bytes, x += 4) {
            next_panel(n, job, w);
            float_step(type, n, w, x, job->act_stride, acc);
        }
#pragma GCC unroll 2
        for (int h = 0; h < HALVES; h++)
            mm_join(n, job, tok0, c, h, acc[h], stack);
    }
}

#endif
