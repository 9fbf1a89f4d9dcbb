/* The engine on a tiny model: sampling rules, choices, preemption, cancellation, limits, and what every block does. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "engine/tandem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <math.h>
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

static td_engine *open_tiny(td_engine_opts o)
{
    td_err err = TD_ERR_INIT;
    td_engine *e = NULL;
    o.model = TD_TESTS_DIR "/golden/tiny/llama";
    o.threads = o.threads ? o.threads : 2;
    o.seed_set = true;
    o.kv_cache_memory = o.kv_cache_memory ? o.kv_cache_memory : 8 << 20;
    o.max_num_seqs = o.max_num_seqs ? o.max_num_seqs : 16;
    o.max_num_batched_tokens = o.max_num_batched_tokens ? o.max_num_batched_tokens : 64;
    if (td_engine_open(&o, &e, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return e;
}

static void prompt_of(int32_t *ids, int32_t n, uint32_t seed)
{
    for (int32_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = 3 + (int32_t)(seed >> 8) % 500;
    }
}

static td_request_opts request_of(const int32_t *ids, int32_t n, int32_t max_tokens)
{
    td_request_opts o = {.prompt = ids, .prompt_count = n, .sampling = td_sampling_default(), .want_logits_hash = true};
    o.sampling.max_tokens = max_tokens;
    o.sampling.seed_set = true;
    o.sampling.seed = 7;
    o.sampling.ignore_eos = true;
    return o;
}

static void take(td_request *r, answer *a)
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

static void run(td_engine *e, const td_request_opts *o, answer *a)
{
    td_request *r;
    td_err err = TD_ERR_INIT;
    if (td_request_submit(e, o, &r, &err) != TD_OK)
        fail_msg("%s", err.msg);
    take(r, a);
}

/* Nothing is held once nothing runs, and the states add up. */
static void check_idle(td_engine *e)
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

static void choices_and_seeds(void **state)
{
    (void)state;
    int32_t ids[100];
    prompt_of(ids, 100, 1);
    static answer one, four, again;
    td_engine *e = open_tiny((td_engine_opts){0});
    td_request_opts o = request_of(ids, 100, 20);
    run(e, &o, &one);
    o.sampling.n = 4;
    run(e, &o, &four);
    assert_memory_equal(one.ids[0], four.ids[0], sizeof one.ids[0]);
    for (int c = 0; c < 4; c++) {
        assert_int_equal(four.count[c], 20);
        assert_int_equal(four.finish[c], TD_FINISH_LENGTH);
        for (int d = 0; d < c; d++)
            assert_memory_not_equal(four.ids[c], four.ids[d], 20 * sizeof(int32_t));
    }
    // Forks share blocks while they can; with room for two at once they queue. Nothing else changes.
    td_engine *small = open_tiny((td_engine_opts){.max_num_seqs = 4, .kv_cache_memory = 11 * 16 * 2 * 2 * 16 * 4 * 4,
                                                  .max_model_len = 128, .max_num_batched_tokens = 17});
    run(small, &o, &again);
    assert_memory_equal(four.ids, again.ids, sizeof four.ids);
    assert_true(four.hash == again.hash);
    td_metrics m;
    td_engine_metrics(small, &m);
    assert_true(m.preemptions > 0);
    check_idle(small);
    td_engine_close(small);
    o.sampling.seed = 8;
    run(e, &o, &again);
    assert_memory_not_equal(four.ids[0], again.ids[0], 20 * sizeof(int32_t));
    check_idle(e);
    td_engine_close(e);
}

