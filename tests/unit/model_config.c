/* Model configuration: real layouts give the right numbers, senseless ones are refused by name. */
#include "model/config.h"

#include "base/file.h"
#include "model_make.h"

#include <math.h>

#define GOLDEN TD_TESTS_DIR "/golden/tiny/"

static model_config load_hf(const char *path)
{
    model_config c;
    td_err err = TD_ERR_INIT;
    if (model_config_from_hf(path, &c, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return c;
}

static td_rc from_text(const char *text, model_config *c, td_err *err)
{
    td_json *root;
    assert_int_equal(td_json_parse(text, strlen(text), &td_json_file_limits, &root, NULL), TD_OK);
    td_rc rc = model_config_from_json(root, "test.json", c, err);
    td_json_free(root);
    return rc;
}

static model_config load_text(const char *text)
{
    model_config c;
    td_err err = TD_ERR_INIT;
    if (from_text(text, &c, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return c;
}

static char *canonical(const model_config *c)
{
    td_buf b = TD_BUF_INIT;
    model_config_canonical(c, &b);
    assert_false(b.failed);
    return td_buf_take(&b, NULL);
}

/* ---- the golden models ---- */

static void tiny_shapes(const model_config *c, model_family family, int32_t layers, int32_t head_dim)
{
    assert_int_equal(c->family, family);
    assert_int_equal(c->source, MODEL_HF);
    assert_int_equal(c->dtype, MODEL_F32);
    assert_int_equal(c->vocab, 512);
    assert_int_equal(c->hidden, 64);
    assert_int_equal(c->ffn, 160);
    assert_int_equal(c->layer_count, layers);
    assert_int_equal(c->q_heads, 4);
    assert_int_equal(c->kv_heads, 2);
    assert_int_equal(c->head_dim, head_dim);
    assert_int_equal(c->ctx_max, 2048);
    assert_true(c->norm_eps == 1e-6f);
    assert_int_equal(c->bos_id, 1);
    assert_int_equal(c->eos_count, 1);
    assert_int_equal(c->eos_ids[0], 2);
    assert_true(c->logit_scale == 1 && c->residual_scale == 1 && c->attn_softcap == 0 && c->final_softcap == 0);
    assert_false(c->rope_pairs || c->multimodal || c->o_bias || c->mlp_bias);
}

/* Layers whose queries see so many tokens. */
static int32_t windowed(const model_config *c, int32_t window)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->layer_count; i++)
        n += c->layer[i].window == window;
    return n;
}

static void golden_llama(void **state)
{
    (void)state;
    model_config c = load_hf(GOLDEN "llama");
    tiny_shapes(&c, FAMILY_LLAMA, 4, 16);
    assert_true(c.tie_embeddings && !c.qkv_bias && !c.qk_norm && !c.post_norms && !c.norm_plus_one);
    assert_true(c.attn_scale == 0.25f && c.embed_scale == 1);
    assert_int_equal(c.rope_count, 1);
    assert_int_equal(c.rope[0].kind, ROPE_LLAMA3);
    assert_true(c.rope[0].theta == 500000 && c.rope[0].factor == 8 && c.rope[0].original_ctx == 64);
    assert_true(c.rope[0].low_freq == 1 && c.rope[0].high_freq == 4);
    assert_int_equal(windowed(&c, 0), 4);
}

static void golden_mistral(void **state)
{
    (void)state;
    model_config c = load_hf(GOLDEN "mistral/config.json");
    tiny_shapes(&c, FAMILY_MISTRAL, 4, 16);
    assert_false(c.tie_embeddings);
    for (int i = 0; i < 4; i++)
        assert_true(c.layer[i].window == 24 && c.layer[i].rope == 0);
}

static void golden_qwen(void **state)
{
    (void)state;
    model_config c = load_hf(GOLDEN "qwen2");
    tiny_shapes(&c, FAMILY_QWEN2, 4, 16);
    assert_true(c.qkv_bias && !c.qk_norm && !c.tie_embeddings);
    assert_true(c.rope[0].theta == 1e6 && c.rope[0].kind == ROPE_DEFAULT);
    c = load_hf(GOLDEN "qwen3");
    tiny_shapes(&c, FAMILY_QWEN3, 4, 32);
    assert_true(!c.qkv_bias && c.qk_norm && c.tie_embeddings);
    assert_int_equal(c.rope[0].kind, ROPE_YARN);
    assert_int_equal(c.rope[0].dims, 32);
    assert_true(c.rope[0].factor == 4 && c.rope[0].original_ctx == 64 && c.rope[0].truncate);
    assert_true(c.rope[0].beta_fast == 32 && c.rope[0].beta_slow == 1 && c.rope[0].attn_factor == 0);
    assert_true(c.attn_scale == (float)(1 / sqrt(32)));
}

static void golden_gemma3(void **state)
{
    (void)state;
    model_config c = load_hf(GOLDEN "gemma3");
    tiny_shapes(&c, FAMILY_GEMMA3, 7, 16);
    assert_int_equal(c.act, ACT_GELU_TANH);
    assert_true(c.tie_embeddings && c.qk_norm && c.post_norms && c.norm_plus_one);
    assert_true(c.embed_scale == 8 && c.attn_scale == 0.25f);
    assert_int_equal(c.rope_count, 2);
    for (int i = 0; i < 7; i++) {
        bool full = i == 5;
        assert_int_equal(c.layer[i].window, full ? 0 : 20);
        assert_true(c.rope[c.layer[i].rope].theta == (full ? 1e6 : 1e4));
    }
}

/* ---- published layouts ---- */

static void llama_old_layout(void **state)
{
    (void)state;
    model_config c = load_hf(TD_TESTS_DIR "/fuzz/corpus/config/old_llama.json");
    assert_int_equal(c.dtype, MODEL_BF16);
    assert_int_equal(c.rope[0].kind, ROPE_LLAMA3);
    assert_true(c.rope[0].theta == 500000 && c.rope[0].factor == 32 && c.rope[0].original_ctx == 8192);
    assert_int_equal(c.eos_count, 3);
    assert_int_equal(c.eos_ids[2], 128009);
    assert_int_equal(c.ctx_max, 131072);
}

#define SHAPES                                                                                             \
    "\"vocab_size\":1000,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":3,"               \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":512"

static void layouts_agree(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"{\"model_type\":\"llama\"," SHAPES ",\"rope_theta\":5e5,\"torch_dtype\":\"float16\"}",
         "{\"model_type\":\"llama\"," SHAPES
         ",\"rope_scaling\":{},\"rope_parameters\":{\"rope_theta\":5e5},\"dtype\":\"float16\"}"},
        {"{\"model_type\":\"qwen2\"," SHAPES ",\"rope_theta\":1e6,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,"
         "\"original_max_position_embeddings\":128}}",
         "{\"model_type\":\"qwen2\"," SHAPES ",\"rope_parameters\":{\"rope_theta\":1e6,\"rope_type\":\"yarn\","
         "\"factor\":4.0,\"original_max_position_embeddings\":128}}"},
        {"{\"model_type\":\"gemma3_text\"," SHAPES ",\"rope_theta\":1e6,\"rope_local_base_freq\":5000,"
         "\"sliding_window\":16,\"sliding_window_pattern\":2,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}}",
         "{\"model_type\":\"gemma3_text\"," SHAPES ",\"sliding_window\":16,\"layer_types\":[\"sliding_attention\","
         "\"full_attention\",\"sliding_attention\"],\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\","
         "\"rope_theta\":1e6,\"factor\":8},\"sliding_attention\":{\"rope_theta\":5000}}}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        model_config old = load_text(pairs[i][0]), new = load_text(pairs[i][1]);
        char *a = canonical(&old), *b = canonical(&new);
        assert_string_equal(a, b);
        assert_int_equal(old.dtype, new.dtype);
        td_free(a);
        td_free(b);
    }
}

static void gemma3_multimodal(void **state)
{
    (void)state;
    model_config c = load_hf(TD_TESTS_DIR "/fuzz/corpus/config/gemma3_multimodal.json");
    assert_true(c.multimodal && c.tie_embeddings);
    assert_int_equal(c.vocab, 262208);
    assert_int_equal(c.q_heads, 8);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 256);
    assert_int_equal(c.eos_count, 2);
    assert_true(c.embed_scale == 50.5f); // sqrt(2560) in bf16
    assert_true(c.attn_scale == 0.0625f);
    assert_int_equal(c.rope[0].kind, ROPE_LINEAR);
    assert_true(c.rope[0].theta == 1e6 && c.rope[0].factor == 8);
    assert_true(c.rope[1].theta == 1e4 && c.rope[1].kind == ROPE_DEFAULT);
    assert_int_equal(windowed(&c, 0), 5);
    assert_int_equal(windowed(&c, c.layer[0].window), 29);
}

