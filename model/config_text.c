/* A model's configuration as text: JSON and lines for `inspect`, and the canonical form that its fingerprint hashes.
 * One table names the plain fields, so that none can be in one form and missing in another. */
#include "base/check.h"
#include "model/config.h"

#include <stddef.h>
#include <string.h>

typedef enum field_kind { FIELD_INT, FIELD_BOOL, FIELD_FLOAT } field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    bool values; // changes what the model computes
    size_t offset;
} field;

#define INT(name, values) {#name, FIELD_INT, values, offsetof(model_config, name)}
#define BOOL(name, values) {#name, FIELD_BOOL, values, offsetof(model_config, name)}
#define FLOAT(name, values) {#name, FIELD_FLOAT, values, offsetof(model_config, name)}

static const field fields[] = {
    INT(vocab, true),           INT(hidden, true),        INT(ffn, true),           INT(layer_count, true),
    INT(q_heads, true),         INT(kv_heads, true),      INT(head_dim, true),      INT(ctx_max, false),
    BOOL(multimodal, false),    BOOL(tie_embeddings, true), BOOL(qkv_bias, true),   BOOL(o_bias, true),
    BOOL(mlp_bias, true),       BOOL(qk_norm, true),      BOOL(post_norms, true),   BOOL(norm_plus_one, true),
    BOOL(rope_pairs, true),     FLOAT(norm_eps, true),    FLOAT(embed_scale, true), FLOAT(attn_scale, true),
    FLOAT(attn_softcap, true),  FLOAT(residual_scale, true), FLOAT(logit_scale, true), FLOAT(final_softcap, true),
    INT(bos_id, false),
};

static const char *const act_names[] = {[ACT_SILU] = "silu", [ACT_GELU_TANH] = "gelu_tanh"};
static const char *const dtype_names[] = {
    [MODEL_F32] = "float32", [MODEL_F16] = "float16", [MODEL_BF16] = "bfloat16", [MODEL_MIXED] = "mixed"};
static const char *const source_names[] = {[MODEL_HF] = "huggingface", [MODEL_GGUF] = "gguf"};

typedef struct rope_num {
    const char *name;
    size_t offset;
} rope_num;

#define NUM(name) {#name, offsetof(rope_set, name)}

static const rope_num rope_nums[] = {
    NUM(theta),     NUM(factor),    NUM(original_ctx), NUM(low_freq), NUM(high_freq),
    NUM(beta_fast), NUM(beta_slow), NUM(attn_factor),  NUM(mscale),   NUM(mscale_all),
};

static const void *at(const void *base, size_t offset) { return (const char *)base + offset; }

/* One field's value; floats with 9 digits, which is enough to give them back. */
static void field_value(const model_config *c, const field *f, td_buf *b)
{
    const void *p = at(c, f->offset);
    switch (f->kind) {
    case FIELD_INT:
        td_buf_fmt(b, "%d", *(const int32_t *)p);
        break;
    case FIELD_BOOL:
        td_buf_str(b, *(const bool *)p ? "true" : "false");
        break;
    case FIELD_FLOAT:
        td_buf_json_num(b, (double)*(const float *)p, 9);
        break;
    }
}

/* Layers i … end - 1 are alike. */
static int32_t run_end(const model_config *c, int32_t i)
{
    int32_t end = i + 1;
    while (end < c->layer_count && c->layer[end].window == c->layer[i].window &&
           c->layer[end].rope == c->layer[i].rope)
        end++;
    return end;
}

static void rope_json(const rope_set *r, td_buf *b)
{
    td_buf_fmt(b, "{\"type\":\"%s\",\"dims\":%d", rope_kind_names[r->kind], r->dims);
    for (size_t i = 0; i < TD_COUNT(rope_nums); i++) {
        double v = *(const double *)at(r, rope_nums[i].offset);
        if (v == 0)
            continue;
        td_buf_fmt(b, ",\"%s\":", rope_nums[i].name);
        td_buf_json_num(b, v, 17);
    }
    td_buf_fmt(b, ",\"divisors\":%d}", r->divisor_count);
}

