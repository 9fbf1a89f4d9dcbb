/* act.cuh - writing a row of an activation: floats or bf16, padded with zeros to the row's stride. */
#ifndef TD_KERNELS_CUDA_ACT_CUH
#define TD_KERNELS_CUDA_ACT_CUH

#include "kernels/cuda/reduce.cuh"
#include "kernels/half.h"

/* The row of one token, for kernels. */
typedef struct act_rows {
    uint8_t *data;
    size_t stride;  // bytes
    int32_t bf16;   // else float
} act_rows;

/* Columns c … c + 3, c a multiple of 4. Rows are aligned to 64 bytes and end at a multiple of 64, so the last four may
 * be written whole: what lies beyond the columns is 0 in v. */
static __device__ __forceinline__ void act_store4(const act_rows *a, uint8_t *row, int32_t c, float4 v)
{
    if (!a->bf16) {
        *(float4 *)((float *)row + c) = v;
        return;
    }
    uint2 h;
    h.x = (uint32_t)kern_f32_to_bf16(v.x) | (uint32_t)kern_f32_to_bf16(v.y) << 16;
    h.y = (uint32_t)kern_f32_to_bf16(v.z) | (uint32_t)kern_f32_to_bf16(v.w) << 16;
    *(uint2 *)((uint16_t *)row + c) = h;
}

/* Zeros from the last columns' four to the end of the row. */
static __device__ __forceinline__ void act_pad(const act_rows *a, uint8_t *row, int32_t cols)
{
    int32_t end = (int32_t)(a->stride / (a->bf16 ? 2 : 4));
    for (int32_t c = (cols + 3) / 4 * 4 + 4 * (int32_t)threadIdx.x; c < end; c += 4 * (int32_t)blockDim.x)
        act_store4(a, row, c, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
}

#endif
