/* config.json of a Hugging Face directory.
 *
 * Two layouts are in the wild: rope_theta, rope_scaling and torch_dtype, and since version 5 rope_parameters (one
 * object, or one for each layer type) and dtype. Keys that a published file leaves out have the reference library's
 * defaults for that family. Unknown keys are ignored, as there; known ones with another type or out of range are
 * refused. */
#include "base/check.h"
#include "base/file.h"
#include "model/config_build.h"
#include "model/json_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct hf { // reads keys; the first error sticks and everything after it is harmless
    const td_json *obj;   // the text model's object
    const td_json *root;  // what holds it, or the same
    const char *where;
    td_err *err;
    td_rc rc;
} hf;

#define hf_fail(h, code, ...)                                      \
    do {                                                           \
        if ((h)->rc == TD_OK) {                                    \
            (h)->rc = td_fail((h)->err, (code), __VA_ARGS__);      \
            td_err_prefix((h)->err, "%s", (h)->where);             \
        }                                                          \
    } while (0)

#define REQUIRED INT64_MIN

static int32_t hf_int_of(hf *h, const td_json *obj, const char *key, int64_t dflt, int32_t min, int32_t max)
{
    const td_json *j = td_json_get(obj, key);
    int64_t v = dflt;
    if (!j && dflt == REQUIRED)
        hf_fail(h, TD_E_MODEL, "key \"%s\" is missing", key);
    else if (j && !td_json_int(j, &v))
        hf_fail(h, TD_E_MODEL, "\"%s\" must be a whole number", key);
    else if (v < min || v > max)
        hf_fail(h, TD_E_MODEL, "\"%s\" is %lld; %d to %d are accepted", key, (long long)v, min, max);
    return h->rc == TD_OK ? (int32_t)v : min;
}

static int32_t hf_int(hf *h, const char *key, int64_t dflt, int32_t min, int32_t max)
{
    return hf_int_of(h, h->obj, key, dflt, min, max);
}

/* dflt NaN: the key is required. */
static double hf_num_of(hf *h, const td_json *obj, const char *key, double dflt, double min, double max)
{
    const td_json *j = td_json_get(obj, key);
    double v = dflt;
    if (!j && isnan(dflt))
        hf_fail(h, TD_E_MODEL, "key \"%s\" is missing", key);
    else if (j && !td_json_num(j, &v))
        hf_fail(h, TD_E_MODEL, "\"%s\" must be a number", key);
    else if (!(v >= min && v <= max))
        hf_fail(h, TD_E_MODEL, "\"%s\" is %g; %g to %g are accepted", key, v, min, max);
    return h->rc == TD_OK ? v : min;
}

static double hf_num(hf *h, const char *key, double dflt, double min, double max)
{
    return hf_num_of(h, h->obj, key, dflt, min, max);
}

static bool hf_bool(hf *h, const td_json *obj, const char *key, bool dflt)
{
    const td_json *j = td_json_get(obj, key);
    bool v = dflt;
    if (j && !td_json_bool(j, &v))
        hf_fail(h, TD_E_MODEL, "\"%s\" must be true or false", key);
    return v;
}

static const char *hf_str(hf *h, const td_json *obj, const char *key, const char *dflt)
{
    const td_json *j = td_json_get(obj, key);
    const char *s = j ? td_json_str(j) : dflt;
    if (j && !s)
        hf_fail(h, TD_E_MODEL, "\"%s\" must be a string", key);
    return s ? s : dflt;
}

/* The key in the text model's object, or else in the one around it. */
static const td_json *hf_either(const hf *h, const char *key)
{
    return td_json_get(h->obj, key) ? h->obj : h->root;
}

static void read_act(hf *h, model_config *c, const char *key, const char *dflt)
{
    const char *name = hf_str(h, h->obj, key, dflt);
    if (strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0)
        c->act = ACT_SILU;
    else if (strcmp(name, "gelu_pytorch_tanh") == 0 || strcmp(name, "gelu_new") == 0)
        c->act = ACT_GELU_TANH;
    else
        hf_fail(h, TD_E_UNSUPPORTED, "\"%s\" is \"%.40s\"; silu and gelu_pytorch_tanh are supported", key, name);
}

