/* Products of quantised weights with vpdpbusd: unsigned codes times signed activations, four columns of 16 rows at
 * once, exact in 32 bits. A block's codes are unpacked once and used for all tokens of the register tile. */
#define VEC_BITS 512
#include "kernels/cpu/levels.h"
#include "kernels/cpu/vec.h"

/* Where the high bits of `from` belong: merged into codes under a mask. */
MM_INLINE __m512i merge(__m512i codes, __m512i from, const int mask)
{
    return _mm512_ternarylogic_epi32(from, _mm512_set1_epi8((char)mask), codes, 0xea);
}

/* The 8 vectors of codes of a block of 32 columns. High bits turn inside their byte to bit 4; what crosses a byte's
 * border is masked off. */
MM_INLINE void unpack(const kern_type type, const uint8_t *p, __m512i *w)
{
    if (type == KT_Q8_0) {
        for (int g = 0; g < 8; g++)
            w[g] = _mm512_loadu_si512(p + 64 * g);
        return;
    }
    const bool five = type == KT_Q5_0 || type == KT_Q5_1;
    const __m512i low = _mm512_set1_epi8(15), high = _mm512_loadu_si512(p);
    for (int g = 0; g < 4; g++) {
        __m512i v = _mm512_loadu_si512(p + 64 * (g + five));
        w[g] = _mm512_and_si512(v, low);
        w[g + 4] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    }
    for (int g = 0; five && g < 8; g++)
        w[g] = merge(w[g], _mm512_rolv_epi32(high, _mm512_set1_epi32(4 - g)), 0x10);
}

/* The same for 32-column part s of a block of 256: parts that share bytes are `parts` in one group. */
MM_INLINE void unpack_k(const kern_type type, const uint8_t *p, int32_t group, const int part, __m512i *w)
{
    const bool six = type == KT_Q6_K;
    const uint8_t *high = p + (six ? 1536 * group : 0);
    p += six ? 1536 * group + 512 + 512 * (part & 1) : 512 * group + (type == KT_Q5_K ? 512 : 0);
    const __m512i low = _mm512_set1_epi8(15), turn = _mm512_set1_epi32(six ? 4 - 2 * part : 4 - 2 * group - part);
    for (int g = 0; g < 8; g++) {
        __m512i v = _mm512_loadu_si512(p + 64 * g);
        v = part >= (six ? 2 : 1) ? _mm512_srli_epi16(v, 4) : v;
        w[g] = _mm512_and_si512(v, low);
        if (type != KT_Q4_K)
            w[g] = merge(w[g], _mm512_rolv_epi32(_mm512_loadu_si512(high + 64 * g), turn), six ? 0x30 : 0x10);
    }
}

/* sum + the dot product of 4 * n columns. Two chains, as integers may be added in any order. */
MM_INLINE __m512i dot(__m512i sum, const __m512i *w, const uint8_t *a, const int n)
{
    __m512i other = _mm512_setzero_si512();
    for (int g = 0; g < n; g += 2) {
        sum = _mm512_dpbusd_epi32(sum, w[g], _mm512_set1_epi32(mm_word(a + 4 * g)));
        other = _mm512_dpbusd_epi32(other, w[g + 1], _mm512_set1_epi32(mm_word(a + 4 * g + 4)));
    }
    return _mm512_add_epi32(sum, other);
}

