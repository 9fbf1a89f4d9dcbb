#include "kernels/cpu/tiles.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/kv.h"

static int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t cpu_norm_tiles(const kern_norm_args *a)
{
    td_assert(a->cols > 0 && a->cols <= TD_MODEL_HIDDEN_MAX && !(a->y && a->gather));
    td_assert(!a->out || a->out->cols == a->cols);
    return div_up(a->tok_count, norm_tile_rows(a));
}

int64_t cpu_rope_tiles(const kern_rope_args *a) { return div_up(a->batch->tok_count, rope_tile_toks(a)); }

int64_t cpu_kv_store_tiles(const kern_kv_store_args *a)
{
    td_assert(a->rope_dims <= a->kv->head_dim && a->rope_dims % 2 == 0 && a->kv->head_dim % 8 == 0);
    td_assert(a->kv->block_tok % KV_LANES == 0 && a->kv->head_dim <= TD_MODEL_HEAD_DIM_MAX);
    td_assert(a->kv->type != KV_Q8_0 || a->kv->head_dim % KV_Q8_DIMS == 0);
    return div_up(a->batch->tok_count, kv_store_tile_toks(a));
}

size_t cpu_kv_layer_bytes(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t block_tok)
{
    size_t bytes = 2 * kv_codes_bytes(type, heads, head_dim, block_tok);
    return td_align_up(bytes + 2 * kv_scales_bytes(type, heads, head_dim, block_tok), 64);
}

/* Tokens lie interleaved, so the whole block is copied; what lies behind tok_count is as undefined as it was. */
void cpu_kv_copy(kern_dev *dev, const kern_kv_layer *kv, int32_t dst, int32_t src, int32_t tok_count)
{
    (void)dev;
    td_assert(tok_count <= kv->block_tok);
    if (dst != src && tok_count > 0)
        memcpy(kv->base + (size_t)dst * kv->block_stride, kv->base + (size_t)src * kv->block_stride,
               cpu_kv_layer_bytes(kv->type, kv->heads, kv->head_dim, kv->block_tok));
}
