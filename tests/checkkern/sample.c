/* Sampling of each level against plain C, field for field: all filters, ties, masks, broken rows. What plain C does is
 * checked by unit test kern_sample. */
#include "checkkern.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct sample_case {
    kern_sample_args a;
    kern_sample_row *rows;
    kern_dev dev;
} sample_case;

enum { ROWS_MAX = 4 };

static void random_logits(float *x, int32_t n)
{
    int kind = ck_rand_int(0, 9);
    float width = kind < 3 ? 3.0f : kind == 3 ? 30.0f : kind == 4 ? 0.01f : 8.0f;
    for (int32_t i = 0; i < n; i++) {
        x[i] = ck_rand_float() * width;
        if (kind == 5)
            x[i] = (float)ck_rand_int(-2, 2); // ties
        else if (kind == 6)
            x[i] = 1.5f;
        else if (kind == 7 && !ck_one_in(20))
            x[i] = -INFINITY;
        else if (kind == 8)
            x[i] = ck_one_in(2) ? -0.0f : ck_one_in(2) ? 1e-41f : 0.0f;
    }
    if (kind == 9)
        ck_fill(x, (size_t)n, ck_rand_int(0, CK_FILLS - 1));
    if (ck_one_in(20))
        x[ck_rand_int(0, n - 1)] = ck_one_in(2) ? NAN : INFINITY;
}

static void random_adjustments(kern_sample_row *r, int32_t vocab)
{
    if (ck_one_in(2)) {
        int32_t step = ck_rand_int(1, TD_MAX(vocab / 3, 1)), count = (vocab + step - 1) / step;
        kern_sample_adj *adj = ck_alloc((size_t)count * sizeof *adj, 8);
        for (int32_t i = 0; i < count; i++)
            adj[i] = (kern_sample_adj){.id = i * step, .bias = ck_one_in(8) ? -INFINITY : ck_rand_float() * 3.0f,
                                       .out_count = ck_rand_int(0, 3), .seen = ck_rand_int(0, 1)};
        r->adj = adj;
        r->adj_count = count;
    }
    if (ck_one_in(3)) {
        uint32_t *mask = ck_alloc((size_t)(vocab + 31) / 32 * 4, 4);
        int density = ck_rand_int(1, 30);
        for (int32_t i = 0; i < vocab; i++)
            mask[i / 32] |= (uint32_t)ck_one_in(density) << (i % 32);
        r->mask = mask;
    }
}

static kern_sample_row random_row(int32_t index, int32_t vocab)
{
    kern_sample_row r = {.logit_row = index, .out_slot = index, .top_p = 1.0f, .typical_p = 1.0f, .repetition = 1.0f,
                         .seed = (uint64_t)ck_rand() << 32 | ck_rand(), .position = ck_rand() % 1000,
                         .choice = ck_rand() % 3};
    static const float temperatures[] = {0.0f, 1.0f, 0.7f, 0.05f, 1e-4f, 2.0f, 100.0f};
    r.temperature = temperatures[ck_rand_int(0, (int)TD_COUNT(temperatures) - 1)];
    static const float shares[] = {0.25f, 0.5f, 0.75f, 1e-6f, 1e-12f, 0.0f}; // quarters cut between equal weights
    r.top_p = ck_one_in(2) ? 1.0f : (float)ck_rand_int(1, 999) / 1000.0f;
    if (ck_one_in(4))
        r.top_p = shares[ck_rand_int(0, (int)TD_COUNT(shares) - 1)];
    r.min_p = ck_one_in(3) ? (float)ck_rand_int(1, 1000) / 1000.0f : 0.0f;
    r.typical_p = ck_one_in(5) ? (float)ck_rand_int(1, 999) / 1000.0f : 1.0f;
    r.top_k = ck_one_in(2) ? 0 : ck_one_in(2) ? ck_rand_int(1, 50) : ck_rand_int(1, vocab + 10);
    if (ck_one_in(3)) {
        r.repetition = 1.3f;
        r.presence = 0.4f;
        r.frequency = -0.3f;
    }
    r.want_logprob = ck_one_in(2);
    r.given = ck_one_in(8);
    r.given_id = ck_rand_int(0, vocab - 1);
    r.out_slot = ck_one_in(8) ? -1 : index;
    r.top_n = ck_one_in(2) ? ck_rand_int(0, TD_LOGPROBS_MAX) : 0;
    random_adjustments(&r, vocab);
    return r;
}

