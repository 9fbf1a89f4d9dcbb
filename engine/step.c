/* One step: the plan becomes a batch, the batch becomes logits, logits become tokens and events. Nothing here can fail
 * but the device itself: memory was reserved at start and blocks when the step was formed. */
#include "engine/engine.h"

#include "base/check.h"
#include "base/clock.h"
#include "engine/emit.h"
#include "engine/sampler.h"

#include <string.h>

typedef struct row_use { // what one kernel row is for
    seq *seq;
    int32_t position;    // prompt rows: of the token whose successor is scored
    bool prompt;
} row_use;

typedef struct row_set {
    int32_t count;
    kern_sample_row rows[SAMPLE_ROWS_MAX];
    row_use use[SAMPLE_ROWS_MAX];
} row_set;

static void prompt_result(seq *q, int32_t position, const kern_sample_out *o)
{
    td_request *r = q->req;
    td_token_logprobs *p = &r->prompt_logprobs[position];
    *p = (td_token_logprobs){.token = {o->token, o->rank, o->logprob}, .top_count = r->sampling.prompt_logprobs};
    for (int32_t i = 0; i < p->top_count; i++)
        p->top[i] = (td_logprob){o->top_ids[i], i + 1, o->top_logprobs[i]};
}

static void engine_wait(td_engine *e) { e->dev->ops->wait(e->dev, e->dev->ops->mark(e->dev)); }

static void rows_flush(td_engine *e, row_set *set)
{
    if (set->count == 0)
        return;
    kern_sample_out *out = e->sample_io.host;
    kern_sample_args a = {.logits = e->logits.dev, .vocab = e->info.vocab_count, .logit_stride = e->info.vocab_count,
                          .row_count = set->count, .rows = set->rows, .out = out, .slots = e->batch.k.slots,
                          .scratch = e->sample_scratch, .io = &e->sample_io};
    e->dev->ops->sample(e->dev, &a);
    engine_wait(e);
    int32_t count = engine_faulty(e) ? 0 : set->count; // what a lost device wrote is nobody's answer
    for (int32_t i = 0; i < count; i++) {
        row_use *u = &set->use[i];
        if (u->seq->req->ended)
            continue;
        if (u->prompt) {
            prompt_result(u->seq, u->position, &out[i]);
        } else {
            emit_prompt(e, u->seq->req);
            emit_token(e, u->seq, &out[i]);
        }
    }
    set->count = 0;
}

static kern_sample_row *rows_next(td_engine *e, row_set *set, row_use use)
{
    if (set->count == SAMPLE_ROWS_MAX)
        rows_flush(e, set);
    set->use[set->count] = use;
    return &set->rows[set->count++];
}

static const float *logits_of(const td_engine *e, int32_t row)
{
    return (const float *)e->logits.host + (size_t)row * (size_t)e->info.vocab_count;
}

/* slot: where a step planned ahead would look for the token, or -1. */
static void draw(td_engine *e, row_set *set, seq *q, int32_t logit_row, int32_t slot)
{
    size_t row_bytes = (size_t)e->info.vocab_count * sizeof(float);
    if (q->req->want_logits_hash)
        q->logits_hash = td_hash64(logits_of(e, logit_row), row_bytes, q->logits_hash);
    kern_sample_row *row = rows_next(e, set, (row_use){.seq = q});
    sampler_row(q, logit_row, row);
    row->out_slot = slot;
}

/* Whether this is the draw behind a prompt, which all choices of a request share. */
static bool ends_prompt(const batch_sample *s)
{
    return s->draw && s->seq->choice == 0 && s->position + 1 == s->seq->prompt_count;
}

/* Prompts were computed: the further choices begin with the first one's blocks. Where there is no room they queue, and
 * find the prompt in the cache later. Before anything of the step is emitted, since that may end a first choice, and
 * its blocks go. */
static void fork_choices(td_engine *e)
{
    for (int32_t i = 0; i < e->batch.k.sample_count; i++) {
        const batch_sample *s = &e->batch.samples[i];
        td_request *r = s->seq->req;
        for (int32_t c = 1; ends_prompt(s) && c < r->sampling.n; c++)
            if (!sched_fork(&e->sched, &r->seqs[c], s->seq))
                sched_add(&e->sched, &r->seqs[c]);
    }
}

/* The further choices draw from the logits that the first one draws from, unless their request ended meanwhile. */
static void draw_others(td_engine *e, row_set *set, const td_request *r, int32_t logit_row)
{
    for (int32_t c = 1; c < r->sampling.n; c++)
        if (r->seqs[c].state != SEQ_DONE)
            draw(e, set, &r->seqs[c], logit_row, -1);
}

static void score(td_engine *e, td_request *r, int32_t logit_row)
{
    size_t V = (size_t)e->info.vocab_count;
    memcpy(r->score_out + (size_t)r->position_done++ * V, logits_of(e, logit_row), V * sizeof(float));
    if (r->position_done == r->position_count)
        emit_end(e, r, TD_OK, NULL);
}

