/* When an engine counts as beyond help: on a clock that the test owns. */
#include "base/clock.h"
#include "server/watchdog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define S TD_NS_PER_S

/* Looks whenever it is time; returns the seconds until it gave up, or -1 after `seconds`. */
static int64_t look_for(watchdog *w, uint64_t from, int64_t seconds, uint64_t advanced_ns)
{
    for (uint64_t now = from; now <= from + (uint64_t)seconds * S; now = w->next_ns) {
        if (watchdog_look(w, now, true, now - advanced_ns))
            return (int64_t)((now - from) / S);
        assert_true(w->next_ns > now);
    }
    return -1;
}

static void gives_up_at_the_limit(void **state)
{
    (void)state;
    watchdog w;
    watchdog_init(&w, 300);
    int64_t after = look_for(&w, 1000 * S, 1000, 1000 * S);
    assert_true(after >= 300 && after <= 340);
    // A stall that began long before the first look is counted from there.
    watchdog_init(&w, 300);
    after = look_for(&w, 1000 * S, 1000, 1);
    assert_true(after >= 300 && after <= 340);
}

static void progress_begins_anew(void **state)
{
    (void)state;
    watchdog w;
    watchdog_init(&w, 300);
    assert_int_equal(look_for(&w, 1000 * S, 290, 1000 * S), -1);
    uint64_t now = w.next_ns;
    assert_false(watchdog_look(&w, now, true, 1)); // a step ended just now
    assert_int_equal(look_for(&w, w.next_ns, 250, now), -1);
    now = w.next_ns;
    assert_false(watchdog_look(&w, now, false, 0)); // and now there is nothing to do
    assert_int_equal(w.next_ns, 0);
    assert_int_equal(look_for(&w, now + 10 * S, 290, now), -1);
}

static void a_stopped_process_blames_nobody(void **state)
{
    (void)state;
    watchdog w;
    watchdog_init(&w, 300);
    assert_int_equal(look_for(&w, 1000 * S, 100, 1000 * S), -1);
    uint64_t woken = w.next_ns + 86400 * S; // somebody looked with a debugger for a day
    assert_false(watchdog_look(&w, woken, true, woken - 1000 * S));
    assert_false(watchdog_look(&w, w.next_ns, true, 1));
    assert_int_equal(w.stood_ns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gives_up_at_the_limit), cmocka_unit_test(progress_begins_anew),
                                       cmocka_unit_test(a_stopped_process_blames_nobody)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
