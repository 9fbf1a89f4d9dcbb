/* Any bytes as config.json: a configuration that was accepted keeps its promises. */
#include "model/config.h"

#include "fuzz_file.h"

static void check(const model_config *c)
{
    if (c->q_heads % c->kv_heads || c->head_dim % 2 || c->layer_count < 1 || c->layer_count > TD_MODEL_LAYERS_MAX)
        abort();
    for (int32_t i = 0; i < c->layer_count; i++)
        if (c->layer[i].rope >= c->rope_count || c->layer[i].window < 0)
            abort();
    for (int32_t i = 0; i < c->rope_count; i++) {
        double inv_freq[TD_MODEL_HEAD_DIM_MAX / 2];
        float mscale;
        rope_inv_freq(&c->rope[i], inv_freq, &mscale);
        for (int32_t k = 0; k < c->rope[i].dims / 2; k++)
            if (!(inv_freq[k] >= 0 && inv_freq[k] < 1e9))
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static model_config c;
    td_err err = TD_ERR_INIT;
    if (model_config_from_hf(fuzz_path(data, size), &c, &err) != TD_OK)
        return 0;
    check(&c);
    td_buf b = TD_BUF_INIT;
    model_config_json(&c, &b);
    model_config_canonical(&c, &b);
    td_buf_free(&b);
    return 0;
}
