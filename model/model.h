/* model.h - a loaded model and its forward pass over one flat batch.
 *
 * A model is immutable once open: its config, packed weights and fingerprint. A model_step holds what one step writes;
 * its memory is placed by model_step_layout() in one block that the engine reserves at start. The forward pass sees the
 * flat batch, the cache as one kern_kv_layer per layer, and a table of collectives: it knows nothing of requests.
 * One forward at a time per step object; it cannot fail. */
#ifndef TD_MODEL_MODEL_H
#define TD_MODEL_MODEL_H

#include "base/arena.h"
#include "kernels/comm.h"
#include "model/weights.h"

typedef struct model model;

typedef struct model_opts {
    kern_dev *dev;
    comm *comm;
    const gguf *g;           // the file, borrowed while opening; or
    const char *dir;         // a Hugging Face directory
    const char *load_format; // "auto" or "dummy"
    uint64_t seed;           // of dummy weights
    bool no_digest;          // do not hash the matrices: model_digest() says nothing then
    uint64_t max_rss;        // bound on resident memory, 0 = none: weights beyond it are refused
    bool low_memory;         // see weights.h
    void (*progress)(void *ctx, double done);
    void *progress_ctx;
    bool (*canceled)(void *ctx); // with progress_ctx, any thread: true ends it with TD_E_CANCELED
} model_opts;

td_rc model_open(const model_opts *o, model **out, td_err *err);
void model_close(model *m);
const model_config *model_get_config(const model *m);
const model_weights *model_get_weights(const model *m);
/* What decides the values, but for the KV type: arithmetic config and every tensor's digest. */
td_sha256 model_digest(const model *m);

typedef struct model_step {
    int32_t tok_max, sample_max;
    float *x;                       // [tok][E] residual
    float *y;                       // [tok][E] what a block adds, where it passes a norm or a collective first
    float *qkv;                     // [tok][(Hq + 2 Hkv) D]
    float *attn;                    // [tok][Hq D]
    float *ffn;                     // [tok][F]
    float *rope[MODEL_ROPES_MAX];   // [tok][dims / 2][2]
    void *attn_scratch;
    kern_act in[KA_COUNT];          // [tok][E] input of a block, in the forms its weights want
    kern_act mid_attn[KA_COUNT];    // [tok][Hq D]
    kern_act mid_ffn[KA_COUNT];     // [tok][F]
    kern_act out[KA_COUNT];         // [sample][E] input of the head
} model_step;

void model_step_layout(const model *m, int32_t tok_max, int32_t sample_max, int32_t ctx_max, td_carve *c,
                       model_step *st);

/* Runs all layers and the last norm of the rows that sample. kv[layer]; group[layer] names each layer's page table in
 * the batch. false: abandoned between layers, because the batch's cancel word was set. */
bool model_forward(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, const int32_t *group);
/* Logits of sampled rows [first, first + count) of the last forward, logits[count][V]. */
void model_logits(const model *m, model_step *st, int32_t first, int32_t count, float *logits);

#endif
