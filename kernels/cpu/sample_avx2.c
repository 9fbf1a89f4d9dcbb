#include "kernels/cpu/sample_fast.h"
#include "kernels/cpu/vec256.h"

/* Lanes beyond the last element read as -infinity. */
static inline __m256 load_or_low(const float *x, int32_t i, int32_t n)
{
    if (n - i >= 8)
        return _mm256_loadu_ps(x + i);
    __m256 in = lanes256(0, n - i);
    return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), _mm256_maskload_ps(x + i, _mm256_castps_si256(in)), in);
}

static inline unsigned lanes_that(__m256 cmp) { return (unsigned)_mm256_movemask_ps(cmp); }

static float row_max(const float *x, int32_t n)
{
    const __m256 inf = _mm256_set1_ps(__builtin_inff());
    __m256 max = _mm256_set1_ps(-__builtin_inff()), bad = _mm256_setzero_ps();
    for (int32_t i = 0; i < n; i += 8) {
        __m256 v = load_or_low(x, i, n);
        bad = _mm256_or_ps(bad, _mm256_cmp_ps(v, inf, _CMP_NLT_UQ));
        max = _mm256_max_ps(max, v);
    }
    return lanes_that(bad) ? __builtin_nanf("") : max256(max);
}

static void copy_allowed(const float *x, const uint32_t *mask, int32_t n, float *z)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256 low = _mm256_set1_ps(-__builtin_inff());
    for (int32_t i = 0; i < n; i += 8) {
        __m256i bits = _mm256_set1_epi32(mask ? (int32_t)(mask[i / 32] >> (i % 32)) : -1);
        __m256 banned = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(bits, bit), _mm256_setzero_si256()));
        store256_first(z + i, n - i, _mm256_blendv_ps(load_or_low(x, i, n), low, banned));
    }
}

static int32_t next_equal(const float *x, int32_t from, int32_t n, float v)
{
    for (int32_t i = from; i < n; i += 8) {
        unsigned hit = lanes_that(_mm256_cmp_ps(load_or_low(x, i, n), _mm256_set1_ps(v), _CMP_EQ_OQ));
        if (hit)
            return i + __builtin_ctz(hit);
    }
    return n;
}

static int32_t next_above(const float *x, int32_t from, int32_t n, float v)
{
    for (int32_t i = from; i < n; i += 8) {
        unsigned hit = lanes_that(_mm256_cmp_ps(load_or_low(x, i, n), _mm256_set1_ps(v), _CMP_GT_OQ));
        if (hit)
            return i + __builtin_ctz(hit);
    }
    return n;
}

static int32_t count_before(const float *x, int32_t n, float v, int32_t id)
{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i += 8) {
        __m256 a = load_or_low(x, i, n), equal = _mm256_cmp_ps(a, _mm256_set1_ps(v), _CMP_EQ_OQ);
        equal = _mm256_and_ps(equal, lanes256(0, id - i));
        count += __builtin_popcount(lanes_that(_mm256_or_ps(_mm256_cmp_ps(a, _mm256_set1_ps(v), _CMP_GT_OQ), equal)));
    }
    return count;
}

static float lane_sum_exp(const float *x, int32_t n, float max)
{
    __m256 a = _mm256_setzero_ps(), b = a, m = _mm256_set1_ps(max);
    for (int32_t i = 0; i < n; i += 16) {
        a = _mm256_add_ps(a, exp256_low(_mm256_sub_ps(load_or_low(x, i, n), m)));
        b = _mm256_add_ps(b, exp256_low(_mm256_sub_ps(load_or_low(x, i + 8, n), m)));
    }
    return tree256(a, b);
}

static inline __m256 takes_part(const sample_view *v, __m256 y)
{
    return _mm256_cmp_ps(y, _mm256_set1_ps(v->y_min), _CMP_GE_OQ);
}

/* Bucket of each lane, BUCKETS where it does not take part. */
static inline __m256i buckets_of(const sample_view *v, __m256 y)
{
    __m256i k = _mm256_cvttps_epi32(_mm256_mul_ps(y, _mm256_set1_ps(-BUCKETS_PER_Y)));
    k = _mm256_min_epi32(k, _mm256_set1_epi32(BUCKETS - 1));
    return _mm256_blendv_epi8(_mm256_set1_epi32(BUCKETS), k, _mm256_castps_si256(takes_part(v, y)));
}

static inline __m256 ys_at(const sample_view *v, int32_t i)
{
    __m256 z = load_or_low(v->z, i, v->n);
    return _mm256_mul_ps(_mm256_sub_ps(z, _mm256_set1_ps(v->z_max)), _mm256_set1_ps(v->inv_t));
}

/* floor(w * 2^40) of 4 floats in [0, 1]: the mantissa shifted by its exponent; of the two shifts one is by a negative
 * count, which gives 0, or both are by none. */
static inline __m256i weights(__m128i w)
{
    __m128i mantissa = _mm_and_si128(w, _mm_set1_epi32(0x7fffff));
    __m256i m = _mm256_cvtepu32_epi64(_mm_or_si128(mantissa, _mm_set1_epi32(0x800000)));
    __m256i left = _mm256_cvtepi32_epi64(_mm_sub_epi32(_mm_srli_epi32(w, 23), _mm_set1_epi32(127 - 17)));
    __m256i right = _mm256_sub_epi64(_mm256_setzero_si256(), left);
    return _mm256_or_si256(_mm256_sllv_epi64(m, left), _mm256_srlv_epi64(m, right));
}

static void fill_buckets(const sample_view *v, sample_buckets *b)
{
    _Alignas(32) int32_t k[8];
    _Alignas(32) uint64_t w[8];
    for (int32_t i = 0; i < v->n; i += 8) {
        __m256 y = ys_at(v, i);
        if (!lanes_that(takes_part(v, y)))
            continue;
        __m256i bits = _mm256_castps_si256(exp256_low(y));
        _mm256_store_si256((void *)k, buckets_of(v, y));
        _mm256_store_si256((void *)w, weights(_mm256_castsi256_si128(bits)));
        _mm256_store_si256((void *)(w + 4), weights(_mm256_extracti128_si256(bits, 1)));
        for (int j = 0; j < 8; j++) {
            b->mass[k[j]] += w[j];
            b->count[k[j]]++;
        }
    }
}

static int32_t bucket_ids(const sample_view *v, int32_t bucket, uint32_t *ids)
{
    int32_t n = 0;
    for (int32_t i = 0; i < v->n; i += 8) {
        __m256i same = _mm256_cmpeq_epi32(buckets_of(v, ys_at(v, i)), _mm256_set1_epi32(bucket));
        for (unsigned hit = lanes_that(_mm256_castsi256_ps(same)); hit; hit &= hit - 1)
            ids[n++] = (uint32_t)(i + __builtin_ctz(hit));
    }
    return n;
}

void sample_avx2(const kern_sample_args *a, int64_t t0, int64_t t1) { sample_rows(a, t0, t1); }
