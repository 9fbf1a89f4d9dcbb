/* Matrix products: bits against the plain C level over random shapes, epilogues, biases, strides and tile cuts; the
 * plain C level against a double-precision product of what the two quantised operands stand for. */
#include "checkkern.h"

#include "base/check.h"
#include "kernels/cpu/act.h"
#include "kernels/half.h"
#include "weights.h"

#include <math.h>
#include <stdio.h>

typedef struct shape {
    int32_t rows, cols, toks;
    int parts;
    kern_epilogue epilogue;
} shape;

typedef struct problem {
    ck_weight w[KERN_PARTS_MAX];
    kern_act act[KERN_PARTS_MAX];
    float *bias[KERN_PARTS_MAX], *out[KERN_PARTS_MAX], *x;
    kern_matmul_args args;
    size_t out_floats[KERN_PARTS_MAX];
} problem;

static bool is_gated(kern_epilogue e) { return e == KE_SILU_MUL || e == KE_GELU_MUL; }

static void make_act(problem *p, int i, kern_act_kind kind, const shape *s)
{
    kern_act *a = &p->act[i];
    *a = (kern_act){.kind = kind, .tok_count = s->toks, .cols = s->cols, .stride = act_stride(kind, s->cols)};
    a->data = ck_alloc(a->stride * (size_t)s->toks, 64);
    kern_quant_args q = {.x = p->x, .x_stride = s->cols, .out = a};
    ck.ref->quant(&q, 0, s->toks);
}

static problem make(kern_type type, const shape *s, int weight_kind, int fill)
{
    problem p = {0};
    size_t values = (size_t)s->toks * (size_t)s->cols;
    p.x = ck_alloc(values * 4, 4);
    for (int32_t t = 0; t < s->toks; t++)
        ck_fill(p.x + (size_t)t * (size_t)s->cols, (size_t)s->cols, fill);
    p.args = (kern_matmul_args){.part_count = s->parts, .epilogue = s->epilogue, .out_stride = s->rows + 37};
    for (int i = 0; i < s->parts; i++) {
        int32_t rows = i == 0 || is_gated(s->epilogue) ? s->rows : ck_rand_int(1, s->rows);
        p.w[i] = ck_weight_make(type, rows, s->cols, weight_kind);
        make_act(&p, i, kern_types[type].act, s);
        if (ck_one_in(2)) {
            p.bias[i] = ck_alloc((size_t)rows * 4, 4);
            ck_fill(p.bias[i], (size_t)rows, CK_FILL_RANDOM);
        }
        p.out_floats[i] = (size_t)p.args.out_stride * (size_t)(s->toks - 1) + (size_t)rows;
        p.args.bias[i] = p.bias[i];
    }
    return p;
}

/* Runs at a level, tiles cut at random as threads would. Everything that is not an output keeps its first value. */
static void compute(problem *p, const cpu_level *level, float **out)
{
    for (int i = 0; i < p->args.part_count; i++) {
        p->args.w[i] = &p->w[i].w;
        p->args.act[i] = &p->act[i];
        out[i] = ck_alloc(p->out_floats[i] * 4, 4);
        for (size_t k = 0; k < p->out_floats[i]; k++)
            out[i][k] = (float)(k % 7) - 3;
        p->args.out[i] = out[i];
    }
    int64_t tiles = cpu_matmul_tiles(&p->args), cut = ck_rand_int(0, (int32_t)tiles);
    level->matmul(&p->args, cut, tiles);
    level->matmul(&p->args, 0, cut);
}

static double act_value(const kern_act *a, int32_t t, int32_t k)
{
    const char *row = (const char *)a->data + (size_t)t * a->stride;
    if (a->kind == KA_F32)
        return (double)((const float *)(const void *)row)[k];
    if (a->kind == KA_BF16)
        return (double)kern_bf16_to_f32(((const uint16_t *)(const void *)row)[k]);
    int32_t n = a->kind == KA_Q8_32 ? 32 : 256;
    return (double)((const float *)(const void *)(row + a->cols))[k / n] * ((const int8_t *)row)[k];
}

static double activate(kern_epilogue e, double v)
{
    if (e == KE_SILU_MUL)
        return v / (1 + exp(-v));
    return 0.5 * v * (1 + tanh(0.79788456080286536 * (v + 0.044715 * v * v * v)));
}

/* One output in double precision; *slack is what float rounding may change. */
static double truth(const problem *p, int part, int32_t row, int32_t t, float *weights, double *slack)
{
    const ck_weight *c = &p->w[part];
    kern_dequant_row(c->w.type, c->raw + (size_t)row * kern_row_bytes(c->w.type, c->w.cols), c->w.cols, weights);
    double sum = 0, mass = 0;
    for (int32_t k = 0; k < c->w.cols; k++) {
        double v = (double)weights[k] * act_value(&p->act[part], t, k);
        sum += v;
        mass += fabs(v);
    }
    *slack = 1e-5 * mass + 1e-30;
    return p->bias[part] ? sum + (double)p->bias[part][row] : sum;
}

