/* async.c - mbarriers, and the list of bulk copies in flight. */
#include "kernels/emu/async.h"

#include "base/arena.h"
#include "base/err.h"

static emu_mbar *mbar_find(const void *bar, const char *what)
{
    emu_block *b = emu_shared_block(emu_cur, bar);
    if (!b)
        emu_fail("out of bounds", "%s of an mbarrier that is not in shared memory", what);
    uint32_t off = (uint32_t)((const uint8_t *)bar - b->smem);
    for (uint32_t i = 0; i < b->mbar_count; i++)
        if (b->mbars[i].off == off)
            return &b->mbars[i];
    emu_fail("mbarrier", "%s of shared memory at offset %u, where no mbarrier was initialised", what, off);
}

emu_mbar *emu_mbar_of(const void *bar)
{
    emu_mbar *m = mbar_find(bar, emu_cur->what);
    if (m->block != emu_cur->block)
        emu_fail("mbarrier", "a bulk load signals an mbarrier of its own block");
    return m;
}

void emu_mbar_init(void *bar, uint32_t count, const char *file, int line)
{
    emu_enter("td_mbar_init", file, line);
    emu_block *b = emu_cur->block;
    if (emu_shared_block(emu_cur, bar) != b || (uintptr_t)bar % 8)
        emu_fail("mbarrier", "an mbarrier lies in the block's own shared memory, aligned to 8 bytes");
    if (count == 0 || count >= 1u << 20)
        emu_fail("mbarrier", "an mbarrier for %u arrivals", count);
    emu_access(bar, 8, true, EMU_ACC_PLAIN, NULL);
    if (!b->mbars) {
        b->mbars = emu_alloc(EMU_MBARS_MAX * sizeof *b->mbars);
    }
    uint32_t off = (uint32_t)((uint8_t *)bar - b->smem), i = 0;
    while (i < b->mbar_count && b->mbars[i].off != off)
        i++;
    if (i == EMU_MBARS_MAX)
        emu_fail("mbarrier", "more than %d mbarriers in a block", EMU_MBARS_MAX);
    b->mbar_count += i == b->mbar_count;
    emu_time_drop(&b->mbars[i].time);
    emu_time_drop(&b->mbars[i].done);
    b->mbars[i] = (emu_mbar){.off = off, .count = count, .pending = (int32_t)count, .block = b};
}

static void mbar_check(emu_mbar *m)
{
    if (m->pending || m->tx)
        return;
    emu_group *g = m->block->group;
    emu_time_merge(&m->done, &m->time, g->fiber_count);
    m->phase++;
    m->pending = (int32_t)m->count;
    for (uint32_t r = 0; r < g->block_count; r++)
        for (uint32_t t = 0; t < g->blocks[r].thread_count; t++) {
            emu_fiber *f = g->blocks[r].fibers[t];
            if (f->state == EMU_AT_MBAR && f->mbar == m && f->mbar_parity != m->phase % 2)
                f->state = EMU_READY;
        }
}

/* One arrival, after `tx` more bytes are expected. */
void emu_mbar_arrive(void *bar, uint32_t tx, bool arrive, const char *file, int line)
{
    emu_enter(tx ? "td_mbar_expect_tx" : "td_mbar_arrive", file, line);
    emu_mbar *m = mbar_find(bar, emu_cur->what);
    emu_access(bar, 8, true, EMU_ACC_ATOMIC, NULL);
    emu_time_release(emu_cur, &m->time);
    m->tx += tx;
    if (arrive && --m->pending < 0)
        emu_fail("mbarrier", "more arrivals than the %u that the mbarrier at offset %u was made for", m->count, m->off);
    mbar_check(m);
}

/* At the mbarrier of the same place in another block of the cluster. */
void emu_mbar_arrive_remote(void *bar, uint32_t rank, const char *file, int line)
{
    emu_mbar_arrive(emu_cluster_map(bar, rank, file, line), 0, true, file, line);
}

/* Returns once the phase of this parity is over. */
void emu_mbar_wait(void *bar, uint32_t parity, const char *file, int line)
{
    emu_enter("td_mbar_wait", file, line);
    emu_mbar *m = mbar_find(bar, emu_cur->what);
    emu_access(bar, 8, false, EMU_ACC_ATOMIC, NULL);
    emu_cur->mbar = m;
    emu_cur->mbar_parity = parity & 1;
    while (m->phase % 2 == (parity & 1))
        emu_fiber_block(EMU_AT_MBAR, "td_mbar_wait", file, line);
    emu_time_acquire(emu_cur, &m->done);
}

