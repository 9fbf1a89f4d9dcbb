/* engine_make.h - an engine on a tiny model, requests to it and their whole answers, for unit tests. */
#ifndef TD_TESTS_ENGINE_MAKE_H
#define TD_TESTS_ENGINE_MAKE_H

#include "engine/tandem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUT_MAX = 256, CHOICES_MAX = 16 };

typedef struct answer {
    int32_t ids[CHOICES_MAX][OUT_MAX], count[CHOICES_MAX], cached, stop_id[CHOICES_MAX];
    td_finish finish[CHOICES_MAX];
    td_token_logprobs lp[OUT_MAX]; // of choice 0
    td_token_logprobs prompt_lp[OUT_MAX];
    int32_t prompt_lp_count;
    td_rc rc;
    uint64_t hash;
} answer;

static inline td_engine *open_tiny(td_engine_opts o)
{
    td_err err = TD_ERR_INIT;
    td_engine *e = NULL;
    o.model = o.model ? o.model : TD_TESTS_DIR "/golden/tiny/llama";
    o.threads = o.threads ? o.threads : 2;
    o.seed_set = true;
    o.kv_cache_memory = o.kv_cache_memory ? o.kv_cache_memory : 8 << 20;
    o.max_num_seqs = o.max_num_seqs ? o.max_num_seqs : 16;
    o.max_num_batched_tokens = o.max_num_batched_tokens ? o.max_num_batched_tokens : 64;
    if (td_engine_open(&o, &e, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return e;
}

static inline void prompt_of(int32_t *ids, int32_t n, uint32_t seed)
{
    for (int32_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = 3 + (int32_t)(seed >> 8) % 500;
    }
}

static inline td_request_opts request_of(const int32_t *ids, int32_t n, int32_t max_tokens)
{
    td_request_opts o = {.prompt = ids, .prompt_count = n, .sampling = td_sampling_default(), .want_logits_hash = true};
    o.sampling.max_tokens = max_tokens;
    o.sampling.seed_set = true;
    o.sampling.seed = 7;
    o.sampling.ignore_eos = true;
    return o;
}

static inline void take(td_request *r, answer *a)
{
    td_event ev;
    memset(a, 0, sizeof *a);
    do {
        assert_true(td_request_wait(r, 60000));
        assert_true(td_request_next(r, &ev));
        int32_t c = ev.choice;
        for (int32_t i = 0; ev.kind == TD_EVENT_TOKENS && i < ev.id_count; i++) {
            if (c == 0 && ev.logprobs)
                a->lp[a->count[c]] = ev.logprobs[i];
            a->ids[c][a->count[c]++] = ev.ids[i];
        }
        if (ev.kind == TD_EVENT_PROMPT && ev.logprobs)
            memcpy(a->prompt_lp, ev.logprobs, sizeof *ev.logprobs * (size_t)(a->prompt_lp_count = ev.id_count));
        if (ev.kind == TD_EVENT_DONE) {
            a->finish[c] = ev.finish;
            a->stop_id[c] = ev.stop_id;
        }
    } while (ev.kind != TD_EVENT_END);
    assert_false(td_request_next(r, &ev));
    a->rc = ev.rc;
    a->cached = ev.cached_count;
    a->hash = ev.logits_hash;
    td_request_free(r);
}

static inline void run(td_engine *e, const td_request_opts *o, answer *a)
{
    td_request *r;
    td_err err = TD_ERR_INIT;
    if (td_request_submit(e, o, &r, &err) != TD_OK)
        fail_msg("%s", err.msg);
    take(r, a);
}

/* Nothing is held once nothing runs, and the states add up. */
static inline void check_idle(td_engine *e)
{
    td_metrics m;
    for (int i = 0; i < 1000 && !td_engine_idle(e); i++)
        usleep(1000);
    for (int i = 0; i < 1000; i++) {
        td_engine_metrics(e, &m);
        if (m.blocks_held == 0 && m.running == 0 && m.waiting == 0)
            break;
        usleep(1000);
    }
    assert_true(m.blocks_held == 0 && m.blocks_leased == 0 && m.running == 0 && m.waiting == 0);
    assert_true(m.blocks_free + m.blocks_cached == m.blocks_total);
}

#endif
