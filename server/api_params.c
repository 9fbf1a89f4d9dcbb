#include "base/check.h"
#include "server/params_impl.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef enum field_type {
    F_BOOL, F_INT, F_NUM, F_SEED, F_STR, F_ARRAY, F_OBJECT, F_ANY, F_FN,
    F_REFUSED, // would change the answer and is not there yet: saying so is better than ignoring it
} field_type;

typedef struct field {
    const char *name;
    unsigned kinds;   // endpoints that know it
    field_type type;
    size_t at;        // offset in params
    double min, max;  // numbers; max MODEL_LEN stands for the model's
    bool above_min;   // min itself is not allowed
    params_fn *fn;
    const char *note; // F_REFUSED: why, what to do
} field;

#define ALL (API_COMPLETIONS | API_CHAT | API_GENERATE)
#define TEXT (API_COMPLETIONS | API_CHAT)
#define AT(member) offsetof(params, member)
#define MODEL_LEN (-1.0)
#define INT32_LIMIT 2147483647.0

static const field table[] = {
    {"model", ALL, F_STR, AT(model), 0, 0, false, NULL, NULL},
    {"prompt", API_COMPLETIONS, F_ANY, AT(prompt), 0, 0, false, NULL, NULL},
    {"token_ids", API_GENERATE, F_ARRAY, AT(token_ids), 0, 0, false, NULL, NULL},
    {"messages", API_CHAT, F_FN, 0, 0, 0, false, field_messages, NULL},
    {"tools", API_CHAT, F_FN, 0, 0, 0, false, field_tools, NULL},
    {"tool_choice", API_CHAT, F_FN, 0, 0, 0, false, field_tool_choice, NULL},
    {"documents", API_CHAT, F_ARRAY, AT(documents), 0, 0, false, NULL, NULL},
    {"chat_template_kwargs", API_CHAT, F_OBJECT, AT(template_kwargs), 0, 0, false, NULL, NULL},
    {"add_generation_prompt", API_CHAT, F_BOOL, AT(no_generation_prompt), 0, 0, false, NULL, NULL},
    {"continue_final_message", API_CHAT, F_BOOL, AT(continue_final_message), 0, 0, false, NULL, NULL},
    {"stream", ALL, F_BOOL, AT(stream), 0, 0, false, NULL, NULL},
    {"stream_options", ALL, F_FN, 0, 0, 0, false, field_stream_options, NULL},
    {"echo", API_COMPLETIONS, F_BOOL, AT(echo), 0, 0, false, NULL, NULL},
    {"add_special_tokens", TEXT, F_BOOL, AT(add_special), 0, 0, false, NULL, NULL},
    {"priority", ALL, F_INT, AT(priority), -INT32_LIMIT, INT32_LIMIT, false, NULL, NULL},
    {"timeout", ALL, F_NUM, AT(timeout_s), 0, 1e6, true, NULL, NULL},
    {"cache_salt", ALL, F_STR, AT(cache_salt), 0, 256, false, NULL, NULL},

    {"temperature", ALL, F_NUM, AT(sampling.temperature), 0, TD_TEMPERATURE_MAX, false, NULL, NULL},
    {"top_p", ALL, F_NUM, AT(sampling.top_p), 0, 1, true, NULL, NULL},
    {"min_p", ALL, F_NUM, AT(sampling.min_p), 0, 1, false, NULL, NULL},
    {"typical_p", ALL, F_NUM, AT(sampling.typical_p), 0, 1, true, NULL, NULL},
    {"top_k", ALL, F_INT, AT(sampling.top_k), -1, INT32_LIMIT, false, NULL, NULL},
    {"repetition_penalty", ALL, F_NUM, AT(sampling.repetition_penalty), TD_REPETITION_PENALTY_MIN,
     TD_REPETITION_PENALTY_MAX, false, NULL, NULL},
    {"presence_penalty", ALL, F_NUM, AT(sampling.presence_penalty), -2, 2, false, NULL, NULL},
    {"frequency_penalty", ALL, F_NUM, AT(sampling.frequency_penalty), -2, 2, false, NULL, NULL},
    {"seed", ALL, F_SEED, 0, 0, 0, false, NULL, NULL},
    {"n", ALL, F_INT, AT(sampling.n), 1, TD_CHOICES_MAX, false, NULL, NULL},
    {"max_tokens", ALL, F_INT, AT(sampling.max_tokens), 1, MODEL_LEN, false, NULL, NULL},
    {"max_completion_tokens", TEXT, F_INT, AT(sampling.max_tokens), 1, MODEL_LEN, false, NULL, NULL},
    {"min_tokens", ALL, F_INT, AT(sampling.min_tokens), 0, MODEL_LEN, false, NULL, NULL},
    {"ignore_eos", ALL, F_BOOL, AT(sampling.ignore_eos), 0, 0, false, NULL, NULL},
    {"include_stop_str_in_output", ALL, F_BOOL, AT(sampling.include_stop_str), 0, 0, false, NULL, NULL},
    {"skip_special_tokens", ALL, F_BOOL, AT(sampling.keep_special), 0, 0, false, NULL, NULL},
    {"stop", ALL, F_FN, 0, 0, 0, false, field_stop, NULL},
    {"stop_token_ids", ALL, F_FN, 0, 0, 0, false, field_stop_ids, NULL},
    {"logit_bias", ALL, F_FN, 0, 0, 0, false, field_logit_bias, NULL},
    {"allowed_token_ids", ALL, F_FN, 0, 0, 0, false, field_allowed_ids, NULL},
    {"bad_words", ALL, F_FN, 0, 0, 0, false, field_bad_words, NULL},
    {"logprobs", API_COMPLETIONS | API_GENERATE, F_FN, 0, 0, 0, false, field_logprobs_count, NULL},
    {"logprobs", API_CHAT, F_FN, 0, 0, 0, false, field_logprobs_flag, NULL},
    {"top_logprobs", API_CHAT, F_FN, 0, 0, 0, false, field_top_logprobs, NULL},
    {"prompt_logprobs", ALL, F_INT, AT(sampling.prompt_logprobs), 0, TD_LOGPROBS_MAX, false, NULL, NULL},

    {"best_of", ALL, F_FN, 0, 0, 0, false, field_best_of, NULL},
    {"response_format", TEXT, F_FN, 0, 0, 0, false, field_response_format, NULL},
    {"suffix", API_COMPLETIONS, F_REFUSED, 0, 0, 0, false, NULL,
     "text cannot be inserted before a suffix; leave it out"},
    {"structured_outputs", ALL, F_REFUSED, 0, 0, 0, false, NULL, "structured output is not supported yet"},
    {"guided_json", ALL, F_REFUSED, 0, 0, 0, false, NULL, "structured output is not supported yet"},
    {"guided_regex", ALL, F_REFUSED, 0, 0, 0, false, NULL, "structured output is not supported yet"},
    {"guided_choice", ALL, F_REFUSED, 0, 0, 0, false, NULL, "structured output is not supported yet"},
    {"guided_grammar", ALL, F_REFUSED, 0, 0, 0, false, NULL, "structured output is not supported yet"},
    {"functions", API_CHAT, F_REFUSED, 0, 0, 0, false, NULL, "use tools, which replaced it"},
    {"function_call", API_CHAT, F_REFUSED, 0, 0, 0, false, NULL, "use tool_choice, which replaced it"},
    {"chat_template", API_CHAT, F_REFUSED, 0, 0, 0, false, NULL, "templates are set by the server, not by requests"},
    {"prompt_embeds", ALL, F_REFUSED, 0, 0, 0, false, NULL, "prompts are text or token ids"},
    {"use_beam_search", ALL, F_REFUSED, 0, 0, 0, false, NULL, "beam search is not supported; use n and sampling"},
    {"truncate_prompt_tokens", ALL, F_REFUSED, 0, 0, 0, false, NULL, "prompts are not cut; send a shorter one"},
    {"logits_processors", ALL, F_REFUSED, 0, 0, 0, false, NULL, "no code is taken from requests"},
};