static void rules_on_tokens(void **state)
{
    (void)state;
    int32_t ids[40], allowed[] = {5, 77, 301}, bad1[] = {0, 0}, *words[] = {bad1, bad1 + 1}, lens[] = {2, 1};
    prompt_of(ids, 40, 2);
    static answer free_run, a;
    td_engine *e = open_tiny((td_engine_opts){0});
    td_request_opts o = request_of(ids, 40, 30);
    o.sampling.temperature = 0;
    run(e, &o, &free_run);

    o.sampling.allowed_ids = allowed, o.sampling.allowed_id_count = 3;
    run(e, &o, &a);
    for (int i = 0; i < 30; i++)
        assert_true(a.ids[0][i] == 5 || a.ids[0][i] == 77 || a.ids[0][i] == 301);
    o.sampling.allowed_ids = NULL, o.sampling.allowed_id_count = 0;

    td_logit_bias bias = {.id = 123, .bias = 100};
    o.sampling.logit_bias = &bias, o.sampling.logit_bias_count = 1;
    run(e, &o, &a);
    assert_int_equal(a.ids[0][0], 123);
    o.sampling.logit_bias_count = 0;

    // A word of two tokens may not be completed, a word of one never appears.
    bad1[0] = free_run.ids[0][3], bad1[1] = free_run.ids[0][4];
    o.sampling.bad_words = (const int32_t *const *)words, o.sampling.bad_word_lens = lens,
    o.sampling.bad_word_count = 1;
    run(e, &o, &a);
    assert_memory_equal(a.ids[0], free_run.ids[0], 4 * sizeof(int32_t));
    for (int i = 1; i < 30; i++)
        assert_false(a.ids[0][i - 1] == bad1[0] && a.ids[0][i] == bad1[1]);
    o.sampling.bad_word_count = 0;

    int32_t stop = free_run.ids[0][6], first = 0;
    while (free_run.ids[0][first] != stop)
        first++;
    o.sampling.stop_ids = &stop, o.sampling.stop_id_count = 1;
    run(e, &o, &a);
    assert_int_equal(a.count[0], first + 1);
    assert_int_equal(a.finish[0], TD_FINISH_STOP);
    assert_int_equal(a.stop_id[0], stop);
    o.sampling.min_tokens = 12;
    run(e, &o, &a);
    for (int i = 0; i < 12; i++)
        assert_int_not_equal(a.ids[0][i], stop);
    o.sampling.stop_id_count = 0, o.sampling.min_tokens = 0;

    o.sampling.frequency_penalty = 2, o.sampling.presence_penalty = 2;
    run(e, &o, &a);
    int32_t repeats = 0, plain = 0;
    for (int i = 0; i < 30; i++) {
        for (int j = 0; j < i; j++) {
            repeats += a.ids[0][i] == a.ids[0][j];
            plain += free_run.ids[0][i] == free_run.ids[0][j];
        }
    }
    assert_true(repeats <= plain);
    check_idle(e);
    td_engine_close(e);
}

/* log softmax in double of teacher-forced logits is the truth of every log probability. */
static void logprobs(void **state)
{
    (void)state;
    int32_t ids[50], pos[50];
    prompt_of(ids, 50, 3);
    static answer a;
    td_engine *e = open_tiny((td_engine_opts){.max_num_batched_tokens = 13});
    int32_t V = td_engine_get_info(e)->vocab_count;
    td_request_opts o = request_of(ids, 50, 3);
    o.sampling.temperature = 0;
    o.sampling.logprobs = true, o.sampling.top_logprobs = 5, o.sampling.prompt_logprobs = 2;
    run(e, &o, &a);
    assert_int_equal(a.prompt_lp_count, 49);
    float *logits = malloc(sizeof *logits * (size_t)V * 50);
    td_err err = TD_ERR_INIT;
    for (int i = 0; i < 50; i++)
        pos[i] = i;
    assert_int_equal(td_logits(e, ids, 50, pos, 50, logits, &err), TD_OK);
    for (int i = 0; i < 50; i++) {
        const float *row = logits + (size_t)i * (size_t)V;
        const td_token_logprobs *p = i < 49 ? &a.prompt_lp[i] : &a.lp[0];
        double sum = 0;
        int rank = 1, id = i < 49 ? ids[i + 1] : a.ids[0][0];
        for (int v = 0; v < V; v++)
            sum += exp(row[v]), rank += row[v] > row[id];
        assert_int_equal(p->token.id, id);
        assert_int_equal(p->token.rank, rank);
        assert_true(fabs(p->token.logprob - (row[id] - log(sum))) < 1e-4);
        assert_int_equal(p->top_count, i < 49 ? 2 : 5);
        for (int k = 1; k < p->top_count; k++)
            assert_true(p->top[k - 1].logprob >= p->top[k].logprob);
        assert_true(fabs(p->top[0].logprob - (row[p->top[0].id] - log(sum))) < 1e-4);
    }
    free(logits);
    td_engine_close(e);
}

