/* block.h - layer bodies that families share, and what a forward pass carries; private to model/.
 *
 * A family's forward is a list of these calls. Each takes the normed input that is in st->in and leaves its sum for the
 * residual either added to st->x (block_add) or in st->y (block_put), for families that norm it first. */
#ifndef TD_MODEL_BLOCK_H
#define TD_MODEL_BLOCK_H

#include "model/model.h"

struct model {
    model_config config;
    model_weights weights;
    kern_dev *dev;
    comm *comm;
    double *inv_freq[MODEL_ROPES_MAX]; // [dims / 2], on the device
    void *rope_mem;                    // that holds them
    size_t rope_bytes;
    float mscale[MODEL_ROPES_MAX];
    td_sha256 digest;
    bool (*forward)(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, const int32_t *group);
};

/* The activation form that products with this weight take. */
kern_act_kind block_act(const model *m, const kern_weight *w);
/* x = embedding rows, and the step's rope tables. */
void block_begin(const model *m, model_step *st, const kern_batch *b);
/* st->in = norm(x), after x += y_weight ? norm(y) * y_weight : y where y is given. Forms: those that w[0, count)
 * want. */
void block_norm(const model *m, model_step *st, int32_t tok_count, const float *y, const float *y_weight,
                const float *weight, const kern_weight *const *w, int32_t count);
/* q, k, v of the layer from st->in; stores k and v; attends: st->mid_attn in the form that the output matrix wants. */
void block_attention(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, int32_t group,
                     int32_t layer);
/* gate and up from st->in: st->mid_ffn in the form that the down matrix wants. */
void block_mlp(const model *m, model_step *st, int32_t tok_count, int32_t layer);
/* x += act · w: the residual sum, over all ranks. */
void block_add(const model *m, model_step *st, const kern_act *act, const kern_weight *w, const float *bias);
/* y = act · w, over all ranks. */
void block_put(const model *m, model_step *st, const kern_act *act, const kern_weight *w, const float *bias);
/* Last norm of the rows that sample, into st->out. */
void block_end(const model *m, model_step *st, const kern_batch *b);
/* Between layers: says that the step advances. false: it was cancelled. */
bool block_go_on(const kern_batch *b);

bool llama_forward(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, const int32_t *group);
bool gemma_forward(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, const int32_t *group);

#endif
