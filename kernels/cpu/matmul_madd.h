/* matmul_madd.h - register tiles of quantised weights without VNNI, for either vector width. Included once by a level's
 * file.
 *
 * vpmaddubsw leaves sums of two products in 16 bits. With |q| ≤ 127 a 4-bit code's pair is at most 3,810, so eight of
 * them, a whole block of 32 columns, fit without widening (30,480); four pairs of 5-bit codes do (31,496), two of 6-bit
 * ones (32,004). Then one vpmaddwd widens, and multiplies by the sub-block's scale on its way where there is one. 8-bit
 * codes go as two nibbles. That is 1.6 times the rate of widening each pair. */
#ifndef TD_KERNELS_CPU_MATMUL_MADD_H
#define TD_KERNELS_CPU_MATMUL_MADD_H

#include "kernels/cpu/vec.h"

/* Where the codes of 32 columns are: a block, or one part of a block of 256. Parts that share bytes are a group. */
typedef struct madd_part {
    const uint8_t *low, *high;
    V up, down;     // how high bits turn to bit 4, left or right; Q5_K only
    int part;       // in the group; a constant once inlined
} madd_part;

MM_INLINE madd_part part_of(const kern_type type, const uint8_t *p, int32_t group, const int part)
{
    madd_part m = {.low = p, .high = p, .part = part};
    if (type == KT_Q5_0 || type == KT_Q5_1)
        m.low += 64;
    if (type == KT_Q4_K || type == KT_Q5_K)
        m.low += (type == KT_Q5_K ? 512 : 0) + 512 * group;
    if (type == KT_Q5_K) {
        int32_t s = 2 * group + part;
        m.up = v_set32(4 - s);
        m.down = v_set32(s > 4 ? s - 4 : 32);
    }
    if (type == KT_Q6_K) {
        m.low += 1536 * group + 512 + 512 * (part & 1);
        m.high += 1536 * group;
    }
    return m;
}

/* Codes of group of columns g: one vector of bytes. */
MM_INLINE V group_codes(const kern_type type, const madd_part *m, const int g, int half)
{
    const size_t at = (size_t)half * VEC_BYTES;
    const bool big = type == KT_Q4_K || type == KT_Q5_K || type == KT_Q6_K;
    const bool upper = big ? m->part >= (type == KT_Q6_K ? 2 : 1) : g >= 4;
    V v = v_load(m->low + 64 * (big ? g : g & 3) + at), h;
    v = v_and(upper ? v_shr(v, 4) : v, v_set8(15));
    switch (type) {
    case KT_Q5_0:
    case KT_Q5_1:
        h = v_load(m->high + at);
        return v_or(v, v_and(g < 4 ? v_shl(h, 4 - g) : v_shr(h, g - 4), v_set8(16)));
    case KT_Q5_K:
        h = v_load(m->high + 64 * g + at);
        return v_or(v, v_and(v_or(v_shlv(h, m->up), v_shrv(h, m->down)), v_set8(16)));
    case KT_Q6_K:
        h = v_load(m->high + 64 * g + at);
        return v_or(v, v_and(m->part < 3 ? v_shl(h, 4 - 2 * m->part) : v_shr(h, 2), v_set8(0x30)));
    default: return v;
    }
}

/* sum[h][t] += scale[h] * dot product of the groups [g0, g1) of a part. */
MM_INLINE void part_dot(const kern_type type, const int n, const int halves, const madd_part *m, int half0,
                        const int g0, const int g1, const uint8_t *act, size_t stride, const V *scale, V (*sum)[MM_TOK])
{
#pragma GCC unroll 4
    for (int h = 0; h < halves; h++) {
        V s16[MM_TOK];
#pragma GCC unroll 8
        for (int g = g0; g < g1; g++) {
            V w = group_codes(type, m, g, half0 + h);
#pragma GCC unroll 16
            for (int t = 0; t < n; t++) {
                V p = v_maddubs(w, v_set32(mm_word(act + (size_t)t * stride + 4 * g)));
                s16[t] = g == g0 ? p : v_add16(s16[t], p);
                v_pin(s16[t]);
            }
        }
#pragma GCC unroll 16
        for (int t = 0; t < n; t++)
            sum[h][t] = v_add32(sum[h][t], v_madd(s16[t], scale[h]));
    }
}

/* The same for a block of Q8_0: low and high nibbles apart. */
MM_INLINE void bytes_dot(const int n, const int halves, const uint8_t *codes, int half0, const uint8_t *act,
                         size_t stride, V (*sum)[MM_TOK])
{
    const V low = v_set8(15);
#pragma GCC unroll 4
    for (int h = 0; h < halves; h++) {
        V s0[MM_TOK], s1[MM_TOK];
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            V w = v_load(codes + 64 * g + (half0 + h) * VEC_BYTES), w0 = v_and(w, low), w1 = v_and(v_shr(w, 4), low);
#pragma GCC unroll 16
            for (int t = 0; t < n; t++) {
                V x = v_set32(mm_word(act + (size_t)t * stride + 4 * g)), p0 = v_maddubs(w0, x), p1 = v_maddubs(w1, x);
                s0[t] = g == 0 ? p0 : v_add16(s0[t], p0);
                s1[t] = g == 0 ? p1 : v_add16(s1[t], p1);
                v_pin(s0[t]);
                v_pin(s1[t]);
            }
        }
#pragma GCC unroll 16
        for (int t = 0; t < n; t++)
            sum[h][t] = v_add32(sum[h][t], v_add32(v_madd(s0[t], v_set16(1)), v_madd(s1[t], v_set16(16))));
    }
}

