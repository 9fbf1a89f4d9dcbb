#include "engine/request.h"

#include "base/check.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "engine/sampler.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

td_sampling td_sampling_default(void)
{
    return (td_sampling){.temperature = 1.0f, .top_p = 1.0f, .typical_p = 1.0f, .repetition_penalty = 1.0f, .n = 1,
                         .prompt_logprobs = -1};
}

/* ---- checks ---- */

#define REFUSE(field, ...) return td_fail_param(err, TD_E_INPUT, field, __VA_ARGS__)

static td_rc check_number(double v, double lo, double hi, bool open_lo, const char *field, td_err *err)
{
    if (!isfinite(v) || v < lo || v > hi || (open_lo && v == lo))
        REFUSE(field, "%s must be in %s%g, %g], got %g", field, open_lo ? "(" : "[", lo, hi, v);
    return TD_OK;
}

static td_rc check_numbers(const td_sampling *s, td_err *err)
{
    const struct {
        double v, lo, hi;
        bool open_lo;
        const char *field;
    } rows[] = {
        {s->temperature, 0, TD_TEMPERATURE_MAX, false, "temperature"},
        {s->top_p, 0, 1, true, "top_p"},
        {s->min_p, 0, 1, false, "min_p"},
        {s->typical_p, 0, 1, true, "typical_p"},
        {s->presence_penalty, -2, 2, false, "presence_penalty"},
        {s->frequency_penalty, -2, 2, false, "frequency_penalty"},
        {s->repetition_penalty, (float)TD_REPETITION_PENALTY_MIN, TD_REPETITION_PENALTY_MAX, false,
         "repetition_penalty"},
        {s->top_k, 0, INT32_MAX, false, "top_k"},
        {s->stop_count, 0, TD_STOP_STRINGS_MAX, false, "stop"},
        {s->stop_id_count, 0, TD_STOP_IDS_MAX, false, "stop_token_ids"},
        {s->logit_bias_count, 0, TD_LOGIT_BIAS_MAX, false, "logit_bias"},
        {s->bad_word_count, 0, TD_BAD_WORDS_MAX, false, "bad_words"},
        {s->allowed_id_count, 0, TD_ALLOWED_IDS_MAX, false, "allowed_token_ids"},
        {s->top_logprobs, 0, TD_LOGPROBS_MAX, false, "top_logprobs"},
        {s->prompt_logprobs, -1, TD_LOGPROBS_MAX, false, "prompt_logprobs"},
        {s->min_tokens, 0, INT32_MAX, false, "min_tokens"},
        {s->max_tokens, 0, INT32_MAX, false, "max_tokens"},
    };
    for (size_t i = 0; i < TD_COUNT(rows); i++) {
        td_rc rc = check_number(rows[i].v, rows[i].lo, rows[i].hi, rows[i].open_lo, rows[i].field, err);
        if (rc != TD_OK)
            return rc;
    }
    return TD_OK;
}

