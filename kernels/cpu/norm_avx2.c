#include "kernels/cpu/act.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vec256.h"

#include "base/limits.h"

/* 8 columns from i on: x += scale * (weight ? y * r * weight : y); returns the new x, 0 beyond the last column. */
static inline __m256 add_part(const kern_norm_args *a, const float *y, float r, float *x, int32_t i)
{
    int32_t n = a->cols - i;
    __m256 v = load256_first(y + i, n);
    if (a->y_weight)
        v = _mm256_mul_ps(_mm256_mul_ps(v, _mm256_set1_ps(r)), load256_first(a->y_weight + i, n));
    v = _mm256_fmadd_ps(_mm256_set1_ps(a->y_scale), v, load256_first(x + i, n));
    store256_first(x + i, n, v);
    return n >= 8 ? v : _mm256_and_ps(v, lanes256(0, n));
}

static lanes16 add_residual(const kern_norm_args *a, const float *y, float *x)
{
    lanes16 sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    float r = a->y_weight ? inv_rms256(squares256(y, a->cols), a->cols, a->eps) : 1.0f;
    for (int32_t i = 0; i < a->cols; i += 16) {
        __m256 v = add_part(a, y, r, x, i), w = add_part(a, y, r, x, i + 8);
        sum.a = _mm256_fmadd_ps(v, v, sum.a);
        sum.b = _mm256_fmadd_ps(w, w, sum.b);
    }
    return sum;
}

static void norm_row(const kern_norm_args *a, int64_t t, float *buf)
{
    float *x = a->x + (a->gather ? a->gather[t] : t) * a->cols;
    lanes16 sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    if (a->y)
        sum = add_residual(a, a->y + t * a->cols, x);
    if (!a->out)
        return;
    void *row = (char *)a->out->data + (size_t)t * a->out->stride;
    if (!a->weight) {
        act_row_avx2(a->out->kind, x, a->cols, row);
        return;
    }
    float r = inv_rms256(a->y ? sum : squares256(x, a->cols), a->cols, a->eps);
    float *o = a->out->kind == KA_F32 ? row : buf;
    for (int32_t i = 0; i < a->cols; i += 8) {
        int32_t n = a->cols - i;
        __m256 v = _mm256_mul_ps(load256_first(x + i, n), _mm256_set1_ps(r));
        store256_first(o + i, n, _mm256_mul_ps(v, load256_first(a->weight + i, n)));
    }
    if (a->out->kind != KA_F32)
        act_row_avx2(a->out->kind, buf, a->cols, row);
}

void norm_avx2(const kern_norm_args *a, int64_t t0, int64_t t1)
{
    _Alignas(64) float buf[TD_MODEL_HIDDEN_MAX];
    int32_t rows = norm_tile_rows(a);
    for (int64_t t = t0 * rows; t < TD_MIN(t1 * rows, a->tok_count); t++)
        norm_row(a, t, buf);
}
