/* act.cuh - writing a row of an activation: rows of floats, or the tile columns of bf16 that gemm.h describes, padded
 * with zeros to the row's stride. */
#ifndef TD_KERNELS_CUDA_ACT_CUH
#define TD_KERNELS_CUDA_ACT_CUH

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/half.h"

/* An activation, for kernels. */
typedef struct act_rows {
    uint8_t *data;
    size_t stride;     // bytes a token takes
    int32_t tok_count;
    int32_t bf16;      // else float
} act_rows;

/* Columns c … c + 3 of token t, c a multiple of 4. Rows end at a multiple of 128 bytes, so the last four may be
 * written whole: what lies beyond the columns is 0 in v. */
static __device__ __forceinline__ void act_store4(const act_rows *a, int32_t t, int32_t c, float4 v)
{
    if (!a->bf16) {
        *(float4 *)((float *)(a->data + (size_t)t * a->stride) + c) = v;
        return;
    }
    uint2 h;
    h.x = (uint32_t)kern_f32_to_bf16(v.x) | (uint32_t)kern_f32_to_bf16(v.y) << 16;
    h.y = (uint32_t)kern_f32_to_bf16(v.z) | (uint32_t)kern_f32_to_bf16(v.w) << 16;
    *(uint2 *)(a->data + gemm_act_at(a->tok_count, t, c)) = h;
}

/* Zeros from the last columns' four to the end of the row. */
static __device__ __forceinline__ void act_pad(const act_rows *a, int32_t t, int32_t cols)
{
    int32_t end = (int32_t)(a->stride / (a->bf16 ? 2 : 4));
    for (int32_t c = (cols + 3) / 4 * 4 + 4 * (int32_t)threadIdx.x; c < end; c += 4 * (int32_t)blockDim.x)
        act_store4(a, t, c, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
}

#endif
