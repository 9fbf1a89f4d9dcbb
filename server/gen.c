#include "server/gen.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "server/call.h"
#include "server/http.h"
#include "server/sse.h"
#include "server/state.h"

#include <stdio.h>
#include <string.h>

enum { OUT_ENOUGH_BYTES = 64 << 10 }; // more events wait in the engine until the client took these

/* ------------------------------------------------------------------ start */

static void notify(void *ctx) // engine thread
{
    call *c = ctx;
    loop_post(&c->server->loop, &c->events);
}

static void fingerprint(gen *g)
{
    const td_engine_info *info = td_engine_get_info(g->engine);
    char hex[9];
    td_hex(info->model_fp, 4, hex);
    snprintf(g->fingerprint, sizeof g->fingerprint, "%s-%.40s", hex, info->numerics_id ? info->numerics_id : "");
}

static td_rc lay_out(gen *g, td_arena *a, td_err *err)
{
    int32_t n = g->params->sampling.n;
    g->choice_count = g->prompt_count * n;
    g->choices = td_arena_calloc(a, (size_t)g->choice_count, sizeof *g->choices);
    if (!g->choices)
        return td_fail(err, TD_E_NOMEM, "not enough memory for %d choices", (int)g->choice_count);
    for (int32_t i = 0; i < g->choice_count; i++) {
        g->choices[i].index = i;
        g->choices[i].prompt = &g->prompts[i / n];
        g->choices[i].stop_id = -1;
    }
    return TD_OK;
}

static td_rc submit(gen *g, gen_prompt *p, td_err *err)
{
    call *c = g->call;
    td_request_opts o = {
        .id = c->id,
        .prompt = p->ids,
        .prompt_count = p->count,
        .sampling = g->params->sampling,
        .priority = g->params->priority,
        .deadline_ns = c->deadline_ns,
        .cache_salt = g->params->cache_salt,
        .notify = notify,
        .notify_ctx = c,
    };
    if (!o.sampling.max_tokens && g->params->default_max_tokens)
        o.sampling.max_tokens = TD_MIN(g->params->default_max_tokens, c->server->info->max_model_len - p->count);
    if (g->params->timeout_s > 0) {
        uint64_t asked = c->start_ns + (uint64_t)(g->params->timeout_s * (double)TD_NS_PER_S);
        o.deadline_ns = TD_MIN(asked, o.deadline_ns);
    }
    td_rc rc = atomic_load(&c->gone) ? td_fail(err, TD_E_CANCELED, "the client left")
                                     : td_request_submit(g->engine, &o, &p->request, err);
    if (!rc)
        g->open_count++;
    return rc;
}

td_rc gen_start(call *c, const gen_format *format, const params *p, gen_prompt *prompts, int32_t prompt_count,
                td_err *err)
{
    gen *g = td_arena_calloc(&c->arena, 1, sizeof *g);
    if (!g)
        return td_fail(err, TD_E_NOMEM, "not enough memory for the request");
    *g = (gen){.call = c, .engine = c->server->engine, .format = format, .params = p, .prompts = prompts,
               .prompt_count = prompt_count, .created_s = td_wall_s()};
    g->model = p->model ? p->model : server_model_name(c->server);
    fingerprint(g);
    td_rc rc = lay_out(g, &c->arena, err);
    if (!rc && p->stream) {
        format->begin(g);
        rc = g->head.failed ? td_fail(err, TD_E_NOMEM, "not enough memory for the request") : TD_OK;
    }
    for (int32_t i = 0; i < prompt_count && !rc; i++)
        rc = submit(g, &prompts[i], err);
    c->stream = p->stream;
    if (rc)
        gen_free(g);
    else
        c->gen = g;
    return rc;
}

static void free_requests(gen *g)
{
    for (int32_t i = 0; i < g->prompt_count; i++) {
        if (g->prompts[i].request)
            td_request_free(g->prompts[i].request);
        g->prompts[i].request = NULL;
    }
}

void gen_free(gen *g)
{
    if (!g)
        return;
    free_requests(g);
    for (int32_t i = 0; i < g->prompt_count; i++)
        td_buf_free(&g->prompts[i].logprobs);
    for (int32_t i = 0; i < g->choice_count; i++) {
        td_buf_free(&g->choices[i].text);
        td_buf_free(&g->choices[i].ids);
        for (size_t k = 0; k < TD_COUNT(g->choices[i].lp); k++)
            td_buf_free(&g->choices[i].lp[k]);
    }
    td_buf_free(&g->out);
    td_buf_free(&g->head);
}

void gen_cancel(gen *g)
{
    for (int32_t i = 0; i < g->prompt_count; i++)
        if (g->prompts[i].request)
            td_request_cancel(g->prompts[i].request);
}

/* ------------------------------------------------------------------ events */

/* Streams end with [DONE]; one that failed shows the error and ends without. */
static void finish(gen *g)
{
    g->finished = true;
    if (!g->params->stream)
        return;
    if (!g->err.rc) {
        if (g->params->include_usage)
            g->format->usage(g);
        sse_done(&g->out);
    } else if (g->out.len || g->call->stage == CALL_SENDING) {
        call_stream_error(g->call, &g->out, &g->err);
    }
}

void gen_fail(gen *g, td_rc rc, const char *why)
{
    if (g->finished)
        return;
    g->err = (td_err){.rc = rc};
    snprintf(g->err.msg, sizeof g->err.msg, "%s", why && *why ? why : td_rc_text(rc));
    gen_cancel(g);
    finish(g);
}