static void embedding_scale_rounds(void **state)
{
    (void)state;
    static const struct {
        const char *dtype;
        float scale;
    } cases[] = {{"float32", 25.298221281347036f}, {"bfloat16", 25.25f}, {"float16", 25.296875f}};
    for (size_t i = 0; i < 3; i++) {
        char text[512];
        snprintf(text, sizeof text, "{\"model_type\":\"gemma3_text\",\"hidden_size\":640,\"intermediate_size\":96,"
                 "\"num_hidden_layers\":3,\"dtype\":\"%s\"}", cases[i].dtype);
        assert_true(load_text(text).embed_scale == cases[i].scale);
    }
}

static void windows_of_qwen(void **state)
{
    (void)state;
    model_config c = load_text("{\"model_type\":\"qwen2\"," SHAPES ",\"use_sliding_window\":true,\"sliding_window\":32,"
                               "\"max_window_layers\":1}");
    assert_int_equal(c.layer[0].window, 0);
    assert_int_equal(c.layer[1].window, 32);
    c = load_text("{\"model_type\":\"qwen2\"," SHAPES ",\"use_sliding_window\":false,\"sliding_window\":32}");
    assert_int_equal(windowed(&c, 0), c.layer_count);
    c = load_text("{\"model_type\":\"mistral\"," SHAPES ",\"sliding_window\":null}");
    assert_int_equal(c.layer[2].window, 0);
    c = load_text("{\"model_type\":\"mistral\"," SHAPES "}");
    assert_int_equal(c.layer[2].window, 4096);
}

