/* Activation rows with 512-bit vectors: the bytes of act_row_ref. Sixteen blocks of 32 share one division. */
#include "kernels/cpu/act.h"
#include "kernels/cpu/levels.h"
#include "kernels/math.h"

#include <immintrin.h>
#include <string.h>

static inline __m512i top32(const float *x)
{
    const __m512i mask = _mm512_set1_epi32(INT32_MAX);
    return _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(x)), mask),
                            _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(x + 16)), mask));
}

/* Sixteen blocks' largest magnitudes to scales and factors, by the rules of act.h. */
static inline void scales16(const int32_t *top, float *d, float *inv)
{
    __m512i bits = _mm512_load_si512(top);
    __m512 a = _mm512_castsi512_ps(bits), max = _mm512_set1_ps(127.0f);
    __mmask16 bad = _mm512_cmpgt_epi32_mask(bits, _mm512_set1_epi32(0x7f7fffff));
    __mmask16 zero = _mm512_cmp_ps_mask(a, _mm512_set1_ps(ACT_AMAX_MIN), _CMP_LT_OQ);
    __m512 scale = _mm512_maskz_div_ps((__mmask16)~zero, a, max);
    _mm512_store_ps(d, _mm512_mask_mov_ps(scale, bad, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000))));
    _mm512_store_ps(inv, _mm512_maskz_div_ps((__mmask16)~(zero | bad), max, a));
}

/* 32 values to codes; returns the sums of each four. A factor of 0 gives codes 0 whatever the values are. */
static inline __m256i codes32(const float *x, float factor, uint8_t *q)
{
    __m512 inv = _mm512_set1_ps(factor);
    __mmask16 keep = _mm512_cmp_ps_mask(inv, _mm512_setzero_ps(), _CMP_NEQ_OQ);
    __m128i a = _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(_mm512_loadu_ps(x), inv)));
    __m128i b = _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(_mm512_loadu_ps(x + 16), inv)));
    __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    _mm256_storeu_si256((__m256i *)(void *)q, v);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), v), _mm256_set1_epi16(1));
}

static inline int32_t hsum4(__m128i v)
{
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}

static void row_q32(const float *x, int32_t cols, uint8_t *row)
{
    const size_t nb = (size_t)cols / 32;
    uint8_t *meta = row + cols;
    for (size_t b0 = 0; b0 < nb; b0 += 16) {
        _Alignas(64) int32_t top[16] = {0}, sum[16] = {0};
        _Alignas(64) float d[16], inv[16];
        size_t n = TD_MIN(nb - b0, (size_t)16);
        for (size_t i = 0; i < n; i++)
            top[i] = _mm512_reduce_max_epi32(top32(x + 32 * (b0 + i)));
        scales16(top, d, inv);
        for (size_t i = 0; i < n; i++) {
            __m256i s = codes32(x + 32 * (b0 + i), inv[i], row + 32 * (b0 + i));
            sum[i] = hsum4(_mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
        }
        __mmask16 valid = (__mmask16)((1u << n) - 1);
        __m512i sums = _mm512_load_si512(sum);
        __m512 scale = _mm512_load_ps(d);
        _mm512_mask_storeu_ps(meta + 4 * b0, valid, scale);
        _mm512_mask_storeu_ps(meta + 4 * (nb + b0), valid, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sums)));
        _mm512_mask_storeu_epi32(meta + 4 * (2 * nb + b0), valid, _mm512_sub_epi32(_mm512_setzero_si512(), sums));
    }
}

static void block_q256(const float *x, float inv, uint8_t *q, int16_t *s32, int16_t *s16)
{
    for (int s = 0; s < 8; s++) {
        __m256i v = codes32(x + 32 * s, inv, q + 32 * s);
        int32_t s0 = hsum4(_mm256_castsi256_si128(v)), s1 = hsum4(_mm256_extracti128_si256(v, 1));
        s16[2 * s] = (int16_t)s0;
        s16[2 * s + 1] = (int16_t)s1;
        s32[s] = (int16_t)(s0 + s1);
    }
}

static void row_q256(const float *x, int32_t cols, uint8_t *row)
{
    const size_t nb = (size_t)cols / 256;
    uint8_t *meta = row + cols;
    for (size_t b0 = 0; b0 < nb; b0 += 16) {
        _Alignas(64) int32_t top[16] = {0};
        _Alignas(64) float d[16], inv[16];
        size_t n = TD_MIN(nb - b0, (size_t)16);
        for (size_t i = 0; i < n; i++) {
            __m512i v = top32(x + 256 * (b0 + i));
            for (int s = 1; s < 8; s++)
                v = _mm512_max_epi32(v, top32(x + 256 * (b0 + i) + 32 * s));
            top[i] = _mm512_reduce_max_epi32(v);
        }
        scales16(top, d, inv);
        memcpy(meta + 4 * b0, d, 4 * n);
        for (size_t i = b0; i < b0 + n; i++)
            block_q256(x + 256 * i, inv[i - b0], row + 256 * i, (int16_t *)(void *)(meta + 4 * nb + 16 * i),
                       (int16_t *)(void *)(meta + 20 * nb + 32 * i));
    }
}

void act_row_avx512(kern_act_kind kind, const float *x, int32_t cols, void *row)
{
    switch (kind) {
    case KA_Q8_32: row_q32(x, cols, row); break;
    case KA_Q8_256: row_q256(x, cols, row); break;
    default: act_row_avx2(kind, x, cols, row); break;
    }
}

void avx512_quant(const kern_quant_args *a, int64_t t0, int64_t t1)
{
    for (int64_t t = t0; t < t1; t++)
        act_row_avx512(a->out->kind, a->x + t * a->x_stride, a->out->cols,
                       (char *)a->out->data + (size_t)t * a->out->stride);
}