static void read_dtype(hf *h, model_config *c)
{
    const char *name = hf_str(h, hf_either(h, "dtype"), "dtype", NULL);
    if (!name)
        name = hf_str(h, hf_either(h, "torch_dtype"), "torch_dtype", "");
    if (strncmp(name, "torch.", 6) == 0)
        name += 6;
    static const char *const names[] = {[MODEL_F32] = "float32", [MODEL_F16] = "float16", [MODEL_BF16] = "bfloat16"};
    c->dtype = MODEL_MIXED;
    for (size_t i = 0; i < TD_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0)
            c->dtype = (model_dtype)i;
}

static void read_ids(hf *h, model_config *c)
{
    const td_json *bos = td_json_get(hf_either(h, "bos_token_id"), "bos_token_id");
    int64_t id;
    if (bos && td_json_int(bos, &id) && id >= 0 && id < c->vocab)
        c->bos_id = (int32_t)id;
    else if (bos)
        hf_fail(h, TD_E_MODEL, "\"bos_token_id\" must be a token id below %d", c->vocab);
    const td_json *eos = td_json_get(hf_either(h, "eos_token_id"), "eos_token_id");
    bool ok = true;
    if (cJSON_IsArray(eos)) {
        td_json_each(item, eos)
            ok = ok && td_json_int(item, &id) && config_add_id(c->eos_ids, &c->eos_count, id, c->vocab);
    } else if (eos) {
        ok = td_json_int(eos, &id) && config_add_id(c->eos_ids, &c->eos_count, id, c->vocab);
    }
    if (!ok)
        hf_fail(h, TD_E_MODEL, "\"eos_token_id\" must be a token id below %d, or at most %d of them", c->vocab,
                TD_STOP_IDS_MAX);
}

/* ---- rope ---- */

static rope_kind rope_kind_of(hf *h, const td_json *params)
{
    const char *name = hf_str(h, params, "rope_type", NULL);
    if (!name)
        name = hf_str(h, params, "type", "default");
    for (int k = 0; k < ROPE_KINDS; k++)
        if (strcmp(name, rope_kind_names[k]) == 0)
            return (rope_kind)k;
    hf_fail(h, TD_E_UNSUPPORTED, "rope type \"%.40s\" is not supported (default, linear, llama3 and yarn are)", name);
    return ROPE_DEFAULT;
}

static void read_yarn(hf *h, const model_config *c, const td_json *params, rope_set *r)
{
    // A null factor means the ratio of the two context lengths.
    r->factor = hf_num_of(h, params, "factor", c->ctx_max / r->original_ctx, 1, CONFIG_FACTOR_MAX);
    r->beta_fast = hf_num_of(h, params, "beta_fast", 32, 0, CONFIG_FACTOR_MAX);
    r->beta_slow = hf_num_of(h, params, "beta_slow", 1, 0, CONFIG_FACTOR_MAX);
    if (r->beta_fast == 0)
        r->beta_fast = 32; // 0 stands for the default there
    if (r->beta_slow == 0)
        r->beta_slow = 1;
    r->attn_factor = hf_num_of(h, params, "attention_factor", 0, 0, CONFIG_SCALE_MAX);
    r->mscale = hf_num_of(h, params, "mscale", 0, 0, CONFIG_SCALE_MAX);
    r->mscale_all = hf_num_of(h, params, "mscale_all_dim", 0, 0, CONFIG_SCALE_MAX);
    r->truncate = hf_bool(h, params, "truncate", true);
}

static const td_json *rope_source(const hf *h, const td_json *params, const char *key)
{
    return td_json_get(params, key) ? params : h->obj;
}

/* params: the rope_parameters or rope_scaling object, may be NULL. Keys that it lacks are looked up beside it. */
static int32_t read_rope(hf *h, model_config *c, const td_json *params, const char *theta_key, double theta_dflt)
{
    rope_set r = {.kind = rope_kind_of(h, params), .dims = c->head_dim, .factor = 1};
    if (td_json_get(params, "rope_theta"))
        theta_key = "rope_theta";
    r.theta = hf_num_of(h, rope_source(h, params, theta_key), theta_key, theta_dflt, CONFIG_THETA_MIN,
                        CONFIG_THETA_MAX);
    const char *partial = "partial_rotary_factor";
    if (hf_num_of(h, rope_source(h, params, partial), partial, 1, 0, 1) != 1)
        hf_fail(h, TD_E_UNSUPPORTED, "\"%s\" other than 1 is not supported for this family", partial);
    if (r.kind == ROPE_LINEAR || r.kind == ROPE_LLAMA3)
        r.factor = hf_num_of(h, params, "factor", NAN, 1, CONFIG_FACTOR_MAX);
    if (r.kind == ROPE_LLAMA3 || r.kind == ROPE_YARN) {
        const char *key = "original_max_position_embeddings";
        const td_json *from = td_json_get(h->obj, key) ? h->obj : params;
        r.original_ctx = hf_int_of(h, from, key, c->ctx_max, 1, TD_MODEL_CTX_MAX);
    }
    if (r.kind == ROPE_LLAMA3) {
        r.low_freq = hf_num_of(h, params, "low_freq_factor", NAN, 1e-6, CONFIG_FACTOR_MAX);
        r.high_freq = hf_num_of(h, params, "high_freq_factor", NAN, 1e-6, CONFIG_FACTOR_MAX);
    }
    if (r.kind == ROPE_YARN)
        read_yarn(h, c, params, &r);
    int32_t index = config_add_rope(c, &r);
    if (index < 0)
        hf_fail(h, TD_E_UNSUPPORTED, "more than %d sets of rope parameters", MODEL_ROPES_MAX);
    return index;
}

