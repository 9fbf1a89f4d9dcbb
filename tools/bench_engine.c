/* bench latency, bench throughput: the engine measured through its public face, with llama-bench's row names.
 *
 * pp reads a prompt: from the submit of all sequences to the last one's first token. tg generates: the clock starts
 * when every sequence has its first token, and counts what comes after. Tokens of --depth are in the cache before the
 * clock starts: a first request leaves them there, and the measured one finds them by prefix. Every sequence of every
 * repeat has its own random tokens, so nothing else is found.
 *
 * roof_share compares with what the machine could do at best: each step reads every weight once at the measured rate,
 * or does every multiply-add at the rate of the best instruction, whichever takes longer. Attention is left out. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "tools/bench_machine.h"
#include "tools/bench_rows.h"
#include "tools/interrupt.h"
#include "tools/open.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_MS = 200 };

typedef struct stamps stamps;

typedef enum test_kind { TEST_PP, TEST_TG, TEST_BOTH } test_kind;

typedef struct bench {
    td_engine *engine;
    const td_engine_info *info;
    int32_t repeats;
    uint64_t random;      // state of the token generator
    int32_t *ids;         // [batch][depth + prompt]
    td_request **requests; // [batch]
    stamps *stamps;        // [batch]
    int32_t batch;        // of the row at hand
    double read_b_s, mac_s; // bytes and multiply-adds a second at best
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

/* The engine thread notes when each step of a request was done: one token each, the first with the prompt. The thread
 * that waits may be woken late; these times are not. */
struct stamps {
    uint64_t *at_ns; // [cap]
    int32_t count, cap;
};

static void on_notify(void *ctx)
{
    stamps *s = ctx;
    if (s->count < s->cap)
        s->at_ns[s->count++] = td_now_ns();
}

static td_rc wait_end(td_request *r, td_err *err)
{
    for (td_event e;;) {
        td_request_wait(r, WAIT_MS);
        while (td_request_next(r, &e))
            if (e.kind == TD_EVENT_END)
                return e.rc ? td_fail(err, e.rc, "%s", e.message ? e.message : td_rc_text(e.rc)) : TD_OK;
        if (interrupt_count())
            return td_fail(err, TD_E_CANCELED, "interrupted");
    }
}

/* Runs ids[0 … count) of every sequence to max_tokens; after it the stamps are complete. */
static td_rc run_out(bench *b, int32_t stride, int32_t count, int32_t max_tokens, td_err *err)
{
    td_rc rc = TD_OK;
    for (int32_t i = 0; !rc && i < b->batch; i++) {
        td_request_opts o = {.prompt = b->ids + (size_t)i * (size_t)stride, .prompt_count = count,
                             .sampling = td_sampling_default(), .notify = on_notify, .notify_ctx = &b->stamps[i]};
        o.sampling.temperature = 0;
        o.sampling.ignore_eos = true;
        o.sampling.max_tokens = max_tokens;
        b->stamps[i].count = 0;
        rc = td_request_submit(b->engine, &o, &b->requests[i], err);
    }
    for (int32_t i = 0; !rc && i < b->batch; i++)
        rc = wait_end(b->requests[i], err);
    for (int32_t i = 0; i < b->batch; i++) {
        td_request_free(b->requests[i]);
        b->requests[i] = NULL;
    }
    return rc;
}

/* When the last sequence had its first token, when the last one ended, and the tokens of all between. */
static int64_t window(const bench *b, uint64_t *from_ns, uint64_t *end_ns)
{
    int64_t tokens = 0;
    *from_ns = *end_ns = 0;
    for (int32_t i = 0; i < b->batch; i++) {
        const stamps *s = &b->stamps[i];
        *from_ns = s->count ? TD_MAX(*from_ns, s->at_ns[0]) : *from_ns;
        *end_ns = s->count ? TD_MAX(*end_ns, s->at_ns[s->count - 1]) : *end_ns;
    }
    for (int32_t i = 0; i < b->batch; i++)
        for (int32_t k = 0; k < b->stamps[i].count; k++)
            tokens += b->stamps[i].at_ns[k] > *from_ns;
    return tokens;
}

/* One sample: tokens a second. */
static td_rc sample(bench *b, const test *c, double *rate, td_err *err)
{
    int32_t prompt = c->kind == TEST_TG ? TD_MAX(c->depth, 1) : c->depth + c->prompt;
    for (size_t i = 0; i < (size_t)prompt * (size_t)b->batch; i++)
        b->ids[i] = random_id(b);
    td_rc rc = c->depth > 0 ? run_out(b, prompt, c->depth, 1, err) : TD_OK; // leaves the depth in the cache
    uint64_t start = td_now_ns(), from, end;
    if (!rc)
        rc = run_out(b, prompt, prompt, c->kind == TEST_PP ? 1 : c->kind == TEST_TG ? c->gen + 1 : c->gen, err);
    if (rc)
        return rc;
    int64_t tokens = window(b, &from, &end);
    if (c->kind != TEST_TG) {
        from = start;
        tokens = ((int64_t)c->prompt + c->gen) * c->batch;
    }
    *rate = end > from ? (double)tokens * 1e9 / (double)(end - from) : 0;
    return TD_OK;
}

