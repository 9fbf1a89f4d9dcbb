/* The emulator's plain side: kernels that compute what CUDA would, streams, events, graphs and memory behave, under all
 * three schedules. */
#include "kernels/emu/emu.h"
#include "emu/tests_emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static gpu_stream stream;

static void *dev(size_t bytes)
{
    void *p = NULL;
    assert_int_equal(emu_rt_malloc(bytes, &p), GPU_OK);
    return p;
}

static void *pinned(size_t bytes)
{
    void *p = NULL;
    assert_int_equal(emu_rt_host_alloc(bytes, &p), GPU_OK);
    return p;
}

static void sync_ok(void)
{
    assert_int_equal(emu_rt_stream_sync(stream), GPU_OK);
    assert_int_equal(emu_rt_last_error(), GPU_OK);
}

static void each_schedule(void (*test)(void))
{
    static const emu_order order[] = {EMU_FORWARD, EMU_REVERSE, EMU_RANDOM, EMU_RANDOM};
    for (unsigned i = 0; i < 4; i++) {
        emu_set_schedule(order[i], i * 77 + 1);
        assert_int_equal(emu_rt_stream_create(&stream), GPU_OK);
        test();
        assert_int_equal(emu_rt_stream_destroy(stream), GPU_OK);
    }
}

static void reduce(void)
{
    enum { ROWS = 5, N = 300 };
    float *host = pinned(ROWS * N * 4), *out = pinned(ROWS * 4), *x = dev(ROWS * N * 4), *sum = dev(ROWS * 4);
    for (int i = 0; i < ROWS * N; i++)
        host[i] = (float)(i % 17);
    emu_rt_copy_h2d(x, host, ROWS * N * 4, stream);
    emu_test_reduce(x, sum, ROWS, N, stream);
    emu_rt_copy_d2h(out, sum, ROWS * 4, stream);
    sync_ok();
    for (int r = 0; r < ROWS; r++) {
        float want = 0;
        for (int i = 0; i < N; i++)
            want += host[r * N + i];
        assert_true(out[r] == want);
    }
    emu_rt_free(x);
    emu_rt_free(sum);
    emu_rt_host_free(host);
    emu_rt_host_free(out);
}

static void collectives(void)
{
    uint32_t *out = dev(64 * 10 * 4), *o = pinned(64 * 10 * 4);
    emu_test_collectives(out, stream);
    emu_rt_copy_d2h(o, out, 64 * 10 * 4, stream);
    sync_ok();
    for (uint32_t t = 0; t < 64; t++) {
        const uint32_t *g = o + t * 10, w = t & ~31u, lane = t % 32, ballot = 0x49249249;
        assert_int_equal(g[0], (w + 5) * 3);
        assert_int_equal(g[1], lane >= 4 ? t - 4 : t);
        assert_int_equal(g[2], lane % 16 + 4 < 16 ? t + 4 : t);
        assert_int_equal(g[3], t ^ 9);
        assert_int_equal(g[4], ballot);
        assert_int_equal(g[5], w ? 1 : 2);
        assert_int_equal(g[6], 13);
        assert_int_equal(g[7], 1);
        assert_int_equal(g[8], t ^ 1);
        assert_int_equal(g[9], 1 + w + 2);
    }
    emu_rt_free(out);
    emu_rt_host_free(o);
}

static void atomics(void)
{
    enum { N = 192 };
    uint8_t *all = dev(64), *host = pinned(64);
    uint32_t *order = dev(N * 4), *seen = pinned(N * 4);
    emu_rt_memset(all, 0, 64, stream);
    emu_test_atomics((int *)all, (unsigned *)(all + 4), (unsigned long long *)(all + 8), (float *)(all + 16),
                     (unsigned *)(all + 20), order, stream);
    emu_rt_copy_d2h(host, all, 64, stream);
    emu_rt_copy_d2h(seen, order, N * 4, stream);
    sync_ok();
    assert_int_equal(*(int *)host, 3 * 4 * (15 * 16 / 2 - 3 * 16));
    assert_int_equal(*(unsigned *)(host + 4), 2015);
    assert_true(*(unsigned long long *)(host + 8) == (unsigned long long)N << 33);
    assert_true(*(float *)(host + 16) == N / 2);
    uint8_t used[N] = {0};
    for (int i = 0; i < N; i++)
        used[seen[i]]++;
    for (int i = 0; i < N; i++)
        assert_int_equal(used[i], 1);
    emu_rt_free(all);
    emu_rt_free(order);
    emu_rt_host_free(host);
    emu_rt_host_free(seen);
}

