#include "engine/emit.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/sampler.h"
#include "engine/stop.h"

#include <string.h>

static double seconds(uint64_t from, uint64_t to) { return to > from ? (double)(to - from) * 1e-9 : 0.0; }

static td_event event_of(const td_request *r, td_event_kind kind, int32_t choice)
{
    return (td_event){.kind = kind, .choice = choice, .stop_id = -1, .prompt_count = r->prompt_count,
                      .cached_count = r->cached_count, .output_count = r->output_count};
}

/* Stores the event; the caller's thread is told once the step is done. */
static void push(td_engine *e, td_request *r, const td_event *ev)
{
    request_push(r, ev);
    if (!r->touched) {
        r->touched = true;
        r->touched_next = e->touched;
        e->touched = r;
    }
}

void emit_flush(td_engine *e)
{
    while (e->touched) {
        td_request *r = e->touched;
        e->touched = r->touched_next;
        r->touched = false;
        request_flush(r);
        if (r->ended)
            request_unref(r); // the engine's; nothing in this step looks at it any more
    }
}

void emit_prompt(td_engine *e, td_request *r)
{
    if (r->prompt_done)
        return;
    r->prompt_done = true;
    td_event ev = event_of(r, TD_EVENT_PROMPT, 0);
    if (r->prompt_logprobs && r->prompt_count > 1) {
        ev.ids = r->seqs[0].ids + 1;
        ev.id_count = r->prompt_count - 1;
        ev.logprobs = r->prompt_logprobs;
    }
    push(e, r, &ev);
    metrics_lock(&e->metrics);
    e->metrics.m.prompt_tokens += (uint64_t)r->prompt_count;
    metrics_unlock(&e->metrics);
}

static void note_times(td_engine *e, td_request *r, const seq *q)
{
    uint64_t now = td_now_ns();
    metrics_lock(&e->metrics);
    e->metrics.m.generation_tokens++;
    if (!r->first_token_ns) {
        r->first_token_ns = now;
        hist_add(&e->metrics.m.ttft, seconds(r->arrived_ns, now));
    } else if (q->choice == 0) {
        hist_add(&e->metrics.m.itl, seconds(r->last_token_ns, now));
    }
    metrics_unlock(&e->metrics);
    if (q->choice == 0 || !r->last_token_ns)
        r->last_token_ns = now;
}

static td_token_logprobs logprobs_of(const kern_sample_out *out, int32_t top_n)
{
    td_token_logprobs p = {.token = {out->token, out->rank, out->logprob}, .top_count = top_n};
    for (int32_t i = 0; i < top_n; i++)
        p.top[i] = (td_logprob){out->top_ids[i], i + 1, out->top_logprobs[i]};
    return p;
}

/* Adds the token's text to what is held back and says how much of it may go out. Returns the stop string found. */
static const char *text_of(seq *q, int32_t id, bool stop_token, size_t *out_len)
{
    const td_sampling *s = &q->req->sampling;
    size_t seen = q->held.len;
    if (!stop_token || s->include_stop_str)
        detok_add(&q->detok, id, &q->held);
    bool check = s->stop_count > 0 && q->count - q->prompt_count >= s->min_tokens;
    *out_len = q->held.len;
    int32_t hit = check ? stop_scan(&q->held, s->stop, s->stop_count, seen, s->include_stop_str, out_len) : -1;
    return hit < 0 ? NULL : s->stop[hit];
}

static void push_text(td_engine *e, seq *q, td_event *ev, size_t text_len)
{
    ev->text = td_buf_cstr(&q->held);
    ev->text_len = text_len;
    push(e, q->req, ev);
    if (text_len == q->held.len) {
        td_buf_clear(&q->held);
    } else if (text_len) {
        memmove(q->held.data, q->held.data + text_len, q->held.len - text_len + 1);
        q->held.len -= text_len;
    }
}

