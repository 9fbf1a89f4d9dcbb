/* Attention for AVX-512: micro kernels of up to 6 rows by 64 keys, and of up to 6 rows by 64 dims: 24 sums in
 * registers, fed by 4 vectors of keys or values that 6 broadcasts share, so that the multipliers and not the loads set
 * the pace. */
#include "kernels/cpu/attn_fast.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/vec512.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* Codes [i, i + 16) as floats, or the first 8 of them; those of q8_0 still want their scale. */
INLINE __m512 load(kern_kv_type type, const uint8_t *codes, int64_t i, bool half)
{
    switch (type) {
    case KV_F32: return _mm512_maskz_loadu_ps((__mmask16)(half ? 0x00ff : 0xffff), codes + 4 * i);
    case KV_F16:
        return half ? _mm512_zextps256_ps512(_mm256_cvtph_ps(_mm_loadu_si128((const void *)(codes + 2 * i))))
                    : f16_512(codes + 2 * i);
    case KV_BF16:
        return half ? _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_zextsi256_si512(_mm256_cvtepu16_epi32(
                          _mm_loadu_si128((const void *)(codes + 2 * i)))), 16))
                    : bf16_512(codes + 2 * i);
    default: return i8_512(codes + i); // rows of q8_0 are whole multiples of 32
    }
}

/* The dims of one cache line of K: `line` of them. */
INLINE void scores_line(kern_kv_type type, int rows, int line, const float *q, const attn_keys *keys, int32_t d0,
                        const __m512 scale[4], __m512 acc[ATTN_MICRO][4])
{
    __m512 k[4];
    UNROLL for (int g = 0; g < 4; g++)
        _mm_prefetch(keys->k_ahead[g] + d0 * (64 / line), _MM_HINT_T1);
    for (int32_t d = d0; d < d0 + line; d++) {
        UNROLL for (int g = 0; g < 4; g++) {
            k[g] = load(type, keys->k[g], d * KV_LANES, false);
            k[g] = type == KV_Q8_0 ? _mm512_mul_ps(k[g], scale[g]) : k[g];
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int g = 0; g < 4; g++)
                acc[r][g] = _mm512_fmadd_ps(_mm512_set1_ps(q[d * rows + r]), k[g], acc[r][g]);
    }
}

INLINE void scores_n(kern_kv_type type, int rows, const float *q, const attn_keys *keys, int32_t D, float *s)
{
    __m512 acc[ATTN_MICRO][4], scale[4];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int g = 0; g < 4; g++)
            acc[r][g] = _mm512_setzero_ps();
    UNROLL for (int g = 0; g < 4; g++)
        scale[g] = _mm512_setzero_ps();
    const int line = 4 / (int)kv_code_bytes(type);
    int32_t step = type == KV_Q8_0 ? KV_Q8_DIMS : D; // dims that share a scale
    for (int32_t d0 = 0; d0 < D; d0 += step) {
        if (type == KV_Q8_0)
            UNROLL for (int g = 0; g < 4; g++)
                scale[g] = f16_512(keys->k_scale[g] + d0 / KV_Q8_DIMS * KV_LANES);
        for (int32_t d = d0; d < d0 + step; d += line)
            scores_line(type, rows, line, q, keys, d, scale, acc);
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int g = 0; g < 4; g++)
            _mm512_storeu_ps(s + r * ATTN_TILE + g * KV_LANES, acc[r][g]);
}