static void indices(void)
{
    uint32_t *out = dev(360 * 4), *o = pinned(360 * 4);
    emu_test_index(out, stream);
    emu_rt_copy_d2h(o, out, 360 * 4, stream);
    sync_ok();
    for (uint32_t i = 0; i < 360; i++)
        assert_int_equal(o[i], i / 30 << 16 | i % 30);
    emu_rt_free(out);
    emu_rt_host_free(o);
}

static void graphs(void)
{
    enum { N = 96 };
    float *x = dev(N * 4), *h = pinned(N * 4), *back = pinned(N * 4);
    gpu_graph g = NULL;
    gpu_stream other = NULL;
    gpu_event fork = NULL, join = NULL;
    assert_int_equal(emu_rt_stream_create(&other) | emu_rt_event_create(&fork) | emu_rt_event_create(&join), GPU_OK);
    assert_int_equal(emu_rt_graph_begin(stream), GPU_OK);
    emu_rt_copy_h2d(x, h, N * 4, stream);
    emu_test_scale(x, N, 3, stream);
    emu_rt_event_record(fork, stream);
    emu_rt_stream_wait(other, fork);
    emu_test_scale(x, N, 0.25f, other);
    emu_rt_event_record(join, other);
    emu_rt_stream_wait(stream, join);
    emu_test_scale(x, N, 5, stream);
    emu_rt_copy_d2h(back, x, N * 4, stream);
    assert_int_equal(emu_rt_graph_end(stream, &g), GPU_OK);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            h[i] = (float)(i + round);
        assert_int_equal(emu_rt_graph_launch(g, stream), GPU_OK);
        sync_ok();
        for (int i = 0; i < N; i++)
            assert_true(back[i] == (float)(i + round) * 6 * 0.5f * 10);
    }
    assert_int_equal(emu_rt_graph_destroy(g), GPU_OK);
    emu_rt_stream_destroy(other);
    emu_rt_event_destroy(fork);
    emu_rt_event_destroy(join);
    emu_rt_free(x);
    emu_rt_host_free(h);
    emu_rt_host_free(back);
}

static void events(void)
{
    enum { N = 64 };
    float *x = dev(N * 4), *h = pinned(N * 4), *back = pinned(N * 4), ms = -1;
    gpu_stream other = NULL;
    gpu_event a = NULL, b = NULL;
    assert_int_equal(emu_rt_stream_create(&other) | emu_rt_event_create(&a) | emu_rt_event_create(&b), GPU_OK);
    for (int i = 0; i < N; i++)
        h[i] = 1;
    emu_rt_copy_h2d(x, h, N * 4, stream);
    emu_test_scale(x, N, 2, stream);
    emu_rt_event_record(a, stream);
    emu_rt_stream_wait(other, a);
    emu_rt_copy_d2h(back, x, N * 4, other);
    emu_rt_event_record(b, other);
    for (int polls = 0; emu_rt_event_query(b) == GPU_E_NOT_READY; polls++)
        assert_true(polls < 100);
    for (int i = 0; i < N; i++)
        assert_true(back[i] == 4);
    assert_int_equal(emu_rt_event_elapsed(a, b, &ms), GPU_OK);
    assert_true(ms >= 0);
    emu_rt_stream_destroy(other);
    emu_rt_event_destroy(a);
    emu_rt_event_destroy(b);
    emu_rt_free(x);
    emu_rt_host_free(h);
    emu_rt_host_free(back);
}

