/* block.c - barriers of a block: __syncthreads, its votes, named barriers, and threads that end.
 *
 * Barrier 0 wants every thread of the block at the same place in the source. A thread that ended can never come, so
 * ending while others wait, or waiting after others ended, is a fault. */
#include "kernels/emu/int.h"

#include "base/err.h"

static void bar_wake(emu_block *b, uint32_t id)
{
    for (uint32_t t = 0; t < b->thread_count; t++)
        if (b->fibers[t]->state == EMU_AT_BARRIER && b->fibers[t]->bar_id == id)
            b->fibers[t]->state = EMU_READY;
}

static void bar_enter(emu_bar *bar, uint32_t id, uint32_t expected, const char *what, const char *file, int line)
{
    if (!bar->expected) {
        bar->expected = expected;
        bar->count = 0;
        bar->file = file;
        bar->line = line;
        bar->what = what;
        bar->any = bar->sum = 0;
        bar->all = 1;
    }
    if (bar->expected != expected)
        emu_fail("barrier", "named barrier %u is entered for %u threads here and for %u at %s:%d", id, expected,
                 bar->expected, bar->file, bar->line);
    bar->count++;
}

int32_t emu_syncthreads(int32_t vote, int32_t pred, const char *file, int line)
{
    emu_enter("__syncthreads", file, line);
    emu_fiber *f = emu_cur;
    emu_block *b = f->block;
    emu_bar *bar = &b->bars[0];
    if (b->exited)
        emu_fail("barrier divergence", "__syncthreads after a thread of the block has ended");
    bar_enter(bar, 0, b->thread_count, "__syncthreads", file, line);
    if (bar->file != file || bar->line != line)
        emu_fail("barrier divergence", "others of the block wait in __syncthreads at %s:%d", bar->file, bar->line);
    bar->any |= pred != 0;
    bar->all &= pred != 0;
    bar->sum += pred != 0;
    if (bar->count < bar->expected) {
        f->bar_id = 0;
        emu_fiber_block(EMU_AT_BARRIER, "__syncthreads", file, line);
        return f->vote;
    }
    int32_t result = vote == EMU_VOTE_OR ? bar->any : vote == EMU_VOTE_AND ? bar->all : bar->sum;
    for (uint32_t t = 0; t < b->thread_count; t++)
        b->fibers[t]->vote = result;
    bar->expected = 0;
    emu_time_block(b);
    bar_wake(b, 0);
    return result;
}

static emu_bar *named(emu_block *b, uint32_t id, uint32_t threads)
{
    if (id == 0 || id >= EMU_NAMED_BARS)
        emu_fail("barrier", "named barrier %u: there are 1 to %d", id, EMU_NAMED_BARS - 1);
    if (threads == 0 || threads % EMU_WARP || threads > b->warp_count * EMU_WARP)
        emu_fail("barrier", "named barrier %u for %u threads: a multiple of 32, at most the block's %u", id, threads,
                 b->thread_count);
    return &b->bars[id];
}

/* The last one in ends the phase: everybody's past, gathered in bar->time, lies before what the waiters do next. */
static void bar_finish(emu_block *b, uint32_t id)
{
    emu_bar *bar = &b->bars[id];
    for (uint32_t t = 0; t < b->thread_count; t++)
        if (b->fibers[t]->state == EMU_AT_BARRIER && b->fibers[t]->bar_id == id)
            emu_time_acquire(b->fibers[t], &bar->time);
    emu_time_drop(&bar->time);
    bar->expected = 0;
    bar_wake(b, id);
}

void emu_named_sync(uint32_t id, uint32_t threads, const char *file, int line)
{
    emu_enter("td_named_bar_sync", file, line);
    emu_fiber *f = emu_cur;
    emu_bar *bar = named(f->block, id, threads);
    bar_enter(bar, id, threads, "td_named_bar_sync", file, line);
    emu_time_release(f, &bar->time);
    f->bar_id = id;
    f->state = EMU_AT_BARRIER;
    if (bar->count == bar->expected)
        bar_finish(f->block, id);
    else
        emu_fiber_block(EMU_AT_BARRIER, "td_named_bar_sync", file, line);
}

void emu_named_arrive(uint32_t id, uint32_t threads, const char *file, int line)
{
    emu_enter("td_named_bar_arrive", file, line);
    emu_fiber *f = emu_cur;
    emu_bar *bar = named(f->block, id, threads);
    bar_enter(bar, id, threads, "td_named_bar_arrive", file, line);
    emu_time_release(f, &bar->time);
    if (bar->count == bar->expected)
        bar_finish(f->block, id);
}

static void left(emu_fiber *f, const char *file, int line)
{
    f->file = file; // the place that a reader wants is where the others wait
    f->line = line;
}

static void lanes_left(emu_fiber *f)
{
    const emu_rendezvous *slot = &f->block->meet[f->warp * EMU_WARP];
    for (int i = 0; i < EMU_WARP; i++)
        if (slot[i].arrived && slot[i].mask >> f->lane & 1) {
            left(f, slot[i].file, slot[i].line);
            emu_fail("missing lane", "lane %u ended while others wait for it in %s", f->lane, slot[i].what);
        }
}

void emu_fiber_exited(emu_fiber *f)
{
    emu_block *b = f->block;
    const emu_bar *bar = &b->bars[0];
    if (bar->expected) {
        left(f, bar->file, bar->line);
        emu_fail("barrier divergence", "a thread ended while %u wait in __syncthreads", bar->count);
    }
    lanes_left(f);
    b->exited = true;
    b->ended[f->warp] |= 1u << f->lane;
    b->alive--;
    b->group->alive--;
}
