/* The tensor cores' arithmetic on cases that were worked out by hand. */
#include "kernels/emu/dot.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint16_t bf16(float f) // exact ones
{
    uint32_t u;
    memcpy(&u, &f, 4);
    assert_int_equal(u & 0xffff, 0);
    return (uint16_t)(u >> 16);
}

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

typedef struct pair {
    float a, b;
} pair;

static float dot(float c, const pair *p, int n)
{
    emu_row a = {.special = false}, b = {.special = false};
    for (int i = 0; i < n; i++) {
        emu_row_set(&a, i, emu_num_bf16(bf16(p[i].a)));
        emu_row_set(&b, i, emu_num_bf16(bf16(p[i].b)));
    }
    return emu_dot_half(&a, &b, c);
}

#define DOT(c, ...) dot(c, (const pair[]){__VA_ARGS__}, sizeof(const pair[]){__VA_ARGS__} / sizeof(pair))
#define P(e) ldexpf(1.0f, e)

static void test_plain(void **state)
{
    (void)state;
    assert_true(DOT(0.5f, {1, 2}, {3, 4}, {-5, 0.25f}) == 13.25f);
    assert_int_equal(bits(DOT(0.0f, {0, 0})), 0);
    assert_int_equal(bits(DOT(-0.0f, {-1, 0})), 0); // a sum of zero is +0
    assert_int_equal(bits(DOT(1.0f, {-1, 1})), 0);
}

static void test_result_is_cut(void **state)
{
    (void)state;
    assert_true(DOT(P(24), {1, 1}) == P(24));
    assert_true(DOT(P(24), {3, 1}) == P(24) + 2);   // nearest would be + 4
    assert_true(DOT(-P(24), {-3, 1}) == -P(24) - 2);
    assert_true(DOT(P(24), {-1, 1}) == P(24) - 1);
}

static void test_terms_are_cut(void **state)
{
    (void)state;
    assert_true(DOT(P(25), {1, 1}, {-P(13), P(12)}) == 1); // 25 bits below the largest: kept
    assert_true(DOT(P(26), {1, 1}, {-P(13), P(13)}) == 0); // 26: gone
    assert_true(DOT(P(26), {1, 1}, {1, 1}, {-P(13), P(13)}) == 0); // each is cut before the sum
    assert_true(DOT(P(25), {-1.75f, 1}, {-P(13), P(12)}) == -1); // towards zero, not down
    // 1.5 * 1.5 = 2.25 counts with exponent 0, so 2^-25 stays; with 2 * 1 the exponent is 1 and it goes.
    assert_true(DOT(P(-25), {1.5f, 1.5f}, {-1.5f, 1.5f}) == P(-25));
    assert_true(DOT(P(-25), {2, 1}, {-2, 1}) == 0);
    assert_true(DOT(P(-24), {2, 1}, {-2, 1}) == P(-24));
}

static void test_denormals(void **state)
{
    (void)state;
    assert_int_equal(bits(DOT(0, {P(-133), 1})), 1u << 16);       // a bf16 denormal as it is
    assert_int_equal(bits(DOT(0, {P(-100), P(-48)})), 2);         // an fp32 denormal as result
    assert_int_equal(bits(DOT(0, {P(-100), P(-50)})), 0);         // less than half of the least: cut
    assert_int_equal(bits(DOT(P(-149), {P(-100), P(-49)})), 2);   // a denormal as c
    assert_int_equal(bits(DOT(P(-126), {-P(-100), P(-49)})), 0x7fffff);
}

static void test_specials(void **state)
{
    (void)state;
    assert_int_equal(bits(DOT(0, {INFINITY, 2})), 0x7f800000);
    assert_int_equal(bits(DOT(1, {INFINITY, -2}, {3, 4})), 0xff800000);
    assert_int_equal(bits(DOT(0, {INFINITY, 0})), 0x7fffffff);
    assert_int_equal(bits(DOT(INFINITY, {-INFINITY, 1})), 0x7fffffff);
    assert_int_equal(bits(DOT(INFINITY, {INFINITY, 1})), 0x7f800000);
    assert_int_equal(bits(DOT(NAN, {1, 1})), 0x7fffffff);
    assert_int_equal(bits(DOT(0, {P(127), 2})), 0x7f800000); // too large is infinite, though cut elsewhere
    assert_true(DOT(0, {P(127), 1}) == P(127));
    assert_true(DOT(0, {P(127), 2}, {-P(127), 1}) == P(127)); // inside the sum there is room
}

static float product(bool fp8, emu_num x, emu_num y, float c)
{
    emu_row a = {.special = false}, b = {.special = false};
    emu_row_set(&a, 3, x);
    emu_row_set(&b, 3, y);
    return fp8 ? emu_dot_fp8(&a, &b, c) : emu_dot_half(&a, &b, c);
}

static void test_formats(void **state)
{
    (void)state;
    emu_num one = emu_num_f16(0x3c00), least = emu_num_f16(0x0001), most = emu_num_f16(0x7bff);
    assert_true(product(false, one, least, 0) == P(-24));
    assert_true(product(false, one, most, 0) == 65504);
    assert_true(product(false, most, most, 0) == 65504.0f * 65504.0f);
    emu_num e1 = emu_num_e4m3(0x38), e448 = emu_num_e4m3(0x7e), tiny = emu_num_e4m3(0x01), nan = emu_num_e4m3(0xff);
    assert_true(product(true, e1, e448, 0) == 448);
    assert_true(product(true, e1, tiny, 0) == P(-9));
    assert_int_equal(bits(product(true, e1, nan, 0)), 0x7fffffff);
    // fp8: terms and result keep 13 bits.
    assert_true(product(true, e1, e1, P(13)) == P(13) + 1);
    assert_true(product(true, e1, e1, P(14)) == P(14));
    assert_true(product(true, e1, e1, 1 + P(-13) + P(-14)) == 2);
}

/* The most that 16 and 32 terms can be: nothing may overflow on the way. */
static void test_largest(void **state)
{
    (void)state;
    emu_row a = {.special = false}, b = {.special = false};
    for (int i = 0; i < 16; i++) {
        emu_row_set(&a, i, emu_num_f16(0x7bff));
        emu_row_set(&b, i, emu_num_f16(0xfbff));
    }
    assert_true(emu_dot_half(&a, &b, 0) == -16 * 65504.0f * 65504.0f); // 2047^2 has 22 bits: exact
    for (int i = 0; i < 32; i++) {
        emu_row_set(&a, i, emu_num_e4m3(0x7e));
        emu_row_set(&b, i, emu_num_e4m3(0xfe));
    }
    assert_true(emu_dot_fp8(&a, &b, 0) == -32 * 448.0f * 448.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain), cmocka_unit_test(test_result_is_cut), cmocka_unit_test(test_terms_are_cut),
        cmocka_unit_test(test_denormals), cmocka_unit_test(test_specials), cmocka_unit_test(test_formats),
        cmocka_unit_test(test_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
