/* Paged attention: which kernel. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/gpu_attn.h"

size_t GPU_SYM(op_attn_scratch_bytes)(int32_t tok_max, int32_t q_heads, int32_t head_dim, int32_t ctx_max)
{
    (void)ctx_max;
    return GPU_SYM(attention_mma_bytes)(tok_max, q_heads, head_dim);
}

void GPU_SYM(op_attention)(const kern_attn_args *a, gpu_stream s)
{
    const kern_batch *b = a->batch;
    const kern_batch_group *g = &b->group[a->group];
    const kern_kv_layer *kv = a->kv;
    td_assert(a->q_heads % kv->heads == 0 && kv->head_dim <= TD_MODEL_HEAD_DIM_MAX && kv->type != KV_Q8_0);
    attn_call c = {b->pos, b->row_tok0, b->row_ctx, g->page, b->row_count, g->page_max, kv->block_tok, kv->base,
                   kv->block_stride, kv->type, kv->heads, a->q_heads, kv->head_dim, a->q, a->q_stride, a->scale,
                   a->softcap, a->window, a->out};
    if (b->tok_count && !GPU_SYM(attention_mma)(&c, b->tok_count, a->scratch, s))
        GPU_SYM(attention_plain)(&c, b->tok_count, s);
}