static void flags(void **state)
{
    (void)state;
    model_config c = load_text("{\"model_type\":\"llama\"," SHAPES ",\"attention_bias\":true,\"mlp_bias\":true,"
                               "\"head_dim\":20,\"rms_norm_eps\":1e-5}");
    assert_true(c.qkv_bias && c.o_bias && c.mlp_bias && !c.tie_embeddings);
    assert_int_equal(c.head_dim, 20);
    assert_int_equal(c.dtype, MODEL_MIXED);
    assert_int_equal(c.eos_count, 0);
    assert_int_equal(c.bos_id, -1);
    c = load_text("{\"model_type\":\"gemma3_text\"," SHAPES ",\"query_pre_attn_scalar\":168,"
                  "\"final_logit_softcapping\":30.0,\"attn_logit_softcapping\":null}");
    assert_true(c.attn_scale == (float)(1 / sqrt(168)) && c.final_softcap == 30 && c.attn_softcap == 0);
}

/* ---- what is refused ---- */

static const struct {
    const char *change; // members to replace in the good object; the string "absent" removes
    const char *text;
    td_rc rc;
} refusals[] = {
    {"{\"num_attention_heads\":0}", "\"num_attention_heads\" is 0", TD_E_MODEL},
    {"{\"num_attention_heads\":-4}", "\"num_attention_heads\" is -4", TD_E_MODEL},
    {"{\"num_attention_heads\":\"4\"}", "must be a whole number", TD_E_MODEL},
    {"{\"num_attention_heads\":4.5}", "must be a whole number", TD_E_MODEL},
    {"{\"num_attention_heads\":3}", "not a multiple", TD_E_MODEL},
    {"{\"num_key_value_heads\":3}", "do not divide", TD_E_MODEL},
    {"{\"num_key_value_heads\":8}", "do not divide", TD_E_MODEL},
    {"{\"num_key_value_heads\":0}", "\"num_key_value_heads\" is 0", TD_E_MODEL},
    {"{\"head_dim\":0}", "\"head_dim\" is 0", TD_E_MODEL},
    {"{\"head_dim\":15}", "a head dim of 15", TD_E_MODEL},
    {"{\"head_dim\":1024}", "\"head_dim\" is 1024", TD_E_MODEL},
    {"{\"vocab_size\":2147483648}", "\"vocab_size\" is 2147483648", TD_E_MODEL},
    {"{\"vocab_size\":\"absent\"}", "\"vocab_size\" is missing", TD_E_MODEL},
    {"{\"hidden_size\":\"absent\"}", "\"hidden_size\" is missing", TD_E_MODEL},
    {"{\"intermediate_size\":\"absent\"}", "\"intermediate_size\" is missing", TD_E_MODEL},
    {"{\"num_hidden_layers\":1000000000}", "\"num_hidden_layers\" is 1000000000", TD_E_MODEL},
    {"{\"max_position_embeddings\":0}", "\"max_position_embeddings\" is 0", TD_E_MODEL},
    {"{\"rms_norm_eps\":-1}", "\"rms_norm_eps\" is -1", TD_E_MODEL},
    {"{\"rms_norm_eps\":0}", "\"rms_norm_eps\" is 0", TD_E_MODEL},
    {"{\"rope_theta\":0}", "\"rope_theta\" is 0", TD_E_MODEL},
    {"{\"rope_theta\":\"big\"}", "must be a number", TD_E_MODEL},
    {"{\"rope_theta\":1e300}", "\"rope_theta\" is 1e+300", TD_E_MODEL},
    {"{\"rope_scaling\":7}", "must be an object", TD_E_MODEL},
    {"{\"rope_scaling\":{\"type\":\"linear\"}}", "\"factor\" is missing", TD_E_MODEL},
    {"{\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}}", "\"factor\" is 0", TD_E_MODEL},
    {"{\"rope_scaling\":{\"type\":\"longrope\"}}", "\"longrope\" is not supported", TD_E_UNSUPPORTED},
    {"{\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":2}}", "\"dynamic\" is not supported", TD_E_UNSUPPORTED},
    {"{\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":1}}",
     "must be above", TD_E_MODEL},
    {"{\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":8,\"beta_fast\":1,\"beta_slow\":32}}", "is below",
     TD_E_MODEL},
    {"{\"partial_rotary_factor\":0.5}", "not supported", TD_E_UNSUPPORTED},
    {"{\"hidden_act\":\"relu\"}", "\"relu\"", TD_E_UNSUPPORTED},
    {"{\"tie_word_embeddings\":1}", "true or false", TD_E_MODEL},
    {"{\"eos_token_id\":1000}", "\"eos_token_id\"", TD_E_MODEL},
    {"{\"eos_token_id\":[1,2,-1]}", "\"eos_token_id\"", TD_E_MODEL},
    {"{\"bos_token_id\":4294967297}", "\"bos_token_id\"", TD_E_MODEL},
    {"{\"model_type\":\"absent\"}", "\"model_type\" is missing", TD_E_MODEL},
    {"{\"model_type\":7}", "must be a string", TD_E_MODEL},
    {"{\"model_type\":\"mamba\"}", "\"mamba\" is not supported (these are: llama, mistral, qwen2", TD_E_UNSUPPORTED},
    {"{\"model_type\":\"gemma3\"}", "\"text_config\" is missing", TD_E_MODEL},
    {"{\"model_type\":\"gemma3_text\",\"use_bidirectional_attention\":true}", "bidirectional", TD_E_UNSUPPORTED},
    {"{\"model_type\":\"qwen3\",\"layer_types\":[\"full_attention\"]}", "array of 3 strings", TD_E_MODEL},
    {"{\"model_type\":\"qwen3\",\"layer_types\":[\"full_attention\",\"x\",\"y\"]}", "[1] is \"x\"", TD_E_UNSUPPORTED},
    {"{\"model_type\":\"qwen3\",\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\"]}",
     "there is no \"sliding_window\"", TD_E_MODEL},
    {"{\"model_type\":\"llama\",\"layer_types\":[\"full_attention\",\"full_attention\",\"mamba\"]}", "[2] is \"mamba\"",
     TD_E_UNSUPPORTED},
    {"{\"model_type\":\"llama\",\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\"]}",
     "there is no \"sliding_window\"", TD_E_MODEL},
    {"{\"model_type\":\"mistral\",\"layer_types\":[\"chunked_attention\",\"x\",\"x\"]}", "[0] is \"chunked_attention\"",
     TD_E_UNSUPPORTED},
    {"{\"model_type\":\"mistral\",\"layer_types\":[]}", "array of 3 strings", TD_E_MODEL},
    {"{\"model_type\":\"mistral\",\"sliding_window\":-1}", "\"sliding_window\" is -1", TD_E_MODEL},
    {"{\"quantization_config\":{\"quant_method\":\"gptq\"}}", "\"gptq\"", TD_E_UNSUPPORTED},
    {"{\"architectures\":[\"LlamaForSequenceClassification\"]}", "does not generate text", TD_E_UNSUPPORTED},
};

