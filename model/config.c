/* The parts of a model's configuration that do not depend on the kind of file it came from. */
#include "model/config.h"

#include "base/check.h"
#include "model/config_build.h"

#include <math.h>
#include <string.h>

static const char *const family_names[FAMILY_COUNT] = {
#define X(name, text, hf, gguf_arch) text,
    MODEL_FAMILY_TABLE(X)
#undef X
};

const char *model_family_name(model_family f) { return family_names[f]; }

const char *config_family_list(void)
{
#define X(name, text, hf, gguf_arch) ", " text
    return &(MODEL_FAMILY_TABLE(X))[2]; // without the first separator
#undef X
}

void config_init(model_config *c, model_family f, model_source s)
{
    *c = (model_config){
        .family = f,
        .source = s,
        .embed_scale = 1,
        .attn_scale = 1,
        .residual_scale = 1,
        .logit_scale = 1,
        .bos_id = -1,
    };
}

int32_t config_add_rope(model_config *c, const rope_set *r)
{
    if (c->rope_count == MODEL_ROPES_MAX)
        return -1;
    c->rope[c->rope_count] = *r;
    return c->rope_count++;
}

void config_all_layers(model_config *c, int32_t window, int32_t rope)
{
    for (int32_t i = 0; i < c->layer_count; i++)
        c->layer[i] = (model_layer){.window = window, .rope = rope};
}

bool config_add_id(int32_t *ids, int32_t *count, int64_t id, int32_t vocab)
{
    if (id < 0 || id >= vocab)
        return false;
    for (int32_t i = 0; i < *count; i++)
        if (ids[i] == id)
            return true;
    if (*count == TD_STOP_IDS_MAX)
        return false;
    ids[(*count)++] = (int32_t)id;
    return true;
}

float config_attn_scale(double dims) { return (float)(1.0 / sqrt(dims)); }

/* v with `bits` significant bits, ties to even; v is far from the ends of float's range. */
static float round_bits(float v, int bits)
{
    uint32_t u, drop = 24u - (uint32_t)bits;
    memcpy(&u, &v, sizeof u);
    u += (1u << (drop - 1)) - 1 + (u >> drop & 1);
    u &= ~((1u << drop) - 1);
    memcpy(&v, &u, sizeof v);
    return v;
}

float config_embed_scale(int32_t hidden, model_dtype dtype)
{
    float exact = (float)sqrt(hidden);
    if (dtype == MODEL_BF16)
        return round_bits(exact, 8);
    return dtype == MODEL_F16 ? round_bits(exact, 11) : exact;
}

static td_rc check_rope(const model_config *c, const char *where, td_err *err)
{
    for (int32_t i = 0; i < c->rope_count; i++) {
        const rope_set *r = &c->rope[i];
        if (r->dims < 2 || r->dims % 2 || r->dims > c->head_dim)
            return td_fail(err, TD_E_MODEL, "%s: rope over %d of a head's %d dims; an even number of them is needed",
                           where, r->dims, c->head_dim);
        if (r->kind == ROPE_LLAMA3 && !(r->high_freq > r->low_freq))
            return td_fail(err, TD_E_MODEL, "%s: rope's high_freq_factor %g must be above low_freq_factor %g", where,
                           r->high_freq, r->low_freq);
        if (r->kind == ROPE_YARN && r->beta_fast < r->beta_slow)
            return td_fail(err, TD_E_MODEL, "%s: rope's beta_fast %g is below beta_slow %g", where, r->beta_fast,
                           r->beta_slow);
    }
    return TD_OK;
}

td_rc config_finish(model_config *c, const char *where, td_err *err)
{
    if (c->q_heads % c->kv_heads)
        return td_fail(err, TD_E_MODEL, "%s: %d key/value heads do not divide the %d attention heads", where,
                       c->kv_heads, c->q_heads);
    if (c->head_dim % 2)
        return td_fail(err, TD_E_MODEL, "%s: a head dim of %d; an even one is needed", where, c->head_dim);
    return check_rope(c, where, err);
}