MM_INLINE void madd_q32(const kern_type type, const int n, const int halves, const mm_job *job, int32_t tok0, int half0,
                        mm_stack stack)
{
    const int zero_shift = type == KT_Q4_0 ? 3 : type == KT_Q5_0 ? 4 : 7; // codes are 8, 16 or 128 too large
    const bool has_min = type == KT_Q4_1 || type == KT_Q5_1, five = type == KT_Q5_0 || type == KT_Q5_1;
    const uint8_t *codes = job->panel;
    const uint8_t *act = job->act + (size_t)tok0 * job->act_stride, *meta = act + job->cols; // d, ds, neg
    const size_t stride = job->act_stride, nb4 = 4 * (size_t)job->geom.blocks;
    const V ones[2] = {v_set16(1), v_set16(1)};
    int32_t per_chunk = job->geom.blocks / job->chunks;
    for (int32_t c = 0; c < job->chunks; c++) {
        VF acc[HALVES][MM_TOK];
#pragma GCC unroll 4
        for (int h = 0; h < halves; h++)
#pragma GCC unroll 16
            for (int t = 0; t < n; t++)
                acc[h][t] = vf_zero();
        for (int32_t b = 0; b < per_chunk; b++) {
            const uint8_t *scales = codes + job->geom.scale_off;
            V sum[HALVES][MM_TOK];
#pragma GCC unroll 4
            for (int h = 0; h < halves; h++)
#pragma GCC unroll 16
                for (int t = 0; t < n; t++)
                    sum[h][t] = has_min ? v_zero()
                                        : v_shl(v_set32(mm_word(meta + (size_t)t * stride + 2 * nb4)), zero_shift);
            next_panel(n, job, codes);
            madd_part m = part_of(type, codes, 0, 0);
            if (type == KT_Q8_0)
                bytes_dot(n, halves, codes, half0, act, stride, sum);
            else
                part_dot(type, n, halves, &m, half0, 0, five ? 4 : 8, act, stride, ones, sum);
            if (five)
                part_dot(type, n, halves, &m, half0, 4, 8, act, stride, ones, sum);
#pragma GCC unroll 4
            for (int h = 0; h < halves; h++) {
                const uint8_t *at = scales + (half0 + h) * LANES * 2;
                VF d = v_half(at);
#pragma GCC unroll 16
                for (int t = 0; t < n; t++) {
                    const uint8_t *x = meta + (size_t)t * stride;
                    acc[h][t] = vf_fma(v_float(sum[h][t]), vf_mul(d, vf_set(mm_float(x))), acc[h][t]);
                    if (has_min)
                        acc[h][t] = vf_fma(v_half(at + 32), vf_set(mm_float(x + nb4)), acc[h][t]);
                }
            }
            codes += job->geom.block_bytes;
            act += 32;
            meta += 4;
        }
#pragma GCC unroll 4
        for (int h = 0; h < halves; h++)
            mm_join(n, job, tok0, c, half0 + h, acc[h], stack);
    }
}

/* 6-bit scales and minima of Q4_K and Q5_K as bytes [8][16]. */
typedef struct madd_scales {
    _Alignas(64) uint8_t sc[128], mn[128];
} madd_scales;

MM_INLINE void open_scales(const uint8_t *p, madd_scales *s)
{
    const V six = v_set8(63), four = v_set8(15), top = v_set8(0x30);
    for (int i = 0; i < 64; i += VEC_BYTES) {
        V a = v_load(p + 64 + i), b = v_load(p + 128 + i), c = v_load(p + 192 + i);
        V v[4] = {v_and(a, six), v_and(b, six), v_or(v_and(v_shr(a, 2), top), v_and(c, four)),
                  v_or(v_and(v_shr(b, 2), top), v_and(v_shr(c, 4), four))};
        memcpy(s->sc + i, &v[0], VEC_BYTES);
        memcpy(s->mn + i, &v[1], VEC_BYTES);
        memcpy(s->sc + 64 + i, &v[2], VEC_BYTES);
        memcpy(s->mn + 64 + i, &v[3], VEC_BYTES);
    }
}

/* One row's scale twice, or the scales of two sub-blocks, as a pair of int16 for vpmaddwd. */
MM_INLINE V pair_of(V even, V odd) { return v_or(v_and(even, v_set32(0xffff)), v_shl(odd, 16)); }

