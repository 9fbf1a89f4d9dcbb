/* Gemma 3: every block's sum passes a norm of its own before it joins the residual. The norm that ends one block
 * and the norm that begins the next are one operation, so y waits until the next block_norm takes it. */
#include "model/block.h"

bool gemma_forward(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, const int32_t *group)
{
    const float *y = NULL, *y_norm = NULL;
    block_begin(m, st, b);
    for (int32_t l = 0; l < m->config.layer_count; l++) {
        const layer_weights *w = &m->weights.layers[l];
        if (!block_go_on(b))
            return false;
        block_norm(m, st, b->tok_count, y, y_norm, w->attn_norm, (const kern_weight *[]){&w->q, &w->k, &w->v}, 3);
        block_attention(m, st, b, &kv[l], group[l], l);
        block_put(m, st, &st->mid_attn[block_act(m, &w->o)], &w->o, w->o_bias);
        block_norm(m, st, b->tok_count, st->y, w->attn_post_norm, w->ffn_norm,
                   (const kern_weight *[]){&w->gate, &w->up}, 2);
        block_mlp(m, st, b->tok_count, l);
        block_put(m, st, &st->mid_ffn[block_act(m, &w->down)], &w->down, w->down_bias);
        y = st->y;
        y_norm = w->ffn_post_norm;
    }
    block_norm(m, st, b->tok_count, y, y_norm, NULL, NULL, 0);
    block_end(m, st, b);
    return true;
}
