/* How layers become groups and how many blocks a sequence needs. Pure arithmetic. */
#include "kvcache/kv.h"

#include "base/check.h"

typedef struct window_kind {
    int32_t window, layer_count;
} window_kind;

/* The kinds of layers in order of first appearance; returns their number. */
static int32_t kinds_of(const int32_t *window, int32_t layer_count, window_kind *kinds)
{
    int32_t count = 0;
    for (int32_t l = 0; l < layer_count; l++) {
        int32_t k = 0;
        while (k < count && kinds[k].window != window[l])
            k++;
        if (k == TD_KV_GROUPS_MAX)
            return -1;
        if (k == count)
            kinds[count++] = (window_kind){.window = window[l]};
        kinds[k].layer_count++;
    }
    return count;
}

td_rc kv_geometry_plan(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t block_tok, const int32_t *window,
                       int32_t layer_count, kv_geometry *out, td_err *err)
{
    window_kind kinds[TD_KV_GROUPS_MAX];
    int32_t kind_count = layer_count <= TD_MODEL_LAYERS_MAX ? kinds_of(window, layer_count, kinds) : -1;
    if (kind_count < 1)
        return td_fail(err, TD_E_UNSUPPORTED, "%d layers of more than %d kinds of attention window", layer_count,
                       TD_KV_GROUPS_MAX);
    if (block_tok < TD_KV_HASH_UNIT_TOK || block_tok > TD_KV_BLOCK_TOK_MAX || block_tok % TD_KV_HASH_UNIT_TOK)
        return td_fail_param(err, TD_E_USAGE, "block-size", "block size %d: use a multiple of %d up to %d", block_tok,
                             TD_KV_HASH_UNIT_TOK, TD_KV_BLOCK_TOK_MAX);
    int32_t size = kinds[0].layer_count;
    for (int32_t k = 1; k < kind_count; k++)
        size = TD_MIN(size, kinds[k].layer_count);
    *out = (kv_geometry){.type = type, .heads = heads, .head_dim = head_dim, .block_tok = block_tok,
                         .layers_per_block = size, .layer_count = layer_count};
    int32_t open[TD_KV_GROUPS_MAX]; // the group of each kind that still has room
    for (int32_t k = 0; k < kind_count; k++)
        open[k] = -1;
    for (int32_t l = 0; l < layer_count; l++) {
        int32_t k = 0;
        while (kinds[k].window != window[l])
            k++;
        if (open[k] < 0 || out->group[open[k]].layer_count == size) {
            if (out->group_count == TD_KV_GROUPS_MAX)
                return td_fail(err, TD_E_UNSUPPORTED, "layers need more than %d KV groups", TD_KV_GROUPS_MAX);
            open[k] = out->group_count++;
            out->group[open[k]].window = window[l];
        }
        out->layer_group[l] = open[k];
        out->layer_index[l] = out->group[open[k]].layer_count++;
    }
    return TD_OK;
}

size_t kv_block_bytes(const kern_dev *dev, const kv_geometry *g)
{
    return (size_t)g->layers_per_block * dev->ops->kv_layer_bytes(g->type, g->heads, g->head_dim, g->block_tok);
}

int64_t kv_blocks_needed(const kv_geometry *g, int64_t tok_count, int64_t step_tok)
{
    int64_t total = 0;
    for (int32_t i = 0; i < g->group_count; i++) {
        int64_t all = (tok_count + g->block_tok - 1) / g->block_tok;
        // A window holds its own tokens, the step that is being written, and a block that each end cuts.
        int64_t seen = (g->group[i].window + step_tok + g->block_tok - 1) / g->block_tok + 1;
        total += g->group[i].window ? TD_MIN(all, seen) : all;
    }
    return total;
}
