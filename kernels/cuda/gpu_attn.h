/* gpu_attn.h - the attention kernels behind op_attention. */
#ifndef TD_KERNELS_CUDA_GPU_ATTN_H
#define TD_KERNELS_CUDA_GPU_ATTN_H

#include "kernels/cuda/gpu_ops.h"

struct attn_call;

GPU_EXTERN void GPU_SYM(attention_plain)(const struct attn_call *a, int32_t tok_count, gpu_stream s);
/* false: it has no such head dim or cache type. */
GPU_EXTERN bool GPU_SYM(attention_bf16)(const struct attn_call *a, int32_t tok_count, gpu_stream s);

#endif
