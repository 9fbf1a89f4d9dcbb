/* Residual and RMS norm, and conversion of float rows: one block a row. Bandwidth-bound: x is read, added to, written
 * and read again out of the cache by the thread that wrote it. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/act.cuh"
#include "kernels/cuda/gpu_ops.h"

typedef struct norm_call {
    float *x;
    const float *y, *y_weight, *weight;
    const int32_t *gather;
    int32_t cols;
    float eps, y_scale;
    act_rows out; // data NULL: no output
} norm_call;

static __device__ __forceinline__ float4 scaled(float4 v, float r, float4 w)
{
    return make_float4(v.x * r * w.x, v.y * r * w.y, v.z * r * w.z, v.w * r * w.w);
}

static __device__ __forceinline__ float inv_rms(float sum, int32_t cols, float eps)
{
    return 1.0f / sqrtf(sum / (float)cols + eps);
}

/* x += y_scale * (y_weight ? rms(y) * y_weight : y); the part of the sum of x² that this thread owns. */
template <bool VEC> static __device__ float add_residual(const norm_call &a, const float *y, float *x, float *part)
{
    int32_t first = 4 * (int32_t)threadIdx.x, step = 4 * (int32_t)blockDim.x;
    float sum = 0.0f, r = 1.0f;
    if (a.y_weight) {
        for (int32_t c = first; c < a.cols; c += step)
            sum = sum_squares(load4<VEC>(y, c, a.cols), sum);
        r = inv_rms(block_sum(sum, part), a.cols, a.eps);
        sum = 0.0f;
    }
    for (int32_t c = first; c < a.cols; c += step) {
        float4 v = load4<VEC>(y, c, a.cols), o = load4<VEC>(x, c, a.cols);
        if (a.y_weight)
            v = scaled(v, r, load4<VEC>(a.y_weight, c, a.cols));
        o = make_float4(fmaf(a.y_scale, v.x, o.x), fmaf(a.y_scale, v.y, o.y), fmaf(a.y_scale, v.z, o.z),
                        fmaf(a.y_scale, v.w, o.w));
        store4<VEC>(x, c, a.cols, o);
        sum = sum_squares(o, sum);
    }
    return sum;
}

template <bool VEC> static __global__ void norm_kernel(norm_call a)
{
    TD_SMEM(float, part);
    int32_t t = (int32_t)blockIdx.x, first = 4 * (int32_t)threadIdx.x, step = 4 * (int32_t)blockDim.x;
    float *x = a.x + (size_t)(a.gather ? a.gather[t] : t) * (size_t)a.cols;
    float sum = 0.0f, r = 1.0f;
    if (a.y)
        sum = add_residual<VEC>(a, a.y + (size_t)t * (size_t)a.cols, x, part);
    if (!a.out.data)
        return;
    if (a.weight) {
        for (int32_t c = first; c < a.cols && !a.y; c += step)
            sum = sum_squares(load4<VEC>(x, c, a.cols), sum);
        r = inv_rms(block_sum(sum, part), a.cols, a.eps);
    }
    for (int32_t c = first; c < a.cols; c += step) {
        float4 v = load4<VEC>(x, c, a.cols);
        act_store4(&a.out, t, c, a.weight ? scaled(v, r, load4<VEC>(a.weight, c, a.cols)) : v);
    }
    act_pad(&a.out, t, a.cols);
}

static __global__ void quant_kernel(const float *x, int32_t x_stride, int32_t cols, act_rows out)
{
    const float *from = x + (size_t)blockIdx.x * (size_t)x_stride;
    int32_t t = (int32_t)blockIdx.x;
    for (int32_t c = 4 * (int32_t)threadIdx.x; c < cols; c += 4 * (int32_t)blockDim.x)
        act_store4(&out, t, c, load4<false>(from, c, cols));
    act_pad(&out, t, cols);
}

static bool aligned16(const void *p) { return ((uintptr_t)p & 15) == 0; }

static act_rows act_of(const kern_act *a)
{
    td_assert(a->kind == KA_F32 || a->kind == KA_BF16);
    td_assert(a->stride % GPU_ROW_ALIGN == 0 && aligned16(a->data));
    act_rows r = {(uint8_t *)a->data, a->stride, a->tok_count, a->kind == KA_BF16};
    return r;
}

void GPU_SYM(op_norm)(const kern_norm_args *a, gpu_stream s)
{
    td_assert(!a->gather || !a->y);
    norm_call c = {a->x, a->y, a->y_weight, a->weight, a->gather, a->cols, a->eps, a->y_scale, {NULL, 0, 0, 0}};
    if (a->out) {
        td_assert(a->out->cols == a->cols);
        c.out = act_of(a->out);
    }
    bool vec = a->cols % 4 == 0 && aligned16(a->x) && aligned16(a->y) && aligned16(a->y_weight) && aligned16(a->weight);
    size_t smem = REDUCE_WARPS_MAX * sizeof(float);
    if (a->tok_count == 0)
        return;
    if (vec)
        TD_LAUNCH((norm_kernel<true>), a->tok_count, row_threads(a->cols), smem, s, c);
    else
        TD_LAUNCH((norm_kernel<false>), a->tok_count, row_threads(a->cols), smem, s, c);
}

void GPU_SYM(op_quant)(const kern_quant_args *a, gpu_stream s)
{
    if (a->out->tok_count == 0)
        return;
    TD_LAUNCH(quant_kernel, a->out->tok_count, row_threads(a->out->cols), 0, s, a->x, a->x_stride, a->out->cols,
              act_of(a->out));
}