static void check_truth(const problem *p, float **out)
{
    const kern_matmul_args *a = &p->args;
    float *weights = ck_alloc((size_t)p->w[0].w.cols * 4, 4);
    int parts = is_gated(a->epilogue) ? 1 : a->part_count;
    for (int n = 0; n < 40; n++) {
        int part = ck_rand_int(0, parts - 1);
        int32_t row = ck_rand_int(0, p->w[part].w.rows - 1), t = ck_rand_int(0, p->act[0].tok_count - 1);
        size_t at = (size_t)t * (size_t)a->out_stride + (size_t)row;
        double slack, up_slack, want = truth(p, part, row, t, weights, &slack);
        if (a->epilogue == KE_ADD)
            want += (double)((float)(at % 7) - 3);
        if (is_gated(a->epilogue)) {
            double up = truth(p, 1, row, t, weights, &up_slack), act = activate(a->epilogue, want);
            slack = 2 * slack * fabs(up) + up_slack * (fabs(act) + slack);
            want = act * up;
        }
        double got = (double)out[part][at];
        if (!(fabs(got - want) <= slack + 4e-6 * fabs(want) + 4e-6))
            ck_fail("product of %d columns is %.9g, not %.9g (slack %.3g)", p->w[0].w.cols, got, want, slack);
    }
}

static shape random_shape(kern_type type, int round)
{
    static const kern_epilogue epilogues[] = {KE_STORE, KE_ADD, KE_SILU_MUL, KE_GELU_MUL};
    int32_t unit = kern_types[type].block;
    shape s = {.rows = ck_rand_int(1, 40), .cols = unit * ck_rand_int(1, unit == 256 ? 4 : unit == 32 ? 20 : 150),
               .toks = ck_one_in(2) ? ck_rand_int(1, 9) : ck_rand_int(10, 40)};
    if (ck_one_in(2)) // with several canonical chunks
        s.cols = kern_types[type].chunk_unit * (1 << ck_rand_int(0, 3)) * ck_rand_int(1, unit == 256 ? 1 : 3);
    if (round == 0)
        s.toks = 300; // more than one group of tokens
    s.epilogue = epilogues[ck_rand_int(0, 3)];
    s.parts = is_gated(s.epilogue) ? 2 : ck_rand_int(1, KERN_PARTS_MAX);
    return s;
}

static void run(int type)
{
    for (int round = 0; round < 24; round++) {
        shape s = random_shape((kern_type)type, round);
        int weight_kind = ck_one_in(2) ? CKW_RANDOM : ck_rand_int(0, CKW_KINDS - 1);
        int fill = ck_one_in(2) ? CK_FILL_RANDOM : ck_rand_int(0, CK_FILLS - 1);
        problem p = make((kern_type)type, &s, weight_kind, fill);
        float *want[KERN_PARTS_MAX], *got[KERN_PARTS_MAX];
        compute(&p, ck.ref, want);
        compute(&p, ck.level, got);
        for (int i = 0; i < s.parts; i++)
            ck_same_floats("out", want[i], got[i], p.out_floats[i]);
        if (ck.level == ck.ref && weight_kind == CKW_RANDOM && (fill == CK_FILL_RANDOM || fill == CK_FILL_ZERO))
            check_truth(&p, want);
        ck_release();
    }
}

/* One token alone gives the bits that it has in a crowd. */
static void run_batch(int type)
{
    shape s = {.rows = 33, .cols = 512, .toks = 37, .parts = 1, .epilogue = KE_STORE};
    problem p = make((kern_type)type, &s, CKW_RANDOM, CK_FILL_RANDOM);
    float *all, *one;
    compute(&p, ck.level, &all);
    kern_act whole = p.act[0];
    for (int32_t t = 0; t < s.toks; t++) {
        p.act[0].tok_count = 1;
        p.act[0].data = (char *)whole.data + (size_t)t * whole.stride;
        p.out_floats[0] = (size_t)s.rows;
        compute(&p, ck.level, &one);
        ck_same_floats("out", all + (size_t)t * (size_t)p.args.out_stride, one, (size_t)s.rows);
    }
}

static void bench(int type)
{
    static const int32_t toks[] = {1, 4, 32};
    for (size_t i = 0; i < TD_COUNT(toks); i++) {
        shape s = {.rows = 512, .cols = 2048, .toks = toks[i], .parts = 1, .epilogue = KE_STORE};
        problem p = make((kern_type)type, &s, CKW_RANDOM, CK_FILL_RANDOM);
        float *out;
        compute(&p, ck.level, &out);
        double best = 1e9, t0 = ck_seconds(), t1;
        do {
            double start = ck_seconds();
            ck.level->matmul(&p.args, 0, cpu_matmul_tiles(&p.args));
            t1 = ck_seconds();
            best = TD_MIN(best, t1 - start);
        } while (t1 - t0 < 0.05);
        printf("%-16s %-11s T=%-3d %7.1f GMAC/s %6.1f GB/s\n", ck.test, ck.level->name, s.toks,
               1e-9 * s.rows * s.cols * s.toks / best, 1e-9 * (double)p.w[0].w.bytes / best);
        ck_release();
    }
}

#define X(name) {"matmul." #name, run, bench, KT_##name}, {"matmul_batch." #name, run_batch, NULL, KT_##name},
const ck_test ck_matmul_tests[] = {X(F32) X(F16) X(BF16) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q4_K) X(Q5_K)
                                       X(Q6_K){0}};
