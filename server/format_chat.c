/* POST /v1/chat/completions: chat.completion and chat.completion.chunk. */
#include "server/call.h"
#include "server/format.h"
#include "server/sse.h"

static void begin(gen *g)
{
    sse_lit(&g->head, "data: ");
    format_open(g, &g->head, "chatcmpl-", "chat.completion.chunk");
    sse_lit(&g->head, ",\"choices\":[{\"index\":");
}

static void chunk_open(gen *g, const gen_choice *c)
{
    td_buf_add(&g->out, g->head.data, g->head.len);
    sse_int(&g->out, c->index);
}

static void role_chunk(gen *g, const gen_choice *c)
{
    chunk_open(g, c);
    sse_lit(&g->out, ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]");
    gen_choice none = *c;
    none.output = 0;
    format_chunk_end(g, &none);
}

static void event(gen *g, gen_choice *c, const td_event *ev)
{
    td_buf *out = &g->out;
    if (!c->started)
        role_chunk(g, c);
    if (!ev->text_len && !c->done && !ev->logprobs)
        return; // the beginning of a character
    chunk_open(g, c);
    sse_lit(out, ",\"delta\":{");
    if (ev->text_len || !c->done) {
        sse_lit(out, "\"content\":");
        td_buf_json_str(out, ev->text_len ? ev->text : "", ev->text_len);
    }
    td_buf_char(out, '}');
    format_event_logprobs(g, ev);
    if (c->done)
        format_finish(out, c);
    else
        sse_lit(out, ",\"finish_reason\":null");
    sse_lit(out, "}]");
    format_chunk_end(g, c);
}

static void collect(gen *g, gen_choice *c, const td_event *ev)
{
    td_buf_add(&c->text, ev->text_len ? ev->text : "", ev->text_len);
    format_collect_logprobs(g, c, ev);
}

static void write_choice(gen *g, td_buf *out, const gen_choice *c)
{
    sse_lit(out, "{\"index\":");
    sse_int(out, c->index);
    sse_lit(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    td_buf_json_str(out, td_buf_cstr(&c->text), c->text.len);
    sse_lit(out, ",\"refusal\":null}");
    format_choice_logprobs(g, out, c);
    format_finish(out, c);
    td_buf_char(out, '}');
}

static void whole(gen *g, td_buf *out)
{
    format_open(g, out, "chatcmpl-", "chat.completion");
    format_choices(g, out, write_choice);
    format_prompt_end(out, &g->prompts[0]);
}

const gen_format format_chat = {
    .name = "chat",
    .begin = begin,
    .event = event,
    .prompt_logprobs = format_prompt_logprobs,
    .collect = collect,
    .usage = format_usage_chunk,
    .write = whole,
};
