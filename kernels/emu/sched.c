/* sched.c - runs a launch: groups in the schedule's order, in each group the fibers in the schedule's order.
 *
 * A turn resumes every fiber that can run, once. When none could, copies in flight are delivered; when there were none
 * either, the group is stuck: a deadlock on the card, and here a fault that says where each fiber stands. */
#include "kernels/emu/async.h"
#include "kernels/emu/int.h"
#include "kernels/emu/shared.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static emu_order order_now = EMU_FORWARD;
static uint64_t seed_now = 1;
static int32_t threads_now = 1;
static pthread_mutex_t workers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker_list {
    emu_worker *worker[256]; // idle ones
    size_t count;
} idle;
static emu_counters counters; // of finished launches

void emu_set_schedule(emu_order order, uint64_t seed)
{
    order_now = order;
    seed_now = seed;
}

emu_order emu_get_order(void) { return order_now; }
uint64_t emu_get_seed(void) { return seed_now; }
void emu_set_threads(int32_t threads) { threads_now = threads > 0 ? threads : (int32_t)sysconf(_SC_NPROCESSORS_ONLN); }
emu_counters emu_get_counters(void) { return counters; }

uint64_t emu_random(uint64_t *state) // splitmix64
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static emu_worker *worker_take(void)
{
    pthread_mutex_lock(&workers_lock);
    emu_worker *w = idle.count ? idle.worker[--idle.count] : NULL;
    pthread_mutex_unlock(&workers_lock);
    if (!w) {
        w = emu_alloc(sizeof *w);
    }
    return w;
}

static void worker_give(emu_worker *w)
{
    pthread_mutex_lock(&workers_lock);
    counters.switches += w->switches;
    counters.accesses += w->accesses;
    w->switches = w->accesses = 0;
    td_assert(idle.count < TD_COUNT(idle.worker));
    idle.worker[idle.count++] = w;
    pthread_mutex_unlock(&workers_lock);
}

static void block_open(emu_group *g, uint32_t rank)
{
    const emu_launch_op *op = g->op;
    emu_block *b = &g->blocks[rank];
    uint32_t per[3], at = g->index, in = rank;
    for (int d = 0; d < 3; d++) {
        per[d] = op->grid[d] / op->cluster[d];
        b->idx[d] = at % per[d] * op->cluster[d] + in % op->cluster[d];
        at /= per[d];
        in /= op->cluster[d];
    }
    b->group = g;
    b->rank = rank;
    b->thread_count = b->alive = op->block[0] * op->block[1] * op->block[2];
    b->warp_count = (b->thread_count + EMU_WARP - 1) / EMU_WARP;
    b->epoch = b->first_epoch = ++g->worker->epoch;
    b->fibers = emu_alloc(b->thread_count * sizeof *b->fibers);
    b->ended = emu_alloc(2 * b->warp_count * sizeof *b->ended);
    b->meet_used = b->ended + b->warp_count;
    b->meet = emu_alloc(sizeof *b->meet * EMU_WARP * b->warp_count);
    emu_smem_open(b, op->smem_bytes);
}

static void fiber_open(emu_block *b, uint32_t tid)
{
    emu_fiber *f = emu_fiber_take(b->group->worker);
    const uint32_t *dim = b->group->op->block;
    b->fibers[tid] = f;
    f->block = b;
    f->tid = tid;
    f->gid = b->rank * b->group->fiber_stride + tid;
    f->warp = tid / EMU_WARP;
    f->lane = tid % EMU_WARP;
    f->idx[0] = tid % dim[0];
    f->idx[1] = tid / dim[0] % dim[1];
    f->idx[2] = tid / dim[0] / dim[1];
    f->state = EMU_READY;
    f->what = NULL;
    f->file = b->group->op->file;
    f->line = b->group->op->line;
    f->clock = 1;
    memset(f->seen, 0, sizeof f->seen);
    f->proxy_fence = 0;
    f->fenced = false;
    f->copy_count = f->copy_batch = f->bulk_batch = 0;
    f->regs_in_flight = 0;
}

