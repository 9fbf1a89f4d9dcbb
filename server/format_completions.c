/* POST /v1/completions: text_completion, streamed or whole. With echo the prompt's text, and its log probabilities when
 * they are asked for, come before the answer's. */
#include "server/call.h"
#include "server/format.h"
#include "server/logprobs.h"
#include "server/sse.h"

#include <string.h>

static void begin(gen *g)
{
    sse_lit(&g->head, "data: ");
    format_open(g, &g->head, "cmpl-", "text_completion");
    sse_lit(&g->head, ",\"choices\":[{\"index\":");
}

static bool echo_logprobs(const gen *g) { return g->params->echo && g->params->sampling.logprobs; }

/* The prompt's tokens in the arrays of a choice. Its first token has no probability. */
static void echo_parts(gen *g, gen_choice *c, td_buf part[4])
{
    const gen_prompt *p = c->prompt;
    td_buf first = TD_BUF_INIT;
    bool has_text = p->count > 0 && td_token_text(g->engine, p->ids[0], &first);
    if (p->count > 0 && !has_text)
        td_buf_fmt(&first, "token_id:%d", (int)p->ids[0]);
    td_buf_json_str(&part[0], td_buf_cstr(&first), first.len);
    sse_lit(&part[1], "null");
    sse_lit(&part[2], "null");
    sse_lit(&part[3], "0");
    for (size_t i = 0; has_text && i < first.len; i++)
        c->text_chars += ((unsigned char)first.data[i] & 0xC0) != 0x80;
    td_buf_free(&first);
    if (p->echo_logprobs)
        logprobs_completion(part, g->engine, p->echo_logprobs, p->echo_logprob_count, g->params->sampling.top_logprobs,
                            &c->text_chars);
}

static void prompt_logprobs(gen *g, gen_prompt *p, const td_event *ev)
{
    if (!ev->logprobs)
        return;
    if (g->params->asked_prompt_logprobs)
        format_prompt_logprobs(g, p, ev);
    if (!echo_logprobs(g))
        return;
    size_t bytes = (size_t)ev->id_count * sizeof *ev->logprobs;
    p->echo_logprobs = td_arena_alloc(&g->call->arena, bytes);
    if (p->echo_logprobs) {
        memcpy(p->echo_logprobs, ev->logprobs, bytes);
        p->echo_logprob_count = ev->id_count;
    }
}

static void chunk(gen *g, gen_choice *c, const char *text, size_t len, const td_buf *part, bool last)
{
    td_buf *out = &g->out;
    td_buf_add(out, g->head.data, g->head.len);
    sse_int(out, c->index);
    sse_lit(out, ",\"text\":");
    td_buf_json_str(out, text, len);
    sse_lit(out, ",\"logprobs\":");
    if (part)
        logprobs_completion_json(out, part);
    else
        sse_lit(out, "null");
    if (last)
        format_finish(out, c);
    else
        sse_lit(out, ",\"finish_reason\":null,\"stop_reason\":null");
    sse_lit(out, "}]");
    format_chunk_end(g, c);
}

static void free_parts(td_buf part[4])
{
    for (int32_t k = 0; k < 4; k++)
        td_buf_free(&part[k]);
}

static void event(gen *g, gen_choice *c, const td_event *ev)
{
    td_buf part[4] = {TD_BUF_INIT, TD_BUF_INIT, TD_BUF_INIT, TD_BUF_INIT};
    if (!c->started && g->params->echo) {
        if (echo_logprobs(g))
            echo_parts(g, c, part);
        chunk(g, c, c->prompt->echo, c->prompt->echo_len, echo_logprobs(g) ? part : NULL, false);
        free_parts(part);
    }
    if (!ev->text_len && !c->done && !ev->logprobs)
        return; // the beginning of a character
    if (ev->logprobs)
        logprobs_completion(part, g->engine, ev->logprobs, ev->id_count, g->params->sampling.top_logprobs,
                            &c->text_chars);
    chunk(g, c, ev->text_len ? ev->text : "", ev->text_len, ev->logprobs ? part : NULL, c->done);
    free_parts(part);
}

static void collect(gen *g, gen_choice *c, const td_event *ev)
{
    if (!c->started && g->params->echo) {
        td_buf_add(&c->text, c->prompt->echo, c->prompt->echo_len);
        if (echo_logprobs(g))
            echo_parts(g, c, c->lp);
    }
    td_buf_add(&c->text, ev->text_len ? ev->text : "", ev->text_len);
    if (ev->logprobs)
        logprobs_completion(c->lp, g->engine, ev->logprobs, ev->id_count, g->params->sampling.top_logprobs,
                            &c->text_chars);
}

static void write_choice(gen *g, td_buf *out, const gen_choice *c)
{
    sse_lit(out, "{\"index\":");
    sse_int(out, c->index);
    sse_lit(out, ",\"text\":");
    td_buf_json_str(out, td_buf_cstr(&c->text), c->text.len);
    sse_lit(out, ",\"logprobs\":");
    if (g->params->sampling.logprobs)
        logprobs_completion_json(out, c->lp);
    else
        sse_lit(out, "null");
    format_finish(out, c);
    format_prompt_end(out, c->prompt);
}

static void whole(gen *g, td_buf *out)
{
    format_open(g, out, "cmpl-", "text_completion");
    format_choices(g, out, write_choice);
    td_buf_char(out, '}');
}

const gen_format format_completions = {
    .name = "completions",
    .begin = begin,
    .event = event,
    .prompt_logprobs = prompt_logprobs,
    .collect = collect,
    .usage = format_usage_chunk,
    .write = whole,
};
