/* matmul_float.h - register tiles of F32, F16 and BF16 weights, for either vector width. Included once by a level's file.
 *
 * A chain of fused multiply-adds waits four cycles on itself, so a tile of few tokens walks several chunks at once: they
 * are separate chains anyway, and join afterwards in the canonical order. */
#ifndef TD_KERNELS_CPU_MATMUL_FLOAT_H
#define TD_KERNELS_CPU_MATMUL_FLOAT_H

#include "kernels/cpu/vec.h"

/* One step of the chains of n tokens at column k: one column, or a pair of BF16. w: this half's weights of the step. */
MM_INLINE void float_step(const kern_type type, const int n, const uint8_t *w, const uint8_t *x, size_t stride, VF *acc)
{
    if (type == KT_BF16) {
        const V top = v_set32(-65536);
        V pair = v_load(w);
        VF even = vf_bits(v_shl(pair, 16)), odd = vf_bits(v_and(pair, top));
#pragma GCC unroll 16
        for (int t = 0; t < n; t++) {
            uint32_t p = (uint32_t)mm_word(x + (size_t)t * stride);
            VF x0 = vf_bits(v_set32((int32_t)(p << 16))), x1 = vf_bits(v_set32((int32_t)(p & 0xffff0000u)));
            acc[t] = vf_fma(odd, x1, acc[t]);
            acc[t] = vf_fma(even, x0, acc[t]);
        }
        return;
    }
    VF v = type == KT_F16 ? v_half(w) : vf_load((const float *)(const void *)w);
#pragma GCC unroll 16
    for (int t = 0; t < n; t++)
        acc[t] = vf_fma(v, vf_set(mm_float(x + (size_t)t * stride)), acc[t]);
}

/* `wide` chunks at once, `halves` halves at once. */
MM_INLINE void float_chunks(const kern_type type, const int n, const int wide, const int halves, const mm_job *job,
                            int32_t tok0, int32_t c, int half0, mm_stack stack)
{
    const int32_t steps = (type == KT_BF16 ? (job->cols + 1) / 2 : job->cols) / job->chunks;
    const size_t code = job->geom.code_bytes, half_bytes = code / HALVES;
    const uint8_t *w = job->panel + (size_t)(c * steps) * code + (size_t)half0 * half_bytes;
    const uint8_t *x = job->act + (size_t)tok0 * job->act_stride + (size_t)(c * steps) * 4;
    VF acc[4][HALVES][MM_TOK];
    for (int i = 0; i < wide; i++)
        for (int h = 0; h < halves; h++)
            for (int t = 0; t < n; t++)
                acc[i][h][t] = vf_zero();
    for (int32_t k = 0; k < steps; k++, w += code, x += 4)
        for (int i = 0; i < wide; i++)
            for (int h = 0; h < halves; h++)
                float_step(type, n, w + (size_t)i * (size_t)steps * code + (size_t)h * half_bytes,
                           x + (size_t)i * (size_t)steps * 4, job->act_stride, acc[i][h]);
    for (int i = 0; i < wide; i++)
        for (int h = 0; h < halves; h++)
            mm_join(n, job, tok0, c + i, half0 + h, acc[i][h], stack);
}

MM_INLINE void tile_float(const kern_type type, const int n, const mm_job *job, int32_t tok0)
{
    const int wide = n == 1 ? 4 : n <= 3 ? 2 : 1, halves = n <= 2 ? HALVES : 1;
    mm_stack stack;
    for (int half = 0; half < HALVES; half += halves) {
        if (wide > 1 && job->chunks % wide == 0) {
            for (int32_t c = 0; c < job->chunks; c += wide)
                float_chunks(type, n, wide, halves, job, tok0, c, half, stack);
        } else {
            for (int32_t c = 0; c < job->chunks; c++)
                float_chunks(type, n, 1, halves, job, tok0, c, half, stack);
        }
    }
}

#endif
