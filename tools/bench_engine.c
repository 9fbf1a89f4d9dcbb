/* bench latency, bench throughput: the engine measured through its public face, with llama-bench's row names.
 *
 * pp reads a prompt: from the submit of all sequences to the last one's first token. tg generates: the clock starts
 * when every sequence has its first token, and counts what comes after. Tokens of --depth are in the cache before the
 * clock starts: a first request leaves them there, and the measured one finds them by prefix. Every sequence of every
 * repeat has its own random tokens, so nothing else is found. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "tools/bench_rows.h"
#include "tools/interrupt.h"
#include "tools/open.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_MS = 200 };

typedef enum test_kind { TEST_PP, TEST_TG, TEST_BOTH } test_kind;

typedef struct bench {
    td_engine *engine;
    const td_engine_info *info;
    int32_t repeats;
    uint64_t random;      // state of the token generator
    int32_t *ids;         // [batch][depth + prompt]
    td_request **requests; // [batch]
    int32_t batch;        // of the row at hand
} bench;

typedef struct test {
    test_kind kind;
    int32_t prompt, gen, batch, depth;
} test;

static int32_t random_id(bench *b)
{
    b->random += 0x9e3779b97f4a7c15u;
    uint64_t x = td_mix64(b->random);
    return (int32_t)(x % (uint64_t)b->info->vocab_count);
}

/* Submits ids[0 … count) of every sequence. */
static td_rc submit_all(bench *b, int32_t stride, int32_t count, int32_t max_tokens, td_err *err)
{
    for (int32_t i = 0; i < b->batch; i++) {
        td_request_opts o = {.prompt = b->ids + (size_t)i * (size_t)stride, .prompt_count = count,
                             .sampling = td_sampling_default()};
        o.sampling.temperature = 0;
        o.sampling.ignore_eos = true;
        o.sampling.max_tokens = max_tokens;
        td_rc rc = td_request_submit(b->engine, &o, &b->requests[i], err);
        if (rc)
            return rc;
    }
    return TD_OK;
}

static void free_all(bench *b)
{
    for (int32_t i = 0; i < b->batch; i++) {
        td_request_free(b->requests[i]);
        b->requests[i] = NULL;
    }
}

typedef struct timing {
    uint64_t first_ns;    // when the last sequence had its first token
    uint64_t end_ns;
    int64_t before;       // tokens of all sequences up to first_ns
    int64_t tokens;       // of all sequences
} timing;

typedef struct follow { // what run_out() knows while it waits
    int32_t started, ended;
    int32_t *seen;        // [batch] tokens of each
} follow;

static td_rc drain_one(bench *b, int32_t i, follow *w, timing *t, bool *ended, td_err *err)
{
    td_event e;
    while (td_request_next(b->requests[i], &e)) {
        w->started += !w->seen[i] && e.id_count && e.kind == TD_EVENT_TOKENS;
        if (e.kind == TD_EVENT_TOKENS || e.kind == TD_EVENT_DONE) {
            w->seen[i] += e.id_count;
            t->tokens += e.id_count;
        }
        if (e.kind != TD_EVENT_END)
            continue;
        *ended = true;
        if (e.rc)
            return td_fail(err, e.rc, "%s", e.message ? e.message : td_rc_text(e.rc));
        w->ended++;
    }
    return TD_OK;
}

/* Waits until all requests have ended. */
static td_rc run_out(bench *b, timing *t, td_err *err)
{
    *t = (timing){.end_ns = 0};
    follow w = {.seen = td_alloc((size_t)b->batch * sizeof *w.seen)};
    bool *ended = td_alloc((size_t)b->batch * sizeof *ended);
    td_rc rc = w.seen && ended ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory");
    while (!rc && w.ended < b->batch) {
        int32_t waiting = 0;
        while (ended[waiting])
            waiting++;
        td_request_wait(b->requests[waiting], WAIT_MS);
        for (int32_t i = 0; !rc && i < b->batch; i++)
            if (!ended[i])
                rc = drain_one(b, i, &w, t, &ended[i], err);
        t->end_ns = td_now_ns();
        if (!t->first_ns && w.started == b->batch) {
            t->first_ns = t->end_ns;
            t->before = t->tokens;
        }
        if (interrupt_count())
            rc = td_fail(err, TD_E_CANCELED, "interrupted");
    }
    td_free(w.seen);
    td_free(ended);
    return rc;
}

/* Leaves the first `depth` tokens of every sequence in the cache. */
static td_rc warm_depth(bench *b, int32_t stride, int32_t depth, td_err *err)
{
    timing ignored;
    td_rc rc = submit_all(b, stride, depth, 1, err);
    if (!rc)
        rc = run_out(b, &ignored, err);
    free_all(b);
    return rc;
}

/* One sample: tokens a second. */
static td_rc sample(bench *b, const test *c, double *rate, td_err *err)
{
    int32_t prompt = c->kind == TEST_TG ? TD_MAX(c->depth, 1) : c->depth + c->prompt;
    for (size_t i = 0; i < (size_t)prompt * (size_t)b->batch; i++)
        b->ids[i] = random_id(b);
    td_rc rc = c->depth > 0 ? warm_depth(b, prompt, c->depth, err) : TD_OK;
    if (rc)
        return rc;
    uint64_t start = td_now_ns();
    timing t;
    rc = submit_all(b, prompt, prompt, c->kind == TEST_PP ? 1 : c->kind == TEST_TG ? c->gen + 1 : c->gen, err);
    if (!rc)
        rc = run_out(b, &t, err);
    free_all(b);
    if (rc)
        return rc;
    uint64_t from = c->kind == TEST_TG ? t.first_ns : start;
    int64_t tokens = c->kind == TEST_TG   ? t.tokens - t.before
                     : c->kind == TEST_PP ? (int64_t)c->prompt * c->batch
                                          : (int64_t)c->prompt * c->batch + t.tokens;
    *rate = t.end_ns > from ? (double)tokens * 1e9 / (double)(t.end_ns - from) : 0;
    return TD_OK;
}