static void alloc_outputs(sample_case *c)
{
    c->a.out = ck_alloc(sizeof(kern_sample_out) * (size_t)c->a.row_count, 8);
    c->a.slots = ck_alloc((size_t)c->a.row_count * 4, 4);
    c->a.scratch = ck_alloc(cpu_sample_scratch_bytes(&c->dev, c->a.row_count, c->a.vocab), 64);
}

static void run_case(sample_case *c, const cpu_level *level)
{
    alloc_outputs(c);
    for (int64_t t = cpu_sample_tiles(&c->a) - 1; t >= 0; t--)
        level->sample(&c->a, t, t + 1);
}

static void check_same(const sample_case *want, const sample_case *got, int32_t i)
{
    const kern_sample_out *w = &want->a.out[i], *g = &got->a.out[i];
    const kern_sample_row *r = &want->rows[i];
    if (w->token != g->token || w->bad != g->bad || w->rank != g->rank || want->a.slots[i] != got->a.slots[i])
        ck_fail("vocab %d T %g top_k %d top_p %g min_p %g typical_p %g: token %d rank %d bad %d, not %d %d %d",
                want->a.vocab, (double)r->temperature, r->top_k, (double)r->top_p, (double)r->min_p,
                (double)r->typical_p, g->token, g->rank, g->bad, w->token, w->rank, w->bad);
    ck_same_floats("logprob", &w->logprob, &g->logprob, 1);
    ck_same_floats("top_logprobs", w->top_logprobs, g->top_logprobs, TD_LOGPROBS_MAX);
    ck_same_bytes("top_ids", w->top_ids, g->top_ids, sizeof w->top_ids);
}

/* ---- on a device: the same answers, bit for bit ---- */

static void run_case_dev(const sample_case *c)
{
    const kern_ops *ops = ck.dev->ops;
    kern_sample_args a = c->a;
    size_t rows = (size_t)a.row_count;
    kern_stage io;
    td_assert(ops->stage_alloc(ck.dev, ops->sample_io_bytes(ck.dev, a.row_count, a.vocab), &io));
    a.logits = ck_put(a.logits, ((size_t)a.logit_stride * (rows - 1) + (size_t)a.vocab) * 4);
    a.slots = ck_room(rows * 4);
    a.scratch = ck_room(ops->sample_scratch_bytes(ck.dev, a.row_count, a.vocab));
    a.io = &io;
    a.out = io.host;
    ops->sample(ck.dev, &a);
    ops->wait(ck.dev, ops->mark(ck.dev));
    sample_case got = *c;
    got.a.out = a.out;
    got.a.slots = ck_get(a.slots, rows * 4);
    for (int32_t i = 0; i < a.row_count; i++)
        check_same(c, &got, i);
    ops->stage_free(ck.dev, &io);
}

static sample_case make_case(int32_t vocab)
{
    int32_t stride = vocab + ck_rand_int(0, 3);
    sample_case c = {.dev = {.thread_count = 1}};
    c.a = (kern_sample_args){.vocab = vocab, .logit_stride = stride, .row_count = ck_rand_int(1, ROWS_MAX)};
    float *logits = ck_alloc((size_t)(stride * (c.a.row_count - 1) + vocab) * 4, 4);
    c.rows = ck_alloc(ROWS_MAX * sizeof *c.rows, 8);
    for (int32_t i = 0; i < c.a.row_count; i++) {
        random_logits(logits + i * stride, vocab);
        c.rows[i] = random_row(i, vocab);
    }
    c.a.logits = logits;
    c.a.rows = c.rows;
    return c;
}

