#include "model/block.h"

#include "base/check.h"
#include "base/clock.h"

/* Sets the token count of an activation for this step. */
static kern_act *act_use(kern_act *a, int32_t tok_count)
{
    a->tok_count = tok_count;
    return a;
}

static int32_t act_floats(const kern_act *a) { return (int32_t)(a->stride / sizeof(float)); }

kern_act_kind block_act(const model *m, const kern_weight *w) { return m->dev->ops->weight_act(w->type); }

/* Bits of the activation forms that these weights want. */
static unsigned forms_of(const model *m, const kern_weight *const *w, int32_t count)
{
    unsigned forms = 0;
    for (int32_t i = 0; i < count; i++)
        forms |= 1u << block_act(m, w[i]);
    return forms;
}

/* Every form in `forms` of float rows that have none yet. */
static void quant_forms(const model *m, const float *x, int32_t x_stride, int32_t tok_count, unsigned forms,
                        kern_act *to)
{
    for (int k = 0; k < KA_COUNT; k++) {
        if (!(forms & 1u << k))
            continue;
        kern_quant_args a = {.x = x, .x_stride = x_stride, .out = act_use(&to[k], tok_count)};
        m->dev->ops->quant(m->dev, &a);
    }
}

void block_begin(const model *m, model_step *st, const kern_batch *b)
{
    const model_config *c = &m->config;
    kern_embed_args e = {.batch = b, .table = &m->weights.embed, .scale = c->embed_scale, .x = st->x};
    m->dev->ops->embed(m->dev, &e);
    for (int32_t r = 0; r < c->rope_count; r++) {
        kern_rope_args a = {.batch = b, .inv_freq = m->inv_freq[r], .dims = c->rope[r].dims, .mscale = m->mscale[r],
                            .table = st->rope[r]};
        m->dev->ops->rope(m->dev, &a);
    }
}

void block_norm(const model *m, model_step *st, int32_t tok_count, const float *y, const float *y_weight,
                const float *weight, const kern_weight *const *w, int32_t count)
{
    kern_norm_args a = {.tok_count = tok_count, .cols = m->config.hidden, .eps = m->config.norm_eps, .x = st->x, .y = y,
                        .y_weight = y_weight, .y_scale = m->config.residual_scale, .weight = weight};
    unsigned forms = forms_of(m, w, count);
    bool one = forms && (forms & (forms - 1)) == 0;
    int first = one ? __builtin_ctz(forms) : KA_F32;
    if (forms)
        a.out = act_use(&st->in[first], tok_count);
    m->dev->ops->norm(m->dev, &a);
    if (forms && !one) // several forms: norm to floats once, then each of the others from them
        quant_forms(m, st->in[KA_F32].data, act_floats(&st->in[KA_F32]), tok_count, forms & ~(1u << KA_F32), st->in);
}

void block_attention(const model *m, model_step *st, const kern_batch *b, const kern_kv_layer *kv, int32_t group,
                     int32_t layer)
{
    const model_config *c = &m->config;
    const layer_weights *w = &m->weights.layers[layer];
    const kern_ops *ops = m->dev->ops;
    int32_t D = c->head_dim, stride = (c->q_heads + 2 * c->kv_heads) * D, rope = c->layer[layer].rope;
    float *k = st->qkv + c->q_heads * D;
    kern_matmul_args qkv = {
        .part_count = 3,
        .w = {&w->q, &w->k, &w->v},
        .bias = {w->q_bias, w->k_bias, w->v_bias},
        .out = {st->qkv, k, k + c->kv_heads * D},
        .out_stride = stride,
        .epilogue = KE_STORE};
    for (int i = 0; i < 3; i++)
        qkv.act[i] = &st->in[block_act(m, qkv.w[i])];
    ops->matmul(m->dev, &qkv);

    kern_kv_store_args store = {
        .batch = b, .group = group, .kv = kv, .q_heads = c->q_heads, .qkv = st->qkv, .qkv_stride = stride,
        .q_norm = w->q_norm, .k_norm = w->k_norm, .eps = c->norm_eps, .rope = rope >= 0 ? st->rope[rope] : NULL,
        .rope_dims = rope >= 0 ? c->rope[rope].dims : 0, .rope_pairs = c->rope_pairs};
    ops->kv_store(m->dev, &store);

    kern_attn_args attn = {
        .batch = b, .group = group, .kv = kv, .q_heads = c->q_heads, .q = st->qkv, .q_stride = stride,
        .scale = c->attn_scale, .softcap = c->attn_softcap, .window = c->layer[layer].window, .out = st->attn,
        .scratch = st->attn_scratch};
    ops->attention(m->dev, &attn);
    quant_forms(m, st->attn, c->q_heads * D, b->tok_count, 1u << block_act(m, &w->o), st->mid_attn);
}