/* Draws over many seeds against the softmax of teacher-forced logits; and the limits at which sampling is greedy. */
static void draws_follow_the_logits(void **state)
{
    (void)state;
    enum { DRAWS = 3000, V_MAX = 512 };
    int32_t ids[20], pos = 19, seen[V_MAX] = {0};
    static float logits[V_MAX];
    double p[V_MAX], sum = 0, chi = 0;
    int cells = 0, best = 0;
    prompt_of(ids, 20, 11);
    static answer a;
    td_engine *e = open_tiny((td_engine_opts){0});
    td_err err = TD_ERR_INIT;
    assert_int_equal(td_logits(e, ids, 20, &pos, 1, logits, &err), TD_OK);
    for (int v = 0; v < V_MAX; v++)
        sum += p[v] = exp(logits[v] / 0.8), best = logits[v] > logits[best] ? v : best;
    td_request_opts o = request_of(ids, 20, 1);
    o.sampling.n = 15;
    o.sampling.temperature = 0.8f;
    for (int i = 0; i < DRAWS / 15; i++) {
        o.sampling.seed = (uint64_t)i << 20;
        run(e, &o, &a);
        for (int c = 0; c < 15; c++)
            seen[a.ids[c][0]]++;
    }
    double rest_p = 0, rest_seen = 0;
    for (int v = 0; v < V_MAX; v++) {
        double want = DRAWS * p[v] / sum;
        if (want < 8) {
            rest_p += want, rest_seen += seen[v];
            continue;
        }
        chi += (seen[v] - want) * (seen[v] - want) / want;
        cells++;
    }
    chi += (rest_seen - rest_p) * (rest_seen - rest_p) / fmax(rest_p, 1);
    assert_true(cells > 5);
    assert_true(chi < cells + 5 * sqrt(2.0 * cells)); // five standard deviations of chi-square
    o.sampling.n = 1;
    for (int limit = 0; limit < 4; limit++) {
        td_request_opts g = o;
        g.sampling.top_k = limit == 0;
        g.sampling.top_p = limit == 1 ? 1e-6f : 1.0f;
        g.sampling.min_p = limit == 2 ? 1.0f : 0.0f;
        g.sampling.temperature = limit == 3 ? 0.0f : 2.0f;
        run(e, &g, &a);
        assert_int_equal(a.ids[0][0], best);
    }
    td_engine_close(e);
}

static void prefix_and_salt(void **state)
{
    (void)state;
    int32_t ids[90];
    prompt_of(ids, 90, 4);
    static answer cold, warm, salted;
    td_engine *e = open_tiny((td_engine_opts){0});
    td_request_opts o = request_of(ids, 90, 10);
    run(e, &o, &cold);
    run(e, &o, &warm);
    o.cache_salt = "another tenant";
    run(e, &o, &salted);
    assert_int_equal(cold.cached, 0);
    assert_int_equal(warm.cached, 80);
    assert_int_equal(salted.cached, 0);
    assert_true(cold.hash == warm.hash && cold.hash == salted.hash);
    o.cache_salt = NULL, o.no_cache_read = true;
    run(e, &o, &salted);
    assert_int_equal(salted.cached, 0);
    td_engine_close(e);
}

