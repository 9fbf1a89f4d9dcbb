/* Attention for AVX2: micro kernels of up to 6 rows by 16 keys or dims, 12 sums in the 16 registers; with 3 rows or
 * less twice as wide, since fewer than 8 sums would wait for each other. */
#include "kernels/cpu/attn_fast.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/vec256.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* Codes [i, i + 8) as floats; those of q8_0 still want their scale. */
INLINE __m256 load(kern_kv_type type, const uint8_t *codes, int64_t i)
{
    switch (type) {
    case KV_F32: return _mm256_loadu_ps((const void *)(codes + 4 * i));
    case KV_F16: return f16_256(codes + 2 * i);
    case KV_BF16: return bf16_256(codes + 2 * i);
    default: return i8_256(codes + i);
    }
}

/* acc[r][v] += b[r * step] * x for the vectors [v0, v1) of a row. */
INLINE void multiply_add(int rows, int v0, int v1, const float *b, int step, const __m256 *x, __m256 acc[ATTN_MICRO][4])
{
    UNROLL for (int r = 0; r < rows; r++) {
        __m256 br = _mm256_broadcast_ss(b + r * step);
        UNROLL for (int v = v0; v < v1; v++)
            acc[r][v] = _mm256_fmadd_ps(br, x[v], acc[r][v]);
    }
}

/* Groups g0 and, where `groups` is 2, g0 + 1. */
INLINE void scores_groups(kern_kv_type type, int rows, int groups, int g0, const float *q, const attn_keys *keys,
                          int32_t D, float *s)
{
    __m256 acc[ATTN_MICRO][4], scale[4], k[4];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < 2 * groups; v++)
            acc[r][v] = _mm256_setzero_ps();
    UNROLL for (int v = 0; v < 4; v++)
        scale[v] = _mm256_setzero_ps();
    const int line = 4 / (int)kv_code_bytes(type); // dims that share a cache line
    int32_t step = type == KV_Q8_0 ? KV_Q8_DIMS : D; // dims that share a scale
    for (int32_t d0 = 0; d0 < D; d0 += step) {
        if (type == KV_Q8_0)
            UNROLL for (int v = 0; v < 2 * groups; v++)
                scale[v] = f16_256(keys->k_scale[g0 + v / 2] + d0 / KV_Q8_DIMS * KV_LANES + v % 2 * 8);
        for (int32_t d = d0; d < d0 + step; d++) {
            if (d % line == 0)
                UNROLL for (int g = 0; g < groups; g++)
                    _mm_prefetch(keys->k_ahead[g0 + g] + d * (64 / line), _MM_HINT_T1);
            UNROLL for (int v = 0; v < 2 * groups; v++) {
                k[v] = load(type, keys->k[g0 + v / 2], d * KV_LANES + v % 2 * 8);
                k[v] = type == KV_Q8_0 ? _mm256_mul_ps(k[v], scale[v]) : k[v];
                if (groups == 2) // 12 sums, a vector and 3 broadcasts; else 12 sums, 2 vectors and a broadcast
                    multiply_add(rows, v, v + 1, q + d * rows, 1, k, acc);
            }
            if (groups == 1)
                multiply_add(rows, 0, 2, q + d * rows, 1, k, acc);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < 2 * groups; v++)
            _mm256_storeu_ps(s + r * ATTN_TILE + g0 * KV_LANES + v * 8, acc[r][v]);
}

INLINE void scores_n(kern_kv_type type, int rows, const float *q, const attn_keys *keys, int32_t D, float *s)
{
    const int groups = rows <= 3 ? 2 : 1;
    for (int g = 0; g < ATTN_GROUPS; g += groups)
        scores_groups(type, rows, groups, g, q, keys, D, s);
}

/* Dims [d0, d0 + 8 vecs). */
INLINE void values_n(kern_kv_type type, int rows, int vecs, const float *p, const attn_keys *keys, int32_t D, int j0,
                     int j1, int32_t d0, float *o)
{
    __m256 acc[ATTN_MICRO][4], x[4];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++)
            acc[r][v] = _mm256_loadu_ps(o + r * D + d0 + v * 8);
    for (int j = j0; j < j1;) {
        const uint8_t *codes = keys->v[j / KV_LANES];
        for (int end = TD_MIN(j1, (j / KV_LANES + 1) * KV_LANES); j < end; j++) {
            int64_t i = (int64_t)(j % KV_LANES) * D + d0;
            _mm_prefetch(keys->v_ahead[j / KV_LANES] + i * (int64_t)kv_code_bytes(type), _MM_HINT_T1);
            UNROLL for (int v = 0; v < vecs; v++) {
                x[v] = load(type, codes, i + v * 8);
                if (type == KV_Q8_0)
                    x[v] = _mm256_mul_ps(x[v], _mm256_broadcast_ss(keys->v_scale + (j * D + d0 + v * 8) / KV_Q8_DIMS));
                if (vecs == 4)
                    multiply_add(rows, v, v + 1, p + j, ATTN_TILE, x, acc);
            }
            if (vecs < 4)
                multiply_add(rows, 0, vecs, p + j, ATTN_TILE, x, acc);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++)
            _mm256_storeu_ps(o + r * D + d0 + v * 8, acc[r][v]);
}

