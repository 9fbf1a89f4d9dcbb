/* The compute pool.
 *
 * A job is an epoch and a tile counter in one 64-bit word, so a thread takes tiles by compare-and-swap and can never
 * take one of a job it has not seen: a worker that was preempted, or is asleep, holds nothing up, and the caller waits
 * for tiles, not for threads. Threads take shrinking runs of neighbouring tiles (a share of what is left), which keeps
 * each one's reads sequential and still evens out the end.
 *
 * Waiting spins for about SPIN_US, because the next operation of a step comes within microseconds, then sleeps on a
 * futex: an idle engine costs nothing, and where cores are scarce the sleeper gives its core away. */
#include "kernels/cpu/cpu.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/thread.h"
#include "kernels/cpu/mem.h"

#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_US = 30, RUN_SHARE = 2 };
#define TILES_CLOSED UINT32_MAX

typedef struct cpu_worker {
    cpu_pool *pool;
    int32_t index;
    pthread_t thread;
} cpu_worker;

struct cpu_pool {
    int32_t thread_count, spin_max; // spin_max: pauses that take SPIN_US
    int32_t worker_count;           // started
    cpu_worker *workers;

    _Alignas(64) _Atomic uint64_t next; // epoch << 32 | next tile
    _Alignas(64) atomic_uint done;      // tiles finished; the caller sleeps on it
    atomic_int caller_waits;
    _Alignas(64) atomic_uint epoch;     // workers sleep on it
    atomic_int sleepers;
    atomic_bool stop;
    // The job. It is rewritten only while `next` is closed under the new epoch, so that a thread which still holds the
    // old epoch cannot take a tile with the new job's fields.
    _Atomic(cpu_tile_fn) fn;
    _Atomic(const void *) args;
    atomic_uint tile_count;
};

_Thread_local int32_t cpu_thread_index;

void cpu_fp_setup(void) { _mm_setcsr(0x1f80 | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON); }

