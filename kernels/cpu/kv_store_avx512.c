#include "kernels/cpu/kv_store_fast.h"
#include "kernels/cpu/vec512.h"

static void head_norm(float *x, int32_t dims, const float *weight, float eps)
{
    __m512 r = _mm512_set1_ps(inv_rms512(squares512(x, dims), dims, eps));
    for (int32_t i = 0; i < dims; i += 16) {
        __mmask16 k = first512(dims - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(k, x + i), r);
        _mm512_mask_storeu_ps(x + i, k, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(k, weight + i)));
    }
}

static void turn_half(float *x, const kv_turn *turn, int32_t half)
{
    for (int32_t i = 0; i < half; i += 16) {
        __mmask16 k = first512(half - i);
        __m512 c = _mm512_maskz_loadu_ps(k, turn->c + i), s = _mm512_maskz_loadu_ps(k, turn->s + i);
        __m512 a = _mm512_maskz_loadu_ps(k, x + i), b = _mm512_maskz_loadu_ps(k, x + half + i);
        _mm512_mask_storeu_ps(x + i, k, _mm512_fnmadd_ps(b, s, _mm512_mul_ps(a, c)));
        _mm512_mask_storeu_ps(x + half + i, k, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

static void turn_pairs(float *x, const kv_turn *turn, int32_t dims)
{
    for (int32_t i = 0; i < dims; i += 16) {
        __mmask16 k = first512(dims - i);
        __m512 v = _mm512_maskz_loadu_ps(k, x + i), vc = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(k, turn->c + i));
        __m512 other = _mm512_permute_ps(v, 0xb1);
        _mm512_mask_storeu_ps(x + i, k, _mm512_fmadd_ps(other, _mm512_maskz_loadu_ps(k, turn->s + i), vc));
    }
}

static void to_f16(const float *x, int32_t n, uint16_t *out)
{
    for (int32_t i = 0; i < n; i += 8)
        _mm_storeu_si128((void *)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
}

static void to_bf16(const float *x, int32_t n, uint16_t *out) { act_row_avx512(KA_BF16, x, n, out); }

static uint16_t to_q8(const float *x, int8_t *out)
{
    __m512 top = _mm512_set1_ps(127.0f), low = _mm512_set1_ps(-127.0f);
    __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    __m512i abs = _mm512_set1_epi32(0x7fffffff);
    __m512i bits = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), abs),
                                    _mm512_and_si512(_mm512_castps_si512(b), abs));
    uint16_t scale = kv_q8_scale(_mm512_reduce_max_epu32(bits));
    float inv = kv_q8_inverse(scale);
    __mmask16 some = (__mmask16)(inv != 0.0f ? 0xffff : 0);
    __m512 r = _mm512_set1_ps(inv);
    a = _mm512_maskz_max_ps(some, _mm512_min_ps(_mm512_mul_ps(a, r), top), low);
    b = _mm512_maskz_max_ps(some, _mm512_min_ps(_mm512_mul_ps(b, r), top), low);
    _mm_storeu_si128((void *)out, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
    _mm_storeu_si128((void *)(out + 16), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(b)));
    return scale;
}

void kv_store_avx512(const kern_kv_store_args *a, int64_t t0, int64_t t1) { store_tiles(a, t0, t1); }