static td_rc run_test(bench *b, const test *c, bench_rows *table, td_err *err)
{
    size_t per = (size_t)c->depth + (size_t)c->prompt + 1;
    if (c->depth + c->prompt + c->gen + 1 > b->info->max_model_len)
        return td_fail(err, TD_E_USAGE, "depth %d, prompt %d and %d generated tokens do not fit max-model-len %d",
                       c->depth, c->prompt, c->gen, b->info->max_model_len);
    b->batch = c->batch;
    b->ids = td_alloc(per * (size_t)c->batch * sizeof *b->ids);
    b->requests = td_alloc((size_t)c->batch * sizeof(td_request *));
    td_rc rc = b->ids && b->requests ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for %d sequences", c->batch);
    bench_row row = {.batch = c->batch, .depth = c->depth};
    char name[2][24] = {"", ""};
    snprintf(name[0], sizeof name[0], "pp%d", c->prompt);
    snprintf(name[1], sizeof name[1], "tg%d", c->gen);
    snprintf(row.test, sizeof row.test, "%s%s%s", c->kind == TEST_TG ? "" : name[0], c->kind == TEST_BOTH ? "+" : "",
             c->kind == TEST_PP ? "" : name[1]);
    double ignored;
    if (!rc)
        rc = sample(b, c, &ignored, err); // the first run warms caches and clocks
    for (int32_t i = 0; !rc && i < b->repeats; i++)
        rc = sample(b, c, &row.samples[row.sample_count++], err);
    if (!rc)
        rc = bench_rows_row(table, &row, err);
    td_free(b->ids);
    td_free(b->requests);
    return rc;
}

/* All combinations, as llama-bench orders them: tests inside depth inside batch. */
static td_rc run_all(bench *b, const flags *f, bool both, bench_rows *table, td_err *err)
{
    const int64_t *prompts, *gens, *batches, *depths;
    size_t pn = flags_ints(f, "n-prompt", &prompts), gn = flags_ints(f, "n-gen", &gens);
    size_t bn = flags_ints(f, "batch", &batches), dn = flags_ints(f, "depth", &depths);
    td_rc rc = TD_OK;
    for (size_t k = 0; k < bn * dn; k++) {
        int32_t batch = (int32_t)batches[k / dn], depth = (int32_t)depths[k % dn];
        for (size_t p = 0; !rc && p < pn; p++)
            if (!both && prompts[p]) {
                rc = run_test(b, &(test){TEST_PP, (int32_t)prompts[p], 0, batch, depth}, table, err);
            } else {
                for (size_t g = 0; both && !rc && g < gn; g++)
                    rc = run_test(b, &(test){TEST_BOTH, (int32_t)prompts[p], (int32_t)gens[g], batch, depth}, table,
                                  err);
            }
        for (size_t g = 0; !both && !rc && g < gn; g++)
            if (gens[g])
                rc = run_test(b, &(test){TEST_TG, 0, (int32_t)gens[g], batch, depth}, table, err);
        if (rc)
            return rc;
    }
    return rc;
}

static td_rc check(const flags *f, bool both, td_err *err)
{
    const int64_t *v;
    size_t n = flags_ints(f, "depth", &v);
    for (size_t i = 0; i < n; i++)
        if (v[i] && !flags_bool(f, "enable-prefix-caching"))
            return td_fail_param(err, TD_E_USAGE, "depth", "--depth is measured with the prefix cache on");
    const char *const names[] = {"n-prompt", "n-gen"};
    for (int k = 0; both && k < 2; k++) {
        n = flags_ints(f, names[k], &v);
        for (size_t i = 0; i < n; i++)
            if (!v[i])
                return td_fail_param(err, TD_E_USAGE, names[k], "--%s must be at least 1 here", names[k]);
    }
    return TD_OK;
}

static td_rc bench_verb(const flags *f, bool both, td_err *err)
{
    bench b = {.repeats = (int32_t)flags_int(f, "repeats"), .random = (uint64_t)flags_int(f, "seed")};
    td_rc rc = check(f, both, err);
    if (!rc)
        rc = open_engine(f, &b.engine, err);
    if (!rc) {
        b.info = td_engine_get_info(b.engine);
        bench_rows table;
        interrupt_watch(NULL);
        rc = bench_rows_begin(&table, (bench_rows_form)flags_choice(f, "format"), b.info, flags_int(f, "seed"), err);
        if (!rc)
            rc = run_all(&b, f, both, &table, err);
        td_rc ended = bench_rows_end(&table, err);
        rc = rc ? rc : ended;
        interrupt_restore();
    }
    td_engine_close(b.engine);
    return rc;
}

td_rc verb_bench_latency(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    return bench_verb(f, false, err);
}

td_rc verb_bench_throughput(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    return bench_verb(f, true, err);
}