static void refuses(void **state)
{
    (void)state;
    int32_t ids[300];
    prompt_of(ids, 300, 5);
    td_engine *e = open_tiny((td_engine_opts){.max_model_len = 256, .max_num_seqs = 4});
    td_request *r;
#define REFUSED(field, what)                                                  \
    do {                                                                      \
        td_request_opts o = request_of(ids, 20, 5);                           \
        td_err err = TD_ERR_INIT;                                             \
        what;                                                                 \
        assert_int_equal(td_request_submit(e, &o, &r, &err), TD_E_INPUT);     \
        assert_string_equal(err.param, field);                                \
    } while (0)
    int32_t out_of_range = 512;
    REFUSED("prompt", o.prompt_count = 0);
    REFUSED("prompt", o.prompt_count = 256);
    REFUSED("prompt", (o.prompt = &out_of_range, o.prompt_count = 1));
    REFUSED("max_tokens", o.sampling.max_tokens = 237);
    REFUSED("max_tokens", o.sampling.max_tokens = -1);
    REFUSED("n", o.sampling.n = 5);
    REFUSED("n", o.sampling.n = 0);
    REFUSED("temperature", o.sampling.temperature = NAN);
    REFUSED("temperature", o.sampling.temperature = -1);
    REFUSED("top_p", o.sampling.top_p = 0);
    REFUSED("top_p", o.sampling.top_p = 1.5f);
    REFUSED("min_p", o.sampling.min_p = 2);
    REFUSED("top_k", o.sampling.top_k = -5);
    REFUSED("presence_penalty", o.sampling.presence_penalty = 3);
    REFUSED("repetition_penalty", o.sampling.repetition_penalty = 0);
    REFUSED("min_tokens", o.sampling.min_tokens = 6);
    REFUSED("top_logprobs", o.sampling.top_logprobs = 21);
    REFUSED("stop_token_ids", (o.sampling.stop_ids = &out_of_range, o.sampling.stop_id_count = 1));
    REFUSED("allowed_token_ids", (o.sampling.allowed_ids = &out_of_range, o.sampling.allowed_id_count = 1));
#undef REFUSED
    check_idle(e);
    td_engine_close(e);
}

/* Requests that are abandoned at every possible moment, while others go on and stay what they are. */
static void cancels(void **state)
{
    (void)state;
    int32_t ids[200];
    prompt_of(ids, 200, 6);
    static answer want, a;
    td_engine *e = open_tiny((td_engine_opts){.max_num_seqs = 6, .max_num_batched_tokens = 32});
    td_request_opts o = request_of(ids, 30, 60);
    run(e, &o, &want);
    for (int round = 0; round < 30; round++) {
        td_request *gone[12], *stays;
        td_err err = TD_ERR_INIT;
        for (int i = 0; i < 12; i++) {
            td_request_opts g = request_of(ids + i, 100 + i, 50);
            g.sampling.n = 1 + i % 3;
            if (td_request_submit(e, &g, &gone[i], &err) != TD_OK)
                fail_msg("%s", err.msg);
        }
        assert_int_equal(td_request_submit(e, &o, &stays, &err), TD_OK);
        usleep((useconds_t)(round * 131 % 4000));
        for (int i = 0; i < 12; i++)
            td_request_free(gone[(i * 5 + round) % 12]);
        take(stays, &a);
        assert_memory_equal(a.ids, want.ids, sizeof a.ids);
        check_idle(e);
    }
    td_metrics m;
    td_engine_metrics(e, &m);
    assert_true(m.finished_abort > 0);
    td_engine_close(e);
}

