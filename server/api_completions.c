#include "server/api_openai.h"
#include "server/call.h"
#include "server/sse.h"
#include "server/state.h"

td_rc api_completions(call *c, td_err *err)
{
    td_json *body = NULL;
    params *p;
    gen_prompt *prompts;
    int32_t count;
    td_rc rc = api_parse(c, API_COMPLETIONS, &body, &p, err);
    if (!rc)
        rc = api_bad_words(c, p, err);
    if (!rc)
        rc = api_prompts(c, p, &prompts, &count, err);
    if (!rc)
        rc = gen_start(c, &format_completions, p, prompts, count, err);
    td_json_free(body);
    return rc;
}

/* One object per prompt, as the token producer of the endpoint picker reads them. */
td_rc api_completions_render(call *c, td_err *err)
{
    td_json *body = NULL;
    params *p;
    gen_prompt *prompts;
    int32_t count;
    td_rc rc = api_parse(c, API_COMPLETIONS | API_RENDER, &body, &p, err);
    if (!rc)
        rc = api_prompts(c, p, &prompts, &count, err);
    for (int32_t i = 0; !rc && i < count; i++) {
        td_buf_char(&c->answer, i ? ',' : '[');
        sse_lit(&c->answer, "{\"token_ids\":[");
        api_ids_json(&c->answer, prompts[i].ids, prompts[i].count);
        sse_lit(&c->answer, "],\"features\":null}");
    }
    if (!rc)
        td_buf_char(&c->answer, ']');
    td_json_free(body);
    return rc;
}