/* Brings the slice's logits to the host where somebody wants to see them. */
static void show_logits(td_engine *e, int32_t first, int32_t count)
{
    bool wanted = false;
    for (int32_t i = first; i < first + count; i++) {
        const batch_sample *s = &e->batch.samples[i];
        wanted = wanted || s->score || s->seq->req->want_logits_hash;
    }
    if (!wanted)
        return;
    e->dev->ops->stage_pull(e->dev, &e->logits, 0, (size_t)count * (size_t)e->info.vocab_count * sizeof(float));
    engine_wait(e);
}

static void sample_slice(td_engine *e, int32_t first, int32_t count)
{
    row_set set = {.count = 0};
    model_logits(e->model, &e->step, first, count, e->logits.dev);
    show_logits(e, first, count);
    for (int32_t i = 0; i < count; i++) {
        const batch_sample *s = &e->batch.samples[first + i];
        if (s->prompt) {
            kern_sample_row *row =
                rows_next(e, &set, (row_use){.seq = s->seq, .position = s->position, .prompt = true});
            *row = (kern_sample_row){.logit_row = i, .given = true, .given_id = s->seq->ids[s->position + 1],
                                     .want_logprob = true, .top_n = s->seq->req->sampling.prompt_logprobs,
                                     .out_slot = -1};
        }
        if (s->draw) {
            draw(e, &set, s->seq, i, s->seq->slot0);
            if (ends_prompt(s))
                draw_others(e, &set, s->seq->req, i);
        }
        if (s->score && !s->seq->req->ended && !engine_faulty(e))
            score(e, s->seq->req, i);
    }
    rows_flush(e, &set);
}

/* ---- the step's cancel word: set when every request in it was cancelled ---- */

static void step_open(td_engine *e)
{
    atomic_store(&e->step_cancel, 0);
    atomic_store(&e->step_open, 1); // held by this loop until all are counted
    for (int32_t i = 0; i < e->sched.plan_count; i++) {
        td_request *r = e->sched.plan[i]->req;
        if (!atomic_load(&r->in_step)) {
            atomic_fetch_add(&e->step_open, 1);
            atomic_store(&r->in_step, true);
        }
        if (atomic_load(&r->cancel))
            engine_leave_step(e, r);
    }
    if (atomic_fetch_sub(&e->step_open, 1) == 1)
        atomic_store(&e->step_cancel, 1);
}

static void note_start(td_engine *e)
{
    uint64_t now = td_now_ns();
    for (int32_t i = 0; i < e->sched.plan_count; i++) {
        td_request *r = e->sched.plan[i]->req;
        if (r->started_ns)
            continue;
        r->started_ns = now;
        atomic_fetch_sub(&e->queued, 1);
        metrics_lock(&e->metrics);
        hist_add(&e->metrics.m.queue, (double)(now - r->arrived_ns) * 1e-9);
        metrics_unlock(&e->metrics);
    }
}

static void note_step(td_engine *e, uint64_t from, int32_t tok_count, int32_t row_count)
{
    metrics_lock(&e->metrics);
    td_metrics *m = &e->metrics.m;
    m->steps++;
    hist_add(tok_count > row_count ? &m->step_prefill : &m->step_decode, (double)(td_now_ns() - from) * 1e-9);
    hist_add(&m->step_tokens, tok_count);
    m->preemptions = e->sched.preemptions;
    m->prefix_queries = e->sched.prefix_queries;
    m->prefix_hits = e->sched.prefix_hits;
    metrics_unlock(&e->metrics);
}

void engine_step(td_engine *e)
{
    uint64_t from = td_now_ns();
    note_start(e);
    batch_build(&e->batch, &e->sched);
    kern_batch *b = &e->batch.k;
    int32_t tok_count = b->tok_count, row_count = b->row_count;
    b->cancel = &e->step_cancel;
    b->beat = &e->step_ns;
    step_open(e);
    e->dev->ops->stage_push(e->dev, &e->batch_stage, 0, e->batch.used_bytes);
    bool whole = model_forward(e->model, &e->step, b, e->kv_layers, kv_pool_geometry(e->pool)->layer_group);
    if (!whole || b->sample_count == 0)
        engine_wait(e); // nobody else does, and the batch's stage is written again
    whole = whole && !engine_faulty(e);
    for (int32_t i = 0; i < e->sched.plan_count; i++) {
        atomic_store(&e->sched.plan[i]->req->in_step, false);
        if (whole)
            sched_advance(&e->sched, e->sched.plan[i]);
    }
    if (whole)
        fork_choices(e);
    for (int32_t s = 0; whole && s < b->sample_count; s += e->logit_rows)
        sample_slice(e, s, TD_MIN(e->logit_rows, b->sample_count - s));
    note_step(e, from, tok_count, row_count);
}