static void queue_deadline_drain(void **state)
{
    (void)state;
    int32_t ids[30];
    prompt_of(ids, 30, 8);
    static answer a;
    td_engine *e = open_tiny((td_engine_opts){.max_num_seqs = 1, .max_num_queued = 2});
    td_request_opts o = request_of(ids, 30, 200);
    td_request *r[16], *late;
    td_err err = TD_ERR_INIT;
    int n = 0;
    td_rc rc = TD_OK;
    while (n < 16 && (rc = td_request_submit(e, &o, &r[n], &err)) == TD_OK)
        n++;
    assert_int_equal(rc, TD_E_BUSY);
    assert_true(n >= 3 && n < 16);
    for (int i = 0; i < n; i++)
        td_request_free(r[i]);
    check_idle(e);
    o.deadline_ns = td_now_ns() + 1;
    assert_int_equal(td_request_submit(e, &o, &late, &err), TD_OK);
    take(late, &a);
    assert_int_equal(a.rc, TD_E_DEADLINE);
    o.deadline_ns = 0;
    o.sampling.max_tokens = 5;
    assert_int_equal(td_request_submit(e, &o, &late, &err), TD_OK);
    td_engine_drain(e);
    td_err refused = TD_ERR_INIT;
    assert_int_equal(td_request_submit(e, &o, &r[0], &refused), TD_E_UNAVAILABLE);
    take(late, &a);
    assert_int_equal(a.rc, TD_OK);
    check_idle(e);
    td_engine_close(e);
}

/* Prompts whose choices together need more rows than one pass of the sampler has, all in one step, and whose first
 * choice is over with its first token, by length or by a stop id, before the others are begun. */
static void choices_over_the_rows(void **state)
{
    (void)state;
    enum { PROMPTS_MAX = 14, N = 15, LONG = 900 };
    int32_t ids[LONG + 7], eos;
    prompt_of(ids, LONG + 7, 15);
    static answer want[PROMPTS_MAX], a;
    td_engine *e = open_tiny((td_engine_opts){.max_num_seqs = 256, .max_num_batched_tokens = 2048});
    for (int round = 0; round < 12; round++) {
        int prompts = 5 + round % 10;
        td_request_opts o[PROMPTS_MAX], plug = request_of(ids, LONG + round % 7, 1);
        td_request *r[PROMPTS_MAX], *first;
        td_err err = TD_ERR_INIT;
        for (int i = 0; i < prompts; i++) {
            o[i] = request_of(ids + 31 * i, i % 2 ? 21 : 1, 1 + round % 3);
            o[i].sampling.n = N - i % 2;
            o[i].sampling.logprobs = round % 2, o[i].sampling.top_logprobs = 3;
            run(e, &o[i], &want[i]);
            eos = want[i].ids[0][0];
            if (round % 4 == 3) { // the first choice stops at once, the others go on
                o[i].sampling.ignore_eos = false;
                o[i].sampling.stop_ids = &eos, o[i].sampling.stop_id_count = 1;
                run(e, &o[i], &want[i]);
                assert_int_equal(want[i].finish[0], TD_FINISH_STOP);
            }
        }
        plug.no_cache_read = true;
        assert_int_equal(td_request_submit(e, &plug, &first, &err), TD_OK); // all others arrive while it is computed
        for (int i = 0; i < prompts; i++) {
            eos = want[i].ids[0][0];
            assert_int_equal(td_request_submit(e, &o[i], &r[i], &err), TD_OK);
        }
        take(first, &a);
        for (int i = 0; i < prompts; i++) {
            take(r[i], &a);
            assert_int_equal(a.rc, TD_OK);
            assert_memory_equal(a.ids, want[i].ids, sizeof a.ids);
            assert_memory_equal(a.finish, want[i].finish, sizeof a.finish);
            assert_true(a.hash == want[i].hash);
        }
        check_idle(e);
    }
    td_engine_close(e);
}

static uint32_t draw_below(uint32_t *random, uint32_t n)
{
    *random = *random * 1664525u + 1013904223u;
    return (*random >> 8) % n;
}

