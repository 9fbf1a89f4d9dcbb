/* The sampling defaults that a model's author proposes: generation_config.json, or general.sampling.* of a GGUF. As in
 * other servers do_sample has no say: a request without a temperature gets the author's. */
#include "base/file.h"
#include "model/config_build.h"
#include "model/json_model.h"

#include <math.h>
#include <stdio.h>

static void generation_init(model_generation *g)
{
    *g = (model_generation){
        .temperature = NAN, .top_p = NAN, .min_p = NAN, .top_k = -1, .repetition_penalty = NAN};
}

static td_rc read_num(const td_json *root, const char *key, double min, double max, float *out, td_err *err)
{
    const td_json *j = td_json_get(root, key);
    double v;
    if (!j)
        return TD_OK;
    if (!td_json_num(j, &v) || !(v >= min && v <= max))
        return td_fail(err, TD_E_MODEL, "\"%s\" must be a number from %g to %g", key, min, max);
    *out = (float)v;
    return TD_OK;
}

static td_rc read_top_k(const td_json *root, int32_t *out, td_err *err)
{
    const td_json *j = td_json_get(root, "top_k");
    int64_t v;
    if (!j)
        return TD_OK;
    if (!td_json_int(j, &v) || v < -1 || v > TD_MODEL_VOCAB_MAX)
        return td_fail(err, TD_E_MODEL, "\"top_k\" must be a whole number from -1 to %d", TD_MODEL_VOCAB_MAX);
    *out = v < 0 ? 0 : (int32_t)v; // -1 and 0 both mean off there
    return TD_OK;
}

static td_rc read_eos(const td_json *root, model_generation *out, td_err *err)
{
    const td_json *j = td_json_get(root, "eos_token_id");
    int64_t id;
    bool ok = true;
    if (cJSON_IsArray(j)) {
        td_json_each(item, j) ok =
            ok && td_json_int(item, &id) && config_add_id(out->eos_ids, &out->eos_count, id, TD_MODEL_VOCAB_MAX);
    } else if (j) {
        ok = td_json_int(j, &id) && config_add_id(out->eos_ids, &out->eos_count, id, TD_MODEL_VOCAB_MAX);
    }
    return ok ? TD_OK
              : td_fail(err, TD_E_MODEL, "\"eos_token_id\" must be a token id or at most %d of them", TD_STOP_IDS_MAX);
}

static td_rc read_all(const td_json *root, model_generation *out, td_err *err)
{
    if (!cJSON_IsObject(root))
        return td_fail(err, TD_E_MODEL, "not a JSON object");
    td_rc rc = read_num(root, "temperature", 0, TD_TEMPERATURE_MAX, &out->temperature, err);
    if (rc == TD_OK)
        rc = read_num(root, "top_p", 0, 1, &out->top_p, err);
    if (rc == TD_OK)
        rc = read_num(root, "min_p", 0, 1, &out->min_p, err);
    if (rc == TD_OK)
        rc = read_num(root, "repetition_penalty", TD_REPETITION_PENALTY_MIN, TD_REPETITION_PENALTY_MAX,
                      &out->repetition_penalty, err);
    if (rc == TD_OK)
        rc = read_top_k(root, &out->top_k, err);
    return rc == TD_OK ? read_eos(root, out, err) : rc;
}

td_rc model_generation_from_hf(const char *dir, model_generation *out, td_err *err)
{
    static const char name[] = "generation_config.json";
    char path[4096];
    generation_init(out);
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path || !td_file_exists(path))
        return TD_OK;
    td_json *root;
    td_rc rc = model_json_read(path, NULL, &root, err);
    if (rc != TD_OK)
        return rc;
    rc = read_all(root, out, err);
    td_json_free(root);
    if (rc != TD_OK)
        td_err_prefix(err, "%s", path);
    return rc;
}

/* A value outside its range counts as not given. */
static float sampling_num(const gguf *g, const char *key, double min, double max)
{
    double v = gguf_get_num(g, key, NAN);
    return v >= min && v <= max ? (float)v : NAN;
}

void model_generation_from_gguf(const gguf *g, model_generation *out)
{
    generation_init(out);
    out->temperature = sampling_num(g, "general.sampling.temp", 0, TD_TEMPERATURE_MAX);
    out->top_p = sampling_num(g, "general.sampling.top_p", 0, 1);
    out->min_p = sampling_num(g, "general.sampling.min_p", 0, 1);
    out->repetition_penalty = sampling_num(g, "general.sampling.penalty_repeat", TD_REPETITION_PENALTY_MIN,
                                           TD_REPETITION_PENALTY_MAX);
    int64_t k = gguf_get_int(g, "general.sampling.top_k", -1);
    out->top_k = k >= 0 && k <= TD_MODEL_VOCAB_MAX ? (int32_t)k : -1;
}
