/* weights.h - finds a model's tensors by role, whatever file format they come in, and packs them for the device.
 *
 * A plan is made first (every tensor found, its shape and type checked against the config, its packed size counted), so
 * that a bad file is refused before memory is taken. Then one pass over the file reads, hashes and packs slabs of rows
 * on several threads: no second copy of a matrix is kept, and each byte is read once. With low_memory that pass only
 * hashes: matrices stay rows of the mapped files, and products pack a panel when they come to it. */
#ifndef TD_MODEL_WEIGHTS_H
#define TD_MODEL_WEIGHTS_H

#include "base/arena.h"
#include "base/hash.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "model/tensor_file.h"

typedef struct layer_weights { // of one layer, on the device; a matrix with data == NULL and a NULL vector are absent
    float *attn_norm, *ffn_norm;           // [E]
    float *attn_post_norm, *ffn_post_norm; // [E], families with post norms
    float *q_norm, *k_norm;                // [D]
    kern_weight q, k, v;                   // [Hq D][E], [Hkv D][E] twice
    float *q_bias, *k_bias, *v_bias;
    kern_weight o;                         // [E][Hq D]
    float *o_bias;
    kern_weight gate, up;                  // [F][E]
    float *gate_bias, *up_bias;
    kern_weight down;                      // [E][F]
    float *down_bias;
} layer_weights;

typedef struct model_weights {
    kern_weight embed;       // [V][E]
    kern_weight head;        // [V][E]; the same data as embed when tied
    float *out_norm;         // [E]
    layer_weights *layers;   // [L]
    bool tied;
    kern_dev *dev;
    void *mem;               // one piece on the device that holds every packed matrix and every vector
    size_t mem_bytes;
    tensor_maps maps;        // with low_memory: the files whose rows the matrices are
    uint64_t map_bytes;      // of those rows
    td_arena arena;          // layers
    uint64_t param_count;
    td_sha256 digest;        // of all tensors that were loaded, names and values
    uint32_t type_mask;      // bit kern_type: some matrix has it
} model_weights;

typedef struct weights_opts {
    kern_dev *dev;
    const char *load_format; // "auto" or "dummy"
    uint64_t seed;           // of dummy weights
    bool no_digest;          // matrices are not hashed: model_weights.digest says nothing
    uint64_t max_rss;        // bound on resident memory, 0 = none
    bool low_memory;         // matrices are used as they lie in the files
    void (*progress)(void *ctx, double done);
    void *progress_ctx;
    bool (*canceled)(void *ctx); // with progress_ctx, any thread: true ends it with TD_E_CANCELED
} weights_opts;

/* g or dir: where the tensors are (exactly one is given). */
td_rc weights_load(const gguf *g, const char *dir, const model_config *c, const weights_opts *o, model_weights *out,
                   td_err *err);
void weights_free(model_weights *w);

#endif
