/* The rope table: plain C against libm, the other levels against plain C. */
#include "checkkern.h"

#include <math.h>
#include <stdio.h>

static kern_rope_args make_args(kern_batch *b, int32_t toks, int32_t dims, int32_t pos_max)
{
    int32_t *pos = ck_alloc((size_t)toks * 4, 4);
    double *freq = ck_alloc((size_t)dims / 2 * 8, 8);
    for (int32_t t = 0; t < toks; t++)
        pos[t] = ck_rand_int(0, pos_max);
    for (int32_t i = 0; i < dims / 2; i++)
        freq[i] = pow(ck_one_in(2) ? 10000.0 : 500000.0, -2.0 * i / dims);
    *b = (kern_batch){.tok_count = toks, .pos = pos};
    return (kern_rope_args){.batch = b, .inv_freq = freq, .dims = dims, .mscale = ck_one_in(2) ? 1.0f : 1.2079441f};
}

static void run(int arg)
{
    (void)arg;
    for (int round = 0; round < 60; round++) {
        kern_batch b;
        int32_t toks = ck_rand_int(1, 70), dims = 2 * ck_rand_int(1, ck_one_in(2) ? 20 : 128);
        kern_rope_args a = make_args(&b, toks, dims, ck_one_in(3) ? 100 : 1 << 24);
        size_t n = (size_t)toks * (size_t)dims;
        float *want = a.table = ck_alloc(n * 4, 4), *got = ck_alloc(n * 4, 4);
        ck.ref->rope(&a, 0, cpu_rope_tiles(&a));
        a.table = got;
        for (int64_t t = cpu_rope_tiles(&a) - 1; t >= 0; t--)
            ck.level->rope(&a, t, t + 1);
        ck_same_floats("table", want, got, n);
        for (size_t i = 0; i < n / 2 && ck.level == ck.ref; i++) {
            double angle = (double)b.pos[i / (size_t)(dims / 2)] * a.inv_freq[i % (size_t)(dims / 2)];
            double c = cos(angle) * (double)a.mscale, s = sin(angle) * (double)a.mscale;
            if (fabs(c - (double)got[2 * i]) > 1e-7 || fabs(s - (double)got[2 * i + 1]) > 1e-7)
                ck_fail("angle %.17g: %.9g %.9g", angle, (double)got[2 * i], (double)got[2 * i + 1]);
        }
        ck_release();
    }
}

/* The same bits on a device. */
static void run_dev(int arg)
{
    (void)arg;
    for (int round = 0; round < 20; round++) {
        kern_batch b;
        int32_t toks = ck_rand_int(1, 70), dims = 2 * ck_rand_int(1, ck_one_in(2) ? 20 : 128);
        kern_rope_args a = make_args(&b, toks, dims, ck_one_in(3) ? 100 : 1 << 24);
        size_t bytes = (size_t)toks * (size_t)dims * 4;
        float *want = a.table = ck_alloc(bytes, 4);
        ck.ref->rope(&a, 0, cpu_rope_tiles(&a));
        b.pos = ck_put(b.pos, (size_t)toks * 4);
        a.inv_freq = ck_put(a.inv_freq, (size_t)dims / 2 * 8);
        a.table = ck_room(bytes);
        ck.dev->ops->rope(ck.dev, &a);
        ck_same_floats("table", want, ck_get(a.table, bytes), bytes / 4);
        ck_release();
    }
}

static void bench(int arg)
{
    (void)arg;
    kern_batch b;
    kern_rope_args a = make_args(&b, 512, 64, 8192);
    a.table = ck_alloc(512 * 64 * 4, 4);
    double best = 1e9;
    for (int i = 0; i < 10; i++) {
        double t = ck_seconds();
        ck.level->rope(&a, 0, cpu_rope_tiles(&a));
        best = fmin(best, ck_seconds() - t);
    }
    printf("%-14s %-10s %8.2f ns an angle\n", ck.test, ck.level->name, best / (512 * 32) * 1e9);
}

const ck_test ck_rope_tests[] = {{"rope", run, bench, 0, run_dev}, {NULL, NULL, NULL, 0}};