bool emit_token(td_engine *e, seq *q, const kern_sample_out *out)
{
    td_request *r = q->req;
    if (out->bad) {
        if (sampler_leaves_nothing(q)) // what is said so far is all that the request allows
            emit_done(e, q, TD_FINISH_STOP, -1, NULL);
        else
            emit_end(e, r, TD_E_INTERNAL, "the model computed what is no number: its weights are damaged");
        return false;
    }
    td_assert(q->count < q->cap);
    q->ids[q->count++] = out->token;
    r->output_count++;
    sampler_note(q, out->token);
    note_times(e, r, q);

    bool by_request = false, stop = sampler_stops_at(r, out->token, &by_request);
    size_t text_len = 0;
    const char *stop_string = e->tok ? text_of(q, out->token, stop, &text_len) : NULL;
    td_event ev = event_of(r, TD_EVENT_TOKENS, q->choice);
    td_token_logprobs p;
    ev.ids = &out->token;
    ev.id_count = 1;
    if (r->sampling.logprobs) {
        p = logprobs_of(out, r->sampling.top_logprobs);
        ev.logprobs = &p;
    }
    push_text(e, q, &ev, text_len);
    if (stop || stop_string) {
        if (stop_string)
            td_buf_clear(&q->held); // what follows the stop string is not part of the answer
        emit_done(e, q, TD_FINISH_STOP, by_request ? out->token : -1, stop_string);
    } else if (q->count - q->prompt_count >= r->sampling.max_tokens || q->count >= r->max_total) {
        emit_done(e, q, TD_FINISH_LENGTH, -1, NULL);
    }
    return q->state != SEQ_DONE;
}

void emit_done(td_engine *e, seq *q, td_finish finish, int32_t stop_id, const char *stop_string)
{
    td_request *r = q->req;
    if (q->state == SEQ_DONE)
        return;
    sched_remove(&e->sched, q);
    q->finish = finish;
    td_event ev = event_of(r, TD_EVENT_DONE, q->choice);
    ev.finish = finish;
    ev.stop_id = stop_id;
    ev.stop_string = stop_string;
    if (e->tok && !stop_string)
        detok_end(&q->detok, &q->held);
    push_text(e, q, &ev, q->held.len);
    r->done_count++;
    metrics_lock(&e->metrics);
    td_metrics *m = &e->metrics.m;
    *(finish == TD_FINISH_STOP     ? &m->finished_stop
      : finish == TD_FINISH_LENGTH ? &m->finished_length
      : finish == TD_FINISH_ERROR  ? &m->finished_error
                                   : &m->finished_abort) += 1;
    hist_add(&m->request_generation_tokens, q->count - q->prompt_count);
    metrics_unlock(&e->metrics);
    if (r->done_count == r->sampling.n)
        emit_end(e, r, TD_OK, NULL);
}

static void note_end(td_engine *e, const td_request *r)
{
    uint64_t now = td_now_ns();
    metrics_lock(&e->metrics);
    td_metrics *m = &e->metrics.m;
    hist_add(&m->e2e, seconds(r->arrived_ns, now));
    hist_add(&m->request_prompt_tokens, r->prompt_count);
    if (r->started_ns && r->first_token_ns) {
        hist_add(&m->prefill, seconds(r->started_ns, r->first_token_ns));
        hist_add(&m->decode, seconds(r->first_token_ns, now));
        hist_add(&m->inference, seconds(r->started_ns, now));
    }
    metrics_unlock(&e->metrics);
}

void emit_end(td_engine *e, td_request *r, td_rc rc, const char *message)
{
    if (r->ended)
        return;
    r->ended = true; // before the choices: the last of them must not end it again
    for (int32_t i = 0; i < r->sampling.n; i++)
        emit_done(e, &r->seqs[i],
                  rc == TD_E_CANCELED ? TD_FINISH_CANCELED
                  : rc                ? TD_FINISH_ERROR
                                      : TD_FINISH_LENGTH,
                  -1, NULL);
    note_end(e, r);
    td_event ev = event_of(r, TD_EVENT_END, 0);
    ev.rc = rc;
    ev.message = message;
    for (int32_t i = 0; i < r->sampling.n; i++)
        ev.logits_hash = td_mix64(ev.logits_hash ^ r->seqs[i].logits_hash);
    push(e, r, &ev);
    if (!r->started_ns)
        atomic_fetch_sub(&e->queued, 1);
    atomic_fetch_sub(&e->live, 1);
    td_debug("request %s ended: %s, %d prompt tokens (%d cached), %d output tokens", r->id, td_rc_text(rc),
             r->prompt_count, r->cached_count, r->output_count);
}