static void futex_wait(atomic_uint *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Takes a run of tiles of job `epoch`; false when none is left or the job is over. */
static bool take(cpu_pool *p, uint32_t epoch, uint32_t tile_count, uint32_t *t0, uint32_t *t1)
{
    uint64_t next = atomic_load_explicit(&p->next, memory_order_acquire);
    for (;;) {
        uint32_t tile = (uint32_t)next;
        if ((uint32_t)(next >> 32) != epoch || tile >= tile_count)
            return false;
        uint32_t run = (tile_count - tile) / (uint32_t)(RUN_SHARE * p->thread_count);
        run = TD_MAX(run, 1u);
        if (atomic_compare_exchange_weak_explicit(&p->next, &next, next + run, memory_order_acq_rel,
                                                  memory_order_acquire)) {
            *t0 = tile;
            *t1 = tile + run;
            return true;
        }
    }
}

/* Works on job `epoch` until no tile is left. */
static void work(cpu_pool *p, uint32_t epoch)
{
    uint32_t count = atomic_load_explicit(&p->tile_count, memory_order_acquire), t0, t1;
    cpu_tile_fn fn = atomic_load_explicit(&p->fn, memory_order_acquire);
    const void *args = atomic_load_explicit(&p->args, memory_order_acquire);
    while (take(p, epoch, count, &t0, &t1)) {
        fn(args, t0, t1);
        uint32_t done = atomic_fetch_add(&p->done, t1 - t0) + (t1 - t0);
        if (done == count && atomic_load(&p->caller_waits))
            futex_wake(&p->done, 1);
    }
}

static uint32_t wait_epoch(cpu_pool *p, uint32_t seen)
{
    uint32_t epoch;
    for (int32_t i = 0; i < p->spin_max; i++) {
        if ((epoch = atomic_load_explicit(&p->epoch, memory_order_acquire)) != seen)
            return epoch;
        _mm_pause();
    }
    atomic_fetch_add(&p->sleepers, 1);
    while ((epoch = atomic_load(&p->epoch)) == seen)
        futex_wait(&p->epoch, seen);
    atomic_fetch_sub(&p->sleepers, 1);
    return epoch;
}

static void *worker(void *arg)
{
    cpu_worker *w = arg;
    cpu_pool *p = w->pool;
    cpu_thread_index = w->index;
    cpu_fp_setup();
    for (uint32_t epoch = 0;;) {
        epoch = wait_epoch(p, epoch);
        if (atomic_load(&p->stop))
            return NULL;
        work(p, epoch);
    }
}

static uint32_t publish(cpu_pool *p, cpu_tile_fn fn, const void *args, uint32_t tile_count)
{
    uint32_t epoch = atomic_load_explicit(&p->epoch, memory_order_relaxed) + 1;
    uint64_t first = (uint64_t)epoch << 32;
    atomic_store(&p->next, first | TILES_CLOSED);
    atomic_store_explicit(&p->fn, fn, memory_order_release);
    atomic_store_explicit(&p->args, args, memory_order_release);
    atomic_store_explicit(&p->tile_count, tile_count, memory_order_release);
    atomic_store(&p->done, 0);
    atomic_store(&p->next, first);
    atomic_store(&p->epoch, epoch);
    if (atomic_load(&p->sleepers))
        futex_wake(&p->epoch, INT_MAX);
    return epoch;
}

static void wait_done(cpu_pool *p, uint32_t tile_count)
{
    for (int32_t i = 0; i < p->spin_max; i++) {
        if (atomic_load_explicit(&p->done, memory_order_acquire) == tile_count)
            return;
        _mm_pause();
    }
    atomic_store(&p->caller_waits, 1);
    for (uint32_t done; (done = atomic_load(&p->done)) != tile_count;)
        futex_wait(&p->done, done);
    atomic_store(&p->caller_waits, 0);
}

void cpu_pool_run(cpu_pool *p, cpu_tile_fn fn, const void *args, int64_t tile_count)
{
    td_assert(tile_count >= 0 && tile_count <= INT32_MAX);
    unsigned csr = _mm_getcsr();
    cpu_fp_setup();
    if (tile_count == 1 || p->worker_count == 0) {
        if (tile_count)
            fn(args, 0, tile_count);
    } else if (tile_count) {
        work(p, publish(p, fn, args, (uint32_t)tile_count));
        wait_done(p, (uint32_t)tile_count);
    }
    _mm_setcsr(csr);
}

static int64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A pause takes 10 to 140 cycles by CPU, so their number for SPIN_US is measured. */
static int32_t spin_calibrate(void)
{
    int64_t best = INT64_MAX;
    for (int n = 0; n < 3; n++) {
        int64_t t0 = mono_ns();
        for (int i = 0; i < 500; i++)
            _mm_pause();
        best = TD_MIN(best, mono_ns() - t0);
    }
    return (int32_t)(500 * (SPIN_US * 1000) / TD_MAX(best, 500));
}

static td_rc start_workers(cpu_pool *p, td_err *err)
{
    sigset_t all, old;
    sigfillset(&all); // signals belong to the threads of the program around us
    sigdelset(&all, SIGBUS); // but for those that a thread brings upon itself, such as a mapped file that was cut short
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = 0;
    while (p->worker_count < p->thread_count - 1 && rc == 0) {
        cpu_worker *w = &p->workers[p->worker_count];
        *w = (cpu_worker){.pool = p, .index = p->worker_count + 1};
        rc = td_thread_start(&w->thread, worker, w);
        if (rc == 0) {
            char name[16];
            snprintf(name, sizeof name, "td-compute-%d", w->index);
            pthread_setname_np(w->thread, name);
            p->worker_count++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return td_fail(err, TD_E_NOMEM, "cannot start compute thread %d of %d: %s; ask for fewer threads",
                       p->worker_count + 2, p->thread_count, strerror(rc));
    return TD_OK;
}

td_rc cpu_pool_open(int32_t thread_count, cpu_pool **out, td_err *err)
{
    td_assert(thread_count >= 1 && thread_count <= TD_THREADS_MAX);
    cpu_pool *p = cpu_mem_alloc(sizeof *p); // aligned: the counters have cache lines of their own
    if (!p)
        return td_fail(err, TD_E_NOMEM, "not enough memory for the compute pool");
    p->thread_count = thread_count;
    p->spin_max = spin_calibrate();
    p->workers = td_alloc((size_t)thread_count * sizeof *p->workers);
    td_rc rc = p->workers ? start_workers(p, err) : td_fail(err, TD_E_NOMEM, "not enough memory for the compute pool");
    if (rc != TD_OK) {
        cpu_pool_close(p);
        return rc;
    }
    *out = p;
    return TD_OK;
}

void cpu_pool_close(cpu_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    publish(p, NULL, NULL, 0);
    for (int32_t i = 0; i < p->worker_count; i++)
        pthread_join(p->workers[i].thread, NULL);
    td_free(p->workers);
    cpu_mem_free(p, sizeof *p);
}
