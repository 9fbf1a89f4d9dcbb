/* A model's configuration from GGUF metadata: keys "ARCH.name", and a few facts that only the tensors tell (biases, a
 * tied output matrix, rope divisors). */
#include "base/check.h"
#include "model/config_build.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_MAX = TD_MODEL_NAME_MAX + 1 };

typedef struct gg { // reads keys; the first error sticks and everything after it is harmless
    const gguf *g;
    const char *arch;
    const char *where;
    td_err *err;
    td_rc rc;
} gg;

#define gg_fail(r, code, ...)                                      \
    do {                                                           \
        if ((r)->rc == TD_OK) {                                    \
            (r)->rc = td_fail((r)->err, (code), __VA_ARGS__);      \
            td_err_prefix((r)->err, "%s", (r)->where);             \
        }                                                          \
    } while (0)

#define REQUIRED INT64_MIN

static const char *key_of(const gg *r, char out[static KEY_MAX], const char *name)
{
    snprintf(out, KEY_MAX, "%s.%s", r->arch, name);
    return out;
}

/* The number at key: a scalar, or an array whose elements are all alike (some files give one per layer). */
static double number_at(gg *r, const char *key)
{
    gguf_type type;
    size_t count;
    if (!gguf_arr_type(r->g, key, &type, &count))
        return gguf_get_num(r->g, key, NAN);
    if (type == GGUF_STR || count == 0)
        return NAN;
    double first = gguf_arr_num(r->g, key, 0);
    for (size_t i = 1; i < count; i++)
        if (gguf_arr_num(r->g, key, i) != first)
            gg_fail(r, TD_E_UNSUPPORTED, "key %s differs between layers, which is not supported", key);
    return first;
}

/* dflt NaN: the key is required. */
static double gg_num(gg *r, const char *name, double dflt, double min, double max)
{
    char key[KEY_MAX];
    key_of(r, key, name);
    bool has = gguf_has(r->g, key);
    double v = has ? number_at(r, key) : dflt;
    if (!has && isnan(dflt))
        gg_fail(r, TD_E_MODEL, "key %s is missing", key);
    else if (isnan(v))
        gg_fail(r, TD_E_MODEL, "key %s must be a number", key);
    else if (!(v >= min && v <= max))
        gg_fail(r, TD_E_MODEL, "key %s is %g; %g to %g are accepted", key, v, min, max);
    return r->rc == TD_OK ? v : min;
}

static int32_t gg_int(gg *r, const char *name, int64_t dflt, int32_t min, int32_t max)
{
    double v = gg_num(r, name, dflt == REQUIRED ? NAN : (double)dflt, min, max);
    if (v != (double)(int32_t)v) {
        gg_fail(r, TD_E_MODEL, "key %s.%s is %g, not a whole number", r->arch, name, v);
        return min;
    }
    return (int32_t)v;
}

static bool has_tensor(const gg *r, const char *name) { return gguf_tensor_find(r->g, name) != NULL; }

static void read_shapes(gg *r, model_config *c)
{
    c->hidden = gg_int(r, "embedding_length", REQUIRED, 1, TD_MODEL_HIDDEN_MAX);
    c->ffn = gg_int(r, "feed_forward_length", REQUIRED, 1, TD_MODEL_FFN_MAX);
    c->layer_count = gg_int(r, "block_count", REQUIRED, 1, TD_MODEL_LAYERS_MAX);
    c->q_heads = gg_int(r, "attention.head_count", REQUIRED, 1, TD_MODEL_HEADS_MAX);
    c->kv_heads = gg_int(r, "attention.head_count_kv", c->q_heads, 1, TD_MODEL_HEADS_MAX);
    c->ctx_max = gg_int(r, "context_length", REQUIRED, 1, TD_MODEL_CTX_MAX);
    if (r->rc != TD_OK)
        return;
    char key[KEY_MAX];
    if (!gguf_has(r->g, key_of(r, key, "attention.key_length")) && c->hidden % c->q_heads)
        gg_fail(r, TD_E_MODEL, "embedding_length %d is not a multiple of attention.head_count %d", c->hidden,
                c->q_heads);
    c->head_dim = gg_int(r, "attention.key_length", c->hidden / c->q_heads, 1, TD_MODEL_HEAD_DIM_MAX);
    int32_t v_dim = gg_int(r, "attention.value_length", c->head_dim, 1, TD_MODEL_HEAD_DIM_MAX);
    if (v_dim != c->head_dim)
        gg_fail(r, TD_E_UNSUPPORTED, "heads of %d dims for keys and %d for values are not supported", c->head_dim,
                v_dim);
    if (gg_int(r, "expert_count", 0, 0, INT32_MAX) > 0)
        gg_fail(r, TD_E_UNSUPPORTED, "a mixture of experts (%s.expert_count) is not supported", r->arch);
}