static void refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        model_config c;
        td_err err = TD_ERR_INIT;
        cJSON *root = cJSON_Parse("{\"model_type\":\"llama\"," SHAPES "}"), *change = cJSON_Parse(refusals[i].change);
        assert_true(root && change);
        for (cJSON *item; (item = cJSON_DetachItemFromArray(change, 0));) {
            bool absent = item->valuestring && strcmp(item->valuestring, "absent") == 0;
            cJSON_DeleteItemFromObjectCaseSensitive(root, item->string);
            if (absent)
                cJSON_Delete(item);
            else
                cJSON_AddItemToArray(root, item);
        }
        td_rc rc = model_config_from_json(root, "some/config.json", &c, &err);
        if (rc != refusals[i].rc || !strstr(err.msg, refusals[i].text) || !strstr(err.msg, "some/config.json"))
            fail_msg("%s: rc %d, message \"%s\"", refusals[i].change, (int)rc, err.msg);
        cJSON_Delete(root);
        cJSON_Delete(change);
    }
}

static void bad_files(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "{", "[]", "{\"rope_theta\":NaN}", "{\"model_type\":\"llama\"} x"};
    model_config c;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        td_err err = TD_ERR_INIT;
        const char *path = make_file("config.json", texts[i], strlen(texts[i]));
        assert_int_equal(model_config_from_hf(path, &c, &err), TD_E_MODEL);
        assert_int_equal(err.rc, TD_E_MODEL);
        assert_non_null(strstr(err.msg, "config.json"));
    }
    unlink(make_path("config.json"));
    assert_int_equal(model_config_from_hf(make_dir, &c, NULL), TD_E_IO);
}

/* ---- GGUF ---- */

typedef struct gguf_made {
    td_buf keys, tensors, data;
    uint64_t key_count, tensor_count;
} gguf_made;

