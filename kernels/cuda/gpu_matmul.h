/* gpu_matmul.h - one product of a matmul call, as the plain float kernel takes it, and what becomes of sums. */
#ifndef TD_KERNELS_CUDA_GPU_MATMUL_H
#define TD_KERNELS_CUDA_GPU_MATMUL_H

#include "kernels/cuda/gpu_ops.h"

/* What becomes of a sum: bias, then by kind. GATE kinds multiply the activated sum with what out already holds. */
typedef enum gpu_finish_kind { GF_STORE, GF_ADD, GF_SILU_GATE, GF_GELU_GATE } gpu_finish_kind;

typedef struct gpu_finish {
    int32_t kind;
    const float *bias; // [N] or NULL
    float *out;        // [T][..], rows out_stride floats apart
    int32_t out_stride;
} gpu_finish;

typedef struct gpu_product {
    int32_t type;              // of the weight
    int32_t rows, cols, chunks, tok_count;
    const uint8_t *w, *x;      // rows w_stride and x_stride bytes apart
    size_t w_stride, x_stride;
    gpu_finish end;
} gpu_product;

GPU_EXTERN void GPU_SYM(matmul_f32)(const gpu_product *p, gpu_stream s);

#endif