/* What the runtime refuses: host memory that is not pinned, ranges that are too long, launches that cannot be. */
static void refusals(void)
{
    float pageable[4] = {0}, *x = dev(16), *h = pinned(16);
    assert_int_equal(emu_rt_copy_h2d(x, pageable, 16, stream), GPU_E_INVALID);
    assert_int_equal(emu_rt_copy_h2d(x, h, 20, stream), GPU_E_INVALID);
    assert_int_equal(emu_rt_copy_h2d(h, x, 16, stream), GPU_E_INVALID);
    assert_int_equal(emu_rt_memset(x + 1, 0, 16, stream), GPU_E_INVALID);
    assert_int_equal(emu_rt_free(x + 1), GPU_E_INVALID);
    assert_int_equal(emu_rt_last_error(), GPU_E_INVALID);
    emu_test_scale(x, 0, 1, stream); // a grid of 0 blocks
    assert_int_equal(emu_rt_last_error(), 9);
    assert_int_equal(emu_rt_last_error(), GPU_OK);
    uint8_t *p = (uint8_t *)x;
    emu_rt_copy_d2h(h, x, 16, stream);
    sync_ok();
    p = (uint8_t *)h;
    for (int i = 0; i < 16; i++)
        assert_int_equal(p[i], 0xff); // nobody wrote it
    emu_rt_free(x);
    emu_rt_host_free(h);
}

static void counters(void)
{
    emu_counters before = emu_get_counters();
    float *x = dev(96 * 4);
    emu_rt_memset(x, 0, 96 * 4, stream);
    emu_test_scale(x, 96, 1, stream);
    sync_ok();
    emu_counters after = emu_get_counters();
    assert_int_equal(after.launches - before.launches, 1);
    assert_int_equal(after.blocks - before.blocks, 3);
    assert_int_equal(after.threads - before.threads, 96);
    assert_int_equal(after.switches - before.switches, 96); // nobody waits
    assert_int_equal(after.accesses > before.accesses, emu_has_checks());
    emu_rt_free(x);
}

/* Two threads of the host, each with its stream, as a loader and a step are. */
static void *one_host_thread(void *arg)
{
    enum { N = 64, ROUNDS = 40 };
    gpu_stream s = NULL;
    void *x = NULL, *h = NULL;
    intptr_t bad = emu_rt_stream_create(&s) | emu_rt_malloc(N * 4, &x) | emu_rt_host_alloc(N * 4, &h);
    for (int i = 0; i < N; i++)
        ((float *)h)[i] = 1;
    bad |= emu_rt_copy_h2d(x, h, N * 4, s);
    for (int r = 0; r < ROUNDS; r++) {
        emu_test_scale(x, N, r % 2 ? 1.0f : 0.25f, s);
        if (r % 8 == 7)
            bad |= emu_rt_stream_sync(s);
    }
    bad |= emu_rt_copy_d2h(h, x, N * 4, s) | emu_rt_stream_sync(s);
    for (int i = 0; i < N; i++)
        bad |= ((float *)h)[i] != 1;
    bad |= emu_rt_free(x) | emu_rt_host_free(h) | emu_rt_stream_destroy(s);
    (void)arg;
    return (void *)bad;
}

static void test_host_threads(void **state)
{
    (void)state;
    pthread_t thread[3];
    void *bad[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, one_host_thread, NULL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], &bad[i]);
    assert_true(!bad[0] && !bad[1] && !bad[2]);
}

#define SCHEDULES(name) \
    static void test_##name(void **state) \
    { \
        (void)state; \
        each_schedule(name); \
    }
SCHEDULES(reduce)
SCHEDULES(collectives)
SCHEDULES(atomics)
SCHEDULES(indices)
SCHEDULES(graphs)
SCHEDULES(events)
SCHEDULES(refusals)
SCHEDULES(counters)

static void test_threads(void **state)
{
    (void)state;
    bool checks = emu_has_checks();
    emu_set_checks(false);
    emu_set_threads(4);
    each_schedule(atomics);
    each_schedule(reduce);
    emu_set_threads(1);
    emu_set_checks(checks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce), cmocka_unit_test(test_collectives), cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_indices), cmocka_unit_test(test_graphs), cmocka_unit_test(test_events),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_counters), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_host_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