static const td_json *rope_params(hf *h)
{
    const td_json *p = td_json_get(h->obj, "rope_scaling");
    if (!p || (cJSON_IsObject(p) && !p->child)) // an empty one counts as absent
        p = td_json_get(h->obj, "rope_parameters");
    if (p && !cJSON_IsObject(p))
        hf_fail(h, TD_E_MODEL, "the rope parameters must be an object");
    return h->rc == TD_OK ? p : NULL;
}

/* The parameters of one layer type, where they are nested, or the common ones. */
static const td_json *rope_params_for(const td_json *params, const char *layer_type)
{
    const td_json *p = td_json_get(params, layer_type);
    return cJSON_IsObject(p) ? p : params;
}

/* ---- layers ---- */

/* What layer i is: by "layer_types" where given, else by `windowed`. */
static bool layer_windowed(hf *h, const td_json *types, int32_t i, bool windowed)
{
    if (!types)
        return windowed;
    const char *s = td_json_str(cJSON_GetArrayItem(types, i));
    if (s && strcmp(s, "sliding_attention") == 0)
        return true;
    if (!s || strcmp(s, "full_attention") != 0)
        hf_fail(h, TD_E_UNSUPPORTED,
                "\"layer_types\"[%d] is \"%.40s\"; full_attention and sliding_attention are supported", i,
                s ? s : "not a string");
    return false;
}

static const td_json *layer_types(hf *h, const model_config *c)
{
    const td_json *types = td_json_get(h->obj, "layer_types");
    if (types && (!cJSON_IsArray(types) || cJSON_GetArraySize(types) != c->layer_count))
        hf_fail(h, TD_E_MODEL, "\"layer_types\" must be an array of %d strings, one for each layer", c->layer_count);
    return h->rc == TD_OK ? types : NULL;
}

static int32_t read_window(hf *h, int64_t dflt)
{
    const td_json *j = cJSON_GetObjectItemCaseSensitive(h->obj, "sliding_window");
    if (cJSON_IsNull(j))
        return 0;
    return hf_int(h, "sliding_window", dflt, 0, TD_MODEL_CTX_MAX);
}

/* Every layer alike, with this window, 0 for none. Newer libraries write "layer_types" for these families too; what
 * they name must be what is computed. */
static void same_layers(hf *h, model_config *c, int32_t window, int32_t rope)
{
    const td_json *types = layer_types(h, c);
    for (int32_t i = 0; i < c->layer_count; i++) {
        bool windowed = layer_windowed(h, types, i, window != 0);
        if (windowed && !window)
            hf_fail(h, TD_E_MODEL, "layer %d is sliding_attention but there is no \"sliding_window\"", i);
        c->layer[i] = (model_layer){.window = windowed ? window : 0, .rope = rope};
    }
}

/* ---- families ---- */

static void read_llama(hf *h, model_config *c)
{
    c->qkv_bias = c->o_bias = hf_bool(h, h->obj, "attention_bias", false);
    c->mlp_bias = hf_bool(h, h->obj, "mlp_bias", false);
    same_layers(h, c, 0, read_rope(h, c, rope_params(h), "rope_theta", 10000));
}

static void read_mistral(hf *h, model_config *c)
{
    same_layers(h, c, read_window(h, 4096), read_rope(h, c, rope_params(h), "rope_theta", 10000));
}

