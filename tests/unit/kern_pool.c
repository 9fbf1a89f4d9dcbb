/* The compute pool and the memory behind it: each tile once, whatever the threads do; no CPU when idle; flush-to-zero
 * on every thread; failing allocations. */
#include "base/fault.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { TILES = 4096 };

typedef struct job {
    atomic_int seen[TILES];
    atomic_int denormals;    // tiles that saw one survive
    atomic_uint threads;     // bit set of cpu_thread_index
} job;

static void visit(const void *args, int64_t t0, int64_t t1)
{
    job *j = (job *)(uintptr_t)args;
    volatile float tiny = 1e-38f;
    volatile float half = 0.5f;
    for (int64_t t = t0; t < t1; t++) {
        atomic_fetch_add(&j->seen[t], 1);
        volatile float product = tiny * half * half;
        if (product != 0)
            atomic_fetch_add(&j->denormals, 1);
    }
    atomic_fetch_or(&j->threads, 1u << cpu_thread_index);
}

static void test_each_tile_once(void **state)
{
    (void)state;
    static const int32_t threads[] = {1, 2, 3, 7};
    static const int64_t counts[] = {0, 1, 2, 3, 100, TILES};
    static job j;
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        cpu_pool *p = NULL;
        assert_int_equal(cpu_pool_open(threads[i], &p, NULL), TD_OK);
        for (int round = 0; round < 60; round++) {
            int64_t count = counts[round % 6];
            memset(&j, 0, sizeof j);
            cpu_pool_run(p, visit, &j, count);
            for (int64_t t = 0; t < TILES; t++)
                assert_int_equal(atomic_load(&j.seen[t]), t < count);
            assert_int_equal(atomic_load(&j.denormals), 0);
            assert_true(atomic_load(&j.threads) < 1u << threads[i]);
        }
        cpu_pool_close(p);
    }
}

/* A run leaves the caller's floating-point state as it was. */
static void test_caller_keeps_denormals(void **state)
{
    (void)state;
    static job j;
    cpu_pool *p = NULL;
    assert_int_equal(cpu_pool_open(2, &p, NULL), TD_OK);
    cpu_pool_run(p, visit, &j, 10);
    volatile float tiny = 1e-38f;
    volatile float quarter = tiny * 0.25f;
    assert_true(quarter != 0);
    cpu_pool_close(p);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void test_idle_costs_nothing(void **state)
{
    (void)state;
    static job j;
    cpu_pool *p = NULL;
    assert_int_equal(cpu_pool_open(4, &p, NULL), TD_OK);
    cpu_pool_run(p, visit, &j, TILES);
    usleep(20000); // workers fall asleep
    double before = cpu_seconds();
    usleep(300000);
    assert_true(cpu_seconds() - before < 0.01);
    memset(&j, 0, sizeof j);
    cpu_pool_run(p, visit, &j, TILES); // and wake again
    for (int t = 0; t < TILES; t++)
        assert_int_equal(atomic_load(&j.seen[t]), 1);
    cpu_pool_close(p);
}

static void test_pool_without_memory(void **state)
{
    (void)state;
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        td_err err = TD_ERR_INIT;
        cpu_pool *p = NULL;
        td_fault_arm(TD_FAULT_ALLOC, n, false);
        td_rc rc = cpu_pool_open(3, &p, &err);
        bool hit = td_fault_count(TD_FAULT_ALLOC) > 0;
        td_fault_arm(TD_FAULT_ALLOC, 0, false);
        assert_int_equal(rc, hit ? TD_E_NOMEM : TD_OK);
        cpu_pool_close(p);
        if (!hit)
            break;
        failures++;
    }
    assert_true(failures >= 2);
}

static void test_memory(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,        1,        64, 1000, 65536, (2u << 20) - 1, 2u << 20, (2u << 20) + 1,
                                   5u << 20, 20u << 20};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    unsigned char *p[3][COUNT];
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT; i++) {
            p[round][i] = cpu_mem_alloc(sizes[i]);
            assert_non_null(p[round][i]);
            assert_int_equal((uintptr_t)p[round][i] % 64, 0);
            for (size_t k = 0; k < sizes[i]; k += 509)
                assert_int_equal(p[round][i][k], 0);
            memset(p[round][i], 0x11 * (round + 1), sizes[i]);
        }
    for (int round = 2; round >= 0; round--)
        for (size_t i = 0; i < COUNT; i++) {
            for (size_t k = 0; k < sizes[i]; k += 509)
                assert_int_equal(p[round][i][k], 0x11 * (round + 1));
            cpu_mem_free(p[round][i], sizes[i]);
        }
    cpu_mem_free(NULL, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_tile_once),     cmocka_unit_test(test_caller_keeps_denormals),
        cmocka_unit_test(test_idle_costs_nothing), cmocka_unit_test(test_pool_without_memory),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
