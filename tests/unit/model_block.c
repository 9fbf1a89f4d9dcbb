/* Between layers: the step says that it advances, and hears that it was cancelled. */
#include "base/clock.h"
#include "model/block.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static uint64_t now_ns;
static uint64_t fixed_clock(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static void between_layers(void **state)
{
    (void)state;
    kern_beat_word beat = 0;
    kern_cancel_word cancel = 0;
    kern_batch b = {.tok_count = 1};
    assert_true(block_go_on(&b)); // nobody looks, nobody cancels
    td_clock_set(fixed_clock, NULL);
    b.beat = &beat;
    b.cancel = &cancel;
    now_ns = 5;
    assert_true(block_go_on(&b));
    assert_true(atomic_load(&beat) == 5);
    atomic_store(&cancel, 1);
    now_ns = 9;
    assert_false(block_go_on(&b));
    assert_true(atomic_load(&beat) == 9);
    td_clock_set(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(between_layers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