void block_mlp(const model *m, model_step *st, int32_t tok_count, int32_t layer)
{
    const model_config *c = &m->config;
    const layer_weights *w = &m->weights.layers[layer];
    kern_matmul_args a = {
        .part_count = 2,
        .w = {&w->gate, &w->up},
        .act = {&st->in[block_act(m, &w->gate)], &st->in[block_act(m, &w->up)]},
        .bias = {w->gate_bias, w->up_bias},
        .out = {st->ffn},
        .out_stride = c->ffn,
        .epilogue = c->act == ACT_SILU ? KE_SILU_MUL : KE_GELU_MUL};
    m->dev->ops->matmul(m->dev, &a);
    quant_forms(m, st->ffn, c->ffn, tok_count, 1u << block_act(m, &w->down), st->mid_ffn);
}

static void product(const model *m, const kern_act *act, const kern_weight *w, const float *bias, float *out,
                    kern_epilogue epilogue)
{
    kern_matmul_args a = {.part_count = 1, .w = {w}, .act = {act}, .bias = {bias}, .out = {out}, .out_stride = w->rows,
                          .epilogue = epilogue};
    m->dev->ops->matmul(m->dev, &a);
}

void block_put(const model *m, model_step *st, const kern_act *act, const kern_weight *w, const float *bias)
{
    product(m, act, w, m->comm->rank == 0 ? bias : NULL, st->y, KE_STORE);
    if (m->comm->size > 1)
        m->comm->ops->all_reduce(m->comm, st->y, act->tok_count, w->rows);
}

void block_add(const model *m, model_step *st, const kern_act *act, const kern_weight *w, const float *bias)
{
    // Alone and unscaled, the product's own epilogue adds: the same one addition per element.
    if (m->comm->size == 1 && m->config.residual_scale == 1.0f) {
        product(m, act, w, bias, st->x, KE_ADD);
        return;
    }
    block_put(m, st, act, w, bias);
    block_norm(m, st, act->tok_count, st->y, NULL, NULL, NULL, 0);
}

void block_end(const model *m, model_step *st, const kern_batch *b)
{
    if (b->sample_count == 0)
        return;
    kern_norm_args a = {.tok_count = b->sample_count, .cols = m->config.hidden, .eps = m->config.norm_eps, .x = st->x,
                        .weight = m->weights.out_norm, .gather = b->sample_tok,
                        .out = act_use(&st->out[block_act(m, &m->weights.head)], b->sample_count)};
    m->dev->ops->norm(m->dev, &a);
}

bool block_go_on(const kern_batch *b)
{
    if (b->beat)
        atomic_store_explicit(b->beat, td_now_ns(), memory_order_relaxed);
    return !b->cancel || atomic_load_explicit(b->cancel, memory_order_relaxed) == 0;
}

void model_logits(const model *m, model_step *st, int32_t first, int32_t count, float *logits)
{
    kern_act rows = st->out[block_act(m, &m->weights.head)];
    td_assert(first >= 0 && first + count <= rows.tok_count);
    rows.data = (char *)rows.data + (size_t)first * rows.stride;
    rows.tok_count = count;
    product(m, &rows, &m->weights.head, NULL, logits, KE_STORE);
}
