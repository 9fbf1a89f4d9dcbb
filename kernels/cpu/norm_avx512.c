#include "kernels/cpu/act.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vec512.h"

#include "base/limits.h"

/* x += scale * (weight ? y * r * weight : y); returns the lane sums of squares of the new x. */
static __m512 add_residual(const kern_norm_args *a, const float *y, float *x)
{
    __m512 sum = _mm512_setzero_ps(), scale = _mm512_set1_ps(a->y_scale), r = sum;
    if (a->y_weight)
        r = _mm512_set1_ps(inv_rms512(squares512(y, a->cols), a->cols, a->eps));
    for (int32_t i = 0; i < a->cols; i += 16) {
        __mmask16 k = first512(a->cols - i);
        __m512 v = _mm512_maskz_loadu_ps(k, y + i);
        if (a->y_weight)
            v = _mm512_mul_ps(_mm512_mul_ps(v, r), _mm512_maskz_loadu_ps(k, a->y_weight + i));
        v = _mm512_fmadd_ps(scale, v, _mm512_maskz_loadu_ps(k, x + i));
        _mm512_mask_storeu_ps(x + i, k, v);
        sum = _mm512_mask3_fmadd_ps(v, v, sum, k);
    }
    return sum;
}

static void norm_row(const kern_norm_args *a, int64_t t, float *buf)
{
    float *x = a->x + (a->gather ? a->gather[t] : t) * a->cols;
    __m512 sum = a->y ? add_residual(a, a->y + t * a->cols, x) : _mm512_setzero_ps();
    if (!a->out)
        return;
    void *row = (char *)a->out->data + (size_t)t * a->out->stride;
    if (!a->weight) {
        act_row_avx512(a->out->kind, x, a->cols, row);
        return;
    }
    __m512 r = _mm512_set1_ps(inv_rms512(a->y ? sum : squares512(x, a->cols), a->cols, a->eps));
    float *o = a->out->kind == KA_F32 ? row : buf;
    for (int32_t i = 0; i < a->cols; i += 16) {
        __mmask16 k = first512(a->cols - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(k, x + i), r);
        _mm512_mask_storeu_ps(o + i, k, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(k, a->weight + i)));
    }
    if (a->out->kind != KA_F32)
        act_row_avx512(a->out->kind, buf, a->cols, row);
}

void norm_avx512(const kern_norm_args *a, int64_t t0, int64_t t1)
{
    _Alignas(64) float buf[TD_MODEL_HIDDEN_MAX];
    int32_t rows = norm_tile_rows(a);
    for (int64_t t = t0 * rows; t < TD_MIN(t1 * rows, a->tok_count); t++)
        norm_row(a, t, buf);
}
