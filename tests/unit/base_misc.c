/* Arena, carve, buffer, map, UTF-8, hashes, faults, log. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/map.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static void arena_caps(void **state)
{
    (void)state;
    td_arena a;
    td_arena_init(&a, 100000);
    assert_non_null(td_arena_alloc(&a, 60000));
    assert_null(td_arena_alloc(&a, 60000));
    assert_null(td_arena_calloc(&a, SIZE_MAX / 2, 16));
    assert_string_equal(td_arena_strndup(&a, "hello", 4), "hell");
    td_arena_free(&a);
    td_arena_free(&a);
}

static void layout(td_carve *c, float **x, char **y)
{
    *x = td_carve_take(c, 10, sizeof **x);
    *y = td_carve_take(c, 3, 1);
}

static void carve_counts_as_it_binds(void **state)
{
    (void)state;
    float *x;
    char *y;
    td_carve count = {0};
    layout(&count, &x, &y);
    assert_null(x);
    char *mem = td_alloc(count.off);
    td_carve bind = {.base = mem, .cap = count.off};
    layout(&bind, &x, &y);
    assert_int_equal(bind.off, count.off);
    assert_ptr_equal(x, mem);
    assert_ptr_equal(y, mem + 64);
    td_free(mem);
}

static void buffer_text(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    td_buf_json_str(&b, "a\"\\\n\x01\xff\xC3\xA9", 8);
    assert_string_equal(td_buf_cstr(&b), "\"a\\\"\\\\\\n\\u0001\xEF\xBF\xBD\xC3\xA9\"");
    td_buf_clear(&b);
    td_buf_json_num(&b, INFINITY, 9);
    assert_string_equal(td_buf_cstr(&b), "null");
    td_buf_free(&b);
    td_buf small = {.max_bytes = 4};
    assert_false(td_buf_str(&small, "hello"));
    assert_true(small.failed);
    td_buf_free(&small);
}

static void map_holds_many(void **state)
{
    (void)state;
    enum { N = 5000 };
    static char keys[N][8];
    td_map m;
    assert_true(td_map_init(&m, 0));
    for (uint32_t i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        assert_true(td_map_put(&m, keys[i], strlen(keys[i]), i, NULL));
    }
    assert_false(td_map_put(&m, "k77", 3, 1, NULL));
    uint32_t v;
    for (uint32_t i = 0; i < N; i++)
        assert_true(td_map_get(&m, keys[i], strlen(keys[i]), &v) && v == i);
    assert_false(td_map_get(&m, "nope", 4, &v));
    td_map_free(&m);
}

static void utf8_edges(void **state)
{
    (void)state;
    assert_false(td_utf8_valid("\xED\xA0\x80", 3));
    assert_false(td_utf8_valid("\xF4\x90\x80\x80", 4));
    assert_true(td_utf8_valid("\xF4\x8F\xBF\xBF", 4));
    assert_int_equal(td_utf8_partial_tail("a\xF0\x9F\x98", 4), 3);
    assert_int_equal(td_utf8_partial_tail("a\xE0\x80", 3), 0);
    assert_int_equal(td_utf8_partial_tail("\xC3\xA9", 2), 0);
    char out[4];
    uint32_t cp;
    for (uint32_t c = 1; c < 0x110000; c += 77) {
        if (c >= 0xD800 && c < 0xE000)
            continue;
        size_t n = td_utf8_encode(c, out);
        assert_int_equal(td_utf8_decode(out, n, &cp), n);
        assert_int_equal(cp, c);
    }
}

static void hashes(void **state)
{
    (void)state;
    char hex[65];
    td_sha256 h = td_sha256_of("abc", 3);
    td_hex(h.b, 32, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    td_sha256_ctx *c = td_sha256_new();
    td_sha256_add(c, "a", 1);
    td_sha256_add(c, "bc", 2);
    td_sha256 h2 = td_sha256_end(c);
    assert_true(td_sha256_equal(&h, &h2));
    assert_int_equal(td_crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(td_crc32c(td_crc32c(0, "1234", 4), "56789", 5), 0xE3069283u);
}

static void faults_fire_once(void **state)
{
    (void)state;
    td_fault_arm(TD_FAULT_ALLOC, 2, false);
    void *a = td_alloc(1), *b = td_alloc(1), *c = td_alloc(1);
    assert_true(a && !b && c);
    assert_int_equal(td_fault_count(TD_FAULT_ALLOC), 1);
    td_free(a), td_free(c);
    td_fault_arm(TD_FAULT_ALLOC, 0, false);
}

static void errors_keep_the_first(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    assert_int_equal(td_fail_param(&err, TD_E_INPUT, "top_p", "first %d", 1), TD_E_INPUT);
    td_fail(&err, TD_E_IO, "second");
    td_err_prefix(&err, "file %s", "x");
    assert_string_equal(err.msg, "file x: first 1");
    assert_string_equal(err.param, "top_p");
    assert_int_equal(td_rc_http(TD_E_BUSY), 429);
}

/* What goes to stderr while the log is written to with a status below it. */
static void log_lines_go_above_the_status(void **state)
{
    (void)state;
    int to[2], saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && pipe(to) == 0 && dup2(to[1], STDERR_FILENO) >= 0);
    td_info("before");
    td_log_status("loading 10 %", 12);
    td_info("between");
    td_log_status("loading 20 %", 12);
    td_log_status(NULL, 0);
    td_log_status(NULL, 0);
    td_info("after");
    dup2(saved, STDERR_FILENO);
    close(saved), close(to[1]);
    char got[1024];
    ssize_t n = read(to[0], got, sizeof got - 1);
    close(to[0]);
    assert_true(n > 0);
    got[n] = 0;
    static const char *const want[] = {"before\n\r\033[Kloading 10 %\r\033[K",
                                       "between\nloading 10 %\r\033[Kloading 20 %\r\033[K", "after\n"};
    const char *at = got;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        at = strstr(at, " info  "); // behind the time
        assert_non_null(at);
        at += strlen(" info  ");
        assert_int_equal(strncmp(at, want[i], strlen(want[i])), 0);
        at += strlen(want[i]);
    }
    assert_int_equal(*at, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_caps), cmocka_unit_test(carve_counts_as_it_binds), cmocka_unit_test(buffer_text),
        cmocka_unit_test(map_holds_many), cmocka_unit_test(utf8_edges), cmocka_unit_test(hashes),
        cmocka_unit_test(faults_fire_once), cmocka_unit_test(errors_keep_the_first),
        cmocka_unit_test(log_lines_go_above_the_status)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
