/* Llama and what is built like it: Mistral, Qwen 2, Qwen 3. Norm before each block, the block's sum straight into the
 * residual. Biases, head norms, windows and rope kinds come from the config. */
#include "model/block.h"

bool llama_forward(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, const int32_t *group)
{
    block_begin(m, st, b);
    for (int32_t l = 0; l < m->config.layer_count; l++) {
        const layer_weights *w = &m->weights.layers[l];
        if (!block_go_on(b))
            return false;
        block_norm(m, st, b->tok_count, NULL, NULL, w->attn_norm, (const kern_weight *[]){&w->q, &w->k, &w->v}, 3);
        block_attention(m, st, b, &kv[l], group[l], l);
        block_add(m, st, &st->mid_attn[block_act(m, &w->o)], &w->o, w->o_bias);
        block_norm(m, st, b->tok_count, NULL, NULL, w->ffn_norm, (const kern_weight *[]){&w->gate, &w->up}, 2);
        block_mlp(m, st, b->tok_count, l);
        block_add(m, st, &st->mid_ffn[block_act(m, &w->down)], &w->down, w->down_bias);
    }
    block_end(m, st, b);
    return true;
}