INLINE void values_rows(kern_kv_type type, int rows, const float *p, const attn_keys *keys, int32_t D, int j0, int j1,
                        float *o)
{
    int32_t d = 0;
    for (; rows <= 3 && d + 32 <= D; d += 32)
        values_n(type, rows, 4, p, keys, D, j0, j1, d, o);
    for (; d + 16 <= D; d += 16)
        values_n(type, rows, 2, p, keys, D, j0, j1, d, o);
    if (d < D)
        values_n(type, rows, 1, p, keys, D, j0, j1, d, o);
}

#include "kernels/cpu/attn_cases.h"

static float row_top(const kern_attn_args *a, float *s, int32_t lo, int32_t hi)
{
    __m256 max = _mm256_set1_ps(-__builtin_inff()), none = max, cap = _mm256_set1_ps(a->softcap);
    bool all = lo <= 0 && hi >= ATTN_TILE;
    UNROLL for (int v = 0; v < 8; v++) {
        __m256 x = _mm256_mul_ps(_mm256_loadu_ps(s + 8 * v), _mm256_set1_ps(a->scale));
        if (a->softcap > 0.0f)
            x = _mm256_mul_ps(cap, tanh256(_mm256_div_ps(x, cap)));
        _mm256_storeu_ps(s + 8 * v, x);
        max = _mm256_max_ps(all ? x : _mm256_blendv_ps(none, x, lanes256(lo - 8 * v, hi - 8 * v)), max);
    }
    return max256(max);
}

static void rows_alpha(int32_t n, const float *top, float *m, float *alpha)
{
    for (int32_t r = 0; r < n; r += 8) {
        __m256 m_old = _mm256_loadu_ps(m + r), m_new = _mm256_max_ps(_mm256_loadu_ps(top + r), m_old);
        _mm256_storeu_ps(alpha + r, exp256_low(_mm256_sub_ps(m_old, m_new)));
        _mm256_storeu_ps(m + r, m_new);
    }
}

static float row_weights(float *s, int32_t lo, int32_t hi, float m)
{
    __m256 x[8];
    bool all = lo <= 0 && hi >= ATTN_TILE;
    UNROLL for (int v = 0; v < 8; v++) {
        x[v] = exp256_low(_mm256_sub_ps(_mm256_loadu_ps(s + 8 * v), _mm256_set1_ps(m)));
        x[v] = all ? x[v] : _mm256_and_ps(x[v], lanes256(lo - 8 * v, hi - 8 * v));
        _mm256_storeu_ps(s + 8 * v, x[v]);
    }
    __m256 a8 = _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(x[0], x[2]), x[4]), x[6]);
    __m256 b8 = _mm256_add_ps(_mm256_add_ps(_mm256_add_ps(x[1], x[3]), x[5]), x[7]);
    return tree256(a8, b8);
}

static void scale_row(float *o, int32_t D, float alpha)
{
    for (int32_t d = 0; d < D; d += 8)
        _mm256_storeu_ps(o + d, _mm256_mul_ps(_mm256_loadu_ps(o + d), _mm256_set1_ps(alpha)));
}

static void merge_row(float *run, float wa, const float *o, float wb, int32_t D)
{
    for (int32_t d = 0; d < D; d += 8) {
        __m256 b = _mm256_mul_ps(_mm256_loadu_ps(o + d), _mm256_set1_ps(wb));
        _mm256_storeu_ps(run + d, _mm256_fmadd_ps(_mm256_loadu_ps(run + d), _mm256_set1_ps(wa), b));
    }
}

static void finish_row(const float *o, float l, int32_t D, float *out)
{
    __m256 inv = _mm256_set1_ps(1.0f / l);
    for (int32_t d = 0; d < D; d += 8)
        _mm256_storeu_ps(out + d, _mm256_mul_ps(_mm256_loadu_ps(o + d), inv));
}

INLINE void widen_codes(kern_kv_type type, const uint8_t *codes, const uint8_t *ahead, int32_t n, float *out)
{
    for (int32_t i = 0; i < n; i += 32) {
        _mm_prefetch(ahead + 2 * i, _MM_HINT_T0);
        UNROLL for (int v = 0; v < 4; v++)
            _mm256_storeu_ps(out + i + 8 * v, load(type, codes, i + 8 * v));
    }
}

static void widen_q8(const kv_group16 *g, const kv_group16 *ahead, int32_t D, float *k, float *v)
{
    fetch_scales(ahead, D);
    for (int32_t d = 0; d < D; d++) {
        const uint16_t *scale = g->k_scale + d / KV_Q8_DIMS * KV_LANES;
        _mm_prefetch(ahead->k + d * 16, _MM_HINT_T0);
        for (int i = 0; i < 16; i += 8)
            _mm256_storeu_ps(k + d * 16 + i, _mm256_mul_ps(i8_256(g->k + d * 16 + i), f16_256(scale + i)));
    }
    for (int32_t b = 0; b < KV_LANES * D / KV_Q8_DIMS; b++) {
        __m256 scale = _mm256_set1_ps(_cvtsh_ss(g->v_scale[b]));
        _mm_prefetch(ahead->v + b * KV_Q8_DIMS, _MM_HINT_T0);
        for (int i = b * KV_Q8_DIMS; i < (b + 1) * KV_Q8_DIMS; i += 8)
            _mm256_storeu_ps(v + i, _mm256_mul_ps(i8_256(g->v + i), scale));
    }
}

static void widen_scales(const uint16_t *h, int32_t n, float *out)
{
    for (int32_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(out + i, f16_256(h + i));
}

ATTN_LEVEL(avx2)
