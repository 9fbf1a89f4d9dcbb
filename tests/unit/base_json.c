/* The strict scanner: what it refuses, what it keeps exact. */
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

static td_rc parse(const char *s, size_t len, td_json **out)
{
    td_err err = TD_ERR_INIT;
    return td_json_parse(s, len, &td_json_request_limits, out, &err);
}

static void refuses(void **state)
{
    (void)state;
    static const struct { const char *s; size_t len; } bad[] = {
#define B(t) {t, sizeof t - 1}
        B(""), B("{"), B("[1,]"), B("{\"a\":1} x"), B("{\"a\":1,\"a\":2}"), B("{\"a\":1,\"\\u0061\":2}"), B("1e999"),
        B("012"), B("1."), B("-"), B(".5"), B("NaN"), B("Infinity"), B("\"\xff\""), B("\"\xC0\x80\""),
        B("\"\xED\xA0\x80\""), B("\"\\ud800\""), B("\"\\udc00\\ud800\""), B("\"a\\u0000b\""), B("\"a\nb\""),
        B("\xEF\xBB\xBF{}"), B("{a:1}"), B("[1 2]"), B("{\"a\" 1}"), B("\"abc"), B("/*c*/1"), B("tru"), B("\0"),
        B("\"a\0b\""), B("{\"a\":[1,{\"b\":2,\"b\":3}]}"),
#undef B
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        td_json *j = NULL;
        assert_int_equal(parse(bad[i].s, bad[i].len, &j), TD_E_INPUT);
        assert_null(j);
    }
}

static void depth_and_nodes(void **state)
{
    (void)state;
    char deep[400];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    td_json *j = NULL;
    assert_int_equal(parse(deep, 400, &j), TD_E_INPUT);
    assert_int_equal(parse(deep + 140, 120, &j), TD_OK);
    td_json_free(j);
    td_err err = TD_ERR_INIT;
    td_json_limits few = {8, 3};
    assert_int_equal(td_json_scan("[1,2,3]", 7, &few, &err), TD_E_INPUT);
    assert_non_null(strstr(err.msg, "too many"));
}

static void exact_values(void **state)
{
    (void)state;
    const char *s =
        "{\"a\":9007199254740993,\"b\":[-9223372036854775808,1.5,\"\\u00e9\\ud83d\\ude00\"],\"c\":null,\"d\":-0,"
        "\"e\":[],\"f\":{},\"g\":12345678901234567}";
    td_json *j = NULL;
    assert_int_equal(parse(s, strlen(s), &j), TD_OK);
    int64_t v;
    assert_true(td_json_int(td_json_get(j, "a"), &v));
    assert_true(v == 9007199254740993);
    td_json *b = td_json_get(j, "b");
    assert_true(td_json_int(b->child, &v));
    assert_true(v == INT64_MIN);
    assert_false(td_json_int(b->child->next, &v));
    assert_string_equal(td_json_str(b->child->next->next), "\xC3\xA9\xF0\x9F\x98\x80");
    assert_null(td_json_get(j, "c"));
    assert_null(td_json_get(j, "A"));
    assert_true(td_json_int(td_json_get(j, "g"), &v));
    assert_true(v == 12345678901234567);
    td_json_free(j);
}

static void beyond_64_bits(void **state)
{
    (void)state;
    static const char s[] = "[9223372036854775808,-9223372036854775809,123456789012345678901234567890]";
    td_json *j = NULL;
    assert_int_equal(parse(s, sizeof s - 1, &j), TD_OK);
    int64_t v;
    double d;
    td_json_each(item, j)
    {
        assert_true(cJSON_IsNumber(item) && !td_json_is_float(item));
        assert_false(td_json_int(item, &v));
        assert_true(td_json_num(item, &d) && fabs(d) > 9e18);
    }
    td_json_free(j);
}

static void floats_keep_their_point(void **state)
{
    (void)state;
    static const char s[] = "[1,1.0,1e3,-0.0,2.5,-0]";
    static const bool is_float[] = {false, true, true, true, true, false};
    static const int64_t whole[] = {1, 1, 1000, 0, -1, 0};
    td_json *j = NULL;
    assert_int_equal(parse(s, sizeof s - 1, &j), TD_OK);
    size_t i = 0;
    int64_t v;
    td_json_each(item, j)
    {
        assert_int_equal(td_json_is_float(item), is_float[i]);
        assert_int_equal(td_json_int(item, &v), whole[i] >= 0);
        if (whole[i] >= 0)
            assert_int_equal(v, whole[i]);
        i++;
    }
    assert_int_equal(i, 6);
    td_json_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refuses), cmocka_unit_test(depth_and_nodes),
                                       cmocka_unit_test(exact_values), cmocka_unit_test(beyond_64_bits),
                                       cmocka_unit_test(floats_keep_their_point)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