static td_rc check_ids(const int32_t *ids, int32_t count, int32_t vocab, const char *field, td_err *err)
{
    for (int32_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            REFUSE(field, "%s holds token id %d; this model's ids are 0 to %d", field, ids[i], vocab - 1);
    return TD_OK;
}

static td_rc check_lists(const td_sampling *s, int32_t vocab, td_err *err)
{
    for (int32_t i = 0; i < s->stop_count; i++) {
        size_t len = strlen(s->stop[i]);
        if (len < 1 || len > TD_STOP_STRING_BYTES_MAX)
            REFUSE("stop", "a stop string has %zu bytes; 1 to %d are accepted", len, TD_STOP_STRING_BYTES_MAX);
    }
    for (int32_t i = 0; i < s->logit_bias_count; i++) {
        td_rc rc = check_ids(&s->logit_bias[i].id, 1, vocab, "logit_bias", err);
        if (rc == TD_OK)
            rc = check_number(s->logit_bias[i].bias, -100, 100, false, "logit_bias", err);
        if (rc != TD_OK)
            return rc;
    }
    for (int32_t i = 0; i < s->bad_word_count; i++) {
        if (s->bad_word_lens[i] < 1 || s->bad_word_lens[i] > TD_BAD_WORD_TOK_MAX)
            REFUSE("bad_words", "a bad word has %d tokens; 1 to %d are accepted", s->bad_word_lens[i],
                   TD_BAD_WORD_TOK_MAX);
        td_rc rc = check_ids(s->bad_words[i], s->bad_word_lens[i], vocab, "bad_words", err);
        if (rc != TD_OK)
            return rc;
    }
    td_rc rc = check_ids(s->stop_ids, s->stop_id_count, vocab, "stop_token_ids", err);
    return rc == TD_OK ? check_ids(s->allowed_ids, s->allowed_id_count, vocab, "allowed_token_ids", err) : rc;
}

static td_rc check_length(const td_engine *e, const td_request_opts *o, td_err *err)
{
    const td_sampling *s = &o->sampling;
    int32_t len_max = e->info.max_model_len;
    if (o->prompt_count < 1)
        REFUSE("prompt", "the prompt is empty; send at least one token");
    if (o->prompt_count >= len_max)
        REFUSE("prompt", "the prompt has %d tokens; this model's context of %d tokens leaves no room for an answer",
               o->prompt_count, len_max);
    if (s->max_tokens > len_max - o->prompt_count)
        REFUSE("max_tokens", "prompt of %d tokens and max_tokens %d exceed this model's context of %d tokens",
               o->prompt_count, s->max_tokens, len_max);
    if (s->n < 1 || s->n > TD_MIN(TD_CHOICES_MAX, e->info.max_num_seqs))
        REFUSE("n", "n is %d; 1 to %d are accepted", s->n, TD_MIN(TD_CHOICES_MAX, e->info.max_num_seqs));
    if (s->max_tokens > 0 && s->min_tokens > s->max_tokens)
        REFUSE("min_tokens", "min_tokens %d is larger than max_tokens %d", s->min_tokens, s->max_tokens);
    return check_ids(o->prompt, o->prompt_count, e->info.vocab_count, "prompt", err);
}

static td_rc check(const td_engine *e, const td_request_opts *o, td_err *err)
{
    td_rc rc = check_length(e, o, err);
    if (rc == TD_OK)
        rc = check_numbers(&o->sampling, err);
    return rc == TD_OK ? check_lists(&o->sampling, e->info.vocab_count, err) : rc;
}

/* ---- copies into the request's arena ---- */

static const void *keep(td_arena *a, const void *p, int32_t count, size_t size, bool *ok)
{
    if (count == 0)
        return NULL;
    void *to = td_arena_calloc(a, (size_t)count, size);
    if (to)
        memcpy(to, p, (size_t)count * size);
    else
        *ok = false;
    return to;
}

static bool keep_sampling(td_arena *a, td_sampling *s)
{
    bool ok = true;
    s->stop_ids = keep(a, s->stop_ids, s->stop_id_count, sizeof *s->stop_ids, &ok);
    s->logit_bias = keep(a, s->logit_bias, s->logit_bias_count, sizeof *s->logit_bias, &ok);
    s->allowed_ids = NULL; // the mask holds them
    s->bad_word_lens = keep(a, s->bad_word_lens, s->bad_word_count, sizeof *s->bad_word_lens, &ok);
    const int32_t **words = (const int32_t **)(uintptr_t)keep(a, s->bad_words, s->bad_word_count, sizeof *words, &ok);
    for (int32_t i = 0; ok && i < s->bad_word_count; i++)
        words[i] = keep(a, words[i], s->bad_word_lens[i], sizeof **words, &ok);
    s->bad_words = words;
    const char **stop = (const char **)(uintptr_t)keep(a, s->stop, s->stop_count, sizeof *stop, &ok);
    for (int32_t i = 0; ok && i < s->stop_count; i++)
        ok = (stop[i] = td_arena_strndup(a, stop[i], strlen(stop[i]))) != NULL;
    s->stop = stop;
    return ok;
}

static bool make_mask(td_request *r, const td_sampling *from, int32_t vocab)
{
    if (from->allowed_id_count == 0)
        return true;
    r->mask = td_arena_calloc(&r->arena, ((size_t)vocab + 31) / 32, sizeof *r->mask);
    for (int32_t i = 0; r->mask && i < from->allowed_id_count; i++) {
        uint32_t *word = &r->mask[from->allowed_ids[i] / 32], bit = 1u << (from->allowed_ids[i] % 32);
        r->mask_count += !(*word & bit);
        *word |= bit;
    }
    return r->mask != NULL;
}

static td_rc seq_init(td_engine *e, td_request *r, int32_t choice, const int32_t *prompt, td_err *err)
{
    seq *q = &r->seqs[choice];
    const kv_geometry *g = kv_pool_geometry(e->pool);
    int32_t pages = (r->max_total + g->block_tok - 1) / g->block_tok, units = r->max_total / TD_KV_HASH_UNIT_TOK;
    *q = (seq){
        .req = r, .choice = choice, .prompt_count = r->prompt_count, .count = r->prompt_count, .cap = r->max_total};
    q->ids = td_arena_calloc(&r->arena, (size_t)q->cap, sizeof *q->ids);
    int32_t *mem = td_arena_calloc(&r->arena, kv_table_mem_count(g, pages), sizeof *mem);
    kv_key *keys = td_arena_calloc(&r->arena, (size_t)units + 1, sizeof *keys);
    if (!q->ids || !mem || !keys)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a request of %d tokens", r->max_total);
    memcpy(q->ids, prompt, (size_t)r->prompt_count * sizeof *q->ids);
    kv_table_init(&q->table, g, pages, mem);
    prefix_chain_init(&q->chain, r->root, keys, units);
    if (e->tok)
        detok_init(&q->detok, e->tok, !r->sampling.keep_special);
    const token_id *stop_ids = NULL;
    size_t stop_count = e->tok ? tokenizer_stop_ids(e->tok, &stop_ids) : 0;
    return sampler_init(q, stop_ids, (int32_t)stop_count, err);
}

static td_rc fill(td_engine *e, td_request *r, const td_request_opts *o, td_err *err)
{
    td_sampling *s = &r->sampling;
    *s = o->sampling;
    if (!keep_sampling(&r->arena, s) || !make_mask(r, &o->sampling, e->info.vocab_count))
        return td_fail(err, TD_E_NOMEM, "not enough memory for a request");
    if (s->max_tokens == 0)
        s->max_tokens = e->info.max_model_len - o->prompt_count;
    if (!s->seed_set)
        s->seed = td_mix64(e->seed ^ td_mix64(r->order));
    r->max_total = o->prompt_count + s->max_tokens;
    r->root = prefix_root(e->info.model_fp, e->info.numerics_id, NULL, o->cache_salt);
    r->seqs = td_arena_calloc(&r->arena, (size_t)s->n, sizeof *r->seqs);
    if (s->prompt_logprobs >= 0)
        r->prompt_logprobs = td_arena_calloc(&r->arena, (size_t)o->prompt_count, sizeof *r->prompt_logprobs);
    if (!r->seqs || (s->prompt_logprobs >= 0 && !r->prompt_logprobs))
        return td_fail(err, TD_E_NOMEM, "not enough memory for a request");
    td_rc rc = TD_OK;
    for (int32_t i = 0; rc == TD_OK && i < s->n; i++)
        rc = seq_init(e, r, i, o->prompt, err);
    if (rc == TD_OK && sampler_leaves_nothing(&r->seqs[0]))
        REFUSE(r->mask ? "allowed_token_ids" : "min_tokens",
               "allowed_token_ids, bad_words and min_tokens, which bans what ends an answer, leave no first token");
    return rc;
}

td_rc request_new(td_engine *e, const td_request_opts *o, td_request **out, td_err *err)
{
    td_rc rc = check(e, o, err);
    if (rc != TD_OK)
        return rc;
    td_request *r = td_alloc(sizeof *r);
    if (!r)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a request");
    r->engine = e;
    r->order = atomic_fetch_add(&e->order, 1);
    if (o->id)
        snprintf(r->id, sizeof r->id, "%s", o->id);
    else
        snprintf(r->id, sizeof r->id, "req-%llu", (unsigned long long)r->order);
    r->priority = o->priority;
    r->deadline_ns = o->deadline_ns;
    r->no_cache_read = o->no_cache_read || o->sampling.prompt_logprobs >= 0; // every position must be computed
    r->want_logits_hash = o->want_logits_hash;
    r->prompt_count = o->prompt_count;
    r->notify = o->notify;
    r->notify_ctx = o->notify_ctx;
    r->arrived_ns = td_now_ns();
    atomic_store(&r->refs, 1);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->ready, NULL);
    td_arena_init(&r->arena, 0);
    rc = fill(e, r, o, err);
    if (rc != TD_OK) {
        request_unref(r);
        return rc;
    }
    *out = r;
    return TD_OK;
}