static void read_qwen(hf *h, model_config *c)
{
    c->qk_norm = c->family == FAMILY_QWEN3;
    c->o_bias = c->qk_norm && hf_bool(h, h->obj, "attention_bias", false);
    c->qkv_bias = !c->qk_norm || c->o_bias;
    int32_t rope = read_rope(h, c, rope_params(h), "rope_theta", 10000);
    int32_t window = hf_bool(h, h->obj, "use_sliding_window", false) ? read_window(h, 4096) : 0;
    int32_t first = hf_int(h, "max_window_layers", 28, 0, INT32_MAX);
    const td_json *types = layer_types(h, c);
    for (int32_t i = 0; i < c->layer_count; i++) {
        bool windowed = layer_windowed(h, types, i, window && i >= first);
        if (windowed && !window)
            hf_fail(h, TD_E_MODEL, "layer %d is sliding_attention but there is no \"sliding_window\"", i);
        c->layer[i] = (model_layer){.window = windowed ? window : 0, .rope = rope};
    }
}

static void read_gemma3(hf *h, model_config *c)
{
    c->qk_norm = c->post_norms = c->norm_plus_one = true;
    c->qkv_bias = c->o_bias = hf_bool(h, h->obj, "attention_bias", false);
    c->attn_scale = config_attn_scale(hf_num(h, "query_pre_attn_scalar", 256, 1e-3, CONFIG_SCALE_MAX));
    c->embed_scale = config_embed_scale(c->hidden, c->dtype);
    c->attn_softcap = (float)hf_num(h, "attn_logit_softcapping", 0, 0, CONFIG_SCALE_MAX);
    c->final_softcap = (float)hf_num(h, "final_logit_softcapping", 0, 0, CONFIG_SCALE_MAX);
    if (hf_bool(h, h->obj, "use_bidirectional_attention", false))
        hf_fail(h, TD_E_UNSUPPORTED, "\"use_bidirectional_attention\" is not supported: this is an encoder");
    const td_json *params = rope_params(h);
    bool nested = td_json_get(params, "full_attention") || td_json_get(params, "sliding_attention");
    int32_t global = read_rope(h, c, rope_params_for(params, "full_attention"), "rope_theta", 1e6);
    // Stretching that is not given by layer type is for the global layers only.
    const td_json *local_params = nested ? td_json_get(params, "sliding_attention") : NULL;
    int32_t local = read_rope(h, c, local_params, "rope_local_base_freq", 10000);
    int32_t window = read_window(h, 4096), pattern = hf_int(h, "sliding_window_pattern", 6, 1, TD_MODEL_LAYERS_MAX);
    const td_json *types = layer_types(h, c);
    for (int32_t i = 0; i < c->layer_count; i++) {
        bool windowed = layer_windowed(h, types, i, (i + 1) % pattern != 0);
        c->layer[i] = (model_layer){.window = windowed ? window : 0, .rope = windowed ? local : global};
    }
}

typedef struct hf_family { // what a published config.json may leave out; REQUIRED where it never does
    const char *model_type;
    void (*read)(hf *h, model_config *c);
    const char *act_key, *act_dflt;
    int64_t vocab, q_heads, kv_heads, head_dim, ctx; // kv_heads 0: as many as q_heads; head_dim 0: hidden / q_heads
    bool tie;
} hf_family;

static const hf_family families[FAMILY_COUNT] = {
    [FAMILY_LLAMA] = {"llama", read_llama, "hidden_act", "silu", REQUIRED, REQUIRED, 0, 0, 2048, false},
    [FAMILY_MISTRAL] = {"mistral", read_mistral, "hidden_act", "silu", REQUIRED, REQUIRED, 8, 0, 131072, false},
    [FAMILY_QWEN2] = {"qwen2", read_qwen, "hidden_act", "silu", REQUIRED, REQUIRED, 0, 0, 32768, false},
    [FAMILY_QWEN3] = {"qwen3", read_qwen, "hidden_act", "silu", REQUIRED, REQUIRED, 0, 128, 32768, false},
    [FAMILY_GEMMA3] = {"gemma3_text", read_gemma3, "hidden_activation", "gelu_pytorch_tanh", 262208, 8, 4, 256, 131072,
                       true},
};

