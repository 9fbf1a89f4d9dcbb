/* vec256.h - 8 lanes of the kernels' maths: lane by lane the bits of math.h. For files built for AVX2, FMA and F16C. */
#ifndef TD_KERNELS_CPU_VEC256_H
#define TD_KERNELS_CPU_VEC256_H

#include "kernels/math.h"

#include <immintrin.h>

/* kern_exp of arguments known to be at most KERN_EXP_HI, or NaN. */
static inline __m256 exp256_low(__m256 x)
{
    const __m256 magic = _mm256_set1_ps(KERN_EXP_MAGIC);
    __m256 in_range = _mm256_cmp_ps(x, _mm256_set1_ps(KERN_EXP_LO), _CMP_GE_OQ);
    __m256 m = _mm256_fmadd_ps(x, _mm256_set1_ps(KERN_LOG2E), magic);
    __m256 n = _mm256_sub_ps(m, magic);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-KERN_LN2_HI), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-KERN_LN2_LO), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(KERN_EXP_P0), r, _mm256_set1_ps(KERN_EXP_P1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_P2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_P3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_P4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KERN_EXP_P5));
    p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
    __m256i bits = _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(m), 23));
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return _mm256_blendv_ps(_mm256_and_ps(_mm256_castsi256_ps(bits), in_range), x, nan);
}

/* kern_exp. The minimum keeps NaN, since it returns its second operand then. */
static inline __m256 exp256(__m256 x) { return exp256_low(_mm256_min_ps(_mm256_set1_ps(KERN_EXP_HI), x)); }

static inline __m256 tanh256(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 e = exp256(_mm256_mul_ps(_mm256_set1_ps(2.0f), x));
    return _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(e, one)));
}

/* The tree 8, 4, 2, 1 over 16 lanes, the low 8 in a. */
static inline float tree256(__m256 a, __m256 b)
{
    a = _mm256_add_ps(a, b);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

static inline float max256(__m256 v)
{
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

/* All ones in the lanes whose index lies in [lo, hi). */
static inline __m256 lanes256(int32_t lo, int32_t hi)
{
    __m256i i = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), i);
    return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lo), i), below));
}

/* The first n lanes at p, 0 in the others. */
static inline __m256 load256_first(const float *p, int32_t n)
{
    return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, _mm256_castps_si256(lanes256(0, n)));
}

static inline void store256_first(float *p, int32_t n, __m256 v)
{
    if (n >= 8)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, _mm256_castps_si256(lanes256(0, n)), v);
}

typedef struct lanes16 { // 16 virtual lanes
    __m256 a, b;
} lanes16;

/* 1 / sqrt(lane sums of squares / cols + eps) */
static inline float inv_rms256(lanes16 squares, int32_t cols, float eps)
{
    return 1.0f / __builtin_sqrtf(tree256(squares.a, squares.b) / (float)cols + eps);
}

static inline lanes16 squares256(const float *v, int32_t cols)
{
    lanes16 s = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int32_t i = 0; i < cols; i += 16) {
        __m256 x = load256_first(v + i, cols - i), y = load256_first(v + i + 8, cols - i - 8);
        s.a = _mm256_fmadd_ps(x, x, s.a);
        s.b = _mm256_fmadd_ps(y, y, s.b);
    }
    return s;
}

static inline __m128i load128(const void *p) { return _mm_loadu_si128(p); }
static inline __m256 bf16_256(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
}
static inline __m256 f16_256(const void *p) { return _mm256_cvtph_ps(load128(p)); }
static inline __m256 i8_256(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}

#endif