/* Whether it is over; where not, others had a turn. */
bool emu_mbar_try_wait(void *bar, uint32_t parity, const char *file, int line)
{
    emu_enter("td_mbar_try_wait", file, line);
    emu_mbar *m = mbar_find(bar, emu_cur->what);
    emu_access(bar, 8, false, EMU_ACC_ATOMIC, NULL);
    if (m->phase % 2 == (parity & 1))
        emu_poll(true);
    if (m->phase % 2 == (parity & 1))
        return false;
    emu_cur->polls = 0;
    emu_time_acquire(emu_cur, &m->done);
    return true;
}

void emu_fence_proxy_async(const char *file, int line)
{
    emu_enter("td_fence_proxy_async", file, line);
    emu_cur->proxy_fence = ++emu_cur->clock;
}

void emu_mbar_complete(emu_transfer *t)
{
    emu_mbar *m = t->mbar;
    emu_fiber *f = t->fiber;
    if (emu_checking) { // what the fiber did up to the issue lies before, and the copy with it
        uint32_t now = f->clock;
        f->clock = t->clock;
        emu_time_release(f, &m->time);
        f->clock = now;
    }
    m->tx -= t->bytes;
    mbar_check(m);
}

static void deliver(emu_transfer *t)
{
    emu_fiber *f = t->fiber, was = *f;
    emu_cur = f;
    f->clock = t->clock;
    f->what = t->store ? "a bulk store" : "a bulk load";
    f->file = t->file;
    f->line = t->line;
    emu_transfer_run(t);
    f->clock = was.clock;
    f->what = was.what;
    f->file = was.file;
    f->line = was.line;
    emu_cur = NULL;
    if (!t->store)
        emu_mbar_complete(t);
}

static emu_transfer **pick(emu_group *g)
{
    emu_transfer **chosen = NULL;
    uint32_t n = 0;
    for (uint32_t r = 0; r < g->block_count; r++)
        for (emu_transfer **p = &g->blocks[r].transfers; *p; p = &(*p)->next) {
            if ((*p)->store)
                continue;
            bool take = !chosen || emu_get_order() == EMU_REVERSE ||
                        (emu_get_order() == EMU_RANDOM && emu_random(&g->worker->random) % (n + 1) == 0);
            chosen = take ? p : chosen;
            n++;
        }
    return chosen;
}

bool emu_async_progress(emu_group *g)
{
    emu_transfer **at = pick(g), *t = at ? *at : NULL;
    if (!t)
        return false;
    *at = t->next;
    deliver(t);
    td_free(t);
    return true;
}

void emu_async_blame(emu_fiber *f, bool bytes)
{
    const emu_mbar *m = f->mbar;
    if (f->state != EMU_AT_MBAR || (bytes && !m->tx))
        return;
    long long off = (long long)(m->tx < 0 ? -m->tx : m->tx);
    const char *how = m->tx < 0 ? "more arrived than were expected" : "are expected that nobody copies";
    if (m->tx)
        emu_fail("mbarrier bytes", "the mbarrier at offset %u never ends its phase: %lld bytes %s, %d arrivals are "
                 "missing", m->off, off, how, m->pending);
    emu_fail("mbarrier phase", "thread %u waits for parity %u of the mbarrier at offset %u, whose running phase has "
             "this parity and lacks %d of %u arrivals", f->tid, f->mbar_parity, m->off, m->pending, m->count);
}

void emu_async_close(emu_block *b)
{
    if (b->transfers) {
        emu_cur = b->transfers->fiber;
        emu_cur->file = b->transfers->file;
        emu_cur->line = b->transfers->line;
        emu_fail("bulk copy in flight", "the block ended and nobody had waited for a bulk %s of %u bytes",
                 b->transfers->store ? "store" : "load", b->transfers->bytes);
    }
    for (uint32_t i = 0; i < b->mbar_count; i++) {
        emu_time_drop(&b->mbars[i].time);
        emu_time_drop(&b->mbars[i].done);
    }
    td_free(b->mbars);
}
