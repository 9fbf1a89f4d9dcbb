/* vec512.h - 16 lanes of the kernels' maths: lane by lane the bits of math.h. For files built for AVX-512 F,
 * BW, VL and DQ; empty in others. */
#ifndef TD_KERNELS_CPU_VEC512_H
#define TD_KERNELS_CPU_VEC512_H

#include "kernels/math.h"

#include <immintrin.h>

#ifdef __AVX512F__

/* kern_exp of arguments known to be at most KERN_EXP_HI, or NaN. */
static inline __m512 exp512_low(__m512 x)
{
    const __m512 magic = _mm512_set1_ps(KERN_EXP_MAGIC);
    __mmask16 in_range = _mm512_cmp_ps_mask(x, _mm512_set1_ps(KERN_EXP_LO), _CMP_GE_OQ);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    __m512 m = _mm512_fmadd_ps(x, _mm512_set1_ps(KERN_LOG2E), magic);
    __m512 n = _mm512_sub_ps(m, magic);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-KERN_LN2_HI), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-KERN_LN2_LO), r);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(KERN_EXP_P0), r, _mm512_set1_ps(KERN_EXP_P1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_P2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_P3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_P4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KERN_EXP_P5));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    __m512i bits = _mm512_maskz_add_epi32(in_range, _mm512_castps_si512(p),
                                          _mm512_slli_epi32(_mm512_castps_si512(m), 23));
    return _mm512_mask_mov_ps(_mm512_castsi512_ps(bits), nan, x);
}

/* kern_exp. The minimum keeps NaN, since it returns its second operand then. */
static inline __m512 exp512(__m512 x) { return exp512_low(_mm512_min_ps(_mm512_set1_ps(KERN_EXP_HI), x)); }

static inline __m512 tanh512(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 e = exp512(_mm512_mul_ps(_mm512_set1_ps(2.0f), x));
    return _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(e, one)));
}

/* The tree 8, 4, 2, 1 over 16 lanes. */
static inline float tree512(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* The mask of the first n lanes, all 16 where n is more. */
static inline __mmask16 first512(int32_t n) { return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1); }

/* 1 / sqrt(lane sums of squares / cols + eps) */
static inline float inv_rms512(__m512 squares, int32_t cols, float eps)
{
    return 1.0f / __builtin_sqrtf(tree512(squares) / (float)cols + eps);
}

static inline __m512 squares512(const float *v, int32_t cols)
{
    __m512 sum = _mm512_setzero_ps();
    for (int32_t i = 0; i < cols; i += 16) {
        __m512 x = _mm512_maskz_loadu_ps(first512(cols - i), v + i);
        sum = _mm512_fmadd_ps(x, x, sum);
    }
    return sum;
}

static inline __m512 bf16_512(const void *p)
{
    __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
}

static inline __m512 f16_512(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }

static inline __m512 i8_512(const void *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p))); }

#endif
#endif
