/* exp, log, sine and cosine of the kernels against libm in double; Philox against the vectors of Random123. */
#include "kernels/cpu/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
// cmocka wants the three above first
#include <cmocka.h>

/* Distance of a float from the true value, in units of the float's last place. */
static double ulps(float got, double want)
{
    int e;
    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1.0, e - 24);
}

static void test_exp(void **state)
{
    (void)state;
    double worst = 0.0;
    for (uint32_t i = 0; i < 1u << 22; i++) {
        float x = -86.9f + (float)i * (174.0f / (float)(1u << 22));
        double err = ulps(kern_exp(x), exp((double)x));
        worst = err > worst ? err : worst;
    }
    print_message("kern_exp: at most %.3f ulp\n", worst);
    assert_true(worst <= 2.0);
    assert_true(kern_exp(0.0f) == 1.0f && kern_exp(-0.0f) == 1.0f);
    assert_true(kern_exp(-INFINITY) == 0.0f && kern_exp(-1000.0f) == 0.0f && isnan(kern_exp(NAN)));
    assert_true(kern_exp(1e30f) == kern_exp(88.0f));
}

static void test_log(void **state)
{
    (void)state;
    double worst = 0.0;
    for (uint32_t i = 0; i < 1u << 22; i++) {
        float x = kern_from_bits(0x00800000u + i * ((0x7f800000u - 0x00800000u) >> 22));
        double want = log((double)x);
        double err = want == 0.0 ? fabs((double)kern_log(x)) : ulps(kern_log(x), want);
        worst = err > worst ? err : worst;
        assert_true(fabs(kern_log_wide((double)x) - want) <= 4e-16 * fabs(want) + 1e-300);
    }
    for (uint32_t i = 0; i < 100000; i++) { // around 1, where the result is small
        float x = kern_from_bits(0x3f800000u - 50000u + i);
        double want = log((double)x);
        double err = want == 0.0 ? fabs((double)kern_log(x)) : ulps(kern_log(x), want);
        worst = err > worst ? err : worst;
    }
    print_message("kern_log: at most %.3f ulp\n", worst);
    assert_true(worst <= 2.0);
    assert_true(kern_log(0.0f) == -INFINITY && kern_log(INFINITY) == INFINITY && kern_log(1.0f) == 0.0f);
    assert_true(isnan(kern_log(-1.0f)) && isnan(kern_log(NAN)));
}

static void test_sin_cos(void **state)
{
    (void)state;
    double worst = 0.0;
    for (uint32_t i = 0; i < 1u << 20; i++) {
        double f = (double)(i * 2654435761u) / 4294967296.0;
        double x = i % 3 == 0 ? f * 16777216.0 : i % 3 == 1 ? f * 6.3 : floor(f * 16777216.0);
        x = i & 1 ? -x : x;
        double s, c;
        kern_sin_cos(x, &s, &c);
        worst = fmax(worst, fmax(fabs(s - sin(x)), fabs(c - cos(x))));
    }
    print_message("kern_sin_cos: within %.3g\n", worst);
    assert_true(worst < 1e-15);
}

static void test_philox(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } rows[] = { // kat_vectors of Random123
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < TD_COUNT(rows); i++) {
        uint32_t out[4];
        sample_philox(rows[i].counter, rows[i].key, out);
        assert_memory_equal(out, rows[i].want, sizeof out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exp), cmocka_unit_test(test_log),
                                       cmocka_unit_test(test_sin_cos), cmocka_unit_test(test_philox)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
