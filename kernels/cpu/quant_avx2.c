/* Activation rows with 256-bit vectors: the bytes of act_row_ref. The largest magnitude is taken over bit patterns, so
 * its order is free. */
#include "kernels/cpu/levels.h"
#include "kernels/cpu/quant_fast.h"
#include "kernels/math.h"

static inline __m256i bits_at(const float *x)
{
    return _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x)), _mm256_set1_epi32(INT32_MAX));
}

static inline int32_t top_of(const float *x, int32_t n)
{
    __m256i a = bits_at(x), b = bits_at(x + 8);
    for (int32_t i = 16; i < n; i += 16) {
        a = _mm256_max_epi32(a, bits_at(x + i));
        b = _mm256_max_epi32(b, bits_at(x + i + 8));
    }
    a = _mm256_max_epi32(a, b);
    __m128i c = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    c = _mm_max_epi32(c, _mm_shuffle_epi32(c, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}

static inline void scales(const int32_t *top, float *d, float *inv)
{
    for (int i = 0; i < QUANT_BLOCKS; i += 8) {
        __m256i bits = _mm256_load_si256((const __m256i *)(const void *)(top + i));
        __m256 a = _mm256_castsi256_ps(bits), max = _mm256_set1_ps(127.0f);
        __m256 bad = _mm256_castsi256_ps(_mm256_cmpgt_epi32(bits, _mm256_set1_epi32(0x7f7fffff)));
        __m256 small = _mm256_cmp_ps(a, _mm256_set1_ps(ACT_AMAX_MIN), _CMP_LT_OQ);
        __m256 scale = _mm256_andnot_ps(small, _mm256_div_ps(a, max));
        _mm256_store_ps(d + i, _mm256_blendv_ps(scale, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), bad));
        _mm256_store_ps(inv + i, _mm256_andnot_ps(_mm256_or_ps(small, bad), _mm256_div_ps(max, a)));
    }
}

static inline __m256i round8(const float *x, __m256 inv, __m256i keep)
{
    return _mm256_and_si256(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inv)), keep);
}

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

static void row_q32(const float *x, int32_t cols, uint8_t *row)
{
    const size_t nb = (size_t)cols / 32;
    uint8_t *meta = row + cols;
    for (size_t b0 = 0; b0 < nb; b0 += QUANT_BLOCKS) {
        _Alignas(64) int32_t top[QUANT_BLOCKS] = {0}, neg[QUANT_BLOCKS];
        _Alignas(64) float d[QUANT_BLOCKS], inv[QUANT_BLOCKS], ds[QUANT_BLOCKS];
        size_t n = TD_MIN(nb - b0, (size_t)QUANT_BLOCKS);
        for (size_t i = 0; i < n; i++)
            top[i] = top_of(x + 32 * (b0 + i), 32);
        scales(top, d, inv);
        for (size_t i = 0; i < n; i++) {
            int32_t sum = hsum8(codes32(x + 32 * (b0 + i), inv[i], row + 32 * (b0 + i)));
            neg[i] = -sum;
            ds[i] = d[i] * (float)sum;
        }
        memcpy(meta + 4 * b0, d, 4 * n);
        memcpy(meta + 4 * (nb + b0), ds, 4 * n);
        memcpy(meta + 4 * (2 * nb + b0), neg, 4 * n);
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
