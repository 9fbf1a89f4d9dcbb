#include "server/api_openai.h"
#include "server/call.h"
#include "server/sse.h"
#include "server/state.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ body → params */

static params_env environment(const struct server *s)
{
    return (params_env){.max_model_len = s->info->max_model_len, .vocab_count = s->info->vocab_count,
                        .max_num_seqs = s->info->max_num_seqs, .request_timeout_s = s->opts.request_timeout_s};
}

static params defaults(const struct server *s, unsigned kind)
{
    params p = {.sampling = td_sampling_default(), .add_special = kind & API_COMPLETIONS};
    td_sampling_model_defaults(s->engine, &p.sampling);
    p.sampling.prompt_logprobs = -1;
    if (kind & API_COMPLETIONS)
        p.default_max_tokens = 16;
    return p;
}

enum { SAMPLING_FIELDS_MAX = 256 };

/* generate: sampling fields sit in `sampling_params`, the rest beside it; the table reads one object. What is in both
 * places is taken from the inner one. */
static td_rc lift_sampling(td_json *body, td_err *err)
{
    td_json *inner = cJSON_DetachItemFromObjectCaseSensitive(body, "sampling_params");
    int32_t n = 0;
    td_json_each(item, inner)
        n++;
    bool good = !inner || cJSON_IsNull(inner) || (cJSON_IsObject(inner) && n <= SAMPLING_FIELDS_MAX);
    while (good && inner && inner->child) {
        td_json *item = cJSON_DetachItemViaPointer(inner, inner->child);
        cJSON_DeleteItemFromObjectCaseSensitive(body, item->string);
        cJSON_AddItemToArray(body, item); // keeps its key; AddItemToObject would copy it
    }
    cJSON_Delete(inner);
    if (good)
        return TD_OK;
    return td_fail_param(err, TD_E_INPUT, "sampling_params", "sampling_params must be an object with at most %d fields",
                         SAMPLING_FIELDS_MAX);
}

td_rc api_parse(call *c, unsigned kind, td_json **body, params **out, td_err *err)
{
    const struct server *s = c->server;
    params_env env = environment(s);
    params dflt = defaults(s, kind);
    *out = td_arena_calloc(&c->arena, 1, sizeof **out);
    if (!*out)
        return td_fail(err, TD_E_NOMEM, "not enough memory for the request");
    if (!c->body.len)
        return td_fail(err, TD_E_INPUT, "the body is empty: send a JSON object");
    td_rc rc = td_json_parse(c->body.data, c->body.len, &td_json_request_limits, body, err);
    if (!rc && cJSON_IsObject(*body) && (kind & API_GENERATE))
        rc = lift_sampling(*body, err);
    if (!rc)
        rc = params_parse(*body, kind, &env, &dflt, &c->arena, *out, err);
    if (rc)
        return rc;
    if (!server_serves(s, (*out)->model)) {
        c->err_code = "model_not_found";
        return td_fail_param(err, TD_E_NOTFOUND, "model",
                             "the model %.64s is not served here; GET /v1/models lists what is", (*out)->model);
    }
    // The tree goes at the end of the worker's part; what outlives it is copied.
    if ((*out)->model && !((*out)->model = td_arena_strndup(&c->arena, (*out)->model, strlen((*out)->model))))
        return td_fail(err, TD_E_NOMEM, "not enough memory for the request");
    (*out)->asked_prompt_logprobs = (*out)->sampling.prompt_logprobs >= 0;
    if ((*out)->echo && (*out)->sampling.logprobs && (*out)->sampling.prompt_logprobs < (*out)->sampling.top_logprobs)
        (*out)->sampling.prompt_logprobs = (*out)->sampling.top_logprobs;
    return TD_OK;
}

/* ------------------------------------------------------------------ limits */

td_rc api_fits(call *c, const params *p, const char *field, int64_t prompt_count, td_err *err)
{
    int64_t max = c->server->info->max_model_len;
    if (prompt_count == 0)
        return td_fail_param(err, TD_E_INPUT, field, "%s has no tokens", field);
    if (prompt_count < max && prompt_count + p->sampling.max_tokens <= max)
        return TD_OK;
    c->err_code = "context_length_exceeded";
    if (prompt_count >= max)
        return td_fail_param(err, TD_E_INPUT, field,
                             "the prompt has %lld tokens, but the context of this model is %lld, "
                             "with at least 1 for the answer: shorten the prompt",
                             (long long)prompt_count, (long long)max);
    return td_fail_param(err, TD_E_INPUT, "max_tokens",
                         "the prompt has %lld tokens and max_tokens is %d, together more than the "
                         "model's context of %lld: shorten the prompt or lower max_tokens",
                         (long long)prompt_count, (int)p->sampling.max_tokens, (long long)max);
}

td_rc api_text_fits(call *c, const char *field, size_t bytes, td_err *err)
{
    uint64_t max = (uint64_t)c->server->info->max_model_len * 16;
    if (bytes <= max)
        return TD_OK;
    c->err_code = "context_length_exceeded";
    return td_fail_param(err, TD_E_INPUT, field, "the prompt has %zu bytes, which cannot fit the model's context of %d "
                         "tokens: at most %llu bytes are looked at", bytes, (int)c->server->info->max_model_len,
                         (unsigned long long)max);
}

/* ------------------------------------------------------------------ tokens */

td_rc api_keep_ids(call *c, td_tokens *t, gen_prompt *out, td_err *err)
{
    int32_t *ids = td_arena_calloc(&c->arena, (size_t)t->count + 1, sizeof *ids);
    if (ids && t->count)
        memcpy(ids, t->ids, (size_t)t->count * sizeof *ids);
    out->ids = ids;
    out->count = t->count;
    td_tokens_free(t);
    return ids ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory for the prompt's tokens");
}