static void made_u32(gguf_made *m, const char *key, uint32_t v) { put_key_u32(&m->keys, key, v), m->key_count++; }
static void made_f32(gguf_made *m, const char *key, float v) { put_key_f32(&m->keys, key, v), m->key_count++; }
static void made_str(gguf_made *m, const char *key, const char *v) { put_key_str(&m->keys, key, v), m->key_count++; }

static void made_tensor(gguf_made *m, const char *name, uint64_t cols, uint64_t rows, const float *values)
{
    put_tensor(&m->tensors, name, rows > 1 ? 2 : 1, (const uint64_t[]){cols, rows}, 0, m->data.len);
    m->tensor_count++;
    for (uint64_t i = 0; i < cols * rows; i++)
        td_buf_add(&m->data, values ? &values[i] : &(float){0}, sizeof(float));
    put_pad(&m->data, 32);
}

/* The keys that every file of the architecture has. `skip` is left out. */
static gguf_made made_base(const char *arch, const char *skip)
{
    static const struct {
        const char *name;
        uint32_t v;
    } keys[] = {{"embedding_length", 64},   {"feed_forward_length", 96}, {"block_count", 7},
                {"attention.head_count", 4}, {"attention.head_count_kv", 2}, {"context_length", 512}};
    gguf_made m = {0};
    char key[96];
    made_str(&m, "general.architecture", arch);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(key, sizeof key, "%s.%s", arch, keys[i].name);
        if (!skip || strcmp(skip, keys[i].name) != 0)
            made_u32(&m, key, keys[i].v);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    made_f32(&m, key, 1e-5f);
    made_tensor(&m, "token_embd.weight", 64, 10, NULL);
    return m;
}

static td_rc made_load(gguf_made *m, model_config *c, td_err *err)
{
    td_buf b = TD_BUF_INIT;
    gguf *g;
    put_header(&b, 3, m->tensor_count, m->key_count);
    td_buf_add(&b, m->keys.data, m->keys.len);
    td_buf_add(&b, m->tensors.data, m->tensors.len);
    put_pad(&b, 32);
    td_buf_add(&b, m->data.data, m->data.len);
    td_rc rc = gguf_open(make_file("made.gguf", b.data, b.len), &g, err);
    assert_int_equal(rc, TD_OK);
    rc = model_config_from_gguf(g, c, err);
    gguf_close(g);
    td_buf_free(&b);
    td_buf_free(&m->keys);
    td_buf_free(&m->tensors);
    td_buf_free(&m->data);
    return rc;
}