MM_INLINE void madd_block_k(const kern_type type, const int n, const int halves, const uint8_t *codes,
                            const uint8_t *sc, int half0, const uint8_t *act, size_t stride, V (*sum)[MM_TOK])
{
#pragma GCC unroll 4
    for (int h = 0; h < halves; h++)
#pragma GCC unroll 16
        for (int t = 0; t < n; t++)
            sum[h][t] = v_zero();
    const int parts = type == KT_Q6_K ? 4 : 2, step = type == KT_Q4_K ? 8 : type == KT_Q5_K ? 4 : 2;
    for (int32_t group = 0; group < 8 / parts; group++)
#pragma GCC unroll 4
        for (int part = 0; part < parts; part++, act += 32) {
            madd_part m = part_of(type, codes, group, part);
            const int32_t s = group * parts + part;
            V scale[2][HALVES];
#pragma GCC unroll 4
            for (int h = 0; h < halves; h++) {
                const uint8_t *at = sc + (half0 + h) * LANES + (type == KT_Q6_K ? 32 : 16) * s;
                V s0 = type == KT_Q6_K ? v_s8_32(at) : v_u8_32(at), s1 = type == KT_Q6_K ? v_s8_32(at + 16) : s0;
                scale[0][h] = pair_of(s0, s0);
                scale[1][h] = pair_of(s1, s1);
            }
#pragma GCC unroll 4
            for (int g = 0; g < 8; g += step) // as many groups of columns as 16 bits hold the pairs of
                part_dot(type, n, halves, &m, half0, g, g + step, act, stride, scale[g >= 4], sum);
        }
}

MM_INLINE void madd_k(const kern_type type, const int n, const int halves, const mm_job *job, int32_t tok0, int half0,
                      mm_stack stack)
{
    const bool six = type == KT_Q6_K;
    const uint8_t *block = job->panel;
    const uint8_t *act = job->act + (size_t)tok0 * job->act_stride, *meta = act + job->cols; // d[nb]
    const size_t stride = job->act_stride, nb = (size_t)job->geom.blocks;
    const uint8_t *sums = meta + (six ? 20 : 4) * nb; // s16 or s32
    int32_t per_chunk = job->geom.blocks / job->chunks;
    for (int32_t c = 0; c < job->chunks; c++) {
        VF acc[HALVES][MM_TOK];
#pragma GCC unroll 4
        for (int h = 0; h < halves; h++)
#pragma GCC unroll 16
            for (int t = 0; t < n; t++)
                acc[h][t] = vf_zero();
        for (int32_t b = 0; b < per_chunk; b++) {
            const uint8_t *scales = block, *codes = block + job->geom.code_off;
            madd_scales s;
            V sum[HALVES][MM_TOK];
            if (!six)
                open_scales(scales, &s);
            next_panel(n, job, block);
            const uint8_t *sc = six ? scales + 32 : s.sc, *low_sc = six ? sc : s.mn;
            madd_block_k(type, n, halves, codes, sc, half0, act, stride, sum);
#pragma GCC unroll 4
            for (int h = 0; h < halves; h++) {
                const int lane = (half0 + h) * LANES;
                VF d = v_half(scales + 2 * lane), m = six ? d : v_half(scales + 32 + 2 * lane);
                V low[MM_TOK];
#pragma GCC unroll 16
                for (int t = 0; t < n; t++)
                    low[t] = v_zero();
                for (int i = 0; i < (six ? 8 : 4); i++) {
                    const uint8_t *at = low_sc + 32 * i + lane;
                    V pair = six ? pair_of(v_s8_32(at), v_s8_32(at + 16)) : pair_of(v_u8_32(at), v_u8_32(at + 16));
#pragma GCC unroll 16
                    for (int t = 0; t < n; t++)
                        low[t] = v_add32(low[t], v_madd(pair, v_set32(mm_word(sums + (size_t)t * stride + 4 * i))));
                }
#pragma GCC unroll 16
                for (int t = 0; t < n; t++) {
                    VF e = vf_set(mm_float(meta + (size_t)t * stride));
                    V total = six ? v_sub32(sum[h][t], v_shl(low[t], 5)) : sum[h][t];
                    acc[h][t] = vf_fma(v_float(total), vf_mul(d, e), acc[h][t]);
                    if (!six)
                        acc[h][t] = vf_fnma(v_float(low[t]), vf_mul(m, e), acc[h][t]);
                }
            }
            block += job->geom.block_bytes;
            act += 256;
            meta += 4;
            sums += six ? 32 : 16;
        }
#pragma GCC unroll 4
        for (int h = 0; h < halves; h++)
            mm_join(n, job, tok0, c, half0 + h, acc[h], stack);
    }
}

/* Few tokens take both halves in one walk, as memory is what they wait for; more tokens need the registers. */
#define MADD_TILE(type, family)                                                                                        \
    MM_INLINE void tile_##type(const int n, const mm_job *job, int32_t tok0)                                           \
    {                                                                                                                  \
        mm_stack stack;                                                                                                \
        const int halves = n <= 2 ? HALVES : 1;                                                                        \
        for (int half = 0; half < HALVES; half += halves)                                                              \
            madd_##family(KT_##type, n, halves, job, tok0, half, stack);                                               \
    }

#endif