/* The embedding has a row for each token, also for those that only fill it up. */
static void read_vocab(gg *r, model_config *c)
{
    const gguf_tensor *t = gguf_tensor_find(r->g, "token_embd.weight");
    if (!t)
        gg_fail(r, TD_E_MODEL, "tensor token_embd.weight is missing");
    else if (t->dims[1] > TD_MODEL_VOCAB_MAX || t->dim_count != 2)
        gg_fail(r, TD_E_MODEL, "tensor token_embd.weight has %llu rows; 1 to %d are accepted",
                (unsigned long long)t->dims[1], TD_MODEL_VOCAB_MAX);
    else
        c->vocab = (int32_t)t->dims[1];
}

static void read_ids(gg *r, model_config *c)
{
    static const char *const eos_keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                           "tokenizer.ggml.eom_token_id"};
    int64_t bos = gguf_get_int(r->g, "tokenizer.ggml.bos_token_id", -1);
    if (bos >= c->vocab)
        gg_fail(r, TD_E_MODEL, "tokenizer.ggml.bos_token_id is %lld; the vocabulary has %d entries", (long long)bos,
                c->vocab);
    c->bos_id = r->rc == TD_OK && bos >= 0 ? (int32_t)bos : -1;
    for (size_t i = 0; i < TD_COUNT(eos_keys); i++) {
        int64_t id = gguf_get_int(r->g, eos_keys[i], -1);
        if (id >= 0 && !config_add_id(c->eos_ids, &c->eos_count, id, c->vocab))
            gg_fail(r, TD_E_MODEL, "%s is %lld; the vocabulary has %d entries", eos_keys[i], (long long)id, c->vocab);
    }
}

/* ---- rope ---- */

/* The tensor that holds Llama 3's scaling, one divisor per rotated pair. */
static void read_divisors(gg *r, rope_set *s)
{
    const gguf_tensor *t = gguf_tensor_find(r->g, "rope_freqs.weight");
    if (!t || r->rc != TD_OK)
        return;
    s->divisor_count = s->dims / 2;
    if (t->ggml_type != 0 || t->dim_count != 1 || t->dims[0] != (uint64_t)s->divisor_count) {
        gg_fail(r, TD_E_MODEL, "tensor rope_freqs.weight must be %d values of type F32", s->divisor_count);
        return;
    }
    r->rc = gguf_read(r->g, t, 0, s->divisor, (size_t)s->divisor_count * sizeof *s->divisor, r->err);
    for (int32_t i = 0; r->rc == TD_OK && i < s->divisor_count; i++)
        if (!(s->divisor[i] > 0 && s->divisor[i] <= CONFIG_FACTOR_MAX))
            gg_fail(r, TD_E_MODEL, "tensor rope_freqs.weight has %g at %d", (double)s->divisor[i], i);
}