static emu_group *group_open(emu_worker *w, emu_launch_op *op, uint32_t index)
{
    emu_group *g = emu_alloc(sizeof *g);
    g->op = op;
    g->worker = w;
    g->index = index;
    g->block_count = op->cluster[0] * op->cluster[1] * op->cluster[2];
    uint32_t threads = op->block[0] * op->block[1] * op->block[2];
    g->fiber_stride = (uint32_t)td_align_up(threads, EMU_WARP);
    g->fiber_count = g->fiber_stride * g->block_count;
    g->cluster_epoch = w->epoch + 1;
    g->alive = threads * g->block_count;
    g->blocks = emu_alloc(g->block_count * sizeof *g->blocks);
    g->order = emu_alloc(g->alive * sizeof *g->order);
    uint32_t n = 0;
    for (uint32_t r = 0; r < g->block_count; r++) {
        block_open(g, r);
        for (uint32_t t = 0; t < threads; t++) {
            fiber_open(&g->blocks[r], t);
            g->order[n++] = g->blocks[r].fibers[t];
        }
    }
    if (order_now == EMU_REVERSE)
        for (uint32_t i = 0; i < n / 2; i++) {
            emu_fiber *f = g->order[i];
            g->order[i] = g->order[n - 1 - i];
            g->order[n - 1 - i] = f;
        }
    w->random = seed_now * 0x10001 + index;
    return g;
}

static void block_close(emu_block *b)
{
    emu_async_close(b);
    emu_wgmma_close(b);
    for (uint32_t t = 0; t < b->thread_count; t++) {
        td_free(b->fibers[t]->wide);
        b->fibers[t]->wide = NULL;
        emu_fiber_give(b->fibers[t]);
    }
    for (int i = 0; i < EMU_NAMED_BARS; i++)
        emu_time_drop(&b->bars[i].time);
    emu_smem_close(b);
    td_free(b->meet);
    td_free(b->ended);
    td_free(b->fibers);
}

static void group_close(emu_group *g)
{
    for (uint32_t r = g->block_count; r-- > 0;) // fibers come back in the order they were taken
        block_close(&g->blocks[r]);
    emu_time_drop(&g->cluster_time);
    td_free(g->acquired);
    td_free(g->blocks);
    td_free(g->order);
    td_free(g);
}

/* A random order for this turn: a few swaps are enough to mix over time. */
static void shuffle(emu_group *g, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)(emu_random(&g->worker->random) % i);
        emu_fiber *f = g->order[i - 1];
        g->order[i - 1] = g->order[j];
        g->order[j] = f;
    }
}

static const char *state_text(emu_state s)
{
    static const char *const text[] = {"can run", "waits at a barrier", "waits for lanes", "waits for warps",
                                       "waits for an mbarrier", "waits for the cluster", "waits for the kernel before",
                                       "waits for registers", "has ended"};
    return text[s];
}

void emu_block_report(emu_group *g)
{
    uint32_t lines = 0;
    for (uint32_t r = 0; r < g->block_count; r++)
        for (uint32_t t = 0, from = 0; t < g->blocks[r].thread_count; t++) {
            const emu_fiber *f = g->blocks[r].fibers[t];
            const emu_fiber *n = t + 1 < g->blocks[r].thread_count ? g->blocks[r].fibers[t + 1] : NULL;
            if (n && n->state == f->state && n->line == f->line && n->file == f->file)
                continue;
            if (lines++ < 24)
                fprintf(stderr, "  block rank %u threads %u-%u: %s (%s at %s:%d)\n", r, from, t, state_text(f->state),
                        f->what ? f->what : "start", f->file, f->line);
            from = t + 1;
        }
}

void emu_poll(bool same)
{
    enum { POLLS_MAX = 1000000 };
    emu_fiber *f = emu_cur;
    f->polls = same ? f->polls + 1 : 0;
    if (f->polls > POLLS_MAX)
        emu_fail("deadlock", "memory or an mbarrier was polled %d times and did not change", POLLS_MAX);
    f->polling = true;
    emu_fiber_yield();
}

/* False: nobody could run. Where all that ran only polled, what is in flight moves on. */
static bool turn(emu_group *g, uint32_t n)
{
    bool ran = false, polls = false;
    if (order_now == EMU_RANDOM)
        shuffle(g, n);
    for (uint32_t i = 0; i < n; i++)
        if (g->order[i]->state == EMU_READY) {
            emu_fiber_resume(g->order[i]);
            g->worker->switches++;
            ran = ran || !g->order[i]->polling;
            polls = polls || g->order[i]->polling;
            g->order[i]->polling = false;
        }
    if (polls && !ran)
        emu_async_progress(g);
    return ran || polls;
}