/* Dims [d0, d0 + 16 vecs), or 8 of them where `half`. */
INLINE void values_n(kern_kv_type type, int rows, int vecs, bool half, const float *p, const attn_keys *keys, int32_t D,
                     int j0, int j1, int32_t d0, float *o)
{
    const __mmask16 mask = (__mmask16)(half ? 0x00ff : 0xffff);
    __m512 acc[ATTN_MICRO][4], x[4];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++)
            acc[r][v] = _mm512_maskz_loadu_ps(mask, o + r * D + d0 + v * 16);
    for (int j = j0; j < j1;) {
        const uint8_t *codes = keys->v[j / KV_LANES];
        for (int end = TD_MIN(j1, (j / KV_LANES + 1) * KV_LANES); j < end; j++) {
            int64_t i = (int64_t)(j % KV_LANES) * D + d0;
            for (int v = 0; v < vecs; v += 4 / (int)kv_code_bytes(type))
                _mm_prefetch(keys->v_ahead[j / KV_LANES] + (i + v * 16) * (int64_t)kv_code_bytes(type), _MM_HINT_T1);
            UNROLL for (int v = 0; v < vecs; v++) {
                x[v] = load(type, codes, i + v * 16, half);
                if (type == KV_Q8_0)
                    x[v] = _mm512_mul_ps(x[v], _mm512_set1_ps(keys->v_scale[(j * D + d0 + v * 16) / KV_Q8_DIMS]));
            }
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int v = 0; v < vecs; v++)
                    acc[r][v] = _mm512_fmadd_ps(_mm512_set1_ps(p[r * ATTN_TILE + j]), x[v], acc[r][v]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++)
            _mm512_mask_storeu_ps(o + r * D + d0 + v * 16, mask, acc[r][v]);
}

INLINE void values_rows(kern_kv_type type, int rows, const float *p, const attn_keys *keys, int32_t D, int j0, int j1,
                        float *o)
{
    int32_t d = 0;
    for (; d + 64 <= D; d += 64)
        values_n(type, rows, 4, false, p, keys, D, j0, j1, d, o);
    for (; d + 32 <= D; d += 32)
        values_n(type, rows, 2, false, p, keys, D, j0, j1, d, o);
    for (; d + 16 <= D && type != KV_Q8_0; d += 16)
        values_n(type, rows, 1, false, p, keys, D, j0, j1, d, o);
    if (d < D && type != KV_Q8_0)
        values_n(type, rows, 1, true, p, keys, D, j0, j1, d, o);
}

#include "kernels/cpu/attn_cases.h"

/* The keys [lo, hi) of group g. */
INLINE __mmask16 keys_mask(int32_t lo, int32_t hi, int g)
{
    uint64_t below = hi >= ATTN_TILE ? ~(uint64_t)0 : ((uint64_t)1 << hi) - 1;
    return (__mmask16)((below & ~(uint64_t)0 << lo) >> (16 * g));
}

static float row_top(const kern_attn_args *a, float *s, int32_t lo, int32_t hi)
{
    __m512 x[4], max = _mm512_set1_ps(-__builtin_inff());
    UNROLL for (int g = 0; g < 4; g++)
        x[g] = _mm512_mul_ps(_mm512_loadu_ps(s + 16 * g), _mm512_set1_ps(a->scale));
    if (a->softcap > 0.0f) {
        __m512 cap = _mm512_set1_ps(a->softcap);
        UNROLL for (int g = 0; g < 4; g++)
            x[g] = _mm512_mul_ps(cap, tanh512(_mm512_div_ps(x[g], cap)));
    }
    UNROLL for (int g = 0; g < 4; g++) {
        _mm512_storeu_ps(s + 16 * g, x[g]);
        max = _mm512_mask_max_ps(max, keys_mask(lo, hi, g), x[g], max);
    }
    return _mm512_reduce_max_ps(max);
}

static void rows_alpha(int32_t n, const float *top, float *m, float *alpha)
{
    for (int32_t r = 0; r < n; r += 16) {
        __m512 m_old = _mm512_loadu_ps(m + r), m_new = _mm512_max_ps(_mm512_loadu_ps(top + r), m_old);
        _mm512_storeu_ps(alpha + r, exp512_low(_mm512_sub_ps(m_old, m_new)));
        _mm512_storeu_ps(m + r, m_new);
    }
}

