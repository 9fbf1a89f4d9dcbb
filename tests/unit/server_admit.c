/* The memory of request bodies: what one request may take, what large ones leave to the others. */
#include "base/limits.h"
#include "server/admit.h"
#include "server/call.h"
#include "server/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PIECE = 64 << 10 };

/* How many requests with bodies of `bytes` get all of it. */
static int fill(struct server *s, uint64_t bytes)
{
    for (int n = 0;; n++) {
        call c = {.server = s};
        for (uint64_t at = 0; at < bytes; at += PIECE)
            if (!admit_body(&c, PIECE)) {
                assert_true(c.body_charged <= s->body_bytes);
                s->body_bytes -= c.body_charged;
                return n;
            }
    }
}

static void test_large_bodies_leave_room(void **state)
{
    struct server *s = calloc(1, sizeof *s);
    (void)state;
    assert_non_null(s);
    assert_int_equal(fill(s, TD_HTTP_BODY_BYTES_MAX),
                     (TD_HTTP_BODIES_BYTES_MAX - TD_HTTP_BODIES_SMALL_BYTES_MAX) / TD_HTTP_BODY_BYTES_MAX);
    assert_int_equal(fill(s, TD_HTTP_BODY_BYTES_MAX), 0);
    assert_int_equal(fill(s, TD_HTTP_BODY_SMALL_BYTES), TD_HTTP_BODIES_SMALL_BYTES_MAX / TD_HTTP_BODY_SMALL_BYTES);
    assert_int_equal(fill(s, PIECE), 0);
    assert_int_equal(s->body_bytes, TD_HTTP_BODIES_BYTES_MAX);
    free(s);
}

/* Answers that nobody reads have a bound together; small ones are always sent. */
static void test_answers(void **state)
{
    struct server *s = calloc(1, sizeof *s);
    (void)state;
    assert_non_null(s);
    call a = {.server = s}, b = {.server = s}, c = {.server = s};
    assert_true(admit_answer(&a, TD_HTTP_ANSWERS_BYTES_MAX / 2));
    assert_true(admit_answer(&b, TD_HTTP_ANSWERS_BYTES_MAX / 2));
    assert_false(admit_answer(&c, TD_HTTP_ANSWER_SMALL_BYTES + 1));
    assert_int_equal(c.answer_charged, 0);
    assert_true(admit_answer(&c, TD_HTTP_ANSWER_SMALL_BYTES));
    assert_true(admit_answer(&a, 0));
    assert_true(admit_answer(&c, TD_HTTP_ANSWER_SMALL_BYTES + 1));
    assert_true(admit_answer(&b, 0));
    assert_true(admit_answer(&c, 0));
    assert_int_equal(s->answer_bytes, 0);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_bodies_leave_room),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