void model_config_json(const model_config *c, td_buf *b)
{
    td_buf_fmt(b, "{\"family\":\"%s\",\"source\":\"%s\",\"architecture\":", model_family_name(c->family),
               source_names[c->source]);
    td_buf_json_str(b, c->arch, strnlen(c->arch, sizeof c->arch));
    td_buf_fmt(b, ",\"dtype\":\"%s\",\"activation\":\"%s\"", dtype_names[c->dtype], act_names[c->act]);
    for (size_t i = 0; i < TD_COUNT(fields); i++) {
        td_buf_fmt(b, ",\"%s\":", fields[i].name);
        field_value(c, &fields[i], b);
    }
    td_buf_str(b, ",\"eos_ids\":[");
    for (int32_t i = 0; i < c->eos_count; i++)
        td_buf_fmt(b, "%s%d", i ? "," : "", c->eos_ids[i]);
    td_buf_str(b, "],\"rope\":[");
    for (int32_t i = 0; i < c->rope_count; i++) {
        td_buf_str(b, i ? "," : "");
        rope_json(&c->rope[i], b);
    }
    td_buf_str(b, "],\"layers\":[");
    for (int32_t i = 0; i < c->layer_count; i++)
        td_buf_fmt(b, "%s{\"window\":%d,\"rope\":%d}", i ? "," : "", c->layer[i].window, c->layer[i].rope);
    td_buf_str(b, "]}");
}

static void print_rope(const rope_set *r, int32_t index, td_buf *b)
{
    td_buf_fmt(b, "rope %d: %s over %d dims", index, rope_kind_names[r->kind], r->dims);
    for (size_t i = 0; i < TD_COUNT(rope_nums); i++) {
        double v = *(const double *)at(r, rope_nums[i].offset);
        if (v != 0)
            td_buf_fmt(b, ", %s %.9g", rope_nums[i].name, v);
    }
    td_buf_fmt(b, r->divisor_count ? ", %d divisors\n" : "\n", r->divisor_count);
}

void model_config_print(const model_config *c, td_buf *b)
{
    td_buf_fmt(b, "family: %s\narchitecture: %s (%s)\ndtype: %s\nactivation: %s\n", model_family_name(c->family),
               c->arch, source_names[c->source], dtype_names[c->dtype], act_names[c->act]);
    for (size_t i = 0; i < TD_COUNT(fields); i++) {
        td_buf_fmt(b, "%s: ", fields[i].name);
        field_value(c, &fields[i], b);
        td_buf_char(b, '\n');
    }
    td_buf_str(b, "eos_ids:");
    for (int32_t i = 0; i < c->eos_count; i++)
        td_buf_fmt(b, " %d", c->eos_ids[i]);
    td_buf_char(b, '\n');
    for (int32_t i = 0; i < c->rope_count; i++)
        print_rope(&c->rope[i], i, b);
    for (int32_t i = 0, end; i < c->layer_count; i = end) {
        end = run_end(c, i);
        td_buf_fmt(b, "layers %d-%d: window %d, rope %d\n", i, end - 1, c->layer[i].window, c->layer[i].rope);
    }
}

static void rope_canonical(const rope_set *r, td_buf *b)
{
    td_buf_fmt(b, "rope %s dims=%d truncate=%d", rope_kind_names[r->kind], r->dims, r->truncate);
    for (size_t i = 0; i < TD_COUNT(rope_nums); i++)
        td_buf_fmt(b, " %s=%a", rope_nums[i].name, *(const double *)at(r, rope_nums[i].offset));
    td_buf_str(b, " divisor=");
    for (int32_t i = 0; i < r->divisor_count; i++)
        td_buf_fmt(b, "%a;", (double)r->divisor[i]);
    td_buf_char(b, '\n');
}

void model_config_canonical(const model_config *c, td_buf *b)
{
    td_buf_fmt(b, "arithmetic 1\nfamily=%s\nact=%s\n", model_family_name(c->family), act_names[c->act]);
    for (size_t i = 0; i < TD_COUNT(fields); i++) {
        const field *f = &fields[i];
        if (!f->values)
            continue;
        td_buf_fmt(b, "%s=", f->name);
        if (f->kind == FIELD_FLOAT)
            td_buf_fmt(b, "%a", (double)*(const float *)at(c, f->offset));
        else
            field_value(c, f, b);
        td_buf_char(b, '\n');
    }
    for (int32_t i = 0; i < c->rope_count; i++)
        rope_canonical(&c->rope[i], b);
    for (int32_t i = 0; i < c->layer_count; i++)
        td_buf_fmt(b, "layer window=%d rope=%d\n", c->layer[i].window, c->layer[i].rope);
}
