#include "kernels/cpu/fast.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vec512.h"

/* kern_sin_cos in 8 lanes. */
static inline void sin_cos(__m512d x, __m512d *sin, __m512d *cos)
{
    const __m512d magic = _mm512_set1_pd(KERN_SIN_COS_MAGIC), sign = _mm512_set1_pd(-0.0);
    __m512d t = _mm512_fmadd_pd(x, _mm512_set1_pd(KERN_2_PI), magic), n = _mm512_sub_pd(t, magic);
    __m512d r = _mm512_fnmadd_pd(n, _mm512_set1_pd(KERN_PI_2_HI), x), s = _mm512_setzero_pd(), c = s;
    r = _mm512_fnmadd_pd(n, _mm512_set1_pd(KERN_PI_2_LO), r);
    __m512d z = _mm512_mul_pd(r, r);
#define X(k) s = _mm512_fmadd_pd(s, z, _mm512_set1_pd(k));
    KERN_SIN_SERIES(X)
#undef X
#define X(k) c = _mm512_fmadd_pd(c, z, _mm512_set1_pd(k));
    KERN_COS_SERIES(X)
#undef X
    s = _mm512_fmadd_pd(_mm512_mul_pd(r, z), s, r);
    __m512d c0 = _mm512_fmadd_pd(_mm512_set1_pd(-0.5), z, _mm512_set1_pd(1.0));
    c = _mm512_fmadd_pd(_mm512_mul_pd(z, z), c, c0);
    __m512i q = _mm512_castpd_si512(t), one = _mm512_set1_epi64(1), two = _mm512_set1_epi64(2);
    __mmask8 swap = _mm512_test_epi64_mask(q, one), neg_sin = _mm512_test_epi64_mask(q, two);
    __mmask8 neg_cos = _mm512_test_epi64_mask(_mm512_add_epi64(q, one), two);
    __m512d a = _mm512_mask_mov_pd(s, swap, c), b = _mm512_mask_mov_pd(c, swap, s);
    *sin = _mm512_mask_xor_pd(a, neg_sin, a, sign);
    *cos = _mm512_mask_xor_pd(b, neg_cos, b, sign);
}

static void rope_tok(const kern_rope_args *a, double pos, float *out)
{
    const __m512i pairs = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    __m512d scale = _mm512_set1_pd((double)a->mscale), s, c;
    for (int32_t i = 0; i < a->dims / 2; i += 8) {
        int32_t n = TD_MIN(a->dims / 2 - i, 8);
        __m512d f = _mm512_maskz_loadu_pd((__mmask8)first512(n), a->inv_freq + i);
        sin_cos(_mm512_mul_pd(_mm512_set1_pd(pos), f), &s, &c);
        __m256 cf = _mm512_cvtpd_ps(_mm512_mul_pd(c, scale)), sf = _mm512_cvtpd_ps(_mm512_mul_pd(s, scale));
        __m512 v = _mm512_insertf32x8(_mm512_castps256_ps512(cf), sf, 1);
        _mm512_mask_storeu_ps(out + 2 * i, first512(2 * n), _mm512_permutexvar_ps(pairs, v));
    }
}

void rope_avx512(const kern_rope_args *a, int64_t t0, int64_t t1)
{
    int32_t toks = rope_tile_toks(a);
    for (int64_t t = t0 * toks; t < TD_MIN(t1 * toks, a->batch->tok_count); t++)
        rope_tok(a, (double)a->batch->pos[t], a->table + t * a->dims);
}
