#include "kernels/cpu/fast.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vec256.h"

/* kern_sin_cos in 4 lanes. */
static inline void sin_cos(__m256d x, __m256d *sin, __m256d *cos)
{
    const __m256d magic = _mm256_set1_pd(KERN_SIN_COS_MAGIC), sign = _mm256_set1_pd(-0.0);
    __m256d t = _mm256_fmadd_pd(x, _mm256_set1_pd(KERN_2_PI), magic), n = _mm256_sub_pd(t, magic);
    __m256d r = _mm256_fnmadd_pd(n, _mm256_set1_pd(KERN_PI_2_HI), x), s = _mm256_setzero_pd(), c = s;
    r = _mm256_fnmadd_pd(n, _mm256_set1_pd(KERN_PI_2_LO), r);
    __m256d z = _mm256_mul_pd(r, r);
#define X(k) s = _mm256_fmadd_pd(s, z, _mm256_set1_pd(k));
    KERN_SIN_SERIES(X)
#undef X
#define X(k) c = _mm256_fmadd_pd(c, z, _mm256_set1_pd(k));
    KERN_COS_SERIES(X)
#undef X
    s = _mm256_fmadd_pd(_mm256_mul_pd(r, z), s, r);
    __m256d c0 = _mm256_fmadd_pd(_mm256_set1_pd(-0.5), z, _mm256_set1_pd(1.0));
    c = _mm256_fmadd_pd(_mm256_mul_pd(z, z), c, c0);
    // Bits 0 and 1 of the quadrant, moved to the sign bit: blendv and xor look there.
    __m256i q = _mm256_castpd_si256(t), q1 = _mm256_add_epi64(q, _mm256_set1_epi64x(1));
    __m256d swap = _mm256_castsi256_pd(_mm256_slli_epi64(q, 63));
    __m256d neg_sin = _mm256_and_pd(_mm256_castsi256_pd(_mm256_slli_epi64(q, 62)), sign);
    __m256d neg_cos = _mm256_and_pd(_mm256_castsi256_pd(_mm256_slli_epi64(q1, 62)), sign);
    *sin = _mm256_xor_pd(_mm256_blendv_pd(s, c, swap), neg_sin);
    *cos = _mm256_xor_pd(_mm256_blendv_pd(c, s, swap), neg_cos);
}

static void rope_tok(const kern_rope_args *a, double pos, float *out)
{
    __m256d scale = _mm256_set1_pd((double)a->mscale), s, c;
    for (int32_t i = 0; i < a->dims / 2; i += 4) {
        int32_t n = TD_MIN(a->dims / 2 - i, 4);
        __m256i in = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
        sin_cos(_mm256_mul_pd(_mm256_set1_pd(pos), _mm256_maskload_pd(a->inv_freq + i, in)), &s, &c);
        __m128 cf = _mm256_cvtpd_ps(_mm256_mul_pd(c, scale)), sf = _mm256_cvtpd_ps(_mm256_mul_pd(s, scale));
        __m256 v = _mm256_set_m128(_mm_unpackhi_ps(cf, sf), _mm_unpacklo_ps(cf, sf));
        store256_first(out + 2 * i, 2 * n, v);
    }
}

void rope_avx2(const kern_rope_args *a, int64_t t0, int64_t t1)
{
    int32_t toks = rope_tile_toks(a);
    for (int64_t t = t0 * toks; t < TD_MIN(t1 * toks, a->batch->tok_count); t++)
        rope_tok(a, (double)a->batch->pos[t], a->table + t * a->dims);
}
