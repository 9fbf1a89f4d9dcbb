#include "model/names.h"

#include <stdio.h>

typedef struct role_names {
    const char *hf, *gguf; // "%d" stands for the layer
} role_names;

static const role_names names[ROLE_COUNT] = {
    [ROLE_EMBED] = {"embed_tokens", "token_embd"},
    [ROLE_HEAD] = {"lm_head", "output"},
    [ROLE_OUT_NORM] = {"norm", "output_norm"},
    [ROLE_ATTN_NORM] = {"layers.%d.input_layernorm", "blk.%d.attn_norm"},
    [ROLE_ATTN_POST_NORM] = {"layers.%d.post_attention_layernorm", "blk.%d.post_attention_norm"},
    [ROLE_FFN_NORM] = {"layers.%d.post_attention_layernorm", "blk.%d.ffn_norm"},
    [ROLE_FFN_POST_NORM] = {"layers.%d.post_feedforward_layernorm", "blk.%d.post_ffw_norm"},
    [ROLE_Q_NORM] = {"layers.%d.self_attn.q_norm", "blk.%d.attn_q_norm"},
    [ROLE_K_NORM] = {"layers.%d.self_attn.k_norm", "blk.%d.attn_k_norm"},
    [ROLE_Q] = {"layers.%d.self_attn.q_proj", "blk.%d.attn_q"},
    [ROLE_K] = {"layers.%d.self_attn.k_proj", "blk.%d.attn_k"},
    [ROLE_V] = {"layers.%d.self_attn.v_proj", "blk.%d.attn_v"},
    [ROLE_O] = {"layers.%d.self_attn.o_proj", "blk.%d.attn_output"},
    [ROLE_GATE] = {"layers.%d.mlp.gate_proj", "blk.%d.ffn_gate"},
    [ROLE_UP] = {"layers.%d.mlp.up_proj", "blk.%d.ffn_up"},
    [ROLE_DOWN] = {"layers.%d.mlp.down_proj", "blk.%d.ffn_down"},
};

void tensor_name(const model_config *c, tensor_role role, int32_t layer, const char *suffix, char out[TENSOR_NAME_MAX])
{
    bool from_gguf = c->source == MODEL_GGUF;
    const char *pattern = from_gguf ? names[role].gguf : names[role].hf;
    // Families with post norms put the norm before the MLP under a name of its own.
    if (!from_gguf && role == ROLE_FFN_NORM && c->post_norms)
        pattern = "layers.%d.pre_feedforward_layernorm";
    const char *prefix = from_gguf ? "" : role == ROLE_HEAD ? "" : "model.";
    if (!from_gguf && c->multimodal)
        prefix = role == ROLE_HEAD ? "language_model." : "language_model.model.";
    char middle[TENSOR_NAME_MAX / 2];
    const char *at = pattern;
    size_t n = 0;
    for (; *at && n + 12 < sizeof middle; at++) {
        if (at[0] == '%' && at[1] == 'd') {
            n += (size_t)snprintf(middle + n, sizeof middle - n, "%d", layer);
            at++;
        } else {
            middle[n++] = *at;
        }
    }
    middle[n] = 0;
    snprintf(out, TENSOR_NAME_MAX, "%s%s.%s", prefix, middle, suffix);
}