/* Rows whose adjustments and masks need more room than goes over at one time. */
static void run_large(void)
{
    enum { VOCAB = 30000 };
    sample_case c = {.dev = {.thread_count = 1}};
    c.a = (kern_sample_args){.vocab = VOCAB, .logit_stride = VOCAB, .row_count = ROWS_MAX};
    float *logits = ck_alloc(ROWS_MAX * VOCAB * 4, 4);
    ck_fill(logits, ROWS_MAX * VOCAB, CK_FILL_RANDOM);
    c.rows = ck_alloc(ROWS_MAX * sizeof *c.rows, 8);
    for (int32_t i = 0; i < ROWS_MAX; i++) {
        kern_sample_adj *adj = ck_alloc(VOCAB * sizeof *adj, 8);
        uint32_t *mask = ck_alloc((VOCAB + 31) / 32 * 4, 4);
        for (int32_t k = 0; k < VOCAB; k++) {
            adj[k] = (kern_sample_adj){.id = k, .bias = ck_rand_float() * 2.0f};
            mask[k / 32] |= (uint32_t)ck_one_in(2) << (k % 32);
        }
        c.rows[i] = (kern_sample_row){.logit_row = i, .out_slot = i, .temperature = 0.9f, .top_p = 0.8f, .typical_p = 1,
                                      .repetition = 1, .seed = ck_rand(), .adj = adj, .adj_count = VOCAB, .mask = mask};
    }
    c.a.logits = logits;
    c.a.rows = c.rows;
    run_case(&c, ck.ref);
    run_case_dev(&c);
    ck_release();
}

static void run_dev(int arg)
{
    (void)arg;
    run_large();
    for (int round = 0; round < 25; round++) {
        sample_case c = make_case(ck_one_in(8) ? ck_rand_int(1, 40) : ck_rand_int(1, ck_one_in(12) ? 9000 : 1500));
        run_case(&c, ck.ref);
        run_case_dev(&c);
        ck_release();
    }
}

static void run(int arg)
{
    (void)arg;
    for (int round = 0; round < 150; round++) {
        sample_case want =
            make_case(ck_one_in(10) ? ck_rand_int(1, 40) : ck_rand_int(1, ck_one_in(10) ? 40000 : 2500));
        sample_case got = want;
        run_case(&want, ck.ref);
        run_case(&got, ck.level);
        for (int32_t i = 0; i < want.a.row_count; i++)
            check_same(&want, &got, i);
        ck_release();
    }
}

static void bench_one(const char *what, int32_t vocab, kern_sample_row row)
{
    sample_case c = {.dev = {.thread_count = 1}};
    float *x = ck_alloc((size_t)vocab * 4, 64);
    for (int32_t i = 0; i < vocab; i++)
        x[i] = ck_rand_float() * 2.5f;
    row.typical_p = row.repetition = 1.0f;
    c.a = (kern_sample_args){.logits = x, .vocab = vocab, .logit_stride = vocab, .row_count = 1, .rows = &row};
    double best = 1e9;
    alloc_outputs(&c);
    for (int i = 0; i < 9; i++) {
        double t = ck_seconds();
        ck.level->sample(&c.a, 0, 1);
        best = fmin(best, ck_seconds() - t);
    }
    printf("%-10s %-10s vocabulary %6d, %-22s %8.1f us\n", ck.test, ck.level->name, vocab, what, best * 1e6);
    ck_release();
}

static void bench(int arg)
{
    (void)arg;
    for (int i = 0; i < 2 && ck.level != ck.ref; i++) {
        int32_t vocab = i ? 262144 : 49152;
        bench_one("greedy", vocab, (kern_sample_row){.top_p = 1.0f});
        bench_one("T 1", vocab, (kern_sample_row){.temperature = 1.0f, .top_p = 1.0f});
        bench_one("T 1 top_p 0.95", vocab, (kern_sample_row){.temperature = 1.0f, .top_p = 0.95f});
        bench_one("T 1 top_k 50 top_p .9", vocab, (kern_sample_row){.temperature = 1.0f, .top_p = 0.9f, .top_k = 50});
        bench_one("T 1, 20 log probs", vocab,
                  (kern_sample_row){.temperature = 1.0f, .top_p = 1.0f, .want_logprob = true, .top_n = 20});
    }
}

const ck_test ck_sample_tests[] = {{"sample", run, bench, 0, run_dev}, {NULL, NULL, NULL, 0}};