static model_config made_config(gguf_made *m)
{
    model_config c;
    td_err err = TD_ERR_INIT;
    if (made_load(m, &c, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return c;
}

static void gguf_llama(void **state)
{
    (void)state;
    gguf_made m = made_base("llama", NULL);
    made_f32(&m, "llama.rope.freq_base", 500000);
    made_u32(&m, "tokenizer.ggml.bos_token_id", 1);
    made_u32(&m, "tokenizer.ggml.eos_token_id", 2);
    made_u32(&m, "tokenizer.ggml.eot_token_id", 3);
    made_tensor(&m, "output.weight", 64, 10, NULL);
    made_tensor(&m, "rope_freqs.weight", 8, 1, (const float[]){1, 1, 1, 1, 2, 4, 8, 8});
    model_config c = made_config(&m);
    assert_int_equal(c.family, FAMILY_LLAMA);
    assert_int_equal(c.source, MODEL_GGUF);
    assert_int_equal(c.vocab, 10);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.kv_heads, 2);
    assert_true(c.rope_pairs && !c.tie_embeddings && !c.qkv_bias);
    assert_true(c.rope[0].theta == 500000 && c.rope[0].kind == ROPE_DEFAULT);
    assert_int_equal(c.rope[0].divisor_count, 8);
    assert_true(c.rope[0].divisor[5] == 4);
    assert_int_equal(c.bos_id, 1);
    assert_int_equal(c.eos_count, 2);
    assert_true(c.norm_eps == 1e-5f);
}

static void gguf_linear_and_window(void **state)
{
    (void)state;
    gguf_made m = made_base("llama", "attention.head_count_kv");
    made_f32(&m, "llama.rope.scaling.factor", 4);
    made_u32(&m, "llama.attention.sliding_window", 128);
    made_tensor(&m, "blk.0.attn_q.bias", 64, 1, NULL);
    model_config c = made_config(&m);
    assert_int_equal(c.kv_heads, 4);
    assert_true(c.rope[0].theta == 10000 && c.rope[0].kind == ROPE_LINEAR && c.rope[0].factor == 4);
    assert_int_equal(windowed(&c, 128), c.layer_count);
    assert_true(c.tie_embeddings && c.qkv_bias && !c.o_bias);
}

static void gguf_qwen(void **state)
{
    (void)state;
    gguf_made m = made_base("qwen2", NULL);
    made_tensor(&m, "blk.0.attn_q.bias", 64, 1, NULL);
    model_config c = made_config(&m);
    assert_true(c.family == FAMILY_QWEN2 && c.qkv_bias && !c.qk_norm && !c.rope_pairs);
    m = made_base("qwen3", NULL);
    made_u32(&m, "qwen3.attention.key_length", 32);
    made_u32(&m, "qwen3.attention.value_length", 32);
    made_str(&m, "qwen3.rope.scaling.type", "yarn");
    made_f32(&m, "qwen3.rope.scaling.factor", 4);
    made_u32(&m, "qwen3.rope.scaling.original_context_length", 128);
    c = made_config(&m);
    assert_true(c.family == FAMILY_QWEN3 && c.qk_norm && !c.qkv_bias);
    assert_int_equal(c.head_dim, 32);
    assert_true(c.rope[0].kind == ROPE_YARN && c.rope[0].factor == 4 && c.rope[0].original_ctx == 128);
    assert_true(c.rope[0].truncate && c.rope[0].attn_factor == 0);
}

static void gguf_gemma3(void **state)
{
    (void)state;
    gguf_made m = made_base("gemma3", NULL);
    made_u32(&m, "gemma3.attention.sliding_window", 16);
    made_f32(&m, "gemma3.rope.freq_base", 1e6f);
    made_str(&m, "gemma3.rope.scaling.type", "linear");
    made_f32(&m, "gemma3.rope.scaling.factor", 8);
    model_config c = made_config(&m);
    assert_true(c.qk_norm && c.post_norms && !c.norm_plus_one && c.tie_embeddings && !c.rope_pairs);
    assert_true(c.act == ACT_GELU_TANH && c.embed_scale == 8);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(c.layer[i].window, i == 5 ? 0 : 16);
        assert_true(c.rope[c.layer[i].rope].theta == (i == 5 ? 1e6 : 1e4));
        assert_true(c.rope[c.layer[i].rope].factor == (i == 5 ? 8 : 1));
    }
    m = made_base("gemma3", NULL); // without a window all layers are full and use the global frequencies
    c = made_config(&m);
    assert_int_equal(windowed(&c, 0), c.layer_count);
    assert_int_equal(c.layer[0].rope, 0);
    m = made_base("gemma3", "block_count"); // the one size whose scale is not that of its head dim
    made_u32(&m, "gemma3.block_count", 62);
    made_u32(&m, "gemma3.attention.key_length", 32);
    made_u32(&m, "gemma3.attention.value_length", 32);
    assert_true(made_config(&m).attn_scale == 0.25f);
}

static void gguf_layer_pattern(void **state)
{
    (void)state;
    static const uint8_t windowed[] = {0, 1, 1, 0, 1, 1, 0};
    gguf_made m = made_base("gemma3", NULL);
    made_u32(&m, "gemma3.attention.sliding_window", 16);
    put_key(&m.keys, "gemma3.attention.sliding_window_pattern", 9);
    put_u32(&m.keys, 7);
    put_u64(&m.keys, 7);
    td_buf_add(&m.keys, windowed, 7);
    m.key_count++;
    model_config c = made_config(&m);
    for (int i = 0; i < 7; i++)
        assert_int_equal(c.layer[i].window, windowed[i] ? 16 : 0);
}

/* A file that is refused: the good one without `skip`, and with one more key. */
static void gguf_refused(const char *skip, const char *key, float v, td_rc rc, const char *text)
{
    model_config c;
    td_err err = TD_ERR_INIT;
    gguf_made m = made_base("llama", skip);
    if (key)
        made_f32(&m, key, v);
    td_rc got = made_load(&m, &c, &err);
    if (got != rc || !strstr(err.msg, text) || !strstr(err.msg, "made.gguf"))
        fail_msg("without %s, %s %g: rc %d, message \"%s\"", skip, key, (double)v, (int)got, err.msg);
}