/* Rates of this machine for the weights' kind, on as many threads as the engine has. */
static td_rc measure_roofs(bench *b, td_err *err)
{
    const char *level = strchr(b->info->device, '-'), *types = b->info->weight_types;
    const char *kind = strchr(types, 'Q') ? "int8" : strstr(types, "BF16") ? "bf16" : "fp32";
    int threads = TD_MIN(b->info->threads, (int32_t)BENCH_THREADS_MAX);
    const kern_roof *loops;
    int count = kern_roofs(&loops);
    td_rc rc = bench_read_rate(threads, true, &b->read_b_s, err);
    for (int i = 0; !rc && i < count; i++) {
        bool fp32 = !strncmp(loops[i].name, "fp32", 4); // runs for every kind where nothing better does
        if (!bench_loop_fits(&loops[i], level ? level + 1 : "") || (!fp32 && strncmp(loops[i].name, kind, 4)))
            continue;
        double rate = 0;
        rc = bench_mac_rate(&loops[i], threads, &rate, err);
        b->mac_s = TD_MAX(b->mac_s, rate);
    }
    b->read_b_s *= 1e9;
    b->mac_s *= 1e9;
    return rc;
}

/* Tokens a second that the roof allows for a test. */
static double roof_of(const bench *b, const test *c)
{
    double head = (double)b->info->vocab_count * b->info->hidden, all = (double)b->info->param_count;
    double prompt = (double)c->prompt * c->batch, step_s = (double)b->info->weight_bytes / b->read_b_s, time_s = 0;
    if (c->prompt)
        time_s += TD_MAX(ceil(prompt / b->info->max_num_batched_tokens) * step_s,
                         (prompt * (all - head) + c->batch * head) / b->mac_s);
    if (c->gen)
        time_s += c->gen * TD_MAX(step_s, c->batch * all / b->mac_s);
    return time_s > 0 ? (prompt + (double)c->gen * c->batch) / time_s : 0;
}

static void release(bench *b)
{
    for (int32_t i = 0; b->stamps && i < b->batch; i++)
        td_free(b->stamps[i].at_ns);
    td_free(b->stamps);
    td_free(b->ids);
    td_free(b->requests);
}

static td_rc reserve(bench *b, const test *c, td_err *err)
{
    size_t per = (size_t)c->depth + (size_t)c->prompt + 1;
    b->batch = c->batch;
    b->ids = td_alloc(per * (size_t)c->batch * sizeof *b->ids);
    b->requests = td_alloc((size_t)c->batch * sizeof(td_request *));
    b->stamps = td_alloc((size_t)c->batch * sizeof *b->stamps);
    bool ok = b->ids && b->requests && b->stamps;
    for (int32_t i = 0; ok && i < c->batch; i++) {
        b->stamps[i].cap = c->gen + 2;
        b->stamps[i].at_ns = td_alloc((size_t)b->stamps[i].cap * sizeof(uint64_t));
        ok = b->stamps[i].at_ns != NULL;
    }
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for %d sequences", c->batch);
}

static td_rc run_test(bench *b, const test *c, bench_rows *table, td_err *err)
{
    td_rc rc = reserve(b, c, err);
    bench_row row = {.batch = c->batch, .depth = c->depth, .roof_ts = roof_of(b, c)};
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
    release(b);
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

static int64_t largest(const flags *f, const char *name)
{
    const int64_t *v;
    int64_t max = 0;
    size_t n = flags_ints(f, name, &v);
    for (size_t i = 0; i < n; i++)
        max = TD_MAX(max, v[i]);
    return max;
}

/* Before the first row is measured. */
static td_rc check_room(const bench *b, const flags *f, bool both, td_err *err)
{
    int64_t prompt = largest(f, "n-prompt"), gen = largest(f, "n-gen"), depth = largest(f, "depth");
    int64_t needed = depth + (both ? prompt + gen : TD_MAX(prompt, gen)) + 1;
    return needed <= b->info->max_model_len
               ? TD_OK
               : td_fail(err, TD_E_USAGE, "the longest row needs %lld tokens (depth %lld, prompt %lld, generated "
                         "%lld), more than the %d of max-model-len; give more --kv-cache-memory, or less of these",
                         (long long)needed, (long long)depth, (long long)prompt, (long long)gen,
                         b->info->max_model_len);
}

static td_rc check(const flags *f, bool both, td_err *err)
{
    if (!both && !largest(f, "n-prompt") && !largest(f, "n-gen"))
        return td_fail_param(err, TD_E_USAGE, "n-prompt", "-p 0 with -n 0 leaves no row to measure");
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

static td_rc measured(bench *b, const flags *f, bool both, bench_rows *table, td_err *err)
{
    interrupt_watch(NULL);
    td_rc rc = measure_roofs(b, err);
    if (!rc)
        rc = run_all(b, f, both, table, err);
    td_rc ended = bench_rows_end(table, err);
    interrupt_restore();
    return rc ? rc : ended;
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
        rc = check_room(&b, f, both, err);
        if (!rc)
            rc = bench_rows_begin(&table, (bench_rows_form)flags_choice(f, "format"), b.info, flags_int(f, "seed"),
                                  err);
        if (!rc)
            rc = measured(&b, f, both, &table, err);
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