/* ---- lifetime ---- */

static void events_free(event_node *n)
{
    while (n) {
        event_node *next = n->next;
        td_free(n);
        n = next;
    }
}

void request_unref(td_request *r)
{
    if (atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    for (int32_t i = 0; r->seqs && i < r->sampling.n; i++)
        td_buf_free(&r->seqs[i].held);
    events_free(r->head);
    td_free(r->taken);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->ready);
    td_arena_free(&r->arena);
    td_free(r);
}

void td_request_cancel(td_request *r)
{
    if (atomic_exchange(&r->cancel, true))
        return;
    if (!atomic_load(&r->over))
        engine_cancel(r->engine, r);
}

void td_request_free(td_request *r)
{
    if (!r)
        return;
    td_request_cancel(r);
    pthread_mutex_lock(&r->lock); // a notify that runs now ends before this returns
    r->notify = NULL;
    pthread_mutex_unlock(&r->lock);
    request_unref(r);
}

/* ---- events ---- */

void request_push(td_request *r, const td_event *ev)
{
    if (ev->kind == TD_EVENT_END)
        atomic_store(&r->over, true);
    size_t ids = (size_t)ev->id_count * sizeof(int32_t),
           lps = ev->logprobs ? (size_t)ev->id_count * sizeof *ev->logprobs : 0;
    ids = td_align_up(ids, sizeof(float));
    event_node *n = td_alloc(sizeof *n + lps + ids + ev->text_len + 1);
    pthread_mutex_lock(&r->lock);
    if (!n) {
        r->lost = true;
    } else {
        n->ev = *ev;
        char *at = n->data;
        if (lps)
            n->ev.logprobs = memcpy(at, ev->logprobs, lps);
        at += lps;
        if (ev->id_count)
            n->ev.ids = memcpy(at, ev->ids, (size_t)ev->id_count * sizeof(int32_t));
        at += ids;
        n->ev.text = at;
        if (ev->text_len)
            memcpy(at, ev->text, ev->text_len);
        if (r->tail)
            r->tail->next = n;
        else
            r->head = n;
        r->tail = n;
    }
    pthread_mutex_unlock(&r->lock);
}