td_rc params_no_memory(params_ctx *x) { return td_fail(x->err, TD_E_NOMEM, "not enough memory for the request"); }

const char *params_type(const td_json *v)
{
    return cJSON_IsString(v)   ? "a string"
           : cJSON_IsNumber(v) ? "a number"
           : cJSON_IsBool(v)   ? "a boolean"
           : cJSON_IsArray(v)  ? "an array"
           : cJSON_IsObject(v) ? "an object"
                               : "null";
}

static td_rc wrong_type(params_ctx *x, const char *name, const char *wanted, const td_json *v)
{
    return td_fail_param(x->err, TD_E_INPUT, name, "%s must be %s, not %s", name, wanted, params_type(v));
}

static td_rc take_bool(params_ctx *x, const field *f, const td_json *v)
{
    bool b;
    if (!td_json_bool(v, &b))
        return wrong_type(x, f->name, "true or false", v);
    // Two flags are asked the other way round than they are kept, so that all-zero is the default.
    bool inverted = f->at == AT(no_generation_prompt) || f->at == AT(sampling.keep_special);
    *(bool *)((char *)x->out + f->at) = b != inverted;
    return TD_OK;
}

static td_rc take_int(params_ctx *x, const field *f, const td_json *v)
{
    int64_t n, min = (int64_t)f->min, max = f->max == MODEL_LEN ? x->env->max_model_len : (int64_t)f->max;
    if (!cJSON_IsNumber(v))
        return wrong_type(x, f->name, "a whole number", v);
    // With echo the prompt alone may be asked for. The engine draws a token all the same, which is not shown.
    if (f->at == AT(sampling.max_tokens) && x->out->echo && td_json_int(v, &n) && n == 0) {
        x->out->prompt_only = true;
        x->out->sampling.max_tokens = 1;
        return TD_OK;
    }
    if (!td_json_int(v, &n) || n < min || n > max)
        return td_fail_param(x->err, TD_E_INPUT, f->name, "%s must be a whole number from %lld to %lld%s", f->name,
                             (long long)min, (long long)max, f->max == MODEL_LEN ? ", the model's context" : "");
    *(int32_t *)((char *)x->out + f->at) = (int32_t)n;
    return TD_OK;
}

