/* Activation rows with 256-bit vectors: the bytes of act_row_ref. The largest magnitude is taken over bit patterns, so
 * its order is free; eight blocks share one division. */
#include "kernels/cpu/act.h"
#include "kernels/cpu/levels.h"
#include "kernels/math.h"

#include <immintrin.h>
#include <string.h>

static inline __m256i bits_at(const float *x)
{
    return _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x)), _mm256_set1_epi32(INT32_MAX));
}

/* Largest |x| of 32 values, as bits. */
static inline __m256i top32(const float *x)
{
    return _mm256_max_epi32(_mm256_max_epi32(bits_at(x), bits_at(x + 8)),
                            _mm256_max_epi32(bits_at(x + 16), bits_at(x + 24)));
}

static inline int32_t hmax(__m256i v)
{
    __m128i a = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_max_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

/* Eight blocks' largest magnitudes to scales and factors, by the rules of act.h. */
static inline void scales8(const int32_t *top, float *d, float *inv)
{
    __m256i bits = _mm256_load_si256((const __m256i *)(const void *)top);
    __m256 a = _mm256_castsi256_ps(bits), max = _mm256_set1_ps(127.0f);
    __m256 bad = _mm256_castsi256_ps(_mm256_cmpgt_epi32(bits, _mm256_set1_epi32(0x7f7fffff)));
    __m256 small = _mm256_cmp_ps(a, _mm256_set1_ps(ACT_AMAX_MIN), _CMP_LT_OQ);
    __m256 scale = _mm256_andnot_ps(small, _mm256_div_ps(a, max));
    _mm256_store_ps(d, _mm256_blendv_ps(scale, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), bad));
    _mm256_store_ps(inv, _mm256_andnot_ps(_mm256_or_ps(small, bad), _mm256_div_ps(max, a)));
}

static inline __m256i round8(const float *x, __m256 inv, __m256i keep)
{
    return _mm256_and_si256(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inv)), keep);
}

/* 32 values to codes; returns the sums of each four. A factor of 0 gives codes 0 whatever the values are. */
static inline __m256i codes32(const float *x, float factor, uint8_t *q)
{
    __m256 inv = _mm256_set1_ps(factor);
    __m256i keep = _mm256_castps_si256(_mm256_cmp_ps(inv, _mm256_setzero_ps(), _CMP_NEQ_OQ));
    __m256i a = _mm256_packs_epi32(round8(x, inv, keep), round8(x + 8, inv, keep));
    __m256i b = _mm256_packs_epi32(round8(x + 16, inv, keep), round8(x + 24, inv, keep));
    __m256i v = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
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
    for (size_t b0 = 0; b0 < nb; b0 += 8) {
        _Alignas(32) int32_t top[8] = {0}, neg[8];
        _Alignas(32) float d[8], inv[8], ds[8];
        size_t n = TD_MIN(nb - b0, (size_t)8);
        for (size_t i = 0; i < n; i++)
            top[i] = hmax(top32(x + 32 * (b0 + i)));
        scales8(top, d, inv);
        for (size_t i = 0; i < n; i++) {
            __m256i s = codes32(x + 32 * (b0 + i), inv[i], row + 32 * (b0 + i));
            int32_t sum = hsum4(_mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
            neg[i] = -sum;
            ds[i] = d[i] * (float)sum;
        }
        memcpy(meta + 4 * b0, d, 4 * n);
        memcpy(meta + 4 * (nb + b0), ds, 4 * n);
        memcpy(meta + 4 * (2 * nb + b0), neg, 4 * n);
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
    for (size_t b0 = 0; b0 < nb; b0 += 8) {
        _Alignas(32) int32_t top[8] = {0};
        _Alignas(32) float d[8], inv[8];
        size_t n = TD_MIN(nb - b0, (size_t)8);
        for (size_t i = 0; i < n; i++) {
            __m256i v = top32(x + 256 * (b0 + i));
            for (int s = 1; s < 8; s++)
                v = _mm256_max_epi32(v, top32(x + 256 * (b0 + i) + 32 * s));
            top[i] = hmax(v);
        }
        scales8(top, d, inv);
        memcpy(meta + 4 * b0, d, 4 * n);
        for (size_t i = b0; i < b0 + n; i++)
            block_q256(x + 256 * i, inv[i - b0], row + 256 * i, (int16_t *)(void *)(meta + 4 * nb + 16 * i),
                       (int16_t *)(void *)(meta + 20 * nb + 32 * i));
    }
}

/* Eight values to bf16 in the low halves: kern_f32_to_bf16. */
static inline __m256i bf16_8(__m256 x)
{
    __m256i u = _mm256_castps_si256(x), mag = _mm256_and_si256(u, _mm256_set1_epi32(INT32_MAX));
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i high = _mm256_srli_epi32(u, 16);
    __m256i nan = _mm256_cmpgt_epi32(mag, _mm256_set1_epi32(0x7f800000));
    __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x00800000), mag);
    r = _mm256_blendv_epi8(r, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
    return _mm256_blendv_epi8(r, _mm256_and_si256(high, _mm256_set1_epi32(0x8000)), tiny);
}

static void row_bf16(const float *x, int32_t cols, uint8_t *row)
{
    int32_t k = 0;
    for (; k + 16 <= cols; k += 16) {
        __m256i v = _mm256_packus_epi32(bf16_8(_mm256_loadu_ps(x + k)), bf16_8(_mm256_loadu_ps(x + k + 8)));
        _mm256_storeu_si256((__m256i *)(void *)(row + 2 * k), _mm256_permute4x64_epi64(v, 0xd8));
    }
    if (k < cols)
        act_row_ref(KA_BF16, x + k, cols - k, row + 2 * k);
}

void act_row_avx2(kern_act_kind kind, const float *x, int32_t cols, void *row)
{
    switch (kind) {
    case KA_Q8_32: row_q32(x, cols, row); break;
    case KA_Q8_256: row_q256(x, cols, row); break;
    case KA_BF16: row_bf16(x, cols, row); break;
    default: act_row_ref(kind, x, cols, row); break;
    }
}

void avx2_quant(const kern_quant_args *a, int64_t t0, int64_t t1)
{
    for (int64_t t = t0; t < t1; t++)
        act_row_avx2(a->out->kind, a->x + t * a->x_stride, a->out->cols,
                     (char *)a->out->data + (size_t)t * a->out->stride);
}
