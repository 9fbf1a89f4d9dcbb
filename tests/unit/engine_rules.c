/* The engine on a tiny model: sampling rules, choices, preemption, cancellation, limits, and what every block does. */
#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "engine_make.h"

#include <math.h>
#include <stdatomic.h>
#include <unistd.h>

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

/* Rules that leave nothing to draw end the choice, and numbers at the end of a float's range stay numbers. */
static void rules_at_their_limits(void **state)
{
    (void)state;
    enum { ONLY = 5 };
    int32_t ids[40], allowed = ONLY, twice[] = {ONLY, ONLY}, *only[] = {twice}, len = 2;
    prompt_of(ids, 40, 2);
    static answer free_run, a;
    td_engine *e = open_tiny((td_engine_opts){0});
    td_request_opts o = request_of(ids, 40, 30);
    o.sampling.temperature = 0;
    run(e, &o, &free_run);

    // Of one allowed token a second one in a row is banned: all is said with the first.
    o.sampling.allowed_ids = &allowed, o.sampling.allowed_id_count = 1, o.sampling.n = 2;
    o.sampling.bad_words = (const int32_t *const *)only, o.sampling.bad_word_lens = &len;
    o.sampling.bad_word_count = 1;
    run(e, &o, &a);
    assert_int_equal(a.rc, TD_OK);
    for (int c = 0; c < 2; c++)
        assert_true(a.count[c] == 1 && a.ids[c][0] == ONLY && a.finish[c] == TD_FINISH_STOP);
    check_idle(e);

    // What ends a float's range does not end the engine.
    o = request_of(ids, 40, 30);
    o.sampling.repetition_penalty = 1e-3f;
    run(e, &o, &a);
    assert_int_equal(a.count[0], 30);
    o.sampling.repetition_penalty = 1, o.sampling.temperature = 1e-40f;
    run(e, &o, &a);
    assert_memory_equal(a.ids[0], free_run.ids[0], sizeof a.ids[0]);
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
    REFUSED("repetition_penalty", o.sampling.repetition_penalty = 1e-40f);
    int32_t end = 7;
    REFUSED("allowed_token_ids", (o.sampling.allowed_ids = &end, o.sampling.allowed_id_count = 1, // nothing else, but
                                  o.sampling.stop_ids = &end, o.sampling.stop_id_count = 1,       // not at once
                                  o.sampling.min_tokens = 1));
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

static void cancel_at_once(void *ctx, double done)
{
    (void)done;
    atomic_store((atomic_bool *)ctx, true);
}

static bool is_canceled(void *ctx) { return atomic_load((atomic_bool *)ctx); }

/* Opening is broken off before it begins, and in the middle of the weights. */
static void opening_is_canceled(void **state)
{
    (void)state;
    atomic_bool cancel = true;
    for (int late = 0; late < 2; late++) {
        td_engine *e = NULL;
        td_err err = TD_ERR_INIT;
        td_engine_opts o = {.model = TD_TESTS_DIR "/golden/tiny/llama", .threads = 2, .canceled = is_canceled};
        atomic_store(&cancel, !late);
        o.progress = late ? cancel_at_once : NULL;
        o.progress_ctx = &cancel;
        assert_int_equal(td_engine_open(&o, &e, &err), TD_E_CANCELED);
        assert_null(e);
    }
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

/* A busy moment makes probes slow, never fast: the best of them counts, between the bounds. */
static void length_of_a_step(void **state)
{
    (void)state;
    static const uint64_t ms = 1000000;
    static const struct {
        uint64_t ns[4];
        int32_t count, tok_max, want;
    } cases[] = {{{10 * ms}, 1, 2048, 256},       {{300 * ms, 10 * ms, 90 * ms}, 3, 2048, 256},
                 {{10 * ms, 300 * ms}, 2, 2048, 256}, {{300 * ms, 200 * ms}, 2, 2048, 64},
                 {{ms, ms}, 2, 2048, 2048},       {{1}, 1, 2048, 2048},
                 {{1}, 1, 512, 512},              {{300 * ms}, 1, 32, 32}};
    for (size_t i = 0; i < TD_COUNT(cases); i++)
        assert_int_equal(engine_step_tok(cases[i].ns, cases[i].count, 32, cases[i].tok_max), cases[i].want);
}

/* What the log says of a small cache is its size, and no more sequences than it has blocks for. */
static void small_cache_is_announced(void **state)
{
    (void)state;
    int to[2], saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && pipe(to) == 0 && dup2(to[1], STDERR_FILENO) >= 0);
    td_engine *e = open_tiny((td_engine_opts){.kv_cache_memory = 256 << 10, .max_model_len = 64, .max_num_seqs = 200});
    dup2(saved, STDERR_FILENO);
    close(saved), close(to[1]);
    char got[4096], want[64];
    ssize_t n = read(to[0], got, sizeof got - 1);
    close(to[0]);
    assert_true(n > 0);
    got[n] = 0;
    const td_engine_info *info = td_engine_get_info(e);
    assert_true(info->block_count < 200);
    snprintf(want, sizeof want, "KV cache %llu KiB (", (unsigned long long)(info->kv_bytes >> 10));
    assert_non_null(strstr(got, want));
    snprintf(want, sizeof want, "up to %d sequences (the KV cache has no room for 200)", info->block_count);
    assert_non_null(strstr(got, want));
    td_engine_close(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(choices_and_seeds),
                                       cmocka_unit_test(rules_on_tokens),
                                       cmocka_unit_test(rules_at_their_limits),
                                       cmocka_unit_test(logprobs),
                                       cmocka_unit_test(draws_follow_the_logits),
                                       cmocka_unit_test(prefix_and_salt),
                                       cmocka_unit_test(refuses),
                                       cmocka_unit_test(cancels),
                                       cmocka_unit_test(queue_deadline_drain),
                                       cmocka_unit_test(torture),
                                       cmocka_unit_test(device_lost),
                                       cmocka_unit_test(bound_on_memory),
                                       cmocka_unit_test(opening_is_canceled),
                                       cmocka_unit_test(looks_inside),
                                       cmocka_unit_test(length_of_a_step),
                                       cmocka_unit_test(small_cache_is_announced)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