static void read_yarn(gg *r, const model_config *c, rope_set *s)
{
    s->original_ctx = gg_int(r, "rope.scaling.original_context_length", c->ctx_max, 1, TD_MODEL_CTX_MAX);
    s->beta_fast = gg_num(r, "rope.scaling.yarn_beta_fast", 32, 1e-6, CONFIG_FACTOR_MAX);
    s->beta_slow = gg_num(r, "rope.scaling.yarn_beta_slow", 1, 1e-6, CONFIG_FACTOR_MAX);
    s->truncate = true;
    if (gg_num(r, "rope.scaling.yarn_log_multiplier", 0, -CONFIG_FACTOR_MAX, CONFIG_FACTOR_MAX) != 0)
        gg_fail(r, TD_E_UNSUPPORTED, "%s.rope.scaling.yarn_log_multiplier is not supported", r->arch);
    s->attn_factor = gg_num(r, "rope.scaling.attn_factor", 1, 1e-6, CONFIG_SCALE_MAX);
    if (s->attn_factor != 1 && r->rc == TD_OK)
        s->attn_factor *= rope_yarn_mscale(s->factor, 0, 0);
    else
        s->attn_factor = 0;
}

static int32_t read_rope(gg *r, model_config *c, double theta_dflt)
{
    rope_set s = {.dims = gg_int(r, "rope.dimension_count", c->head_dim, 2, TD_MODEL_HEAD_DIM_MAX)};
    s.theta = gg_num(r, "rope.freq_base", theta_dflt, CONFIG_THETA_MIN, CONFIG_THETA_MAX);
    s.factor = gg_num(r, "rope.scaling.factor", 0, 0, CONFIG_FACTOR_MAX);
    if (s.factor == 0)
        s.factor = gg_num(r, "rope.scale_linear", 1, 1e-6, CONFIG_FACTOR_MAX);
    char key[KEY_MAX];
    const char *type = gguf_get_str(r->g, key_of(r, key, "rope.scaling.type"));
    if (!type || strcmp(type, "linear") == 0)
        s.kind = s.factor == 1 ? ROPE_DEFAULT : ROPE_LINEAR;
    else if (strcmp(type, "yarn") == 0)
        s.kind = ROPE_YARN;
    else if (strcmp(type, "none") == 0)
        s.factor = 1;
    else
        gg_fail(r, TD_E_UNSUPPORTED, "%s is \"%.40s\"; none, linear and yarn are supported", key, type);
    if (s.kind == ROPE_YARN)
        read_yarn(r, c, &s);
    read_divisors(r, &s);
    return config_add_rope(c, &s); // the first set: there is room
}

/* ---- families ---- */

/* Llama files keep q and k rows in the order of the original checkpoints: pairs side by side. */
static void read_llama(gg *r, model_config *c)
{
    c->rope_pairs = true;
    c->qkv_bias = has_tensor(r, "blk.0.attn_q.bias");
    c->o_bias = has_tensor(r, "blk.0.attn_output.bias");
    c->mlp_bias = has_tensor(r, "blk.0.ffn_gate.bias");
    int32_t rope = read_rope(r, c, 10000);
    config_all_layers(c, gg_int(r, "attention.sliding_window", 0, 0, TD_MODEL_CTX_MAX), rope);
}

static void read_qwen(gg *r, model_config *c)
{
    c->qk_norm = c->family == FAMILY_QWEN3;
    c->qkv_bias = has_tensor(r, "blk.0.attn_q.bias");
    c->o_bias = has_tensor(r, "blk.0.attn_output.bias");
    config_all_layers(c, 0, read_rope(r, c, 10000));
}

/* One full layer after pattern - 1 windowed ones, or an array that says for each layer whether it is windowed. */
static void gemma3_layers(gg *r, model_config *c, int32_t window, int32_t global, int32_t local)
{
    static const char name[] = "attention.sliding_window_pattern";
    char key[KEY_MAX];
    gguf_type type;
    size_t count;
    bool array = gguf_arr_type(r->g, key_of(r, key, name), &type, &count);
    if (array && (type == GGUF_STR || count < (size_t)c->layer_count)) {
        gg_fail(r, TD_E_MODEL, "key %s must have a number or bool for each of the %d layers", key, c->layer_count);
        return;
    }
    int32_t pattern = array ? 0 : gg_int(r, name, 6, 1, TD_MODEL_LAYERS_MAX);
    for (int32_t i = 0; i < c->layer_count; i++) {
        bool windowed = window && (array ? gguf_arr_num(r->g, key, (size_t)i) != 0 : i % pattern < pattern - 1);
        c->layer[i] = (model_layer){.window = windowed ? window : 0, .rope = windowed ? local : global};
    }
}

