#include "server/format.h"

#include "server/call.h"
#include "server/logprobs.h"
#include "server/sse.h"

#include <string.h>

void format_open(gen *g, td_buf *out, const char *id_prefix, const char *object)
{
    sse_lit(out, "{\"id\":\"");
    td_buf_str(out, id_prefix);
    td_buf_str(out, g->call->id); // printable, without quotes: choose_id()
    sse_lit(out, "\",\"object\":\"");
    td_buf_str(out, object);
    sse_lit(out, "\",\"created\":");
    sse_int(out, (int64_t)g->created_s);
    sse_lit(out, ",\"model\":");
    td_buf_json_str(out, g->model, strlen(g->model));
    sse_lit(out, ",\"system_fingerprint\":");
    td_buf_json_str(out, g->fingerprint, strlen(g->fingerprint));
}

void format_usage(td_buf *out, const gen_usage *u)
{
    sse_lit(out, "{\"prompt_tokens\":");
    sse_int(out, u->prompt);
    sse_lit(out, ",\"completion_tokens\":");
    sse_int(out, u->output);
    sse_lit(out, ",\"total_tokens\":");
    sse_int(out, u->prompt + u->output);
    sse_lit(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    sse_int(out, u->cached);
    sse_lit(out, "}}");
}

void format_choices(gen *g, td_buf *out, void (*write)(gen *g, td_buf *out, const gen_choice *c))
{
    gen_usage u = gen_get_usage(g);
    sse_lit(out, ",\"choices\":[");
    for (int32_t i = 0; i < g->choice_count; i++) {
        if (i)
            td_buf_char(out, ',');
        write(g, out, &g->choices[i]);
    }
    sse_lit(out, "],\"usage\":");
    format_usage(out, &u);
}

void format_finish(td_buf *out, const gen_choice *c)
{
    static const char *const names[] = {"null", "\"stop\"", "\"length\"", "\"abort\"", "\"error\""};
    sse_lit(out, ",\"finish_reason\":");
    td_buf_str(out, names[c->done ? c->finish : TD_FINISH_NONE]);
    sse_lit(out, ",\"stop_reason\":");
    if (c->stop_string)
        td_buf_json_str(out, c->stop_string, strlen(c->stop_string));
    else if (c->done && c->stop_id >= 0)
        sse_int(out, c->stop_id);
    else
        sse_lit(out, "null");
}

void format_chunk_end(gen *g, const gen_choice *c)
{
    if (g->params->continuous_usage) {
        gen_usage u = {.prompt = c->prompt->count, .cached = c->prompt->cached, .output = c->output};
        sse_lit(&g->out, ",\"usage\":");
        format_usage(&g->out, &u);
    }
    td_buf_char(&g->out, '}');
    sse_end(&g->out);
}

/* g->head ends with `"choices":[{"index":`; without its last element that is a chunk without choices. */
void format_usage_chunk(gen *g)
{
    static const char tail[] = "{\"index\":";
    gen_usage u = gen_get_usage(g);
    td_buf_add(&g->out, g->head.data, g->head.len - (sizeof tail - 1));
    sse_lit(&g->out, "],\"usage\":");
    format_usage(&g->out, &u);
    td_buf_char(&g->out, '}');
    sse_end(&g->out);
}

void format_prompt_logprobs(gen *g, gen_prompt *p, const td_event *ev)
{
    if (ev->logprobs)
        logprobs_prompt(&p->logprobs, g->engine, ev->logprobs, ev->id_count);
}

static const char logprobs_open[] = ",\"logprobs\":{\"content\":[", logprobs_close[] = "],\"refusal\":null}";
static const char logprobs_none[] = ",\"logprobs\":null";

void format_event_logprobs(gen *g, const td_event *ev)
{
    if (!ev->logprobs) {
        sse_lit(&g->out, logprobs_none);
        return;
    }
    sse_lit(&g->out, logprobs_open);
    logprobs_chat(&g->out, g->engine, ev->logprobs, ev->id_count);
    sse_lit(&g->out, logprobs_close);
}

void format_collect_logprobs(gen *g, gen_choice *c, const td_event *ev)
{
    if (ev->logprobs)
        logprobs_chat(&c->lp[0], g->engine, ev->logprobs, ev->id_count);
}

void format_choice_logprobs(gen *g, td_buf *out, const gen_choice *c)
{
    if (!g->params->sampling.logprobs) {
        sse_lit(out, logprobs_none);
        return;
    }
    sse_lit(out, logprobs_open);
    td_buf_add(out, td_buf_cstr(&c->lp[0]), c->lp[0].len);
    sse_lit(out, logprobs_close);
}

void format_prompt_end(td_buf *out, const gen_prompt *p)
{
    sse_lit(out, ",\"prompt_logprobs\":");
    td_buf_str(out, p->logprobs.len ? p->logprobs.data : "null");
    td_buf_char(out, '}');
}
