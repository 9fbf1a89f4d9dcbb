/* Fields whose check does not fit a row of the table. */
#include "server/params_impl.h"

#include <math.h>
#include <string.h>

static td_rc count_out_of_range(params_ctx *x, const char *name, const char *what, int64_t max)
{
    return td_fail_param(x->err, TD_E_INPUT, name, "%s may have at most %lld %s", name, (long long)max, what);
}

static int64_t array_count(const td_json *v, int64_t enough)
{
    int64_t n = 0;
    td_json_each(item, v)
        if (++n > enough)
            break;
    return n;
}

/* ------------------------------------------------------------------ strings */

static td_rc one_string(params_ctx *x, const char *name, const td_json *v, const char **out)
{
    const char *s = td_json_str(v);
    size_t len = s ? strlen(s) : 0;
    if (!s)
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must hold strings, not %s", name, params_type(v));
    if (len == 0 || len > TD_STOP_STRING_BYTES_MAX)
        return td_fail_param(x->err, TD_E_INPUT, name, "each string of %s must have 1 to %d bytes, not %zu", name,
                             TD_STOP_STRING_BYTES_MAX, len);
    *out = s;
    return TD_OK;
}

static td_rc string_list(params_ctx *x, const char *name, const td_json *v, int64_t max, const char *const **out,
                         int32_t *count)
{
    bool single = cJSON_IsString(v);
    if (!single && !cJSON_IsArray(v))
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must be a string or an array of strings, not %s", name,
                             params_type(v));
    int64_t n = single ? 1 : array_count(v, max);
    if (n > max)
        return count_out_of_range(x, name, "strings", max);
    const char **list = td_arena_calloc(x->arena, (size_t)n + 1, sizeof *list);
    if (!list)
        return params_no_memory(x);
    int32_t i = 0;
    for (const td_json *item = single ? v : v->child; item && i < n; item = item->next) {
        td_rc rc = one_string(x, name, item, &list[i++]);
        if (rc)
            return rc;
    }
    *out = list;
    *count = i;
    return TD_OK;
}

td_rc field_stop(params_ctx *x, const char *name, td_json *v)
{
    return string_list(x, name, v, TD_STOP_STRINGS_MAX, &x->out->sampling.stop, &x->out->sampling.stop_count);
}

td_rc field_bad_words(params_ctx *x, const char *name, td_json *v)
{
    return string_list(x, name, v, TD_BAD_WORDS_MAX, &x->out->bad_words, &x->out->bad_word_count);
}

/* ------------------------------------------------------------------ token ids */

td_rc params_ids(const td_json *array, const char *field, int32_t vocab_count, int64_t count_max, td_arena *a,
                 const int32_t **ids, int32_t *count, td_err *err)
{
    if (!cJSON_IsArray(array))
        return td_fail_param(err, TD_E_INPUT, field, "%s must be an array of token ids, not %s", field,
                             params_type(array));
    int64_t n = array_count(array, count_max);
    if (n > count_max)
        return td_fail_param(err, TD_E_INPUT, field, "%s may have at most %lld token ids", field, (long long)count_max);
    int32_t *list = td_arena_calloc(a, (size_t)n + 1, sizeof *list);
    if (!list)
        return td_fail(err, TD_E_NOMEM, "not enough memory for %lld token ids", (long long)n);
    int32_t i = 0;
    td_json_each(item, array)
    {
        int64_t id;
        if (!td_json_int(item, &id) || id < 0 || id >= vocab_count)
            return td_fail_param(err, TD_E_INPUT, field, "element %d of %s is not a token id from 0 to %d", (int)i,
                                 field, (int)vocab_count - 1);
        list[i++] = (int32_t)id;
    }
    *ids = list;
    *count = i;
    return TD_OK;
}

td_rc field_stop_ids(params_ctx *x, const char *name, td_json *v)
{
    td_sampling *s = &x->out->sampling;
    return params_ids(v, name, x->env->vocab_count, TD_STOP_IDS_MAX, x->arena, &s->stop_ids, &s->stop_id_count, x->err);
}

td_rc field_allowed_ids(params_ctx *x, const char *name, td_json *v)
{
    td_sampling *s = &x->out->sampling;
    td_rc rc = params_ids(v, name, x->env->vocab_count, TD_ALLOWED_IDS_MAX, x->arena, &s->allowed_ids,
                          &s->allowed_id_count, x->err);
    if (!rc && s->allowed_id_count == 0)
        rc = td_fail_param(x->err, TD_E_INPUT, name, "%s is empty, so that no token could be drawn", name);
    return rc;
}

/* Decimal digits only: what strtoll would let through besides is not an id. */
static bool parse_id(const char *s, int32_t vocab_count, int32_t *id)
{
    int64_t n = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        n = n * 10 + (*s - '0');
        if (n >= vocab_count)
            return false;
    }
    *id = (int32_t)n;
    return true;
}

