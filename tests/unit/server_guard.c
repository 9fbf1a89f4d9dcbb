/* http_guard: what is refused and why, whatever the pieces it arrives in; where each request ends. */
#include "server/http_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct result {
    http_verdict head, body;
    int status;
    size_t head_len, body_len;
} result;

/* One request out of p[0…len), given to the guard `step` bytes at a time. */
static result check(const char *p, size_t len, size_t step)
{
    http_guard g;
    result r = {.head = HTTP_MORE, .body = HTTP_MORE};
    size_t have = 0;
    http_guard_reset(&g);
    while (r.head == HTTP_MORE && have < len) {
        have = have + step < len ? have + step : len;
        r.head = http_guard_head(&g, p, have, &r.head_len);
    }
    size_t at = r.head_len;
    while (r.head == HTTP_OK && r.body == HTTP_MORE) {
        size_t used = 0, n = have - at;
        r.body = http_guard_body(&g, p + at, n, &used);
        at += used;
        if (r.body == HTTP_MORE && have == len)
            break;
        have = have + step < len ? have + step : len;
    }
    r.body_len = at - r.head_len;
    r.status = g.status;
    return r;
}

#define HOST "Host: a\r\n"

static void test_good(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t body;
    } good[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", 0},
        {"GET / HTTP/1.0\r\n\r\n", 0},
        {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0},
        {"GET /a?b=c%20d HTTP/1.1\r\nhost:a\r\nX-Y:\t z \r\nEmpty:\r\n\r\n", 0},
        {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 5},
        {"POST / HTTP/1.1\r\n" HOST "content-length:0005\r\n\r\nhello", 5},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 0},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", 5},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: "
                                    "chunked\r\n\r\n5\r\nhello\r\n00a;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
         38},
        {"POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", 1},
        {"GET / HTTP/1.1\r\n" HOST "X: caf\xc3\xa9\r\n\r\n", 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        for (size_t step = 1; step < 40; step += step < 3 ? 1 : 13) {
            char text[512];
            size_t len = strlen(good[i].text);
            int n =
                snprintf(text, sizeof text, "%sGET /next HTTP/1.1\r\n", good[i].text); // what follows is not looked at
            assert_true(n > 0);
            result r = check(text, (size_t)n, step);
            assert_int_equal(r.head, HTTP_OK);
            assert_int_equal(r.body, HTTP_OK);
            assert_int_equal(r.body_len, good[i].body);
            assert_int_equal(r.head_len + r.body_len, len);
        }
    }
}

static void test_bad(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int status;
    } bad[] = {
        {"GET / HTTP/1.1\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\n", 400},
        {"GET / HTTP/1.1\rX", 400},
        {"\r\n\r\n", 400},
        {" GET / HTTP/1.1\r\n", 400},
        {"GET /\r\n", 400},
        {"GET / HTTP/2.0\r\n", 400},
        {"GET / HTTP/1.1 \r\n", 400},
        {"GET /a b HTTP/1.1\r\n", 400},
        {"GET a HTTP/1.1\r\n", 400},
        {"GET /\x7f HTTP/1.1\r\n", 400},
        {"G@T / HTTP/1.1\r\n", 400},
        {"ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST HOST, 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X : y\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST " X: y\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST ":\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X: \x1b\r\n", 400},
        {"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n", 400},
        {"POST / HTTP/1.1\r\nContent-Length: \r\n", 400},
        {"POST / HTTP/1.1\r\nContent-Length: 1 1\r\n", 400},
        {"POST / HTTP/1.1\r\nContent-Length: -0\r\n", 400},
        {"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n", 413},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 16777217\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n", 400},
        {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n", 400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nExpect: x\r\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n\r\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n ;\r\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1 \r\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n;\r\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1;\x01\r\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n", 400},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n000000001\r\n", 413},
        {"P / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t step = 1; step < 200; step = step * 3 + 1) {
            result r = check(bad[i].text, strlen(bad[i].text), step);
            if (r.status != bad[i].status)
                print_error("case %zu: %d\n", i, r.status);
            assert_true(r.head == HTTP_BAD || r.body == HTTP_BAD);
            assert_int_equal(r.status, bad[i].status);
        }
    }
}

