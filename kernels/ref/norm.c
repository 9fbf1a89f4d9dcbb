#include "kernels/cpu/act.h"
#include "kernels/cpu/tiles.h"
#include "kernels/ref/ref_attn.h"

#include "kernels/math.h"

/* 1 / sqrt(mean of squares + eps): 16 lanes, each an fma chain, then the tree 8, 4, 2, 1. */
static float inv_rms(const float *v, int32_t cols, float eps)
{
    float lane[16] = {0};
    for (int32_t i = 0; i < cols; i++)
        lane[i % 16] = __builtin_fmaf(v[i], v[i], lane[i % 16]);
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            lane[i] += lane[i + w];
    return 1.0f / __builtin_sqrtf(lane[0] / (float)cols + eps);
}

static void add_residual(const kern_norm_args *a, const float *y, float *x)
{
    float r = a->y_weight ? inv_rms(y, a->cols, a->eps) : 1.0f;
    for (int32_t i = 0; i < a->cols; i++)
        x[i] = __builtin_fmaf(a->y_scale, a->y_weight ? y[i] * r * a->y_weight[i] : y[i], x[i]);
}

static void norm_row(const kern_norm_args *a, int64_t t)
{
    float buf[TD_MODEL_HIDDEN_MAX];
    float *x = a->x + (a->gather ? a->gather[t] : t) * a->cols;
    if (a->y)
        add_residual(a, a->y + t * a->cols, x);
    if (!a->out)
        return;
    void *row = (char *)a->out->data + (size_t)t * a->out->stride;
    float *o = a->out->kind == KA_F32 ? row : buf;
    float r = a->weight ? inv_rms(x, a->cols, a->eps) : 1.0f;
    for (int32_t i = 0; i < a->cols; i++)
        o[i] = a->weight ? x[i] * r * a->weight[i] : x[i];
    if (a->out->kind != KA_F32)
        act_row_ref(a->out->kind, buf, a->cols, row);
}

void ref_norm(const kern_norm_args *a, int64_t t0, int64_t t1)
{
    int32_t rows = norm_tile_rows(a);
    for (int64_t t = t0 * rows; t < TD_MIN(t1 * rows, a->tok_count); t++)
        norm_row(a, t);
}
