/* Residual add and RMS norm: the plain C level against double precision, the others against it bit for bit. */
#include "checkkern.h"

#include "base/check.h"
#include "kernels/cpu/act.h"
#include "kernels/half.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int32_t units[KA_COUNT] = {1, 2, 32, 256};

typedef struct norm_case {
    kern_norm_args a;
    kern_act out;
    int32_t x_rows;
    float *x0;           // what x holds before
} norm_case;

static float *random_floats(size_t n, int fill)
{
    float *x = ck_alloc(n * sizeof *x, 4);
    ck_fill(x, n, fill);
    return x;
}

static norm_case make_case(int kind)
{
    norm_case c = {0};
    int fill = ck_rand_int(0, CK_FILLS - 1);
    static const int blocks_max[KA_COUNT] = {900, 900, 40, 6};
    int32_t toks = ck_rand_int(1, 9), cols = units[kind] * ck_rand_int(1, blocks_max[kind]);
    size_t n = (size_t)cols;
    bool has_y = ck_one_in(2);
    c.x_rows = has_y ? toks : toks + ck_rand_int(0, 5);
    c.x0 = random_floats((size_t)c.x_rows * n, fill);
    c.a = (kern_norm_args){.tok_count = toks, .cols = cols, .eps = ck_one_in(3) ? 1e-5f : 1e-6f, .y_scale = 1.0f};
    c.a.x = ck_alloc((size_t)c.x_rows * n * 4, 4);
    if (has_y) {
        c.a.y = random_floats((size_t)toks * n, ck_one_in(4) ? fill : CK_FILL_RANDOM);
        c.a.y_weight = ck_one_in(2) ? random_floats(n, CK_FILL_RANDOM) : NULL;
        c.a.y_scale = ck_one_in(2) ? 1.0f : ck_rand_float();
    } else if (ck_one_in(2)) {
        int32_t *gather = ck_alloc((size_t)toks * 4, 4);
        for (int32_t t = 0; t < toks; t++)
            gather[t] = ck_rand_int(0, c.x_rows - 1);
        c.a.gather = gather;
    }
    c.a.weight = ck_one_in(5) ? NULL : random_floats(n, CK_FILL_RANDOM);
    c.out = (kern_act){.kind = (kern_act_kind)kind, .tok_count = toks, .cols = cols,
                       .stride = act_stride((kern_act_kind)kind, cols)};
    return c;
}

static void run_case(norm_case *c, const cpu_level *level, bool has_out)
{
    memcpy(c->a.x, c->x0, (size_t)c->x_rows * (size_t)c->a.cols * 4);
    c->out.data = ck_alloc(c->out.stride * (size_t)c->a.tok_count, 64);
    c->a.out = has_out ? &c->out : NULL;
    for (int64_t t = cpu_norm_tiles(&c->a) - 1; t >= 0; t--)
        level->norm(&c->a, t, t + 1);
}

static double rms_of(const double *v, int32_t cols, double eps)
{
    double sum = 0.0;
    for (int32_t i = 0; i < cols; i++)
        sum += v[i] * v[i];
    return 1.0 / sqrt(sum / cols + eps);
}

/* Row t in double, from scratch. */
static void check_truth(const norm_case *c, int32_t t)
{
    const kern_norm_args *a = &c->a;
    int32_t cols = a->cols, row = a->gather ? a->gather[t] : t;
    static double x[4096], y[4096];
    td_assert(cols <= 4096);
    for (int32_t i = 0; i < cols; i++) {
        x[i] = (double)c->x0[row * cols + i];
        y[i] = a->y ? (double)a->y[t * cols + i] : 0.0;
    }
    double ry = a->y_weight ? rms_of(y, cols, (double)a->eps) : 1.0;
    for (int32_t i = 0; i < cols; i++)
        x[i] += (double)a->y_scale * y[i] * ry * (a->y_weight ? (double)a->y_weight[i] : 1.0);
    double rx = a->weight ? rms_of(x, cols, (double)a->eps) : 1.0;
    const float *out = (const float *)(const void *)((const char *)c->out.data + (size_t)t * c->out.stride);
    for (int32_t i = 0; i < cols; i++) {
        double want = x[i] * rx * (a->weight ? (double)a->weight[i] : 1.0);
        if (fabs(want - (double)out[i]) > 1e-5 * fabs(want) + 1e-5)
            ck_fail("row %d column %d of %d: %.9g, not %.9g", t, i, cols, (double)out[i], want);
    }
}

static void run(int kind)
{
    for (int round = 0; round < 60; round++) {
        norm_case want = make_case(kind), got;
        bool has_out = !want.a.y || !ck_one_in(4), plain = true;
        run_case(&want, ck.ref, has_out);
        got = want;
        got.a.x = ck_alloc((size_t)want.x_rows * (size_t)want.a.cols * 4, 4);
        run_case(&got, ck.level, has_out);
        ck_same_floats("x", want.a.x, got.a.x, (size_t)want.x_rows * (size_t)want.a.cols);
        if (has_out && kind == KA_F32)
            for (int32_t t = 0; t < want.a.tok_count; t++)
                ck_same_floats("out", (const float *)want.out.data + (size_t)t * want.out.stride / 4,
                               (const float *)got.out.data + (size_t)t * want.out.stride / 4, (size_t)want.a.cols);
        else if (has_out)
            ck_same_bytes("out", want.out.data, got.out.data, want.out.stride * (size_t)want.a.tok_count);
        for (size_t i = 0; i < (size_t)want.x_rows * (size_t)want.a.cols; i++)
            plain = plain && fabsf(want.x0[i]) < 1e3f && (want.x0[i] == 0.0f || fabsf(want.x0[i]) > 1e-3f);
        for (size_t i = 0; want.a.y && i < (size_t)want.a.tok_count * (size_t)want.a.cols; i++)
            plain = plain && fabsf(want.a.y[i]) < 1e3f && (want.a.y[i] == 0.0f || fabsf(want.a.y[i]) > 1e-3f);
        if (ck.level == ck.ref && kind == KA_F32 && has_out && plain)
            for (int32_t t = 0; t < want.a.tok_count; t++)
                check_truth(&want, t);
        ck_release();
    }
}