td_rc api_bad_words(call *c, params *p, td_err *err)
{
    int32_t n = p->bad_word_count;
    const int32_t **words = td_arena_calloc(&c->arena, (size_t)n + 1, sizeof *words);
    int32_t *lens = td_arena_calloc(&c->arena, (size_t)n + 1, sizeof *lens);
    if (!words || !lens)
        return td_fail(err, TD_E_NOMEM, "not enough memory for bad_words");
    for (int32_t i = 0; i < n; i++) {
        td_tokens t = {NULL, 0};
        gen_prompt kept = {0};
        td_rc rc = td_tokenize(c->server->engine, p->bad_words[i], strlen(p->bad_words[i]), 0, &t, err);
        if (!rc)
            rc = api_keep_ids(c, &t, &kept, err);
        if (rc)
            return rc;
        if (kept.count == 0 || kept.count > TD_BAD_WORD_TOK_MAX)
            return td_fail_param(err, TD_E_INPUT, "bad_words", "bad_words[%d] is %d tokens long, of 1 to %d", (int)i,
                                 (int)kept.count, TD_BAD_WORD_TOK_MAX);
        words[i] = kept.ids;
        lens[i] = kept.count;
    }
    p->sampling.bad_words = words;
    p->sampling.bad_word_lens = lens;
    p->sampling.bad_word_count = n;
    return TD_OK;
}

/* ------------------------------------------------------------------ prompts */

static td_rc text_prompt(call *c, const params *p, const char *text, gen_prompt *out, td_err *err)
{
    td_tokens t = {NULL, 0};
    td_rc rc = api_text_fits(c, "prompt", strlen(text), err);
    if (!rc)
        rc = td_tokenize(c->server->engine, text, strlen(text), p->add_special ? TD_TEXT_ADD_SPECIAL : 0, &t, err);
    if (!rc)
        rc = api_keep_ids(c, &t, out, err);
    if (!rc && p->echo) {
        out->echo_len = strlen(text);
        out->echo = td_arena_strndup(&c->arena, text, out->echo_len);
        rc = out->echo ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory to echo the prompt");
    }
    return rc;
}

static td_rc ids_prompt(call *c, const params *p, const td_json *ids, gen_prompt *out, td_err *err)
{
    const td_engine_info *info = c->server->info;
    td_rc rc =
        params_ids(ids, "prompt", info->vocab_count, info->max_model_len, &c->arena, &out->ids, &out->count, err);
    if (rc || !p->echo)
        return rc;
    td_buf text = TD_BUF_INIT;
    rc = td_detokenize(c->server->engine, out->ids, out->count, !p->sampling.keep_special, &text, err);
    if (!rc) {
        out->echo_len = text.len;
        out->echo = td_arena_strndup(&c->arena, td_buf_cstr(&text), text.len);
        rc = out->echo ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory to echo the prompt");
    }
    td_buf_free(&text);
    return rc;
}

/* How many prompts: an array of strings or arrays holds several, one of numbers is a single one. */
static td_rc count_prompts(const td_json *prompt, int32_t *count, bool *list, td_err *err)
{
    if (!prompt)
        return td_fail_param(err, TD_E_INPUT, "prompt", "prompt is missing");
    if (!cJSON_IsString(prompt) && !cJSON_IsArray(prompt))
        return td_fail_param(err, TD_E_INPUT, "prompt",
                             "prompt must be a string, an array of token ids, or an array of "
                             "either");
    *list = cJSON_IsArray(prompt) && (cJSON_IsString(prompt->child) || cJSON_IsArray(prompt->child));
    *count = 1;
    if (cJSON_IsArray(prompt) && !prompt->child)
        return td_fail_param(err, TD_E_INPUT, "prompt", "prompt is an empty array");
    if (!*list)
        return TD_OK;
    *count = 0;
    td_json_each(item, prompt)
        if (++*count > TD_PROMPTS_MAX)
            return td_fail_param(err, TD_E_INPUT, "prompt", "prompt may hold at most %d prompts", TD_PROMPTS_MAX);
    return TD_OK;
}

td_rc api_prompts(call *c, const params *p, gen_prompt **out, int32_t *count, td_err *err)
{
    bool list;
    td_rc rc = count_prompts(p->prompt, count, &list, err);
    if (rc)
        return rc;
    int32_t seqs = c->server->info->max_num_seqs;
    if (*count * p->sampling.n > seqs)
        return td_fail_param(err, TD_E_INPUT, p->sampling.n > 1 ? "n" : "prompt",
                             "%d prompts with n = %d are more than the server's max-num-seqs of %d",
                             (int)*count, (int)p->sampling.n, (int)seqs);
    gen_prompt *all = td_arena_calloc(&c->arena, (size_t)*count, sizeof *all);
    if (!all)
        return td_fail(err, TD_E_NOMEM, "not enough memory for the prompts");
    const td_json *item = list ? p->prompt->child : p->prompt;
    for (int32_t i = 0; i < *count && !rc; i++, item = item->next) {
        if (cJSON_IsString(item) != cJSON_IsString(list ? p->prompt->child : p->prompt))
            rc = td_fail_param(err, TD_E_INPUT, "prompt", "prompt mixes text and token ids");
        else
            rc = cJSON_IsString(item) ? text_prompt(c, p, item->valuestring, &all[i], err)
                                      : ids_prompt(c, p, item, &all[i], err);
        if (!rc)
            rc = api_fits(c, p, "prompt", all[i].count, err);
    }
    *out = all;
    return rc;
}

/* ------------------------------------------------------------------ answers */

void api_ids_json(td_buf *out, const int32_t *ids, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (i)
            td_buf_char(out, ',');
        sse_int(out, ids[i]);
    }
}
