#include "model/model.h"

#include "base/check.h"
#include "model/block.h"

#include <string.h>

typedef bool (*forward_fn)(const model *, model_step *, const kern_batch *, const kern_kv_layer *, const int32_t *);

static const forward_fn forwards[FAMILY_COUNT] = {
    [FAMILY_LLAMA] = llama_forward, [FAMILY_MISTRAL] = llama_forward, [FAMILY_QWEN2] = llama_forward,
    [FAMILY_QWEN3] = llama_forward, [FAMILY_GEMMA3] = gemma_forward,
};

/* The frequencies of all rope kinds, computed here and kept on the device. */
static td_rc rope_setup(model *m, td_err *err)
{
    const model_config *c = &m->config;
    double freq[TD_MODEL_HEAD_DIM_MAX / 2];
    td_carve count = {0};
    for (int32_t r = 0; r < c->rope_count; r++)
        td_carve_take(&count, (size_t)c->rope[r].dims / 2, sizeof(double));
    m->rope_bytes = count.off;
    m->rope_mem = m->dev->ops->alloc(m->dev, count.off);
    if (!m->rope_mem)
        return td_fail(err, TD_E_NOMEM, "not enough memory for rope frequencies");
    td_carve place = {.base = m->rope_mem, .cap = count.off};
    for (int32_t r = 0; r < c->rope_count; r++) {
        size_t n = (size_t)c->rope[r].dims / 2;
        rope_inv_freq(&c->rope[r], freq, &m->mscale[r]);
        m->inv_freq[r] = td_carve_take(&place, n, sizeof(double));
        m->dev->ops->put(m->dev, m->inv_freq[r], freq, n * sizeof(double));
    }
    return TD_OK;
}

static td_rc digest(model *m, td_err *err)
{
    td_buf b = TD_BUF_INIT;
    model_config_canonical(&m->config, &b);
    td_buf_add(&b, m->weights.digest.b, sizeof m->weights.digest.b);
    m->digest = td_sha256_of(td_buf_cstr(&b), b.len);
    bool failed = b.failed;
    td_buf_free(&b);
    return failed ? td_fail(err, TD_E_NOMEM, "not enough memory for the model's fingerprint") : TD_OK;
}

td_rc model_open(const model_opts *o, model **out, td_err *err)
{
    model *m = td_alloc(sizeof *m);
    if (!m)
        return td_fail(err, TD_E_NOMEM, "not enough memory for the model");
    m->dev = o->dev;
    m->comm = o->comm;
    m->weights.dev = o->dev;
    td_rc rc = o->g ? model_config_from_gguf(o->g, &m->config, err) : model_config_from_hf(o->dir, &m->config, err);
    if (rc == TD_OK && (m->config.logit_scale != 1.0f || m->config.final_softcap != 0.0f))
        rc = td_fail(err, TD_E_UNSUPPORTED, "scaled or capped logits are not implemented");
    weights_opts w = {.dev = o->dev, .load_format = o->load_format, .seed = o->seed,
                      .no_digest = o->no_digest, .max_rss = o->max_rss, .low_memory = o->low_memory,
                      .progress = o->progress, .progress_ctx = o->progress_ctx, .canceled = o->canceled};
    if (rc == TD_OK)
        rc = weights_load(o->g, o->dir, &m->config, &w, &m->weights, err);
    if (rc == TD_OK)
        rc = rope_setup(m, err);
    if (rc == TD_OK)
        rc = digest(m, err);
    if (rc != TD_OK) {
        model_close(m);
        return rc;
    }
    m->forward = forwards[m->config.family];
    *out = m;
    return TD_OK;
}

void model_close(model *m)
{
    if (!m)
        return;
    weights_free(&m->weights);
    if (m->rope_mem)
        m->dev->ops->free(m->dev, m->rope_mem, m->rope_bytes);
    td_free(m);
}

const model_config *model_get_config(const model *m) { return &m->config; }
const model_weights *model_get_weights(const model *m) { return &m->weights; }
td_sha256 model_digest(const model *m) { return m->digest; }

/* Activation forms that any of the model's matrices wants, floats always among them. */
static unsigned forms_used(const model *m)
{
    unsigned forms = 1u << KA_F32;
    for (int t = 0; t < KT_COUNT; t++)
        if (m->weights.type_mask & 1u << t)
            forms |= 1u << m->dev->ops->weight_act((kern_type)t);
    return forms;
}

static void acts_layout(const model *m, unsigned forms, int32_t rows, int32_t cols, td_carve *c, kern_act *acts)
{
    for (int k = 0; k < KA_COUNT; k++) {
        acts[k] = (kern_act){.kind = (kern_act_kind)k, .cols = cols};
        if (!(forms & 1u << k) || (k == KA_Q8_256 && cols % 256) || (k == KA_Q8_32 && cols % 32))
            continue; // no matrix of these columns can want that form
        acts[k].stride = m->dev->ops->act_stride((kern_act_kind)k, cols);
        acts[k].data = td_carve_take(c, (size_t)rows, acts[k].stride);
    }
}

void model_step_layout(const model *m, int32_t tok_max, int32_t sample_max, int32_t ctx_max, td_carve *c,
                       model_step *st)
{
    const model_config *f = &m->config;
    size_t T = (size_t)tok_max, Q = (size_t)f->q_heads * (size_t)f->head_dim,
           K = (size_t)f->kv_heads * (size_t)f->head_dim;
    unsigned forms = forms_used(m);
    *st = (model_step){.tok_max = tok_max, .sample_max = sample_max};
    st->x = td_carve_take(c, T * (size_t)f->hidden, sizeof(float));
    st->y = td_carve_take(c, T * (size_t)f->hidden, sizeof(float));
    st->qkv = td_carve_take(c, T * (Q + 2 * K), sizeof(float));
    st->attn = td_carve_take(c, T * Q, sizeof(float));
    st->ffn = td_carve_take(c, T * (size_t)f->ffn, sizeof(float));
    for (int32_t r = 0; r < f->rope_count; r++)
        st->rope[r] = td_carve_take(c, T * (size_t)f->rope[r].dims, sizeof(float));
    st->attn_scratch =
        td_carve_take(c, m->dev->ops->attn_scratch_bytes(m->dev, tok_max, f->q_heads, f->head_dim, ctx_max), 1);
    acts_layout(m, forms, tok_max, f->hidden, c, st->in);
    acts_layout(m, forms, tok_max, (int32_t)Q, c, st->mid_attn);
    acts_layout(m, forms, tok_max, f->ffn, c, st->mid_ffn);
    acts_layout(m, forms, sample_max, f->hidden, c, st->out);
}

bool model_forward(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, const int32_t *group)
{
    td_assert(b->tok_count > 0 && b->tok_count <= st->tok_max && b->sample_count <= st->sample_max);
    return m->forward(m, st, b, kv, group);
}
