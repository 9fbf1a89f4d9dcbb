/* time.c - clocks of fibers: what each knows of the others' past. Always exact for lanes of the own warp; for the rest
 * of the group from the first barrier object on that brings it. __syncthreads needs neither: see emu_block.epoch. */
#include "kernels/emu/int.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"

#include <string.h>

static uint32_t *clocks(const emu_fiber *f)
{
    uint32_t *c = emu_alloc(f->block->group->fiber_count * sizeof *c);
    return c;
}

static void join(uint32_t *to, const uint32_t *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] = to[i] > from[i] ? to[i] : from[i];
}

void emu_time_release(emu_fiber *f, emu_time *t)
{
    if (!emu_checking)
        return;
    if (!t->clock)
        t->clock = clocks(f);
    if (f->wide)
        join(t->clock, f->wide, f->block->group->fiber_count);
    uint32_t warp = f->gid - f->lane;
    join(t->clock + warp, f->seen, EMU_WARP);
    t->clock[f->gid] = TD_MAX(t->clock[f->gid], f->clock);
    f->clock++;
}

void emu_time_acquire(emu_fiber *f, const emu_time *t)
{
    if (!emu_checking || !t->clock)
        return;
    if (!f->wide)
        f->wide = clocks(f);
    join(f->wide, t->clock, f->block->group->fiber_count);
    join(f->seen, t->clock + (f->gid - f->lane), EMU_WARP);
}

void emu_time_drop(emu_time *t)
{
    td_free(t->clock);
    t->clock = NULL;
}

void emu_time_merge(emu_time *to, emu_time *from, uint32_t n)
{
    if (!to->clock) {
        *to = *from;
        from->clock = NULL;
        return;
    }
    if (from->clock)
        join(to->clock, from->clock, n);
    emu_time_drop(from);
}

static void join_wide(emu_fiber **f, uint32_t n, uint32_t mask)
{
    const emu_fiber *first = NULL;
    uint32_t count = f[0]->block->group->fiber_count;
    uint32_t *all = NULL;
    for (uint32_t i = 0; i < n; i++)
        if ((mask >> i % EMU_WARP & 1) && f[i]->wide) {
            all = all ? all : clocks(f[i]);
            join(all, f[i]->wide, count);
            first = f[i];
        }
    for (uint32_t i = 0; first && i < n; i++)
        if (mask >> i % EMU_WARP & 1) {
            f[i]->wide = f[i]->wide ? f[i]->wide : clocks(f[i]);
            memcpy(f[i]->wide, all, count * sizeof *all);
        }
    td_free(all);
}

void emu_time_warp(emu_block *b, uint32_t warp, uint32_t mask)
{
    if (!emu_checking)
        return;
    emu_fiber **f = b->fibers + warp * EMU_WARP;
    uint32_t n = TD_MIN((uint32_t)EMU_WARP, b->thread_count - warp * EMU_WARP), all[EMU_WARP] = {0};
    for (uint32_t l = 0; l < n; l++)
        if (mask >> l & 1) {
            join(all, f[l]->seen, EMU_WARP);
            all[l] = TD_MAX(all[l], f[l]->clock);
        }
    for (uint32_t l = 0; l < n; l++)
        if (mask >> l & 1) {
            memcpy(f[l]->seen, all, sizeof all);
            f[l]->clock++;
        }
    join_wide(f, n, mask);
}

void emu_time_block(emu_block *b)
{
    b->epoch = ++b->group->worker->epoch;
    if (emu_checking && b->group->block_count > 1) // what any of them knows of the cluster's other blocks
        join_wide(b->fibers, b->thread_count, 0xffffffffu);
}
