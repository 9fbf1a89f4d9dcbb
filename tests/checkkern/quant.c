/* Activation rows: every level's bytes equal the plain C level's, whose values are checked against the input. */
#include "checkkern.h"

#include "base/check.h"
#include "kernels/cpu/act.h"
#include "kernels/half.h"

#include <math.h>
#include <stdio.h>

static const int32_t units[KA_COUNT] = {1, 1, 32, 256};

static kern_act make_act(kern_act_kind kind, int32_t toks, int32_t cols)
{
    kern_act a = {.kind = kind, .tok_count = toks, .cols = cols, .stride = act_stride(kind, cols)};
    a.data = ck_alloc(a.stride * (size_t)toks, 64);
    return a;
}

/* Quantised values lie within half a step of the input. */
static void check_truth(const kern_act *a, const float *x, int32_t x_stride)
{
    int32_t n = units[a->kind];
    for (int32_t t = 0; t < a->tok_count; t++) {
        const char *row = (const char *)a->data + (size_t)t * a->stride;
        const int8_t *q = (const int8_t *)row;
        const float *d = (const float *)(const void *)(row + a->cols);
        for (int32_t k = 0; k < a->cols; k++) {
            double want = (double)x[(size_t)t * (size_t)x_stride + (size_t)k];
            if (a->kind == KA_BF16) {
                double got = (double)kern_bf16_to_f32(((const uint16_t *)(const void *)row)[k]);
                if (fabs(got - want) > fabs(want) / 256)
                    ck_fail("bf16 of %.9g is %.9g", want, got);
            } else if (a->kind != KA_F32) {
                double step = (double)d[k / n];
                if (fabs(step * q[k] - want) > step * 0.50001 + 1e-30)
                    ck_fail("column %d: %.9g became %d * %.9g", k, want, q[k], step);
            }
        }
    }
}

static void run(int kind)
{
    for (int round = 0; round < 60; round++) {
        int32_t toks = ck_rand_int(1, 5), cols = units[kind] * ck_rand_int(1, kind == KA_Q8_256 ? 5 : 40);
        int32_t stride = cols + (ck_one_in(2) ? ck_rand_int(0, 9) : 0);
        float *x = ck_alloc(((size_t)stride * (size_t)(toks - 1) + (size_t)cols) * 4, 4);
        int fill = ck_rand_int(0, CK_FILLS - 1);
        for (int32_t t = 0; t < toks; t++)
            ck_fill(x + (size_t)t * (size_t)stride, (size_t)cols, fill);
        kern_act want = make_act((kern_act_kind)kind, toks, cols), got = make_act((kern_act_kind)kind, toks, cols);
        kern_quant_args a = {.x = x, .x_stride = stride, .out = &want};
        ck.ref->quant(&a, 0, cpu_quant_tiles(&a));
        a.out = &got;
        ck.level->quant(&a, 0, cpu_quant_tiles(&a));
        ck_same_bytes("row", want.data, got.data, want.stride * (size_t)toks);
        if (ck.level == ck.ref && fill < CK_FILL_HUGE && fill != CK_FILL_TINY)
            check_truth(&want, x, stride);
        ck_release();
    }
}

/* The same bytes on a device, and zeros to the end of a row. */
static void run_dev(int kind)
{
    for (int round = 0; round < 20; round++) {
        int32_t toks = ck_rand_int(1, 5), cols = ck_rand_int(1, 300), stride = cols + ck_rand_int(0, 9);
        float *x = ck_alloc((size_t)(stride * toks) * 4, 4);
        ck_fill(x, (size_t)(stride * toks), ck_rand_int(0, CK_FILLS - 1));
        kern_act want = make_act((kern_act_kind)kind, toks, cols), got = want;
        kern_quant_args a = {.x = x, .x_stride = stride, .out = &want};
        ck.ref->quant(&a, 0, cpu_quant_tiles(&a));
        got.stride = ck.dev->ops->act_stride(got.kind, cols);
        got.data = ck_room(got.stride * (size_t)toks);
        a.x = ck_put(x, (size_t)(stride * toks) * 4);
        a.out = &got;
        ck.dev->ops->quant(ck.dev, &a);
        const char *rows = ck_get_act(&got);
        size_t bytes = (size_t)cols * (kind == KA_F32 ? 4 : 2);
        for (int32_t t = 0; t < toks; t++) {
            const char *row = rows + (size_t)t * got.stride;
            ck_same_bytes("row", (const char *)want.data + (size_t)t * want.stride, row, bytes);
            for (size_t i = bytes; i < got.stride; i++)
                if (row[i])
                    ck_fail("byte %zu behind %zu is not 0", i, bytes);
        }
        ck_release();
    }
}

static void bench(int kind)
{
    enum { COLS = 2048, TOKS = 64, REPS = 50 };
    float *x = ck_alloc(sizeof(float) * COLS * TOKS, 4);
    ck_fill(x, COLS * TOKS, CK_FILL_RANDOM);
    kern_act out = make_act((kern_act_kind)kind, TOKS, COLS);
    kern_quant_args a = {.x = x, .x_stride = COLS, .out = &out};
    double t0 = ck_seconds();
    for (int i = 0; i < REPS; i++)
        ck.level->quant(&a, 0, TOKS);
    printf("%-16s %-11s %6.2f G values/s\n", ck.test, ck.level->name, REPS * 1e-9 * COLS * TOKS / (ck_seconds() - t0));
}

const ck_test ck_quant_tests[] = {
    {"quant.f32", run, bench, KA_F32, run_dev},  {"quant.bf16", run, bench, KA_BF16, run_dev},
    {"quant.q8_32", run, bench, KA_Q8_32},       {"quant.q8_256", run, bench, KA_Q8_256},
    {0}};