static void read_shapes(hf *h, const hf_family *f, model_config *c)
{
    c->vocab = hf_int(h, "vocab_size", f->vocab, 1, TD_MODEL_VOCAB_MAX);
    c->hidden = hf_int(h, "hidden_size", REQUIRED, 1, TD_MODEL_HIDDEN_MAX);
    c->ffn = hf_int(h, "intermediate_size", REQUIRED, 1, TD_MODEL_FFN_MAX);
    c->layer_count = hf_int(h, "num_hidden_layers", REQUIRED, 1, TD_MODEL_LAYERS_MAX);
    c->q_heads = hf_int(h, "num_attention_heads", f->q_heads, 1, TD_MODEL_HEADS_MAX);
    c->kv_heads = hf_int(h, "num_key_value_heads", f->kv_heads ? f->kv_heads : c->q_heads, 1, TD_MODEL_HEADS_MAX);
    c->ctx_max = hf_int(h, "max_position_embeddings", f->ctx, 1, TD_MODEL_CTX_MAX);
    if (h->rc != TD_OK)
        return;
    bool derived = !f->head_dim && !td_json_get(h->obj, "head_dim");
    if (derived && c->hidden % c->q_heads)
        hf_fail(h, TD_E_MODEL, "\"hidden_size\" %d is not a multiple of \"num_attention_heads\" %d", c->hidden,
                c->q_heads);
    c->head_dim = hf_int(h, "head_dim", f->head_dim ? f->head_dim : c->hidden / c->q_heads, 1, TD_MODEL_HEAD_DIM_MAX);
}

static td_rc read_family(hf *h, model_family f, model_config *c)
{
    const hf_family *fam = &families[f];
    read_shapes(h, fam, c);
    read_dtype(h, c);
    read_act(h, c, fam->act_key, fam->act_dflt);
    c->norm_eps = (float)hf_num(h, "rms_norm_eps", 1e-6, 1e-30, 1);
    c->tie_embeddings = hf_bool(h, hf_either(h, "tie_word_embeddings"), "tie_word_embeddings", fam->tie);
    c->attn_scale = config_attn_scale(c->head_dim);
    if (h->rc != TD_OK)
        return h->rc;
    read_ids(h, c);
    fam->read(h, c);
    return h->rc == TD_OK ? config_finish(c, h->where, h->err) : h->rc;
}

/* Refuses what would load and then compute something else. */
static void check_kind(hf *h)
{
    const td_json *q = td_json_get(h->root, "quantization_config");
    if (!q)
        q = td_json_get(h->obj, "quantization_config");
    if (q)
        hf_fail(h, TD_E_UNSUPPORTED,
                "the weights are quantised (\"quantization_config\", method \"%.40s\"), which is not "
                "supported; use the unquantised model or a GGUF file",
                td_json_get_str(q, "quant_method", "unknown"));
    const char *arch = td_json_str(cJSON_GetArrayItem(td_json_get(h->root, "architectures"), 0));
    if (arch && !strstr(arch, "ForCausalLM") && !strstr(arch, "ForConditionalGeneration"))
        hf_fail(h, TD_E_UNSUPPORTED, "\"%.60s\" does not generate text", arch);
}

td_rc model_config_from_json(const td_json *root, const char *where, model_config *c, td_err *err)
{
    hf h = {.obj = root, .root = root, .where = where, .err = err};
    if (!cJSON_IsObject(root))
        hf_fail(&h, TD_E_MODEL, "not a JSON object");
    const char *type = hf_str(&h, root, "model_type", NULL);
    if (h.rc == TD_OK && !type)
        hf_fail(&h, TD_E_MODEL, "key \"model_type\" is missing");
    if (h.rc != TD_OK)
        return h.rc;
    bool multimodal = strcmp(type, "gemma3") == 0;
    if (multimodal) {
        h.obj = td_json_get(root, "text_config");
        if (!cJSON_IsObject(h.obj))
            hf_fail(&h, TD_E_MODEL, "key \"text_config\" is missing");
        type = "gemma3_text";
    }
    check_kind(&h);
    for (int f = 0; h.rc == TD_OK && f < FAMILY_COUNT; f++) {
        if (strcmp(type, families[f].model_type) != 0)
            continue;
        config_init(c, (model_family)f, MODEL_HF);
        c->multimodal = multimodal;
        snprintf(c->arch, sizeof c->arch, "%s", td_json_get_str(root, "model_type", ""));
        return read_family(&h, (model_family)f, c);
    }
    hf_fail(&h, TD_E_UNSUPPORTED, "architecture \"%.60s\" is not supported (these are: %s)", type,
            config_family_list());
    return h.rc;
}

td_rc model_config_from_hf(const char *path, model_config *c, td_err *err)
{
    td_json *root;
    td_rc rc = model_json_read(path, td_dir_exists(path) ? "config.json" : NULL, &root, err);
    if (rc != TD_OK)
        return rc;
    rc = model_config_from_json(root, path, c, err);
    td_json_free(root);
    return rc;
}