/* The one whose wait says most about the fault: an mbarrier with the wrong number of bytes, any mbarrier, the first. */
static __attribute__((noreturn)) void stuck(emu_group *g)
{
    emu_block_report(g);
    for (int sure = 3; sure > 0; sure--)
        for (uint32_t r = 0; r < g->block_count; r++)
            for (uint32_t t = 0; t < g->blocks[r].thread_count; t++) {
                emu_fiber *f = g->blocks[r].fibers[t];
                if (f->state == EMU_DONE || f->state == EMU_READY)
                    continue;
                emu_cur = f;
                if (sure > 1)
                    emu_async_blame(f, sure == 3);
                else
                    emu_fail(f->state == EMU_AT_REGS ? "setmaxnreg" : "deadlock",
                             "no thread can go on; thread %u %s in %s", f->tid, state_text(f->state),
                             f->what ? f->what : "?");
            }
    td_bug("a group without fibers is stuck", __FILE__, __LINE__);
}

/* Runs g until all fibers ended (true), or until the rest waits at griddepcontrol.wait and `park` allows it. */
static bool group_run(emu_group *g, bool park)
{
    uint32_t n = g->blocks[0].thread_count * g->block_count;
    g->worker->group = g;
    while (g->alive) {
        if (turn(g, n))
            continue;
        if (emu_async_progress(g))
            continue;
        bool waits = false;
        for (uint32_t i = 0; i < n; i++)
            if (g->order[i]->state == EMU_AT_GRID) {
                waits = true;
                if (!park)
                    g->order[i]->state = EMU_READY;
            }
        if (!waits)
            stuck(g);
        if (park)
            return false;
    }
    return true;
}

static void groups_order(emu_launch_op *op)
{
    op->group_order = emu_alloc(op->group_count * sizeof *op->group_order);
    uint64_t random = seed_now;
    for (uint32_t i = 0; i < op->group_count; i++)
        op->group_order[i] = order_now == EMU_REVERSE ? op->group_count - 1 - i : i;
    for (uint32_t i = op->group_count; order_now == EMU_RANDOM && i > 1; i--) {
        uint32_t j = (uint32_t)(emu_random(&random) % i), t = op->group_order[i - 1];
        op->group_order[i - 1] = op->group_order[j];
        op->group_order[j] = t;
    }
}

static void *groups_run(void *arg)
{
    emu_launch_op *op = arg;
    emu_worker *w = worker_take();
    unsigned csr = emu_float_begin();
    for (;;) {
        uint32_t i = atomic_fetch_add(&op->next_group, 1);
        if (i >= op->group_count)
            break;
        emu_group *g = group_open(w, op, op->group_order[i]);
        group_run(g, false);
        group_close(g);
    }
    emu_float_end(csr);
    worker_give(w);
    return NULL;
}

void emu_launch_prologue(emu_launch_op *op)
{
    enum { FIBERS_PARKED_MAX = 2048 };
    uint32_t fibers = 0;
    emu_worker *w = worker_take();
    unsigned csr = emu_float_begin();
    groups_order(op);
    for (emu_group **end = &op->parked; op->next_group < op->group_count && fibers < FIBERS_PARKED_MAX;) {
        emu_group *g = group_open(w, op, op->group_order[op->next_group++]);
        fibers += g->fiber_count;
        if (group_run(g, true)) {
            group_close(g);
            continue;
        }
        *end = g;
        end = &g->next;
    }
    emu_float_end(csr);
    op->parked_worker = w;
}

void emu_launch_run(emu_launch_op *op)
{
    op->primary_done = true;
    if (!op->group_order)
        groups_order(op);
    unsigned csr = emu_float_begin();
    for (emu_group *g = op->parked, *next; g; g = next) {
        next = g->next;
        group_run(g, false);
        group_close(g);
    }
    op->parked = NULL;
    emu_float_end(csr);
    if (op->parked_worker)
        worker_give(op->parked_worker);
    op->parked_worker = NULL;
    pthread_t thread[63];
    int32_t more = emu_checking ? 0 : TD_MIN(threads_now, 64) - 1, made = 0;
    while (made < more && (uint32_t)made + 1 < op->group_count &&
           pthread_create(&thread[made], NULL, groups_run, op) == 0)
        made++;
    groups_run(op);
    for (int32_t i = 0; i < made; i++)
        pthread_join(thread[i], NULL);
    td_free(op->group_order);
    op->group_order = NULL;
    emu_releases_drop(op);
    if (op->pdl && !op->waited) // it may end before what came before it; whoever waits for it alone sees too little
        emu_fail_kernel(op, "missing griddepcontrol.wait", "a kernel that may overlap the one ahead of it never waits");
    op->waited = false;
    counters.launches++;
    uint64_t blocks = (uint64_t)op->grid[0] * op->grid[1] * op->grid[2];
    counters.blocks += blocks;
    counters.threads += blocks * op->block[0] * op->block[1] * op->block[2];
}
