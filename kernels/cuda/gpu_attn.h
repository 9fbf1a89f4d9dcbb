/* gpu_attn.h - the attention kernels behind op_attention. */
#ifndef TD_KERNELS_CUDA_GPU_ATTN_H
#define TD_KERNELS_CUDA_GPU_ATTN_H

#include "kernels/cuda/gpu_ops.h"

struct attn_call;

GPU_EXTERN void GPU_SYM(attention_plain)(const struct attn_call *a, int32_t tok_count, gpu_stream s);
/* Tensor cores. false: they have no such head dim or cache type. */
GPU_EXTERN bool GPU_SYM(attention_mma)(const struct attn_call *a, int32_t tok_count, void *scratch, gpu_stream s);
GPU_EXTERN size_t GPU_SYM(attention_mma_bytes)(int32_t tok_max, int32_t q_heads, int32_t head_dim);

#endif
