/* Activation rows with 512-bit vectors: the bytes of act_row_ref. Sixteen blocks of 32 share one division. */
#include "kernels/cpu/levels.h"
#include "kernels/cpu/quant_fast.h"
#include "kernels/math.h"

static inline __m512i bits_at(const float *x)
{
    return _mm512_and_si512(_mm512_castps_si512(_mm512_loadu_ps(x)), _mm512_set1_epi32(INT32_MAX));
}

static inline int32_t top_of(const float *x, int32_t n)
{
    __m512i a = bits_at(x), b = bits_at(x + 16);
    for (int32_t i = 32; i < n; i += 32) {
        a = _mm512_max_epi32(a, bits_at(x + i));
        b = _mm512_max_epi32(b, bits_at(x + i + 16));
    }
    return _mm512_reduce_max_epi32(_mm512_max_epi32(a, b));
}

static inline void scales(const int32_t *top, float *d, float *inv)
{
    __m512i bits = _mm512_load_si512(top);
    __m512 a = _mm512_castsi512_ps(bits), max = _mm512_set1_ps(127.0f);
    __mmask16 bad = _mm512_cmpgt_epi32_mask(bits, _mm512_set1_epi32(0x7f7fffff));
    __mmask16 zero = _mm512_cmp_ps_mask(a, _mm512_set1_ps(ACT_AMAX_MIN), _CMP_LT_OQ);
    __m512 scale = _mm512_maskz_div_ps((__mmask16)~zero, a, max);
    _mm512_store_ps(d, _mm512_mask_mov_ps(scale, bad, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000))));
    _mm512_store_ps(inv, _mm512_maskz_div_ps((__mmask16)~(zero | bad), max, a));
}

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

static void row_q32(const float *x, int32_t cols, uint8_t *row)
{
    const size_t nb = (size_t)cols / 32;
    uint8_t *meta = row + cols;
    for (size_t b0 = 0; b0 < nb; b0 += QUANT_BLOCKS) {
        _Alignas(64) int32_t top[QUANT_BLOCKS] = {0}, sum[QUANT_BLOCKS] = {0};
        _Alignas(64) float d[QUANT_BLOCKS], inv[QUANT_BLOCKS];
        size_t n = TD_MIN(nb - b0, (size_t)QUANT_BLOCKS);
        for (size_t i = 0; i < n; i++)
            top[i] = top_of(x + 32 * (b0 + i), 32);
        scales(top, d, inv);
        for (size_t i = 0; i < n; i++)
            sum[i] = hsum8(codes32(x + 32 * (b0 + i), inv[i], row + 32 * (b0 + i)));
        __mmask16 valid = (__mmask16)((1u << n) - 1);
        __m512i sums = _mm512_load_si512(sum);
        __m512 scale = _mm512_load_ps(d);
        _mm512_mask_storeu_ps(meta + 4 * b0, valid, scale);
        _mm512_mask_storeu_ps(meta + 4 * (nb + b0), valid, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sums)));
        _mm512_mask_storeu_epi32(meta + 4 * (2 * nb + b0), valid, _mm512_sub_epi32(_mm512_setzero_si512(), sums));
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