static void audit(td_engine *e)
{
    td_buf b = TD_BUF_INIT;
    td_err err = TD_ERR_INIT;
    if (td_engine_debug(e, TD_DEBUG_AUDIT, 0, 0, &b, &err))
        fail_msg("%s", err.msg);
    td_buf_free(&b);
}

/* Requests of many choices that come and go at random while the cache has room for few of them: between steps every
 * block is held by those who name it and by nobody else, and who stays gets the answer that it gets alone. */
static void soak(void **state)
{
    (void)state;
    enum { KINDS = 12, LIVE = 10, TURNS = 1500 };
    int32_t ids[200];
    prompt_of(ids, 200, 16);
    static answer want[KINDS], a;
    td_request_opts kind[KINDS];
    td_engine *e = open_tiny((td_engine_opts){.max_num_seqs = 20, .max_num_batched_tokens = 48, .max_model_len = 160,
                                              .kv_cache_memory = 24 * 16 * 2 * 2 * 16 * 4 * 4});
    uint32_t random = 17;
    for (int k = 0; k < KINDS; k++) {
        kind[k] = request_of(ids + k / 3, 1 + (int32_t)draw_below(&random, 90), 1 + (int32_t)draw_below(&random, 24));
        kind[k].sampling.n = 1 + (int32_t)draw_below(&random, CHOICES_MAX);
        kind[k].sampling.logprobs = k % 3 == 0;
        kind[k].sampling.frequency_penalty = k % 2 ? 0.5f : 0;
        kind[k].sampling.ignore_eos = k % 4 != 0;
        kind[k].sampling.prompt_logprobs = k % 5 == 4 ? 1 : -1;
        run(e, &kind[k], &want[k]);
    }
    td_request *live[LIVE] = {NULL};
    int of[LIVE];
    for (int turn = 0; turn < TURNS; turn++) {
        td_err err = TD_ERR_INIT;
        uint32_t at = draw_below(&random, LIVE), what = draw_below(&random, 4);
        if (!live[at]) {
            of[at] = (int)draw_below(&random, KINDS);
            kind[of[at]].priority = (int32_t)draw_below(&random, 3);
            assert_int_equal(td_request_submit(e, &kind[of[at]], &live[at], &err), TD_OK);
        } else if (what == 0) {
            td_request_free(live[at]);
            live[at] = NULL;
        } else if (what == 1) {
            take(live[at], &a);
            assert_int_equal(a.rc, TD_OK);
            assert_memory_equal(a.ids, want[of[at]].ids, sizeof a.ids);
            live[at] = NULL;
        }
        audit(e);
    }
    for (int i = 0; i < LIVE; i++)
        td_request_free(live[i]);
    td_metrics m;
    td_engine_metrics(e, &m);
    assert_true(m.preemptions > 0);
    check_idle(e);
    td_engine_close(e);
}

/* The n-th allocation of a request's life fails, for every n: a clear error or the same answer, and nothing is kept. */
static void torture(void **state)
{
    (void)state;
    int32_t ids[40];
    prompt_of(ids, 40, 9);
    static answer want, a;
    td_engine *e = open_tiny((td_engine_opts){0});
    td_request_opts o = request_of(ids, 40, 8);
    o.sampling.n = 2, o.sampling.frequency_penalty = 0.5f, o.sampling.logprobs = true;
    run(e, &o, &want);
    uint64_t failures = 1;
    for (uint64_t n = 1; failures; n++) {
        td_request *r;
        td_err err = TD_ERR_INIT;
        td_fault_arm(TD_FAULT_ALLOC, n, false);
        td_rc rc = td_request_submit(e, &o, &r, &err);
        if (rc == TD_OK) {
            take(r, &a);
            assert_true(a.rc == TD_E_NOMEM || memcmp(a.ids, want.ids, sizeof a.ids) == 0);
        } else {
            assert_int_equal(rc, TD_E_NOMEM);
        }
        failures = td_fault_count(TD_FAULT_ALLOC);
        td_fault_arm(TD_FAULT_ALLOC, 0, false);
        check_idle(e);
    }
    td_engine_close(e);
}

