#include "kernels/cpu/sample_fast.h"
#include "kernels/cpu/vec512.h"

/* Lanes beyond the last element read as -infinity. */
static inline __m512 load_or_low(const float *x, int32_t i, int32_t n)
{
    return _mm512_mask_loadu_ps(_mm512_set1_ps(-__builtin_inff()), first512(n - i), x + i);
}

static float row_max(const float *x, int32_t n)
{
    const __m512 inf = _mm512_set1_ps(__builtin_inff());
    __m512 max = _mm512_set1_ps(-__builtin_inff());
    __mmask16 bad = 0;
    for (int32_t i = 0; i < n; i += 16) {
        __m512 v = load_or_low(x, i, n);
        bad |= _mm512_cmp_ps_mask(v, inf, _CMP_NLT_UQ);
        max = _mm512_max_ps(max, v);
    }
    return bad ? __builtin_nanf("") : _mm512_reduce_max_ps(max);
}

static void copy_allowed(const float *x, const uint32_t *mask, int32_t n, float *z)
{
    const __m512 low = _mm512_set1_ps(-__builtin_inff());
    for (int32_t i = 0; i < n; i += 16) {
        __mmask16 allowed = (__mmask16)(mask ? mask[i / 32] >> (i % 32) : 0xffffu);
        _mm512_mask_storeu_ps(z + i, first512(n - i), _mm512_mask_mov_ps(low, allowed, load_or_low(x, i, n)));
    }
}

static int32_t next_equal(const float *x, int32_t from, int32_t n, float v)
{
    for (int32_t i = from; i < n; i += 16) {
        __mmask16 hit = _mm512_mask_cmp_ps_mask(first512(n - i), load_or_low(x, i, n), _mm512_set1_ps(v), _CMP_EQ_OQ);
        if (hit)
            return i + __builtin_ctz(hit);
    }
    return n;
}

static int32_t next_above(const float *x, int32_t from, int32_t n, float v)
{
    for (int32_t i = from; i < n; i += 16) {
        __mmask16 hit = _mm512_cmp_ps_mask(load_or_low(x, i, n), _mm512_set1_ps(v), _CMP_GT_OQ);
        if (hit)
            return i + __builtin_ctz(hit);
    }
    return n;
}

static int32_t count_before(const float *x, int32_t n, float v, int32_t id)
{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i += 16) {
        __m512 a = load_or_low(x, i, n);
        __mmask16 equal = _mm512_mask_cmp_ps_mask(first512(TD_MAX(id - i, 0)), a, _mm512_set1_ps(v), _CMP_EQ_OQ);
        count += __builtin_popcount(_mm512_cmp_ps_mask(a, _mm512_set1_ps(v), _CMP_GT_OQ) | equal);
    }
    return count;
}

static float lane_sum_exp(const float *x, int32_t n, float max)
{
    __m512 sum = _mm512_setzero_ps();
    for (int32_t i = 0; i < n; i += 16)
        sum = _mm512_add_ps(sum, exp512_low(_mm512_sub_ps(load_or_low(x, i, n), _mm512_set1_ps(max))));
    return tree512(sum);
}

/* Bucket of each lane, BUCKETS where it does not take part. */
static inline __m512i buckets_of(const sample_view *v, __m512 y)
{
    __mmask16 in = _mm512_cmp_ps_mask(y, _mm512_set1_ps(v->y_min), _CMP_GE_OQ);
    __m512i k = _mm512_cvttps_epi32(_mm512_mul_ps(y, _mm512_set1_ps(-BUCKETS_PER_Y)));
    return _mm512_mask_min_epi32(_mm512_set1_epi32(BUCKETS), in, k, _mm512_set1_epi32(BUCKETS - 1));
}

static inline __m512 ys_at(const sample_view *v, int32_t i)
{
    __m512 z = load_or_low(v->z, i, v->n);
    return _mm512_mul_ps(_mm512_sub_ps(z, _mm512_set1_ps(v->z_max)), _mm512_set1_ps(v->inv_t));
}

static void fill_buckets(const sample_view *v, sample_buckets *b)
{
    _Alignas(64) int32_t k[16];
    _Alignas(64) uint64_t w[16];
    for (int32_t i = 0; i < v->n; i += 16) {
        __m512 y = ys_at(v, i);
        if (!_mm512_cmp_ps_mask(y, _mm512_set1_ps(v->y_min), _CMP_GE_OQ))
            continue;
        _mm512_store_si512(k, buckets_of(v, y));
        __m512 weight = _mm512_mul_ps(exp512_low(y), _mm512_set1_ps(SAMPLE_ONE));
        _mm512_store_si512(w, _mm512_cvttps_epu64(_mm512_castps512_ps256(weight)));
        _mm512_store_si512(w + 8, _mm512_cvttps_epu64(_mm512_extractf32x8_ps(weight, 1)));
        for (int j = 0; j < 16; j++) {
            b->mass[k[j]] += w[j];
            b->count[k[j]]++;
        }
    }
}

static int32_t bucket_ids(const sample_view *v, int32_t bucket, uint32_t *ids)
{
    int32_t n = 0;
    __m512i id = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int32_t i = 0; i < v->n; i += 16) {
        __mmask16 hit = _mm512_cmpeq_epi32_mask(buckets_of(v, ys_at(v, i)), _mm512_set1_epi32(bucket));
        if (hit) {
            // A whole vector is stored, n <= i: a compressing store is many times slower on Zen 4.
            _mm512_storeu_si512(ids + n, _mm512_maskz_compress_epi32(hit, _mm512_add_epi32(id, _mm512_set1_epi32(i))));
            n += __builtin_popcount(hit);
        }
    }
    return n;
}

void sample_avx512(const kern_sample_args *a, int64_t t0, int64_t t1) { sample_rows(a, t0, t1); }