static void gguf_refusals(void **state)
{
    (void)state;
    gguf_refused("embedding_length", NULL, 0, TD_E_MODEL, "llama.embedding_length is missing");
    gguf_refused("block_count", NULL, 0, TD_E_MODEL, "llama.block_count is missing");
    gguf_refused("block_count", "llama.block_count", 1e9f, TD_E_MODEL, "llama.block_count is 1e+09");
    gguf_refused("block_count", "llama.block_count", 1.5f, TD_E_MODEL, "not a whole number");
    gguf_refused("attention.head_count", "llama.attention.head_count", 0, TD_E_MODEL, "head_count is 0");
    gguf_refused("attention.head_count", "llama.attention.head_count", NAN, TD_E_MODEL, "must be a number");
    gguf_refused("attention.head_count", "llama.attention.head_count", 3, TD_E_MODEL, "not a multiple");
    gguf_refused("attention.head_count_kv", "llama.attention.head_count_kv", 3, TD_E_MODEL, "do not divide");
    gguf_refused(NULL, "llama.rope.freq_base", NAN, TD_E_MODEL, "rope.freq_base must be a number");
    gguf_refused(NULL, "llama.rope.freq_base", 0, TD_E_MODEL, "rope.freq_base is 0");
    gguf_refused(NULL, "llama.rope.freq_base", INFINITY, TD_E_MODEL, "rope.freq_base is inf");
    gguf_refused(NULL, "llama.rope.dimension_count", 15, TD_E_MODEL, "even number");
    gguf_refused(NULL, "llama.rope.dimension_count", 18, TD_E_MODEL, "even number");
    gguf_refused(NULL, "llama.expert_count", 8, TD_E_UNSUPPORTED, "mixture of experts");
    gguf_refused(NULL, "llama.attention.value_length", 8, TD_E_UNSUPPORTED, "8 for values");
}

static void gguf_other_files(void **state)
{
    (void)state;
    model_config c;
    td_err err = TD_ERR_INIT;
    gguf_made m = made_base("rwkv7", NULL);
    assert_int_equal(made_load(&m, &c, &err), TD_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "architecture \"rwkv7\" is not supported"));
    err = (td_err)TD_ERR_INIT;
    m = made_base("llama", NULL);
    made_str(&m, "general.type", "adapter");
    assert_int_equal(made_load(&m, &c, &err), TD_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "\"adapter\", not a model"));
    err = (td_err)TD_ERR_INIT;
    m = made_base("llama", NULL);
    made_u32(&m, "tokenizer.ggml.eos_token_id", 10);
    assert_int_equal(made_load(&m, &c, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "eos_token_id is 10"));
    err = (td_err)TD_ERR_INIT;
    m = made_base("llama", NULL);
    made_tensor(&m, "rope_freqs.weight", 8, 1, (const float[]){1, 1, 0, 1, 2, 4, 8, 8});
    assert_int_equal(made_load(&m, &c, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "rope_freqs.weight has 0 at 2"));
    err = (td_err)TD_ERR_INIT;
    m = made_base("llama", NULL);
    made_tensor(&m, "rope_freqs.weight", 4, 1, NULL);
    assert_int_equal(made_load(&m, &c, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "must be 8 values"));
}

/* The models that TEST_MODELS names, where they are. */
static void real_files(void **state)
{
    (void)state;
    const char *dir = getenv("TEST_MODELS");
    char path[512];
    gguf *g;
    td_err err = TD_ERR_INIT;
    model_config c;
    snprintf(path, sizeof path, "%s/SmolLM2-135M-Instruct.Q4_1.gguf", dir ? dir : "");
    if (!dir || !td_file_exists(path))
        skip();
    assert_int_equal(gguf_open(path, &g, &err), TD_OK);
    assert_int_equal(gguf_tensor_count(g), 272);
    assert_int_equal(gguf_arr_count(g, "tokenizer.ggml.tokens", GGUF_STR), 49152);
    assert_int_equal(model_config_from_gguf(g, &c, &err), TD_OK);
    assert_true(c.hidden == 576 && c.q_heads == 9 && c.kv_heads == 3 && c.rope_pairs && c.tie_embeddings);
    gguf_close(g);
    snprintf(path, sizeof path, "%s/gemma-3-270m-Q4_K_M.gguf", dir);
    if (!td_file_exists(path))
        skip();
    assert_int_equal(gguf_open(path, &g, &err), TD_OK);
    assert_int_equal(gguf_arr_count(g, "tokenizer.ggml.scores", GGUF_F32), 262144);
    assert_int_equal(model_config_from_gguf(g, &c, &err), TD_OK);
    assert_true(c.vocab == 262144 && c.head_dim == 256 && c.kv_heads == 1 && c.layer[17].window == 0);
    assert_true(c.embed_scale == 25.298221281347036f && c.attn_scale == 0.0625f);
    gguf_close(g);
}

/* ---- texts ---- */

static void canonical_form(void **state)
{
    (void)state;
    model_config c = load_hf(GOLDEN "qwen3"), d = c;
    char *base = canonical(&c);
    d.ctx_max = 9, d.bos_id = 3, d.eos_count = 0, d.dtype = MODEL_BF16, d.arch[0] = 'x';
    char *same = canonical(&d);
    assert_string_equal(base, same);
    td_free(same);
    for (int i = 0; i < 10; i++) {
        d = c;
        d.vocab += i == 0, d.norm_eps += i == 1 ? 1e-12f : 0, d.qk_norm ^= i == 2, d.rope[0].theta += i == 3;
        d.rope[0].kind = i == 4 ? ROPE_DEFAULT : d.rope[0].kind, d.layer[3].window = i == 5 ? 7 : 0;
        d.layer[3].rope = i == 6 ? -1 : 0, d.act = i == 7 ? ACT_GELU_TANH : ACT_SILU;
        d.rope[0].truncate ^= i == 8;
        if (i == 9)
            d.rope[0].divisor_count = 1;
        char *other = canonical(&d);
        assert_string_not_equal(base, other);
        td_free(other);
    }
    td_free(base);
}

