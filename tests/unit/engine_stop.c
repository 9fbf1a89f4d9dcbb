/* Stop strings over a stream: whatever the cut of the text, what goes out is the same. */
#include "engine/stop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static const char *const stops[] = {"END", "\n\n", "ENDING"};

/* Feeds text in pieces of `step` bytes; returns the stop string's index and what went out. */
static int32_t feed(const char *text, size_t step, bool include, td_buf *out)
{
    td_buf held = TD_BUF_INIT;
    int32_t hit = -1;
    for (size_t i = 0; i < strlen(text) && hit < 0; i += step) {
        size_t seen = held.len, n = strnlen(text + i, step), out_len;
        td_buf_add(&held, text + i, n);
        hit = stop_scan(&held, stops, 3, seen, include, &out_len);
        td_buf_add(out, held.data, out_len);
        memmove(held.data, held.data + out_len, held.len - out_len + 1);
        held.len -= out_len;
    }
    if (hit < 0)
        td_buf_add(out, td_buf_cstr(&held), held.len);
    td_buf_free(&held);
    return hit;
}

static void any_cut(void **state)
{
    (void)state;
    static const struct { const char *text, *out, *with; int32_t hit; } rows[] = {
        {"hello ENDx", "hello ", "hello END", 0},     {"a\nb\n\nc", "a\nb", "a\nb\n\n", 1},
        {"EN EN EN", "EN EN EN", "EN EN EN", -1},     {"EENEEND", "EENE", "EENEEND", 0},
        {"", "", "", -1},                             {"no stop\n", "no stop\n", "no stop\n", -1},
        {"END", "", "END", 0},                        {"\nEN\nD\n", "\nEN\nD\n", "\nEN\nD\n", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t step = 1; step < 12; step++) {
            td_buf out = TD_BUF_INIT, with = TD_BUF_INIT;
            assert_int_equal(feed(rows[i].text, step, false, &out), rows[i].hit);
            assert_string_equal(td_buf_cstr(&out), rows[i].out);
            assert_int_equal(feed(rows[i].text, step, true, &with), rows[i].hit);
            assert_string_equal(td_buf_cstr(&with), rows[i].with);
            td_buf_free(&out), td_buf_free(&with);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_cut)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
