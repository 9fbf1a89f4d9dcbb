#include "server/api_openai.h"
#include "server/call.h"
#include "server/sse.h"
#include "server/state.h"

#include <string.h>

static size_t content_bytes(const td_json *messages)
{
    size_t n = 0;
    td_json_each(m, messages)
        n += strlen(td_json_get_str(m, "content", ""));
    return n;
}

td_rc api_chat_prompt(call *c, const params *p, gen_prompt *out, td_err *err)
{
    td_tokens t = {NULL, 0};
    if (!p->messages)
        return td_fail_param(err, TD_E_INPUT, "messages", "messages is missing");
    td_chat chat = {
        .messages = p->messages,
        .tools = p->tools,
        .documents = p->documents,
        .template_kwargs = p->template_kwargs,
        .no_generation_prompt = p->no_generation_prompt,
        .continue_final_message = p->continue_final_message,
    };
    td_rc rc = api_text_fits(c, "messages", content_bytes(p->messages), err);
    if (!rc)
        rc = td_tokenize_chat(c->server->engine, &chat, &t, err);
    if (!rc)
        rc = api_keep_ids(c, &t, out, err);
    return rc ? rc : api_fits(c, p, "messages", out->count, err);
}

td_rc api_chat(call *c, td_err *err)
{
    td_json *body = NULL;
    params *p;
    gen_prompt *prompt = td_arena_calloc(&c->arena, 1, sizeof *prompt);
    if (!prompt)
        return td_fail(err, TD_E_NOMEM, "not enough memory for the request");
    td_rc rc = api_parse(c, API_CHAT, &body, &p, err);
    if (!rc)
        rc = api_bad_words(c, p, err);
    if (!rc)
        rc = api_chat_prompt(c, p, prompt, err);
    if (!rc)
        rc = gen_start(c, &format_chat, p, prompt, 1, err);
    td_json_free(body);
    return rc;
}

td_rc api_chat_render(call *c, td_err *err)
{
    td_json *body = NULL;
    params *p;
    gen_prompt prompt = {0};
    td_rc rc = api_parse(c, API_CHAT | API_RENDER, &body, &p, err);
    if (!rc)
        rc = api_chat_prompt(c, p, &prompt, err);
    if (!rc) {
        sse_lit(&c->answer, "{\"token_ids\":[");
        api_ids_json(&c->answer, prompt.ids, prompt.count);
        sse_lit(&c->answer, "],\"features\":null}");
    }
    td_json_free(body);
    return rc;
}