static void choice_event(gen *g, gen_prompt *p, const td_event *ev)
{
    td_event shown = *ev;
    if (g->params->prompt_only) {
        if (ev->kind == TD_EVENT_TOKENS)
            return;
        shown = (td_event){.kind = ev->kind, .choice = ev->choice, .stop_id = -1, .cached_count = ev->cached_count,
                           .finish = ev->finish == TD_FINISH_STOP ? TD_FINISH_LENGTH : ev->finish};
        ev = &shown;
    }
    int32_t n = g->params->sampling.n;
    td_assert(ev->choice >= 0 && ev->choice < n);
    gen_choice *c = &g->choices[(p - g->prompts) * n + ev->choice];
    c->output += ev->id_count;
    p->cached = ev->cached_count;
    p->output += ev->id_count;
    if (ev->kind == TD_EVENT_DONE) {
        c->done = true;
        c->finish = ev->finish;
        c->stop_id = ev->stop_id;
        if (ev->stop_string)
            c->stop_string = td_arena_strndup(&g->call->arena, ev->stop_string, strlen(ev->stop_string));
    }
    if (g->params->stream)
        g->format->event(g, c, ev);
    else
        g->format->collect(g, c, ev);
    c->started = true;
}

static void prompt_event(gen *g, gen_prompt *p, const td_event *ev)
{
    p->cached = ev->cached_count;
    if (g->params->sampling.prompt_logprobs >= 0 && g->format->prompt_logprobs)
        g->format->prompt_logprobs(g, p, ev);
}

static void end_event(gen *g, gen_prompt *p, const td_event *ev)
{
    p->ended = true;
    p->cached = ev->cached_count;
    g->open_count--;
    if (ev->rc)
        gen_fail(g, ev->rc, ev->message);
    else if (g->open_count == 0)
        finish(g);
}

static bool out_full(const gen *g) { return g->out.len - g->taken >= g->enough; }

/* Takes one prompt's events until there are no more or `out` has enough. */
static void pump_prompt(gen *g, gen_prompt *p)
{
    td_event ev;
    while (!p->ended && !g->finished && !out_full(g) && td_request_next(p->request, &ev)) {
        size_t before = g->out.len;
        switch (ev.kind) {
        case TD_EVENT_PROMPT: prompt_event(g, p, &ev); break;
        case TD_EVENT_TOKENS:
        case TD_EVENT_DONE: choice_event(g, p, &ev); break;
        case TD_EVENT_END: end_event(g, p, &ev); break;
        }
        g->largest = TD_MAX(g->largest, g->out.len - before);
    }
}

/* Did any part of the answer not fit into memory? What is left of it must not be taken for an answer. */
static bool out_of_memory(const gen *g)
{
    bool failed = g->out.failed || g->head.failed;
    for (int32_t i = 0; i < g->prompt_count; i++)
        failed = failed || g->prompts[i].logprobs.failed;
    for (int32_t i = 0; i < g->choice_count; i++) {
        const gen_choice *c = &g->choices[i];
        failed = failed || c->text.failed || c->ids.failed;
        for (size_t k = 0; k < TD_COUNT(c->lp); k++)
            failed = failed || c->lp[k].failed;
    }
    return failed;
}

static void take_events(gen *g, size_t enough)
{
    g->enough = enough;
    for (int32_t i = 0; i < g->prompt_count; i++)
        pump_prompt(g, &g->prompts[i]);
    if (g->err.rc || !out_of_memory(g))
        return;
    td_buf_free(&g->out); // what was not sent yet may end in the middle of an event
    g->taken = 0;
    g->finished = false;
    gen_fail(g, TD_E_NOMEM, "not enough memory for the answer");
}

void gen_pump(gen *g) { take_events(g, OUT_ENOUGH_BYTES); }
void gen_hold(gen *g) { take_events(g, SIZE_MAX); }
size_t gen_room(const gen *g) { return TD_HTTP_STREAM_BYTES_MAX + g->largest; }

bool gen_ended(const gen *g) { return g->finished; }
const td_err *gen_error(const gen *g) { return &g->err; }
size_t gen_pending(const gen *g) { return g->out.len - g->taken; }

size_t gen_read(gen *g, char *buf, size_t max)
{
    size_t n = TD_MIN(gen_pending(g), max);
    if (n)
        memcpy(buf, g->out.data + g->taken, n);
    g->taken += n;
    if (g->taken == g->out.len) {
        g->taken = 0;
        td_buf_clear(&g->out);
    } else if (g->taken > OUT_ENOUGH_BYTES && g->taken > g->out.len / 2) { // a reader that lags must not make it grow
        g->out.len -= g->taken;
        memmove(g->out.data, g->out.data + g->taken, g->out.len);
        g->taken = 0;
    }
    return n;
}

void gen_ping(gen *g) { sse_comment(&g->out, "ping"); }
void gen_write(gen *g, td_buf *out) { g->format->write(g, out); }

gen_usage gen_get_usage(const gen *g)
{
    gen_usage u = {0};
    for (int32_t i = 0; i < g->prompt_count; i++) {
        u.prompt += g->prompts[i].count;
        u.cached += g->prompts[i].cached;
        u.output += g->prompts[i].output;
    }
    return u;
}
