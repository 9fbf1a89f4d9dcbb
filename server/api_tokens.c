/* Text to tokens and back, and generation from tokens to tokens. */
#include "base/check.h"
#include "base/limits.h"
#include "server/api_openai.h"
#include "server/call.h"
#include "server/sse.h"
#include "server/state.h"

#include <string.h>

/* ------------------------------------------------------------------ tokenize */

/* Texts that no context holds may be counted, but a worker does not get lost in them. */
static td_rc text_fits(call *c, size_t len, td_err *err)
{
    uint64_t max = TD_MAX((uint64_t)c->server->info->max_model_len * 16, TD_TOKENIZE_BYTES_MAX);
    if (len <= max)
        return TD_OK;
    return td_fail_param(err, TD_E_INPUT, "prompt", "the text has %zu bytes, more than the %llu that are tokenized at "
                         "once: send it in parts", len, (unsigned long long)max);
}

/* A body with `messages` is rendered first, one with `prompt` is taken as it is. */
static td_rc tokenize_body(call *c, const td_json *body, const params *p, gen_prompt *out, td_err *err)
{
    const td_json *prompt = td_json_get(body, "prompt");
    td_tokens t = {NULL, 0};
    if (p->messages)
        return api_chat_prompt(c, p, out, err);
    if (!cJSON_IsString(prompt))
        return td_fail_param(err, TD_E_INPUT, "prompt", "send prompt, a string, or messages");
    size_t len = strlen(prompt->valuestring);
    td_rc rc = text_fits(c, len, err);
    if (!rc)
        rc = td_tokenize(c->server->engine, prompt->valuestring, len, p->add_special ? TD_TEXT_ADD_SPECIAL : 0, &t,
                         err);
    return rc ? rc : api_keep_ids(c, &t, out, err);
}

static void token_strings(call *c, const gen_prompt *p)
{
    td_buf one = TD_BUF_INIT;
    td_buf_char(&c->answer, '[');
    for (int32_t i = 0; i < p->count && !atomic_load(&c->gone); i++) {
        td_buf_clear(&one);
        td_token_raw(c->server->engine, p->ids[i], &one);
        if (i)
            td_buf_char(&c->answer, ',');
        td_buf_json_str(&c->answer, td_buf_cstr(&one), one.len);
    }
    td_buf_char(&c->answer, ']');
    td_buf_free(&one);
}

td_rc api_tokenize(call *c, td_err *err)
{
    td_json *body = NULL;
    params *p;
    gen_prompt tokens = {0};
    td_rc rc = api_parse(c, API_CHAT | API_RENDER, &body, &p, err);
    if (!rc) {
        p->add_special = td_json_get_bool(body, "add_special_tokens", true);
        rc = tokenize_body(c, body, p, &tokens, err);
    }
    if (!rc) {
        sse_lit(&c->answer, "{\"count\":");
        sse_int(&c->answer, tokens.count);
        sse_lit(&c->answer, ",\"max_model_len\":");
        sse_int(&c->answer, c->server->info->max_model_len);
        sse_lit(&c->answer, ",\"tokens\":[");
        api_ids_json(&c->answer, tokens.ids, tokens.count);
        sse_lit(&c->answer, "],\"token_strs\":");
        if (td_json_get_bool(body, "return_token_strs", false))
            token_strings(c, &tokens);
        else
            sse_lit(&c->answer, "null");
        td_buf_char(&c->answer, '}');
    }
    td_json_free(body);
    return rc;
}

td_rc api_detokenize(call *c, td_err *err)
{
    td_json *body = NULL;
    params *p;
    const int32_t *ids;
    int32_t count;
    td_buf text = TD_BUF_INIT;
    td_rc rc = api_parse(c, 0, &body, &p, err);
    const char *model = rc ? NULL : td_json_get_str(body, "model", NULL);
    if (!rc && !server_serves(c->server, model))
        rc = td_fail_param(err, TD_E_NOTFOUND, "model", "the model %.64s is not served here", model);
    if (!rc)
        rc = params_ids(td_json_get(body, "tokens"), "tokens", c->server->info->vocab_count, TD_JSON_NODES_MAX,
                        &c->arena, &ids, &count, err);
    if (!rc)
        rc = td_detokenize(c->server->engine, ids, count, td_json_get_bool(body, "skip_special_tokens", false), &text,
                           err);
    if (!rc) {
        sse_lit(&c->answer, "{\"prompt\":");
        td_buf_json_str(&c->answer, td_buf_cstr(&text), text.len);
        td_buf_char(&c->answer, '}');
    }
    td_buf_free(&text);
    td_json_free(body);
    return rc;
}

/* ------------------------------------------------------------------ generate */

static td_rc generate_prompt(call *c, const params *p, gen_prompt *out, td_err *err)
{
    const td_engine_info *info = c->server->info;
    if (!p->token_ids)
        return td_fail_param(err, TD_E_INPUT, "token_ids", "token_ids is missing");
    td_rc rc = params_ids(p->token_ids, "token_ids", info->vocab_count, info->max_model_len, &c->arena, &out->ids,
                          &out->count, err);
    return rc ? rc : api_fits(c, p, "token_ids", out->count, err);
}

td_rc api_generate(call *c, td_err *err)
{
    td_json *body = NULL;
    params *p;
    gen_prompt *prompt = td_arena_calloc(&c->arena, 1, sizeof *prompt);
    if (!prompt)
        return td_fail(err, TD_E_NOMEM, "not enough memory for the request");
    td_rc rc = api_parse(c, API_GENERATE, &body, &p, err);
    if (!rc)
        rc = api_bad_words(c, p, err);
    if (!rc)
        rc = generate_prompt(c, p, prompt, err);
    if (!rc)
        rc = gen_start(c, &format_generate, p, prompt, 1, err);
    td_json_free(body);
    return rc;
}