MM_INLINE void tile_q32(const kern_type type, const int n, const mm_job *job, int32_t tok0)
{
    const int zero_shift = type == KT_Q4_0 ? 3 : type == KT_Q5_0 ? 4 : 7; // codes are 8, 16 or 128 too large
    const bool has_min = type == KT_Q4_1 || type == KT_Q5_1;
    const uint8_t *codes = job->panel;
    const uint8_t *act = job->act + (size_t)tok0 * job->act_stride;
    const uint8_t *meta = act + job->cols; // d[nb], ds[nb], neg[nb]
    const size_t stride = job->act_stride, nb4 = 4 * (size_t)job->geom.blocks;
    int32_t per_chunk = job->geom.blocks / job->chunks;
    mm_stack stack;
    for (int32_t c = 0; c < job->chunks; c++) {
        __m512 acc[MM_TOK];
#pragma GCC unroll 16
        for (int t = 0; t < n; t++)
            acc[t] = _mm512_setzero_ps();
        for (int32_t b = 0; b < per_chunk; b++) {
            const uint8_t *scales = codes + job->geom.scale_off;
            __m512i w[8];
            unpack(type, codes, w);
            next_panel(n, job, codes);
            __m512 d = v_half(scales), m = has_min ? v_half(scales + 32) : d;
#pragma GCC unroll 16
            for (int t = 0; t < n; t++) {
                const uint8_t *a = act + (size_t)t * stride, *at = meta + (size_t)t * stride;
                __m512i sum = has_min ? _mm512_setzero_si512()
                                      : _mm512_slli_epi32(_mm512_set1_epi32(mm_word(at + 2 * nb4)), zero_shift);
                sum = dot(sum, w, a, 8);
                acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(d, _mm512_set1_ps(mm_float(at))),
                                         acc[t]);
                if (has_min)
                    acc[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(mm_float(at + nb4)), acc[t]);
            }
            codes += job->geom.block_bytes;
            act += 32;
            meta += 4;
        }
        mm_join(n, job, tok0, c, 0, acc, stack);
    }
}

/* Sub-block scales of a block, widened: bytes [8][16] of Q4_K and Q5_K, minima as pairs of int16 per row. */
typedef struct k_scales {
    _Alignas(64) uint8_t sc[8 * 16], mn[8 * 16];
    __m512i pair[8]; // minima (4 vectors), or the 16 scales of Q6_K
} k_scales;

MM_INLINE __m512i pair16(__m128i even, __m128i odd, const bool is_signed)
{
    __m512i e = is_signed ? _mm512_cvtepi8_epi32(even) : _mm512_cvtepu8_epi32(even);
    __m512i o = is_signed ? _mm512_cvtepi8_epi32(odd) : _mm512_cvtepu8_epi32(odd);
    return _mm512_mask_blend_epi16(0xaaaaaaaau, e, _mm512_slli_epi32(o, 16));
}

MM_INLINE __m128i load16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }

MM_INLINE void open_scales(const kern_type type, const uint8_t *p, k_scales *s)
{
    if (type == KT_Q6_K) {
        for (int i = 0; i < 8; i++)
            s->pair[i] = pair16(load16(p + 32 + 32 * i), load16(p + 48 + 32 * i), true);
        return;
    }
    const __m512i six = _mm512_set1_epi8(63), four = _mm512_set1_epi8(15), top = _mm512_set1_epi8(0x30);
    __m512i a = _mm512_loadu_si512(p + 64), b = _mm512_loadu_si512(p + 128), c = _mm512_loadu_si512(p + 192);
    _mm512_store_si512(s->sc, _mm512_and_si512(a, six));
    _mm512_store_si512(s->mn, _mm512_and_si512(b, six));
    _mm512_store_si512(s->sc + 64, _mm512_ternarylogic_epi32(_mm512_srli_epi16(a, 2), top, _mm512_and_si512(c, four),
                                                             0xea));
    _mm512_store_si512(s->mn + 64, _mm512_ternarylogic_epi32(_mm512_srli_epi16(b, 2), top,
                                                             _mm512_and_si512(_mm512_srli_epi16(c, 4), four), 0xea));
    for (int i = 0; i < 4; i++)
        s->pair[i] = pair16(load16(s->mn + 32 * i), load16(s->mn + 32 * i + 16), false);
}

/* Adds part s's dot products, times its scales, to the sums of n tokens. */
MM_INLINE void add_part(const kern_type type, const int n, const __m512i *w, const uint8_t *sc, int32_t s,
                        const uint8_t *act, size_t stride, __m512i *sum)
{
    const uint8_t *a = act + 32 * s;
    if (type == KT_Q6_K) {
        __m512i s0 = _mm512_cvtepi8_epi32(load16(sc + 32 * s)), s1 = _mm512_cvtepi8_epi32(load16(sc + 32 * s + 16));
#pragma GCC unroll 16
        for (int t = 0; t < n; t++) {
            __m512i d0 = dot(_mm512_setzero_si512(), w, a + (size_t)t * stride, 4);
            __m512i d1 = dot(_mm512_setzero_si512(), w + 4, a + (size_t)t * stride + 16, 4);
            sum[t] = _mm512_add_epi32(sum[t], _mm512_add_epi32(_mm512_mullo_epi32(d0, s0), _mm512_mullo_epi32(d1, s1)));
        }
        return;
    }
    __m512i s0 = _mm512_cvtepu8_epi32(load16(sc + 16 * s));
#pragma GCC unroll 16
    for (int t = 0; t < n; t++) {
        __m512i d0 = dot(_mm512_setzero_si512(), w, a + (size_t)t * stride, 8);
        sum[t] = _mm512_add_epi32(sum[t], _mm512_mullo_epi32(d0, s0));
    }
}