td_rc field_logit_bias(params_ctx *x, const char *name, td_json *v)
{
    if (!cJSON_IsObject(v))
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must be an object from token id to bias, not %s", name,
                             params_type(v));
    int64_t n = array_count(v, TD_LOGIT_BIAS_MAX);
    if (n > TD_LOGIT_BIAS_MAX)
        return count_out_of_range(x, name, "entries", TD_LOGIT_BIAS_MAX);
    td_logit_bias *list = td_arena_calloc(x->arena, (size_t)n + 1, sizeof *list);
    if (!list)
        return params_no_memory(x);
    int32_t i = 0;
    td_json_each(item, v)
    {
        double bias;
        if (!parse_id(item->string, x->env->vocab_count, &list[i].id))
            return td_fail_param(x->err, TD_E_INPUT, name, "a key of %s is not a token id from 0 to %d", name,
                                 (int)x->env->vocab_count - 1);
        if (!td_json_num(item, &bias) || !isfinite(bias) || bias < -100 || bias > 100)
            return td_fail_param(x->err, TD_E_INPUT, name,
                                 "the bias of token %d in %s must be a number from -100 to 100", (int)list[i].id, name);
        list[i++].bias = (float)bias;
    }
    x->out->sampling.logit_bias = list;
    x->out->sampling.logit_bias_count = i;
    return TD_OK;
}

/* ------------------------------------------------------------------ log probabilities */

td_rc field_logprobs_count(params_ctx *x, const char *name, td_json *v)
{
    int64_t n;
    if (!td_json_int(v, &n) || n < 0 || n > TD_LOGPROBS_MAX)
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must be a whole number from 0 to %d", name, TD_LOGPROBS_MAX);
    x->out->sampling.logprobs = true;
    x->out->sampling.top_logprobs = (int32_t)n;
    return TD_OK;
}

td_rc field_logprobs_flag(params_ctx *x, const char *name, td_json *v)
{
    bool on;
    if (!td_json_bool(v, &on))
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must be true or false, not %s", name, params_type(v));
    x->out->sampling.logprobs = on;
    return TD_OK;
}

td_rc field_top_logprobs(params_ctx *x, const char *name, td_json *v)
{
    int64_t n;
    if (!td_json_int(v, &n) || n < 0 || n > TD_LOGPROBS_MAX)
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must be a whole number from 0 to %d", name, TD_LOGPROBS_MAX);
    if (n > 0 && !x->out->sampling.logprobs) // whose row comes before
        return td_fail_param(x->err, TD_E_INPUT, name, "%s needs logprobs: true", name);
    x->out->sampling.top_logprobs = (int32_t)n;
    return TD_OK;
}

/* ------------------------------------------------------------------ stream */

static td_rc option_flag(params_ctx *x, const td_json *v, const char *key, bool *out)
{
    const td_json *f = td_json_get(v, key);
    if (f && !td_json_bool(f, out))
        return td_fail_param(x->err, TD_E_INPUT, "stream_options", "stream_options.%s must be true or false, not %s",
                             key, params_type(f));
    return TD_OK;
}

td_rc field_stream_options(params_ctx *x, const char *name, td_json *v)
{
    if (!cJSON_IsObject(v))
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must be an object, not %s", name, params_type(v));
    if (!x->out->stream)
        return td_fail_param(x->err, TD_E_INPUT, name, "%s needs stream: true", name);
    td_rc rc = option_flag(x, v, "include_usage", &x->out->include_usage);
    return rc ? rc : option_flag(x, v, "continuous_usage_stats", &x->out->continuous_usage);
}

/* ------------------------------------------------------------------ not there, or only in part */

td_rc field_best_of(params_ctx *x, const char *name, td_json *v)
{
    int64_t n;
    if (td_json_int(v, &n) && n == 1)
        return TD_OK;
    return td_fail_param(x->err, TD_E_INPUT, name, "%s is not supported beyond 1: use n, which returns every choice",
                         name);
}

td_rc field_response_format(params_ctx *x, const char *name, td_json *v)
{
    const char *type = td_json_get_str(v, "type", NULL);
    if (!type)
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must be an object with a type", name);
    if (!strcmp(type, "text"))
        return TD_OK;
    return td_fail_param(x->err, TD_E_INPUT, name, "%s of type %.32s is not supported yet: only text is", name, type);
}

td_rc field_tool_choice(params_ctx *x, const char *name, td_json *v)
{
    const char *s = td_json_str(v);
    if (s && !strcmp(s, "auto"))
        return TD_OK;
    if (s && !strcmp(s, "none")) {
        x->out->tools = NULL; // the row of tools comes before this one
        return TD_OK;
    }
    if (s && strcmp(s, "required"))
        return td_fail_param(x->err, TD_E_INPUT, name, "%s must be none, auto, required or a function", name);
    return td_fail_param(x->err, TD_E_INPUT, name, "%s that forces a call is not supported yet: use auto or none",
                         name);
}