/* The device is lost at the first look, the second, … until a run is over before it happens: no token that came before
 * is wrong, no block is kept, and nothing is taken in any more. */
static void device_lost(void **state)
{
    (void)state;
    enum { REQUESTS = 3, TOKENS = 4 };
    int32_t ids[40];
    prompt_of(ids, 40, 12);
    static answer want, a;
    td_engine *e = open_tiny((td_engine_opts){0});
    td_request_opts o = request_of(ids, 40, TOKENS);
    run(e, &o, &want);
    td_engine_close(e);
    uint64_t lost = 1;
    for (uint64_t n = 1; lost; n++) {
        td_request *r[REQUESTS];
        td_err err = TD_ERR_INIT;
        e = open_tiny((td_engine_opts){.max_num_batched_tokens = 32, .max_num_seqs = 2});
        assert_null(td_engine_fault(e));
        for (int i = 0; i < REQUESTS; i++)
            assert_int_equal(td_request_submit(e, &o, &r[i], &err), TD_OK);
        td_fault_arm(TD_FAULT_DEVICE, n, false);
        for (int i = 0; i < REQUESTS; i++) {
            take(r[i], &a);
            assert_true(a.rc == TD_E_FAULT || (a.rc == TD_OK && a.count[0] == TOKENS));
            assert_memory_equal(a.ids[0], want.ids[0], (size_t)a.count[0] * sizeof(int32_t));
        }
        lost = td_fault_count(TD_FAULT_DEVICE);
        td_fault_arm(TD_FAULT_DEVICE, 0, false);
        check_idle(e);
        assert_int_equal(td_request_submit(e, &o, &r[0], &err), lost ? TD_E_FAULT : TD_OK);
        if (lost)
            assert_non_null(td_engine_fault(e));
        else
            take(r[0], &a);
        td_engine_close(e);
    }
}

/* A bound on memory: the cache and the steps that were not asked for shrink until they fit; what was asked for, or the
 * weights alone, is refused. */
static void bound_on_memory(void **state)
{
    (void)state;
    enum { MIB = 1 << 20 };
    td_engine *e;
    td_err err = TD_ERR_INIT;
    td_engine_opts o = {.model = TD_TESTS_DIR "/golden/tiny/llama", .threads = 1, .seed_set = true};
    assert_int_equal(td_engine_open(&o, &e, &err), TD_OK);
    td_engine_info free_plan = *td_engine_get_info(e);
    td_engine_close(e);
    o.max_rss = (td_memory_resident() + 160 * MIB) / 15 * 16; // the margin's share comes off again
    assert_int_equal(td_engine_open(&o, &e, &err), TD_OK);
    const td_engine_info *i = td_engine_get_info(e);
    assert_true(free_plan.kv_bytes > 200 * MIB); // or the bound binds nothing
    assert_true(i->kv_bytes > 32 * MIB && i->kv_bytes + i->step_bytes <= 128 * MIB);
    static answer a;
    int32_t ids[20];
    prompt_of(ids, 20, 13);
    td_request_opts r = request_of(ids, 20, 4);
    run(e, &r, &a);
    assert_int_equal(a.rc, TD_OK);
    td_engine_close(e);
    td_engine_opts asked = o;
    asked.kv_cache_memory = 400 * MIB;
    assert_int_equal(td_engine_open(&asked, &e, &err), TD_E_NOMEM);
    assert_string_equal(err.param, "max-rss");
    o.max_rss = 1;
    err = (td_err)TD_ERR_INIT;
    assert_int_equal(td_engine_open(&o, &e, &err), TD_E_NOMEM);
    assert_non_null(strstr(err.msg, "weights"));
    assert_non_null(strstr(err.msg, "--max-rss"));
}

