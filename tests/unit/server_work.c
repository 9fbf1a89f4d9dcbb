/* The workers: large jobs leave one to the small ones, none waits for ever, and closing runs what is queued. */
#include "server/work.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

enum { JOBS = 40, PATIENCE_S = 20 };

static sem_t gate, done;
static atomic_int ran;
static int order[JOBS];

typedef struct job {
    work_job job;
    int number;
    bool waits;
} job;

static void run(work_job *j)
{
    job *self = (job *)((char *)j - offsetof(job, job));
    if (self->waits)
        sem_wait(&gate);
    order[atomic_fetch_add(&ran, 1)] = self->number;
    sem_post(&done);
}

static job make(int number, bool large, bool waits) { return (job){{NULL, run, large}, number, waits}; }

static bool one_is_done(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    return sem_timedwait(&done, &until) == 0;
}

static int setup(void **state)
{
    (void)state;
    sem_init(&gate, 0, 0);
    sem_init(&done, 0, 0);
    atomic_store(&ran, 0);
    return 0;
}

/* Large jobs that take for ever do not keep a small one from running. */
static void test_small_ones_pass(void **state)
{
    (void)state;
    work_pool *w;
    job large[3], small = make(9, false, false);
    assert_int_equal(work_open(2, &w, NULL), TD_OK);
    for (int i = 0; i < 3; i++) {
        large[i] = make(i, true, true);
        work_submit(w, &large[i].job);
    }
    work_submit(w, &small.job);
    assert_true(one_is_done());
    assert_int_equal(order[0], 9);
    for (int i = 0; i < 3; i++)
        sem_post(&gate);
    work_close(w);
    assert_int_equal(atomic_load(&ran), 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(order[1 + i], i);
}

/* A single worker runs both kinds, and a large job gets its turn among many small ones. */
static void test_large_ones_are_not_starved(void **state)
{
    (void)state;
    work_pool *w;
    job first = make(100, false, true), large = make(200, true, false), small[JOBS - 2];
    assert_int_equal(work_open(1, &w, NULL), TD_OK);
    work_submit(w, &first.job);
    work_submit(w, &large.job);
    for (int i = 0; i < JOBS - 2; i++) {
        small[i] = make(i, false, false);
        work_submit(w, &small[i].job);
    }
    sem_post(&gate);
    work_close(w);
    assert_int_equal(atomic_load(&ran), JOBS);
    int at = 0;
    while (order[at] != 200)
        at++;
    assert_in_range(at, 2, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_small_ones_pass, setup),
        cmocka_unit_test_setup(test_large_ones_are_not_starved, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