/* Integer sums of one block for n tokens: sum over sub-blocks of scale * dot. */
MM_INLINE void block_sums(const kern_type type, const int n, const uint8_t *codes, const uint8_t *sc,
                          const uint8_t *act, size_t stride, __m512i *sum)
{
    const int parts = type == KT_Q6_K ? 4 : 2;
#pragma GCC unroll 16
    for (int t = 0; t < n; t++)
        sum[t] = _mm512_setzero_si512();
    for (int32_t group = 0; group < 8 / parts; group++)
#pragma GCC unroll 4
        for (int part = 0; part < parts; part++) {
            __m512i w[8];
            unpack_k(type, codes, group, part, w);
            add_part(type, n, w, sc, group * parts + part, act, stride, sum);
        }
}

MM_INLINE void tile_k(const kern_type type, const int n, const mm_job *job, int32_t tok0)
{
    const bool six = type == KT_Q6_K;
    const uint8_t *block = job->panel;
    const uint8_t *act = job->act + (size_t)tok0 * job->act_stride, *meta = act + job->cols; // d[nb]
    const size_t stride = job->act_stride, nb = (size_t)job->geom.blocks;
    const uint8_t *sums = meta + (six ? 20 : 4) * nb; // s16 or s32
    int32_t per_chunk = job->geom.blocks / job->chunks;
    mm_stack stack;
    for (int32_t c = 0; c < job->chunks; c++) {
        __m512 acc[MM_TOK];
#pragma GCC unroll 16
        for (int t = 0; t < n; t++)
            acc[t] = _mm512_setzero_ps();
        for (int32_t b = 0; b < per_chunk; b++) {
            const uint8_t *scales = block, *codes = block + job->geom.code_off;
            k_scales s;
            __m512i sum[MM_TOK];
            next_panel(n, job, block);
            open_scales(type, scales, &s);
            block_sums(type, n, codes, six ? scales + 32 : s.sc, act, stride, sum);
            __m512 d = v_half(scales), m = six ? d : v_half(scales + 32);
#pragma GCC unroll 16
            for (int t = 0; t < n; t++) {
                const uint8_t *at = sums + (size_t)t * stride;
                __m512i low = _mm512_setzero_si512();
                for (int i = 0; i < (six ? 8 : 4); i++)
                    low = _mm512_dpwssd_epi32(low, s.pair[i], _mm512_set1_epi32(mm_word(at + 4 * i)));
                __m512 e = _mm512_set1_ps(mm_float(meta + (size_t)t * stride));
                if (six)
                    sum[t] = _mm512_sub_epi32(sum[t], _mm512_slli_epi32(low, 5));
                acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t]), _mm512_mul_ps(d, e), acc[t]);
                if (!six)
                    acc[t] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(low), _mm512_mul_ps(m, e), acc[t]);
            }
            block += job->geom.block_bytes;
            act += 256;
            meta += 4;
            sums += six ? 32 : 16;
        }
        mm_join(n, job, tok0, c, 0, acc, stack);
    }
}

#define X(type, family, big)                                                                                           \
    MM_INLINE void tile_##type(const int n, const mm_job *job, int32_t tok0)                                           \
    {                                                                                                                  \
        tile_##family(KT_##type, n, job, tok0);                                                                        \
    }                                                                                                                  \
    MM_TILES(panel_##type, tile_##type, big)
X(Q8_0, q32, 16)
X(Q4_0, q32, 16)
X(Q4_1, q32, 16)
X(Q5_0, q32, 16)
X(Q5_1, q32, 16)
X(Q4_K, k, 8)
X(Q5_K, k, 8)
X(Q6_K, k, 8)
#undef X

void mm_panels_avx512vnni(mm_level *l)
{
#define X(type) l->panel[KT_##type] = panel_##type;
    X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q4_K) X(Q5_K) X(Q6_K)
#undef X
}
