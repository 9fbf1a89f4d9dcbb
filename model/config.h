/* config.h - what a decoder-only transformer computes: shapes, constants, and what each layer does.
 *
 * One plain struct, filled from a Hugging Face config.json or from GGUF metadata and then checked, so that whoever
 * reads it may trust every range and every product of shapes. The forward pass and the loader look at these fields and
 * never at where they came from. A feature that a file asks for and this struct cannot express is refused by name.
 * Errors: TD_E_MODEL (missing or senseless value, named with its key and file), TD_E_UNSUPPORTED. Copyable; read-only
 * after it was made: any thread. */
#ifndef TD_MODEL_CONFIG_H
#define TD_MODEL_CONFIG_H

#include "base/buf.h"
#include "base/json.h"
#include "base/limits.h"
#include "model/gguf.h"
#include "model/rope.h"

/* X(NAME, "name", Hugging Face model_type, GGUF general.architecture or NULL) */
#define MODEL_FAMILY_TABLE(X)                   \
    X(LLAMA, "llama", "llama", "llama")         \
    X(MISTRAL, "mistral", "mistral", NULL)      \
    X(QWEN2, "qwen2", "qwen2", "qwen2")         \
    X(QWEN3, "qwen3", "qwen3", "qwen3")         \
    X(GEMMA3, "gemma3", "gemma3_text", "gemma3")

typedef enum model_family {
#define X(name, text, hf, gguf_arch) FAMILY_##name,
    MODEL_FAMILY_TABLE(X)
#undef X
    FAMILY_COUNT
} model_family;

typedef enum model_source { MODEL_HF, MODEL_GGUF } model_source; // decides tensor names
typedef enum model_act { ACT_SILU, ACT_GELU_TANH } model_act;
typedef enum model_dtype { MODEL_F32, MODEL_F16, MODEL_BF16, MODEL_MIXED } model_dtype; // MIXED: as each tensor says

enum { MODEL_ROPES_MAX = 4, MODEL_ARCH_MAX = 64 };

typedef struct model_layer {
    int32_t window; // a query sees itself and the window - 1 tokens before it; 0 = all
    int32_t rope;   // index in rope[], -1 = no rotation
} model_layer;

typedef struct model_config {
    model_family family;
    model_source source;
    char arch[MODEL_ARCH_MAX]; // model_type or general.architecture, as written in the file
    model_dtype dtype;         // of the weights, as announced by the file
    bool multimodal;           // the text part of a larger model: tensor names have a prefix

    int32_t vocab;       // V: rows of the embedding and of the output matrix
    int32_t hidden;      // E
    int32_t ffn;         // F: rows of gate and of up
    int32_t layer_count; // L
    int32_t q_heads;     // Hq
    int32_t kv_heads;    // Hkv, divides Hq
    int32_t head_dim;    // D, even; Hq * D need not be E
    int32_t ctx_max;     // tokens

    bool tie_embeddings; // the output matrix is the embedding
    bool qkv_bias;       // [Hq D], [Hkv D], [Hkv D]
    bool o_bias;         // [E]
    bool mlp_bias;       // gate and up [F], down [E]
    bool qk_norm;        // RMS norm over each q and k head before rotation, weight [D]
    bool post_norms;     // RMS norm after attention and after the MLP as well, before the residual is added
    bool norm_plus_one;  // norm weights in the file are w, to be used as 1 + w
    bool rope_pairs;     // rotate dims (2i, 2i + 1) instead of (i, i + dims / 2): q and k rows are permuted in the file

    model_act act;        // of gate
    float norm_eps;
    float embed_scale;    // x = embed_scale * embedding row
    float attn_scale;     // score = attn_scale * q·k
    float attn_softcap;   // then softcap * tanh(score / softcap); 0 = none
    float residual_scale; // of what attention and MLP add
    float logit_scale;    // logits = logit_scale * (x · output row)
    float final_softcap;  // then softcap * tanh(logit / softcap); 0 = none

    int32_t rope_count;
    rope_set rope[MODEL_ROPES_MAX];
    model_layer layer[TD_MODEL_LAYERS_MAX]; // [L]

    int32_t bos_id;                    // -1 = none
    int32_t eos_count;
    int32_t eos_ids[TD_STOP_IDS_MAX];
} model_config;

/* path: config.json, or the directory that holds it. */
td_rc model_config_from_hf(const char *path, model_config *c, td_err *err);
/* where: names the source in messages. */
td_rc model_config_from_json(const td_json *root, const char *where, model_config *c, td_err *err);
td_rc model_config_from_gguf(const gguf *g, model_config *c, td_err *err);

const char *model_family_name(model_family f);
/* As JSON for `inspect --json`, as lines of "name: value" for people. Check b->failed. */
void model_config_json(const model_config *c, td_buf *b);
void model_config_print(const model_config *c, td_buf *b);
/* Every field that changes values, in a fixed order with floats in hexadecimal: what a model's fingerprint hashes. Not
 * in it: names, longest context, token ids, and what the digests of the tensors cover. Check b->failed. */
void model_config_canonical(const model_config *c, td_buf *b);

/* What generation_config.json (or GGUF's general.sampling.*) proposes. NaN or -1: not given. */
typedef struct model_generation {
    float temperature;
    float top_p, min_p;
    int32_t top_k;
    float repetition_penalty;
    int32_t eos_count;        // 0: not given
    int32_t eos_ids[TD_STOP_IDS_MAX];
} model_generation;

/* dir without the file: nothing given, TD_OK. */
td_rc model_generation_from_hf(const char *dir, model_generation *out, td_err *err);
void model_generation_from_gguf(const gguf *g, model_generation *out);

#endif
