/* gpu_ops.h - the GPU's kernels as launchers: one function an operation, queued on a stream.
 *
 * The same sources make two sets, `cuda_…` with nvcc and `emu_…` as host code for the emulator (gpu_rt.h); a file that
 * includes this is compiled once for each. A launcher checks shapes by assertion, decides grid and block from the shape
 * of the operands alone, and queues; a failing launch is seen by rt_last_error(). Arguments are device pointers.
 *
 * Numerics, the same for every batch: a reduction's tree depends on the reduced length only, one block or one warp owns
 * an output row, floats are never added by atomics. */
#ifndef TD_KERNELS_CUDA_GPU_OPS_H
#define TD_KERNELS_CUDA_GPU_OPS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif
#include "kernels/kernels.h"
#ifdef __cplusplus
}
#endif

#include "kernels/cuda/gpu_rt.h"

/* Weights of F32 and F16 keep their bits, row by row, and take float activations; the others become bf16 panels
 * (gemm.h) and take bf16 activations. Rows, of weights and of float activations, are padded with zeros to 128 bytes. */
enum { GPU_ROW_ALIGN = 128 };

static inline bool gpu_weight_in_panels(int32_t type) { return type != KT_F32 && type != KT_F16; }

static inline size_t gpu_row_bytes(kern_type type, int32_t cols)
{
    size_t bytes = (size_t)cols * (type == KT_F32 ? 4 : 2);
    return (bytes + GPU_ROW_ALIGN - 1) / GPU_ROW_ALIGN * GPU_ROW_ALIGN;
}

/* A cache block of one layer: [k|v][head][tok][dim]. */

/* A sampling row as the kernel sees it: kern_sample_row with device pointers. scratch: [row][V] floats, for rows that
 * need adjusted logits (mask, adj or typical_p), by their index. */
typedef struct gpu_sample_args {
    const float *logits;
    int32_t vocab, logit_stride, row_count;
    const kern_sample_row *rows; // [row_count]
    kern_sample_out *out;        // [row_count]
    int32_t *slots;
    float *scratch;              // [row_count][V]
} gpu_sample_args;

GPU_EXTERN void GPU_SYM(op_embed)(const kern_embed_args *a, gpu_stream s);
GPU_EXTERN void GPU_SYM(op_norm)(const kern_norm_args *a, gpu_stream s);
GPU_EXTERN void GPU_SYM(op_quant)(const kern_quant_args *a, gpu_stream s);
GPU_EXTERN void GPU_SYM(op_rope)(const kern_rope_args *a, gpu_stream s);
GPU_EXTERN void GPU_SYM(op_kv_store)(const kern_kv_store_args *a, gpu_stream s);
GPU_EXTERN void GPU_SYM(op_kv_move)(const kern_kv_move_args *a, bool pack, gpu_stream s);
GPU_EXTERN void GPU_SYM(op_sample)(const gpu_sample_args *a, gpu_stream s);
GPU_EXTERN void GPU_SYM(op_matmul)(const kern_matmul_args *a, int32_t sm, gpu_stream s); // sm: 80, 90
GPU_EXTERN size_t GPU_SYM(op_attn_scratch_bytes)(int32_t tok_max, int32_t q_heads, int32_t head_dim, int32_t ctx_max);
GPU_EXTERN void GPU_SYM(op_attention)(const kern_attn_args *a, gpu_stream s);

#endif