static void texts_for_inspect(void **state)
{
    (void)state;
    model_config c = load_hf(GOLDEN "gemma3");
    td_buf b = TD_BUF_INIT;
    td_json *root;
    model_config_json(&c, &b);
    assert_int_equal(td_json_parse(b.data, b.len, &td_json_file_limits, &root, NULL), TD_OK);
    assert_string_equal(td_json_get_str(root, "family", ""), "gemma3");
    assert_int_equal(td_json_get_int(root, "head_dim", 0), 16);
    assert_int_equal(cJSON_GetArraySize(td_json_get(root, "layers")), 7);
    assert_true(td_json_get_num(cJSON_GetArrayItem(td_json_get(root, "rope"), 0), "theta", 0) == 1e6);
    td_json_free(root);
    td_buf_clear(&b);
    model_config_print(&c, &b);
    assert_non_null(strstr(b.data, "layers 0-4: window 20, rope 1\nlayers 5-5: window 0, rope 0\n"));
    td_buf_free(&b);
}

/* ---- generation_config.json ---- */

static td_rc generation(const char *text, model_generation *g, td_err *err)
{
    make_file("generation_config.json", text, strlen(text));
    return model_generation_from_hf(make_dir, g, err);
}

static void generation_defaults(void **state)
{
    (void)state;
    model_generation g;
    td_err err = TD_ERR_INIT;
    unlink(make_path("generation_config.json"));
    assert_int_equal(model_generation_from_hf(make_dir, &g, &err), TD_OK);
    assert_true(isnan(g.temperature) && isnan(g.top_p) && g.top_k == -1 && g.eos_count == 0);
    assert_int_equal(generation("{\"do_sample\":true,\"temperature\":0.6,\"top_p\":0.9,\"top_k\":20,"
                                "\"repetition_penalty\":1.05,\"eos_token_id\":[5,7,5],\"bos_token_id\":1}", &g, &err),
                     TD_OK);
    assert_true(g.temperature == 0.6f && g.top_p == 0.9f && g.top_k == 20 && g.repetition_penalty == 1.05f);
    assert_true(isnan(g.min_p) && g.eos_count == 2 && g.eos_ids[1] == 7);
    assert_int_equal(generation("{\"eos_token_id\":2,\"top_k\":null}", &g, &err), TD_OK);
    assert_true(g.eos_count == 1 && g.top_k == -1);
    static const char *const bad[] = {"[]", "{", "{\"temperature\":-1}", "{\"top_p\":2}", "{\"top_k\":\"x\"}",
                                      "{\"eos_token_id\":\"x\"}", "{\"temperature\":1e999}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (td_err)TD_ERR_INIT;
        assert_int_equal(generation(bad[i], &g, &err), TD_E_MODEL);
        assert_non_null(strstr(err.msg, "generation_config.json"));
    }
}

static td_rc load_everything(void *dir)
{
    model_config c;
    model_generation g;
    td_err err = TD_ERR_INIT;
    td_rc rc = model_config_from_hf(dir, &c, &err);
    return rc == TD_OK ? model_generation_from_hf(make_dir, &g, &err) : rc;
}

static void torture(void **state)
{
    (void)state;
    make_file("generation_config.json", "{}", 2);
    assert_true(make_torture(load_everything, (void *)(GOLDEN "gemma3")) >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_llama),      cmocka_unit_test(golden_mistral),
        cmocka_unit_test(golden_qwen),       cmocka_unit_test(golden_gemma3),
        cmocka_unit_test(llama_old_layout),  cmocka_unit_test(layouts_agree),
        cmocka_unit_test(gemma3_multimodal), cmocka_unit_test(embedding_scale_rounds),
        cmocka_unit_test(windows_of_qwen),   cmocka_unit_test(flags),
        cmocka_unit_test(refused_by_name),   cmocka_unit_test(bad_files),
        cmocka_unit_test(gguf_llama),        cmocka_unit_test(gguf_linear_and_window),
        cmocka_unit_test(gguf_qwen),         cmocka_unit_test(gguf_gemma3),
        cmocka_unit_test(gguf_layer_pattern), cmocka_unit_test(gguf_refusals),
        cmocka_unit_test(gguf_other_files),  cmocka_unit_test(real_files),
        cmocka_unit_test(canonical_form),    cmocka_unit_test(texts_for_inspect),
        cmocka_unit_test(generation_defaults), cmocka_unit_test(torture),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