static void read_gemma3(gg *r, model_config *c)
{
    c->qk_norm = c->post_norms = true; // norm weights are 1 + w already
    c->act = ACT_GELU_TANH;
    c->embed_scale = config_embed_scale(c->hidden, MODEL_F32);
    // The 27B model alone scales by hidden / heads; its files do not say so.
    if (c->layer_count == 62)
        c->attn_scale = config_attn_scale((double)c->hidden / c->q_heads);
    c->final_softcap = (float)gg_num(r, "final_logit_softcapping", 0, 0, CONFIG_SCALE_MAX);
    int32_t global = read_rope(r, c, 1e6);
    rope_set s = {.dims = c->rope[global].dims, .factor = 1};
    s.theta = gg_num(r, "rope.freq_base_swa", 10000, CONFIG_THETA_MIN, CONFIG_THETA_MAX);
    int32_t local = config_add_rope(c, &s);
    gemma3_layers(r, c, gg_int(r, "attention.sliding_window", 0, 0, TD_MODEL_CTX_MAX), global, local);
}

static void (*const readers[FAMILY_COUNT])(gg *, model_config *) = {
    [FAMILY_LLAMA] = read_llama,
    [FAMILY_QWEN2] = read_qwen,
    [FAMILY_QWEN3] = read_qwen,
    [FAMILY_GEMMA3] = read_gemma3,
};

static td_rc read_family(gg *r, model_family f, model_config *c)
{
    config_init(c, f, MODEL_GGUF);
    snprintf(c->arch, sizeof c->arch, "%s", r->arch);
    c->dtype = MODEL_MIXED;
    read_shapes(r, c);
    read_vocab(r, c);
    c->norm_eps = (float)gg_num(r, "attention.layer_norm_rms_epsilon", NAN, 1e-30, 1);
    if (r->rc != TD_OK)
        return r->rc;
    c->tie_embeddings = !has_tensor(r, "output.weight");
    c->attn_scale = config_attn_scale(c->head_dim);
    read_ids(r, c);
    readers[f](r, c);
    char key[KEY_MAX];
    if (gguf_has(r->g, key_of(r, key, "attention.scale")))
        c->attn_scale = (float)gg_num(r, "attention.scale", 1, 1e-6, CONFIG_SCALE_MAX);
    return r->rc == TD_OK ? config_finish(c, r->where, r->err) : r->rc;
}

td_rc model_config_from_gguf(const gguf *g, model_config *c, td_err *err)
{
    static const char *const archs[FAMILY_COUNT] = {
#define X(name, text, hf, gguf_arch) [FAMILY_##name] = gguf_arch,
        MODEL_FAMILY_TABLE(X)
#undef X
    };
    gg r = {.g = g, .arch = gguf_get_str(g, "general.architecture"), .where = gguf_part_path(g, 0), .err = err};
    const char *type = gguf_get_str(g, "general.type");
    if (!r.arch)
        gg_fail(&r, TD_E_MODEL, "key general.architecture is missing or not a string");
    else if (type && strcmp(type, "model") != 0)
        gg_fail(&r, TD_E_UNSUPPORTED, "the file holds a \"%.40s\", not a model", type);
    for (int f = 0; r.rc == TD_OK && f < FAMILY_COUNT; f++)
        if (archs[f] && strcmp(r.arch, archs[f]) == 0)
            return read_family(&r, (model_family)f, c);
    gg_fail(&r, TD_E_UNSUPPORTED, "architecture \"%.60s\" is not supported (these are: %s)", r.arch,
            config_family_list());
    return r.rc;
}