static td_rc take_num(params_ctx *x, const field *f, const td_json *v)
{
    double d;
    if (!td_json_num(v, &d))
        return wrong_type(x, f->name, "a number", v);
    if (!isfinite(d) || d < f->min || d > f->max || (f->above_min && d <= f->min))
        return td_fail_param(x->err, TD_E_INPUT, f->name, "%s must be a number %s %g %s %g", f->name,
                             f->above_min ? "above" : "from", f->min, f->above_min ? "and at most" : "to",
                             f->max);
    if (f->at == AT(timeout_s))
        x->out->timeout_s = d;
    else
        *(float *)((char *)x->out + f->at) = (float)d;
    // A value above the bound by less than a float can tell is no longer above it after rounding.
    if (f->above_min && f->at != AT(timeout_s) && (float)d <= (float)f->min)
        return td_fail_param(x->err, TD_E_INPUT, f->name, "%s is too close to %g", f->name, f->min);
    return TD_OK;
}

static td_rc take_seed(params_ctx *x, const field *f, const td_json *v)
{
    int64_t n;
    if (!td_json_int(v, &n))
        return td_fail_param(x->err, TD_E_INPUT, f->name, "seed must be a whole number from %lld to %lld",
                             (long long)INT64_MIN, (long long)INT64_MAX);
    x->out->sampling.seed = (uint64_t)n;
    x->out->sampling.seed_set = true;
    return TD_OK;
}

static td_rc take_str(params_ctx *x, const field *f, const td_json *v)
{
    const char *s = td_json_str(v);
    if (!s)
        return wrong_type(x, f->name, "a string", v);
    if (f->max > 0 && (double)strlen(s) > f->max)
        return td_fail_param(x->err, TD_E_INPUT, f->name, "%s must have at most %d bytes", f->name, (int)f->max);
    *(const char **)((char *)x->out + f->at) = s;
    return TD_OK;
}

static td_rc take_json(params_ctx *x, const field *f, const td_json *v)
{
    if (f->type == F_ARRAY && !cJSON_IsArray(v))
        return wrong_type(x, f->name, "an array", v);
    if (f->type == F_OBJECT && !cJSON_IsObject(v))
        return wrong_type(x, f->name, "an object", v);
    *(const td_json **)((char *)x->out + f->at) = v;
    return TD_OK;
}

static td_rc take_field(params_ctx *x, const field *f, td_json *v)
{
    switch (f->type) {
    case F_BOOL: return take_bool(x, f, v);
    case F_INT: return take_int(x, f, v);
    case F_NUM: return take_num(x, f, v);
    case F_SEED: return take_seed(x, f, v);
    case F_STR: return take_str(x, f, v);
    case F_ARRAY:
    case F_OBJECT:
    case F_ANY: return take_json(x, f, v);
    case F_FN: return f->fn(x, f->name, v);
    case F_REFUSED:
        return td_fail_param(x->err, TD_E_INPUT, f->name, "%s is not accepted: %s", f->name, f->note);
    }
    return TD_OK;
}

/* Rules between fields. */
static td_rc check_together(params_ctx *x)
{
    const td_sampling *s = &x->out->sampling;
    if (s->max_tokens && s->min_tokens > s->max_tokens)
        return td_fail_param(x->err, TD_E_INPUT, "min_tokens", "min_tokens %d is larger than max_tokens %d",
                             (int)s->min_tokens, (int)s->max_tokens);
    if (s->n > x->env->max_num_seqs)
        return td_fail_param(x->err, TD_E_INPUT, "n", "n must be at most %d, the server's max-num-seqs",
                             (int)x->env->max_num_seqs);
    if (x->out->continue_final_message && td_json_get_bool(x->body, "add_generation_prompt", false))
        return td_fail_param(x->err, TD_E_INPUT, "continue_final_message",
                             "continue_final_message and add_generation_prompt cannot both be true");
    if (x->out->stream && s->prompt_logprobs >= 0)
        return td_fail_param(x->err, TD_E_INPUT, "prompt_logprobs", "prompt_logprobs is not available in a stream");
    return TD_OK;
}

td_rc params_parse(td_json *body, unsigned kind, const params_env *env, const params *defaults, td_arena *a,
                   params *out, td_err *err)
{
    params_ctx x = {.env = env, .kind = kind & ALL, .arena = a, .out = out, .body = body, .err = err};
    *out = *defaults;
    if (!cJSON_IsObject(body))
        return td_fail(err, TD_E_INPUT, "the body must be a JSON object, not %s", params_type(body));
    for (size_t i = 0; i < TD_COUNT(table); i++) {
        td_json *v = table[i].kinds & x.kind ? td_json_get(body, table[i].name) : NULL;
        td_rc rc = v ? take_field(&x, &table[i], v) : TD_OK;
        if (rc)
            return rc;
    }
    if (out->sampling.top_k < 0)
        out->sampling.top_k = 0;
    if (out->continue_final_message)
        out->no_generation_prompt = true;
    return check_together(&x);
}
