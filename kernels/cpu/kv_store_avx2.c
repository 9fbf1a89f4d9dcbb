#include "kernels/cpu/kv_store_fast.h"
#include "kernels/cpu/vec256.h"

static void head_norm(float *x, int32_t dims, const float *weight, float eps)
{
    __m256 r = _mm256_set1_ps(inv_rms256(squares256(x, dims), dims, eps));
    for (int32_t i = 0; i < dims; i += 8)
        _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), r), _mm256_loadu_ps(weight + i)));
}

static void turn_half(float *x, const kv_turn *turn, int32_t half)
{
    for (int32_t i = 0; i < half; i += 8) {
        int32_t n = half - i;
        __m256 c = load256_first(turn->c + i, n), s = load256_first(turn->s + i, n);
        __m256 a = load256_first(x + i, n), b = load256_first(x + half + i, n);
        store256_first(x + i, n, _mm256_fnmadd_ps(b, s, _mm256_mul_ps(a, c)));
        store256_first(x + half + i, n, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}

static void turn_pairs(float *x, const kv_turn *turn, int32_t dims)
{
    for (int32_t i = 0; i < dims; i += 8) {
        int32_t n = dims - i;
        __m256 v = load256_first(x + i, n), vc = _mm256_mul_ps(v, load256_first(turn->c + i, n));
        store256_first(x + i, n, _mm256_fmadd_ps(_mm256_permute_ps(v, 0xb1), load256_first(turn->s + i, n), vc));
    }
}

static void to_f16(const float *x, int32_t n, uint16_t *out)
{
    for (int32_t i = 0; i < n; i += 8)
        _mm_storeu_si128((void *)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
}

static void to_bf16(const float *x, int32_t n, uint16_t *out) { act_row_avx2(KA_BF16, x, n, out); }

static uint16_t to_q8(const float *x, int8_t *out)
{
    __m256i bits = _mm256_setzero_si256(), abs = _mm256_set1_epi32(0x7fffffff), q[4];
    for (int v = 0; v < 4; v++)
        bits = _mm256_max_epu32(bits, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * v)), abs));
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    m = _mm_max_epu32(m, _mm_unpackhi_epi64(m, m));
    m = _mm_max_epu32(m, _mm_srli_epi64(m, 32));
    uint16_t scale = kv_q8_scale((uint32_t)_mm_cvtsi128_si32(m));
    float inv = kv_q8_inverse(scale);
    __m256i some = _mm256_set1_epi32(inv != 0.0f ? -1 : 0);
    for (int v = 0; v < 4; v++) {
        __m256 y = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * v), _mm256_set1_ps(inv));
        y = _mm256_min_ps(y, _mm256_set1_ps(127.0f));
        q[v] = _mm256_and_si256(_mm256_cvtps_epi32(_mm256_max_ps(y, _mm256_set1_ps(-127.0f))), some);
    }
    __m256i p = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    p = _mm256_permutevar8x32_epi32(p, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)); // the packs work per 128 bits
    _mm256_storeu_si256((void *)out, p);
    return scale;
}

void kv_store_avx2(const kern_kv_store_args *a, int64_t t0, int64_t t1) { store_tiles(a, t0, t1); }
