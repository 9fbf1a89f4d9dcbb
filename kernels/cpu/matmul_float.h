/* matmul_float.h - register tiles of F32, F16 and BF16 weights, for either vector width. Included once by a level's
 * file.
 *
 * A chain of fused multiply-adds waits four cycles on itself, so a tile of few tokens walks several chunks at once:
 * they are separate chains anyway, and join afterwards in the canonical order. */
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

/* `wide` chunks at once. */
MM_INLINE void float_chunks(const kern_type type, const int n, const int wide, const mm_job *job, int32_t tok0,
                            int32_t c, mm_stack stack)
{
    const int32_t steps = (type == KT_BF16 ? (job->cols + 1) / 2 : job->cols) / job->chunks;
    const size_t code = job->geom.code_bytes, chunk = (size_t)steps;
    const uint8_t *w = job->panel + (size_t)c * chunk * code;
    const uint8_t *x = job->act + (size_t)tok0 * job->act_stride + (size_t)c * chunk * 4;
    VF acc[4][HALVES][MM_TOK];
#pragma GCC unroll 4
    for (int i = 0; i < wide; i++)
#pragma GCC unroll 2
        for (int h = 0; h < HALVES; h++)
#pragma GCC unroll 16
            for (int t = 0; t < n; t++)
                acc[i][h][t] = vf_zero();
    for (int32_t k = 0; k < steps; k++, w += code, x += 4)
#pragma GCC unroll 4
        for (int i = 0; i < wide; i++)
            float_step(type, n, w + (size_t)i * chunk * code, x + (size_t)i * chunk * 4, job->act_stride, acc[i]);
#pragma GCC unroll 4
    for (int i = 0; i < wide; i++)
#pragma GCC unroll 2
        for (int h = 0; h < HALVES; h++)
            mm_join(n, job, tok0, c + i, h, acc[i][h], stack);
}

MM_INLINE void tile_float(const kern_type type, const int n, const mm_job *job, int32_t tok0)
{
    const int wide = n == 1 ? 4 : n <= 3 ? 2 : 1;
    mm_stack stack;
    if (wide > 1 && job->chunks % wide == 0)
        for (int32_t c = 0; c < job->chunks; c += wide)
            float_chunks(type, n, wide, job, tok0, c, stack);
    else
        for (int32_t c = 0; c < job->chunks; c++)
            float_chunks(type, n, 1, job, tok0, c, stack);
}

#endif
