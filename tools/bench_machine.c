#include "tools/bench_machine.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum { TRIES = 5, READ_BYTES = 256 << 20, HUGE = 2 << 20 };

/* One measurement: all threads wait for the gate, then each does its part; the slowest one's time counts. */
typedef enum gate { GATE_SHUT, GATE_OPEN, GATE_GIVEN_UP } gate;

typedef struct job {
    const kern_roof *loop; // or NULL: read
    int64_t rounds;
    const char *data;
    size_t bytes;          // of each thread
    _Atomic uint64_t sink; // keeps the reads
    atomic_int gate, ready, done; // threads at the gate; threads that are through with their part
} job;

typedef struct part {
    job *job;
    size_t index;
    pthread_t thread;
} part;

static void do_part(job *j, size_t index)
{
    if (j->loop)
        j->loop->run(j->rounds);
    else
        atomic_fetch_add(&j->sink, kern_roof_read(j->data + index * j->bytes, j->bytes));
}

static void *run_part(void *arg)
{
    part *p = arg;
    job *j = p->job;
    atomic_fetch_add(&j->ready, 1);
    int state;
    while ((state = atomic_load(&j->gate)) == GATE_SHUT)
        sched_yield();
    if (state == GATE_OPEN)
        do_part(j, p->index);
    atomic_fetch_add(&j->done, 1);
    return NULL;
}

static td_rc time_job(job *j, int threads, double *seconds, td_err *err)
{
    part parts[BENCH_THREADS_MAX];
    int started = 0, rc = 0;
    atomic_store(&j->gate, GATE_SHUT);
    atomic_store(&j->ready, 0);
    atomic_store(&j->done, 0);
    while (started < threads - 1 && !rc) {
        parts[started] = (part){.job = j, .index = (size_t)started + 1};
        rc = td_thread_start(&parts[started].thread, run_part, &parts[started]);
        started += !rc;
    }
    while (atomic_load(&j->ready) < started)
        sched_yield();
    uint64_t t0 = td_now_ns();
    atomic_store(&j->gate, rc ? GATE_GIVEN_UP : GATE_OPEN);
    if (!rc)
        do_part(j, 0);
    while (atomic_load(&j->done) < started)
        sched_yield();
    *seconds = (double)(td_now_ns() - t0) * 1e-9;
    for (int i = 0; i < started; i++)
        pthread_join(parts[i].thread, NULL);
    return rc ? td_fail(err, TD_E_NOMEM, "cannot start %d threads: %s", threads, strerror(rc)) : TD_OK;
}

static td_rc best_of(job *j, int threads, double *seconds, td_err *err)
{
    *seconds = 1e9;
    for (int i = 0; i < TRIES; i++) {
        double s;
        td_rc rc = time_job(j, threads, &s, err);
        if (rc)
            return rc;
        *seconds = TD_MIN(*seconds, s);
    }
    return TD_OK;
}

td_rc bench_read_rate(int threads, bool huge, double *gb_s, td_err *err)
{
    td_assert(threads >= 1 && threads <= BENCH_THREADS_MAX);
    size_t len = READ_BYTES + (size_t)HUGE; // room to begin at a multiple of 2 MiB
    char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return td_fail(err, TD_E_NOMEM, "not enough memory: %zu MiB are needed", len >> 20);
    madvise(map, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    memset(map, 1, len);
    char *data = map + (HUGE - ((size_t)map & (HUGE - 1)));
    job j = {.data = data, .bytes = READ_BYTES / (size_t)threads / 4096 * 4096};
    double seconds;
    td_rc rc = best_of(&j, threads, &seconds, err);
    if (!rc)
        *gb_s = (double)(j.bytes * (size_t)threads) / seconds * 1e-9;
    munmap(map, len);
    return rc;
}

td_rc bench_mac_rate(const kern_roof *loop, int threads, double *gmac_s, td_err *err)
{
    td_assert(threads >= 1 && threads <= BENCH_THREADS_MAX);
    job j = {.loop = loop, .rounds = 2000000};
    double seconds;
    td_rc rc = best_of(&j, threads, &seconds, err);
    if (!rc)
        *gmac_s = (double)j.rounds * loop->macs * threads / seconds * 1e-9;
    return rc;
}

bool bench_loop_fits(const kern_roof *loop, const char *level)
{
    static const char *const order[] = {"ref", "avx2", "avx512", "avx512vnni"};
    size_t need = 0, have = 0;
    for (size_t i = 0; i < TD_COUNT(order); i++) {
        need = strcmp(order[i], loop->level) == 0 ? i : need;
        have = strcmp(order[i], level) == 0 ? i : have;
    }
    return need <= have && loop->available();
}
