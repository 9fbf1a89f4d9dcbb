#include "engine/sampler.h"

#include "base/check.h"
#include "base/hash.h"
#include "engine/engine.h"
#include "kernels/sampling.h"

#include <math.h>
#include <string.h>

static bool penalised(const td_sampling *s)
{
    return s->repetition_penalty != 1.0f || s->presence_penalty != 0.0f || s->frequency_penalty != 0.0f;
}

/* The entry of an id, made where there is none. Room was reserved for every id that can occur. */
static kern_sample_adj *adj_of(seq *q, int32_t id)
{
    uint32_t mask = (uint32_t)q->adj_index_cap - 1;
    uint32_t at = (uint32_t)td_mix64((uint64_t)id) & mask;
    while (q->adj_index[at] && q->adj[q->adj_index[at] - 1].id != id)
        at = (at + 1) & mask;
    if (!q->adj_index[at]) {
        td_assert(q->adj_count < q->adj_cap);
        q->adj[q->adj_count] = (kern_sample_adj){.id = id};
        q->adj_base[q->adj_count] = 0.0f;
        q->adj_index[at] = ++q->adj_count;
    }
    return &q->adj[q->adj_index[at] - 1];
}

static void base_bias(seq *q, int32_t id, float bias)
{
    kern_sample_adj *a = adj_of(q, id);
    q->adj_base[a - q->adj] += bias;
}

static td_rc reserve(seq *q, int32_t fixed, td_err *err)
{
    td_arena *a = &q->req->arena;
    q->adj_cap = fixed + (penalised(&q->req->sampling) ? q->cap : 0);
    if (q->adj_cap == 0)
        return TD_OK;
    q->adj_index_cap = 8;
    while (q->adj_index_cap < 2 * q->adj_cap)
        q->adj_index_cap *= 2;
    q->adj = td_arena_calloc(a, (size_t)q->adj_cap, sizeof *q->adj);
    q->adj_base = td_arena_calloc(a, (size_t)q->adj_cap, sizeof *q->adj_base);
    q->adj_index = td_arena_calloc(a, (size_t)q->adj_index_cap, sizeof *q->adj_index);
    return q->adj && q->adj_base && q->adj_index ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory for sampling");
}

/* ids whose bias changes from step to step have an entry from the start. */
td_rc sampler_init(seq *q, const int32_t *stop_ids, int32_t stop_id_count, td_err *err)
{
    const td_sampling *s = &q->req->sampling;
    int32_t bans = s->min_tokens > 0 ? stop_id_count + s->stop_id_count : 0;
    td_rc rc = reserve(q, s->logit_bias_count + s->bad_word_count + bans, err);
    if (rc != TD_OK || q->adj_cap == 0)
        return rc;
    for (int32_t i = 0; i < s->logit_bias_count; i++)
        base_bias(q, s->logit_bias[i].id, s->logit_bias[i].bias);
    for (int32_t i = 0; i < s->bad_word_count; i++)
        adj_of(q, s->bad_words[i][s->bad_word_lens[i] - 1]);
    if (bans) {
        for (int32_t i = 0; i < stop_id_count; i++)
            adj_of(q, stop_ids[i]);
        for (int32_t i = 0; i < s->stop_id_count; i++)
            adj_of(q, s->stop_ids[i]);
    }
    if (penalised(s))
        for (int32_t i = 0; i < q->prompt_count; i++)
            adj_of(q, q->ids[i])->seen = 1;
    return TD_OK;
}

void sampler_note(seq *q, int32_t id)
{
    if (!penalised(&q->req->sampling))
        return;
    kern_sample_adj *a = adj_of(q, id);
    a->seen = 1;
    a->out_count++;
}

/* Whether drawing the last token of this word would complete it. */
static bool word_is_due(const seq *q, const int32_t *word, int32_t len)
{
    return q->count >= len - 1 && memcmp(q->ids + q->count - (len - 1), word, (size_t)(len - 1) * sizeof *word) == 0;
}

static void ban(seq *q, int32_t id) { adj_of(q, id)->bias = -INFINITY; }

static void refresh(seq *q)
{
    const td_sampling *s = &q->req->sampling;
    for (int32_t i = 0; i < q->adj_count; i++)
        q->adj[i].bias = q->adj_base[i];
    for (int32_t i = 0; i < s->bad_word_count; i++)
        if (word_is_due(q, s->bad_words[i], s->bad_word_lens[i]))
            ban(q, s->bad_words[i][s->bad_word_lens[i] - 1]);
    if (q->count - q->prompt_count >= s->min_tokens)
        return;
    for (int32_t i = 0; i < q->adj_count; i++) {
        bool by_request;
        if (sampler_stops_at(q->req, q->adj[i].id, &by_request))
            q->adj[i].bias = -INFINITY;
    }
}

bool sampler_leaves_nothing(seq *q)
{
    const td_request *r = q->req;
    int32_t left = r->mask ? r->mask_count : r->engine->info.vocab_count;
    if (q->adj_count)
        refresh(q);
    for (int32_t i = 0; i < q->adj_count; i++)
        left -= q->adj[i].bias == -INFINITY && sample_allowed(r->mask, q->adj[i].id);
    return left == 0;
}

void sampler_row(seq *q, int32_t logit_row, kern_sample_row *out)
{
    const td_sampling *s = &q->req->sampling;
    if (q->adj_count)
        refresh(q);
    *out = (kern_sample_row){
        .logit_row = logit_row,
        .temperature = s->temperature < TD_TEMPERATURE_GREEDY ? 0 : s->temperature,
        .top_p = s->top_p, .min_p = s->min_p, .typical_p = s->typical_p,
        .top_k = s->top_k, .repetition = s->repetition_penalty, .presence = s->presence_penalty,
        .frequency = s->frequency_penalty, .seed = s->seed, .position = (uint32_t)q->count,
        .choice = (uint32_t)q->choice, .adj = q->adj, .adj_count = q->adj_count, .mask = q->req->mask,
        .top_n = s->logprobs ? s->top_logprobs : 0, .want_logprob = s->logprobs};
}

bool sampler_stops_at(const td_request *r, int32_t id, bool *by_request)
{
    *by_request = false;
    for (int32_t i = 0; i < r->sampling.stop_id_count; i++)
        if (r->sampling.stop_ids[i] == id)
            return *by_request = true;
    const tokenizer *tok = r->engine->tok;
    const token_id *ids;
    size_t count = tok && !r->sampling.ignore_eos ? tokenizer_stop_ids(tok, &ids) : 0;
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return !tok && !r->sampling.ignore_eos && id == r->engine->info.eos_id;
}