static float row_weights(float *s, int32_t lo, int32_t hi, float m)
{
    __m512 x[4];
    UNROLL for (int g = 0; g < 4; g++) {
        x[g] = exp512_low(_mm512_sub_ps(_mm512_loadu_ps(s + 16 * g), _mm512_set1_ps(m)));
        x[g] = _mm512_maskz_mov_ps(keys_mask(lo, hi, g), x[g]);
        _mm512_storeu_ps(s + 16 * g, x[g]);
    }
    return tree512(_mm512_add_ps(_mm512_add_ps(_mm512_add_ps(x[0], x[1]), x[2]), x[3]));
}

/* The mask of the 16 dims from d on. */
INLINE __mmask16 dims_mask(int32_t D, int32_t d) { return (__mmask16)(D - d >= 16 ? 0xffff : 0x00ff); }

static void scale_row(float *o, int32_t D, float alpha)
{
    for (int32_t d = 0; d < D; d += 16) {
        __mmask16 k = dims_mask(D, d);
        _mm512_mask_storeu_ps(o + d, k, _mm512_mul_ps(_mm512_maskz_loadu_ps(k, o + d), _mm512_set1_ps(alpha)));
    }
}

static void merge_row(float *run, float wa, const float *o, float wb, int32_t D)
{
    for (int32_t d = 0; d < D; d += 16) {
        __mmask16 k = dims_mask(D, d);
        __m512 b = _mm512_mul_ps(_mm512_maskz_loadu_ps(k, o + d), _mm512_set1_ps(wb));
        b = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(k, run + d), _mm512_set1_ps(wa), b);
        _mm512_mask_storeu_ps(run + d, k, b);
    }
}

static void finish_row(const float *o, float l, int32_t D, float *out)
{
    __m512 inv = _mm512_set1_ps(1.0f / l);
    for (int32_t d = 0; d < D; d += 16) {
        __mmask16 k = dims_mask(D, d);
        _mm512_mask_storeu_ps(out + d, k, _mm512_mul_ps(_mm512_maskz_loadu_ps(k, o + d), inv));
    }
}

INLINE void widen_codes(kern_kv_type type, const uint8_t *codes, const uint8_t *ahead, int32_t n, float *out)
{
    for (int32_t i = 0; i < n; i += 32) {
        _mm_prefetch(ahead + 2 * i, _MM_HINT_T0);
        _mm512_storeu_ps(out + i, load(type, codes, i, false));
        _mm512_storeu_ps(out + i + 16, load(type, codes, i + 16, false));
    }
}

static void widen_q8(const kv_group16 *g, const kv_group16 *ahead, int32_t D, float *k, float *v)
{
    fetch_scales(ahead, D);
    for (int32_t d = 0; d < D; d++) {
        __m512 scale = f16_512(g->k_scale + d / KV_Q8_DIMS * KV_LANES);
        _mm_prefetch(ahead->k + d * 16, _MM_HINT_T0);
        _mm512_storeu_ps(k + d * 16, _mm512_mul_ps(i8_512(g->k + d * 16), scale));
    }
    for (int32_t b = 0; b < KV_LANES * D / KV_Q8_DIMS; b++) {
        __m512 scale = _mm512_set1_ps(_cvtsh_ss(g->v_scale[b]));
        _mm_prefetch(ahead->v + b * KV_Q8_DIMS, _MM_HINT_T0);
        for (int i = b * KV_Q8_DIMS; i < (b + 1) * KV_Q8_DIMS; i += 16)
            _mm512_storeu_ps(v + i, _mm512_mul_ps(i8_512(g->v + i), scale));
    }
}

static void widen_scales(const uint16_t *h, int32_t n, float *out)
{
    for (int32_t i = 0; i < n; i += 16)
        _mm512_storeu_ps(out + i, f16_512(h + i));
}

ATTN_LEVEL(avx512)