/* A chunked body may not go around the limit by many small chunks. */
static void test_total_of_chunks(void **state)
{
    (void)state;
    static const char head[] = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n";
    static char data[(1 << 20) + 2];
    http_guard g;
    size_t n, used;
    http_guard_reset(&g);
    memset(data, 'a', 1 << 20);
    memcpy(data + (1 << 20), "\r\n", 2);
    assert_int_equal(http_guard_head(&g, head, sizeof head - 1, &n), HTTP_OK);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(http_guard_body(&g, "100000\r\n", 8, &used), HTTP_MORE);
        assert_int_equal(http_guard_body(&g, data, sizeof data, &used), HTTP_MORE);
        assert_int_equal(used, sizeof data);
    }
    assert_int_equal(http_guard_body(&g, "1\r\n", 3, &used), HTTP_BAD);
    assert_int_equal(g.status, 413);
}

static void test_nul(void **state)
{
    (void)state;
    static const char request[] = "GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n";
    assert_int_equal(check(request, sizeof request - 1, 100).status, 400);
    assert_int_equal(check("\0", 1, 1).status, 400);
}

/* The library reads what the guard has read, without the white space that the two would take differently. */
static void test_trim(void **state)
{
    (void)state;
    static const struct {
        const char *text, *trimmed;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost:a\r\n\r\n"},
        {"\r\nGET /:a HTTP/1.0\r\n\r\n", "GET /:a HTTP/1.0\r\n\r\n"},
        {"GET / HTTP/1.0\r\nA:\t \r\nB:\r\nC:  c:\td \t\r\nD:e\r\n\r\n",
         "GET / HTTP/1.0\r\nA:\r\nB:\r\nC:c:\td\r\nD:e\r\n\r\n"},
        {"P / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \r\n\r\n",
         "P / HTTP/1.1\r\nHost:a\r\nTransfer-Encoding:chunked\r\n\r\n"},
        {"P / HTTP/1.0\r\nContent-Length:\t30\t\r\n\r\n", "P / HTTP/1.0\r\nContent-Length:30\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        http_guard g;
        size_t len = strlen(cases[i].text), head = 0;
        memcpy(text, cases[i].text, len + 1);
        http_guard_reset(&g);
        assert_int_equal(http_guard_head(&g, text, len, &head), HTTP_OK);
        assert_int_equal(head, len);
        assert_string_equal(text + http_guard_trim(&g, text, head), cases[i].trimmed);
    }
}

/* What the library would have to keep one by one. */
static void test_counts(void **state)
{
    (void)state;
    static const struct {
        const char *before, *each, *after;
        int count, status;
    } cases[] = {
        {"GET /?", "a&", " HTTP/1.0\r\n\r\n", 99, 0},
        {"GET /?", "a&", " HTTP/1.0\r\n\r\n", 100, 414},
        {"GET / HTTP/1.0\r\nCookie: ", "a=b;", "\r\n\r\n", 199, 0},
        {"GET / HTTP/1.0\r\nCookie: ", "a=b;", "\r\n\r\n", 200, 431},
        {"GET / HTTP/1.0\r\n", "cookie:;;;;;;\r\n", "\r\n", 28, 0},
        {"GET / HTTP/1.0\r\n", "cookie:;;;;;;\r\n", "\r\n", 29, 431},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096];
        size_t n = (size_t)snprintf(text, sizeof text, "%s", cases[i].before);
        for (int k = 0; k < cases[i].count; k++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s", cases[i].each);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s", cases[i].after);
        assert_int_equal(check(text, n, n).status, cases[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_total_of_chunks),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