/* ---- on a device ---- */

static kern_norm_args on_device(const norm_case *c, kern_act *out, bool has_out)
{
    const kern_norm_args *a = &c->a;
    size_t cols = (size_t)a->cols, toks = (size_t)a->tok_count;
    kern_norm_args d = *a;
    d.x = ck_put(c->x0, (size_t)c->x_rows * cols * 4);
    d.y = ck_put(a->y, toks * cols * 4);
    d.y_weight = ck_put(a->y_weight, cols * 4);
    d.weight = ck_put(a->weight, cols * 4);
    d.gather = ck_put(a->gather, toks * 4);
    *out = c->out;
    out->stride = ck.dev->ops->act_stride(out->kind, a->cols);
    out->data = ck_room(out->stride * toks);
    d.out = has_out ? out : NULL;
    return d;
}

/* Row t of an activation as floats. */
static void row_floats(const kern_act *a, const void *data, int32_t t, float *out)
{
    const char *row = (const char *)data + (size_t)t * a->stride;
    for (int32_t i = 0; i < a->cols; i++)
        out[i] = a->kind == KA_F32 ? ((const float *)(const void *)row)[i]
                                   : kern_bf16_to_f32(((const uint16_t *)(const void *)row)[i]);
}

/* Each row alone gives the bits that it has in the batch. */
static void check_alone(const norm_case *c, const kern_norm_args *all, const float *x, const char *rows, bool has_out)
{
    size_t cols = (size_t)c->a.cols;
    for (int32_t t = 0; t < c->a.tok_count; t++) {
        kern_norm_args one = *all;
        kern_act out = c->out;
        int32_t from = c->a.gather ? c->a.gather[t] : t;
        out.tok_count = one.tok_count = 1;
        out.stride = ck.dev->ops->act_stride(out.kind, out.cols);
        out.data = ck_room(out.stride);
        one.x = ck_put(c->x0 + (size_t)from * cols, cols * 4);
        one.y = all->y ? all->y + (size_t)t * cols : NULL;
        one.gather = NULL;
        one.out = has_out ? &out : NULL;
        ck.dev->ops->norm(ck.dev, &one);
        if (has_out)
            ck_same_bytes("a row alone", rows + (size_t)t * out.stride, ck_get_act(&out), out.stride);
        if (c->a.y)
            ck_same_floats("x alone", x + (size_t)t * cols, ck_get(one.x, cols * 4), cols);
    }
}

static void run_dev(int kind)
{
    for (int round = 0; round < 12; round++) {
        norm_case c = make_case(kind);
        bool has_out = !c.a.y || !ck_one_in(4);
        size_t cols = (size_t)c.a.cols, n = (size_t)c.x_rows * cols;
        kern_act out;
        run_case(&c, ck.ref, has_out);
        kern_norm_args d = on_device(&c, &out, has_out);
        ck.dev->ops->norm(ck.dev, &d);
        const float *x = ck_get(d.x, n * 4);
        const char *rows = ck_get_act(&out);
        if (c.a.y && c.a.y_weight)
            ck_near_floats("x", c.a.x, x, n, 2e-6f, 2e-6f);
        else
            ck_same_floats("x", c.a.x, x, n);
        float want[4096], got[4096];
        for (int32_t t = 0; has_out && t < c.a.tok_count; t++) {
            row_floats(&c.out, c.out.data, t, want);
            row_floats(&out, rows, t, got);
            ck_near_floats("out", want, got, cols, kind == KA_F32 ? 2e-6f : 0x1p-7f, 2e-6f);
        }
        check_alone(&c, &d, x, rows, has_out);
        ck_release();
    }
}

static void bench(int kind)
{
    enum { TOKS = 64, COLS = 4096 };
    kern_act out = {.kind = (kern_act_kind)kind, .tok_count = TOKS, .cols = COLS};
    out.stride = act_stride(out.kind, COLS);
    out.data = ck_alloc(out.stride * TOKS, 64);
    kern_norm_args a = {.tok_count = TOKS, .cols = COLS, .eps = 1e-6f, .x = random_floats(TOKS * COLS, 0),
                        .weight = random_floats(COLS, 0), .out = &out};
    double best = 1e9;
    for (int i = 0; i < 10; i++) {
        double t = ck_seconds();
        ck.level->norm(&a, 0, cpu_norm_tiles(&a));
        best = fmin(best, ck_seconds() - t);
    }
    printf("%-14s %-10s %8.2f us a row of %d\n", ck.test, ck.level->name, best / TOKS * 1e6, COLS);
}

const ck_test ck_norm_tests[] = {
    {"norm.F32", run, bench, KA_F32, run_dev}, {"norm.BF16", run, NULL, KA_BF16, run_dev},
    {"norm.Q8_32", run, bench, KA_Q8_32},      {"norm.Q8_256", run, NULL, KA_Q8_256},
    {NULL, NULL, NULL, 0},
};
