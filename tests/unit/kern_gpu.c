/* The GPU's device layer on the emulator: memory, stages, marks, what does not fit, and a fault that stays. */
#include "kernels/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static kern_dev *dev;

static int open_dev(void **state)
{
    (void)state;
    kern_dev_opts o = {.device = "emu", .cpu_isa = "auto", .threads = 1};
    td_err err = TD_ERR_INIT;
    if (kern_dev_open(&o, &dev, &err) != TD_OK)
        fail_msg("%s", err.msg);
    return 0;
}

static int close_dev(void **state)
{
    (void)state;
    kern_dev_close(dev);
    return 0;
}

static void test_what_it_is(void **state)
{
    (void)state;
    const kern_ops *ops = dev->ops;
    assert_string_equal(ops->name, "emu-sm90");
    assert_string_equal(ops->numerics_id, "sm90-1");
    assert_int_equal(ops->chunks_max, 2);
    assert_int_equal(ops->block_tok, 64);
    uint64_t total = 0, unused = 0;
    ops->memory(dev, &total, &unused);
    assert_true(total > 0 && unused <= total);
    assert_true(ops->weight_bytes(dev, KT_F32, 3, 5) == 3 * 128);
    assert_true(ops->weight_bytes(dev, KT_BF16, 3, 5) == 64 * 128); // whole panels of 64 rows
    assert_true(ops->weight_bytes(dev, KT_Q4_K, 65, 256) == 2 * 4 * 64 * 128);
    assert_int_equal(ops->weight_act(KT_F16), KA_F32);
    assert_int_equal(ops->weight_act(KT_Q4_K), KA_BF16);
    assert_true(ops->kv_layer_bytes(KV_Q8_0, 2, 64, 64) == 0);
    assert_null(ops->fault(dev));
}

/* More than the pinned buffers hold at once, at odd sizes. */
static void test_put_and_get(void **state)
{
    (void)state;
    size_t bytes = (20u << 20) + 13;
    uint8_t *src = malloc(bytes), *got = malloc(bytes);
    assert_true(src && got);
    for (size_t i = 0; i < bytes; i++)
        src[i] = (uint8_t)(i * 31 + (i >> 9));
    uint8_t *there = dev->ops->alloc(dev, bytes + 1);
    assert_non_null(there);
    dev->ops->get(dev, got, there, bytes); // memory begins as zeros
    for (size_t i = 0; i < bytes; i += 4093)
        assert_int_equal(got[i], 0);
    dev->ops->put(dev, there + 1, src, bytes);
    dev->ops->get(dev, got, there + 1, bytes);
    assert_memory_equal(src, got, bytes);
    dev->ops->free(dev, there, bytes + 1);
    free(src);
    free(got);
}

static void test_stages(void **state)
{
    (void)state;
    const kern_ops *ops = dev->ops;
    kern_stage s, none = {0};
    assert_true(ops->stage_alloc(dev, 1000, &s));
    assert_ptr_not_equal(s.host, s.dev);
    memset(s.host, 7, 1000);
    ops->stage_push(dev, &s, 100, 500);
    ops->wait(dev, ops->mark(dev));
    memset(s.host, 9, 1000);
    ops->stage_pull(dev, &s, 0, 1000);
    ops->wait(dev, ops->mark(dev));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(((uint8_t *)s.host)[i], i >= 100 && i < 600 ? 7 : 0);
    ops->stage_free(dev, &s);
    assert_null(s.host);
    ops->stage_free(dev, &none);
}

static void test_marks(void **state)
{
    (void)state;
    uint64_t first = dev->ops->mark(dev), last = first;
    for (int i = 0; i < 50; i++)
        last = dev->ops->mark(dev);
    dev->ops->wait(dev, first);
    dev->ops->wait(dev, last);
    for (int i = 0; i < 200; i++)
        dev->ops->wait(dev, dev->ops->mark(dev));
    assert_int_equal(kern_dev_settle(dev, NULL), TD_OK);
}

static void test_no_room(void **state)
{
    (void)state;
    uint64_t total = 0, unused = 0;
    kern_stage s = {0};
    dev->ops->memory(dev, &total, &unused);
    assert_null(dev->ops->alloc(dev, (size_t)total + 1));
    assert_false(dev->ops->stage_alloc(dev, (size_t)total + 1, &s));
    assert_null(dev->ops->fault(dev)); // a lack of memory is no fault
}

/* A launch that fails: the operation's name is kept, later ones do not hide it, and work ends with TD_E_FAULT. */
static void test_fault(void **state)
{
    (void)state;
    const kern_ops *ops = dev->ops;
    int32_t tok_slot = 0, slot = 0;
    float x = 0;
    kern_weight table = {.type = KT_F32, .rows = 1, .cols = 1};
    kern_batch b = {.tok_count = -1, .tok_slot = &tok_slot, .slots = &slot}; // a grid of 2^32 - 1 blocks
    kern_embed_args a = {.batch = &b, .table = &table, .scale = 1.0f, .x = &x};
    ops->embed(dev, &a);
    const char *why = ops->fault(dev);
    assert_non_null(why);
    assert_non_null(strstr(why, "embed"));
    td_err err = TD_ERR_INIT;
    assert_int_equal(kern_dev_settle(dev, &err), TD_E_FAULT);
    assert_non_null(strstr(err.msg, "embed"));
    b.tok_count = 0;
    ops->embed(dev, &a);
    assert_ptr_equal(ops->fault(dev), why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_it_is, open_dev, close_dev),
        cmocka_unit_test_setup_teardown(test_put_and_get, open_dev, close_dev),
        cmocka_unit_test_setup_teardown(test_stages, open_dev, close_dev),
        cmocka_unit_test_setup_teardown(test_marks, open_dev, close_dev),
        cmocka_unit_test_setup_teardown(test_no_room, open_dev, close_dev),
        cmocka_unit_test_setup_teardown(test_fault, open_dev, close_dev),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
