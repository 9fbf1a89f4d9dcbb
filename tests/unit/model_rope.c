/* Rope frequencies: the arithmetic against libm, the formulas against values computed from their definitions. */
#include "model/rope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>

static void near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fabs(want)))
        fail_msg("%.17g, expected %.17g", got, want);
}

static void power_and_logarithm(void **state)
{
    (void)state;
    for (double base = 1.001; base < 1e15; base *= 1.0731)
        for (double x = -1; x <= 1; x += 0.0137)
            near(rope_pow(base, x), pow(base, x), 1e-14);
    for (double v = 1e-12; v < 1e15; v *= 1.00731)
        near(rope_log(v), log(v), 1e-14);
    assert_true(rope_pow(10000, 0) == 1);
    assert_true(rope_log(1) == 0);
    near(rope_log(nextafter(1, 2)), 0x1p-52, 1e-14);
    near(rope_log(nextafter(1, 0)), -0x1p-53, 1e-14);
}

typedef struct point {
    int i;
    double inv_freq;
} point;

static void check(const rope_set *r, double mscale, const point *points, int count)
{
    double inv_freq[TD_MODEL_HEAD_DIM_MAX / 2];
    float got;
    rope_inv_freq(r, inv_freq, &got);
    assert_true(got == (float)mscale);
    for (int i = 0; i < count; i++)
        near(inv_freq[points[i].i], points[i].inv_freq, 1e-13);
    for (int i = 1; i < r->dims / 2; i++)
        assert_true(inv_freq[i] < inv_freq[i - 1]);
}

#define CHECK(r, mscale, points) check(&(r), mscale, points, (int)(sizeof points / sizeof *points))

static void default_and_linear(void **state)
{
    (void)state;
    rope_set r = {.kind = ROPE_DEFAULT, .dims = 64, .theta = 10000, .factor = 1};
    static const point plain[] = {{0, 1}, {8, 0.1}, {16, 0.01}, {24, 0.001}};
    CHECK(r, 1, plain);
    rope_set linear = {.kind = ROPE_LINEAR, .dims = 256, .theta = 1e6, .factor = 8};
    static const point eighth[] = {{0, 0.125}, {1, 0.11221089155591428}, {64, 0.000125}, {127, 1.3924673249935028e-07}};
    CHECK(linear, 1, eighth);
}

static void llama3(void **state)
{
    (void)state;
    rope_set r = {.kind = ROPE_LLAMA3, .dims = 64, .theta = 500000, .factor = 32, .original_ctx = 8192, .low_freq = 1,
                  .high_freq = 4};
    static const point points[] = {
        {0, 1.0},
        {10, 0.016560440080994446},
        {13, 0.004839421345719893},
        {14, 0.0032114459947525913},
        {15, 0.001290547928209264},
        {16, 0.00042955679655936815},
        {17, 9.70828780262767e-05},
        {18, 1.9461638184831125e-05},
        {20, 8.570255489881478e-06},
        {31, 9.418306725434909e-08},
    };
    CHECK(r, 1, points);
}

static void yarn(void **state)
{
    (void)state;
    rope_set r = {.kind = ROPE_YARN, .dims = 128, .theta = 1e6, .factor = 4, .original_ctx = 32768, .beta_fast = 32,
                  .beta_slow = 1, .truncate = true};
    static const point points[] = {
        {0, 1.0},
        {20, 0.01333521432163324},
        {23, 0.006978305848598663},
        {24, 0.005375321490790102},
        {30, 0.0010643609812470017},
        {35, 0.0002462584069089387},
        {39, 6.490394320837028e-05},
        {40, 4.445698525097307e-05},
        {41, 3.582531425592407e-05},
        {63, 3.102344401879299e-07},
    };
    CHECK(r, 1.138629436111989, points);
    r.attn_factor = 1.25;
    CHECK(r, 1.25, points);
    rope_set whole = {.kind = ROPE_YARN, .dims = 64, .theta = 150000, .factor = 32, .original_ctx = 4096,
                      .beta_fast = 32, .beta_slow = 1};
    static const point fractional[] = {
        {0, 1.0},
        {7, 0.07374456821026082},
        {8, 0.050813274815461475},
        {9, 0.03170569618466377},
        {12, 0.006794959489732219},
        {17, 0.00012931870124506317},
        {18, 3.8308812373753384e-05},
        {31, 3.0235114281192144e-07},
    };
    CHECK(whole, 1.3465735902799727, fractional);
}

static void yarn_scale(void **state)
{
    (void)state;
    assert_true(rope_yarn_mscale(1, 0, 0) == 1);
    near(rope_yarn_mscale(4, 0, 0), 1 + 0.1 * log(4), 1e-15);
    assert_true(rope_yarn_mscale(40, 0.707, 0.707) == 1);
    near(rope_yarn_mscale(40, 1, 0.5), (1 + 0.1 * log(40)) / (1 + 0.05 * log(40)), 1e-15);
}

static void divisors(void **state)
{
    (void)state;
    rope_set r = {.dims = 8, .theta = 10000, .factor = 1, .divisor_count = 4, .divisor = {1, 2, 4, 32}};
    static const point points[] = {{0, 1}, {1, 0.05}, {2, 0.0025}, {3, 0.001 / 32}};
    CHECK(r, 1, points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_and_logarithm), cmocka_unit_test(default_and_linear), cmocka_unit_test(llama3),
        cmocka_unit_test(yarn),                cmocka_unit_test(yarn_scale),         cmocka_unit_test(divisors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