static td_json *look(td_engine *e, td_debug what, int32_t from)
{
    td_buf b = TD_BUF_INIT;
    td_err err = TD_ERR_INIT;
    td_json *j = NULL;
    if (td_engine_debug(e, what, from, 1000, &b, &err) || td_json_parse(b.data, b.len, &td_json_file_limits, &j, &err))
        fail_msg("%s", err.msg);
    td_buf_free(&b);
    return j;
}

/* Names and digests of the full blocks of the prompt, in order of the chain's names. */
static int cached_blocks(td_engine *e, char digest[][65], int cap)
{
    td_json *all = look(e, TD_DEBUG_BLOCKS, 0);
    int n = 0;
    td_json_each(row, td_json_get(all, "blocks"))
    {
        assert_string_equal(td_json_get_str(row, "state", ""), "cached");
        assert_int_equal(td_json_get_int(row, "request_refs", -1), 0);
        assert_int_equal(strlen(td_json_get_str(row, "name", "")), 64);
        td_json *one = look(e, TD_DEBUG_BLOCK, (int32_t)td_json_get_int(row, "block", -1));
        assert_true(n < cap);
        memcpy(digest[n++], td_json_get_str(one, "sha256", ""), 65);
        td_json_free(one);
    }
    td_json_free(all);
    return n;
}

/* What /debug shows: a running request with its blocks, then cached blocks whose bytes are those of another engine that
 * computed the same tokens in other steps. */
static void looks_inside(void **state)
{
    (void)state;
    static answer a;
    static char digest[2][16][65];
    int32_t ids[48];
    prompt_of(ids, 48, 14);
    for (int round = 0; round < 2; round++) {
        td_engine *e = open_tiny((td_engine_opts){.max_num_batched_tokens = round ? 7 : 64});
        td_request_opts o = request_of(ids, 48, 1500);
        o.id = "watched";
        td_request *r;
        td_err err = TD_ERR_INIT;
        assert_int_equal(td_request_submit(e, &o, &r, &err), TD_OK);
        assert_true(td_request_wait(r, 60000)); // it runs
        td_json *j = look(e, TD_DEBUG_REQUESTS, 0);
        const td_json *row = td_json_get(j, "running")->child;
        assert_string_equal(td_json_get_str(row, "id", ""), "watched");
        int64_t computed = td_json_get_int(row, "computed", 0);
        assert_true(computed >= 48 && td_json_get_int(row, "blocks", 0) >= computed / 16);
        td_json_free(j);
        td_request_free(r);
        check_idle(e);
        td_engine_close(e);
        e = open_tiny((td_engine_opts){.max_num_batched_tokens = round ? 7 : 64});
        o = request_of(ids, 48, 1);
        run(e, &o, &a);
        check_idle(e);
        assert_int_equal(cached_blocks(e, digest[round], 16), 3);
        td_buf b = TD_BUF_INIT;
        assert_int_equal(td_engine_debug(e, TD_DEBUG_BLOCK, 1 << 20, 1, &b, &err), TD_E_NOTFOUND);
        td_buf_free(&b);
        td_engine_close(e);
    }
    for (int i = 0; i < 3; i++) {
        int found = 0;
        for (int k = 0; k < 3; k++)
            found += !strcmp(digest[0][i], digest[1][k]);
        assert_int_equal(found, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(choices_and_seeds),
                                       cmocka_unit_test(rules_on_tokens),
                                       cmocka_unit_test(logprobs),
                                       cmocka_unit_test(draws_follow_the_logits),
                                       cmocka_unit_test(prefix_and_salt),
                                       cmocka_unit_test(refuses),
                                       cmocka_unit_test(cancels),
                                       cmocka_unit_test(queue_deadline_drain),
                                       cmocka_unit_test(choices_over_the_rows),
                                       cmocka_unit_test(soak),
                                       cmocka_unit_test(torture),
                                       cmocka_unit_test(device_lost),
                                       cmocka_unit_test(bound_on_memory),
                                       cmocka_unit_test(looks_inside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
