/* POST /inference/v1/generate: tokens in, tokens out. */
#include "server/api_openai.h"
#include "server/call.h"
#include "server/format.h"
#include "server/sse.h"

#include <string.h>

static void open_object(gen *g, td_buf *out)
{
    sse_lit(out, "{\"request_id\":\"");
    td_buf_str(out, g->call->id);
    sse_lit(out, "\",\"model\":");
    td_buf_json_str(out, g->model, strlen(g->model));
}

static void begin(gen *g)
{
    sse_lit(&g->head, "data: ");
    open_object(g, &g->head);
    sse_lit(&g->head, ",\"choices\":[{\"index\":");
}

static void event(gen *g, gen_choice *c, const td_event *ev)
{
    if (!ev->id_count && !c->done)
        return;
    td_buf_add(&g->out, g->head.data, g->head.len);
    sse_int(&g->out, c->index);
    sse_lit(&g->out, ",\"token_ids\":[");
    api_ids_json(&g->out, ev->ids, ev->id_count);
    td_buf_char(&g->out, ']');
    format_event_logprobs(g, ev);
    format_finish(&g->out, c);
    sse_lit(&g->out, "}]");
    format_chunk_end(g, c);
}

static void collect(gen *g, gen_choice *c, const td_event *ev)
{
    if (c->ids.len && ev->id_count)
        td_buf_char(&c->ids, ',');
    api_ids_json(&c->ids, ev->ids, ev->id_count);
    format_collect_logprobs(g, c, ev);
}

static void write_choice(gen *g, td_buf *out, const gen_choice *c)
{
    sse_lit(out, "{\"index\":");
    sse_int(out, c->index);
    sse_lit(out, ",\"token_ids\":[");
    td_buf_add(out, td_buf_cstr(&c->ids), c->ids.len);
    td_buf_char(out, ']');
    format_choice_logprobs(g, out, c);
    format_finish(out, c);
    td_buf_char(out, '}');
}

static void whole(gen *g, td_buf *out)
{
    open_object(g, out);
    format_choices(g, out, write_choice);
    format_prompt_end(out, &g->prompts[0]);
}

const gen_format format_generate = {
    .name = "generate",
    .begin = begin,
    .event = event,
    .prompt_logprobs = format_prompt_logprobs,
    .collect = collect,
    .usage = format_usage_chunk,
    .write = whole,
};