void request_flush(td_request *r)
{
    pthread_mutex_lock(&r->lock);
    pthread_cond_broadcast(&r->ready);
    if (r->notify)
        r->notify(r->notify_ctx);
    pthread_mutex_unlock(&r->lock);
}

bool td_request_next(td_request *r, td_event *out)
{
    td_free(r->taken);
    r->taken = NULL;
    pthread_mutex_lock(&r->lock);
    if (r->lost) {
        *out = (td_event){.kind = TD_EVENT_END, .stop_id = -1, .rc = TD_E_NOMEM,
                          .message = "not enough memory to hold the answer"};
        r->lost = false;
        events_free(r->head);
        r->head = r->tail = NULL;
        pthread_mutex_unlock(&r->lock);
        td_request_cancel(r);
        return true;
    }
    event_node *n = r->taken = r->head;
    if (n && !(r->head = n->next))
        r->tail = NULL;
    pthread_mutex_unlock(&r->lock);
    if (n)
        *out = n->ev;
    return n != NULL;
}

bool td_request_wait(td_request *r, int32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000)
        until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&r->lock);
    int rc = 0;
    while (!r->head && !r->lost && rc == 0)
        rc = timeout_ms < 0 ? pthread_cond_wait(&r->ready, &r->lock)
                            : pthread_cond_timedwait(&r->ready, &r->lock, &until);
    bool there = r->head || r->lost;
    pthread_mutex_unlock(&r->lock);
    return there;
}
