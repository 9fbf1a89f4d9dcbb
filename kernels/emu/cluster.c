/* cluster.c - what a group of blocks and a grid share: clusters and their barrier, the wait for the kernel ahead, and
 * the registers that warpgroups hand to each other. */
#include "kernels/emu/int.h"

#include "base/err.h"

enum { REGS = 65536, REGS_STEP = 8, REGS_MIN = 24, REGS_MAX = 256, REGS_LAUNCH_MAX = 232 };

uint32_t emu_cluster_rank(void) { return emu_cur->block->rank; }
uint32_t emu_cluster_size(void) { return emu_cur->block->group->block_count; }

void *emu_cluster_map(const void *shared, uint32_t rank, const char *file, int line)
{
    emu_enter("td_cluster_map", file, line);
    const emu_block *b = emu_cur->block;
    if (rank >= b->group->block_count)
        emu_fail("cluster", "block rank %u in a cluster of %u", rank, b->group->block_count);
    if (emu_shared_block(emu_cur, shared) != b)
        emu_fail("cluster", "only an address of the block's own shared memory has a counterpart");
    return b->group->blocks[rank].smem + ((const uint8_t *)shared - b->smem);
}

static void cluster_over(emu_group *g)
{
    uint32_t epoch = ++g->worker->epoch;
    g->cluster_epoch = epoch;
    g->cluster_count = 0;
    for (uint32_t r = 0; r < g->block_count; r++) {
        g->blocks[r].epoch = epoch;
        for (uint32_t t = 0; t < g->blocks[r].thread_count; t++)
            if (g->blocks[r].fibers[t]->state == EMU_AT_CLUSTER)
                g->blocks[r].fibers[t]->state = EMU_READY;
    }
}

void emu_cluster_sync(const char *file, int line)
{
    emu_enter("td_cluster_sync", file, line);
    emu_group *g = emu_cur->block->group;
    for (uint32_t r = 0; r < g->block_count; r++)
        if (g->blocks[r].exited)
            emu_fail("barrier divergence", "td_cluster_sync after a thread of block rank %u has ended", r);
    if (++g->cluster_count == g->block_count * g->blocks[0].thread_count)
        cluster_over(g);
    else
        emu_fiber_block(EMU_AT_CLUSTER, "td_cluster_sync", file, line);
}

void emu_griddep_wait(const char *file, int line)
{
    emu_enter("td_griddep_wait", file, line);
    atomic_store_explicit(&emu_cur->block->group->op->waited, true, memory_order_relaxed);
    if (!emu_cur->block->group->op->primary_done)
        emu_fiber_block(EMU_AT_GRID, "td_griddep_wait", file, line);
}

void emu_griddep_launch(const char *file, int line) { emu_enter("td_griddep_launch", file, line); }

typedef struct regs_req {
    uint32_t regs;
} regs_req;

static void same_regs(void **req, uint32_t mask)
{
    for (uint32_t l = 0; l < EMU_WARP; l++)
        if (mask >> l & 1 && ((const regs_req *)req[l])->regs != ((const regs_req *)req[0])->regs)
            emu_fail("setmaxnreg", "lanes of a warp ask for different numbers of registers");
}

static void regs_open(emu_block *b)
{
    uint32_t warps = b->warp_count, each = REGS / (warps * EMU_WARP) / REGS_STEP * REGS_STEP;
    if (b->regs_of[0])
        return;
    each = each > REGS_LAUNCH_MAX ? REGS_LAUNCH_MAX : each;
    for (uint32_t w = 0; w < warps; w++)
        b->regs_of[w] = (int32_t)each;
    b->regs_free = REGS - (int32_t)(each * warps * EMU_WARP);
}

static void regs_wake(emu_block *b)
{
    for (uint32_t t = 0; t < b->thread_count; t++)
        if (b->fibers[t]->state == EMU_AT_REGS)
            b->fibers[t]->state = EMU_READY;
}

/* A launch with n threads gets 65536 / n registers each; what one warp gives back another may take. */
void emu_setmaxnreg(uint32_t regs, bool more, const char *file, int line)
{
    const char *what = more ? "td_setmaxnreg_inc" : "td_setmaxnreg_dec";
    regs_req r = {regs};
    emu_meet(same_regs, 0xffffffffu, &r, what, file, line);
    emu_block *b = emu_cur->block;
    int32_t want = (int32_t)regs, *have = &b->regs_of[emu_cur->warp];
    regs_open(b);
    if (regs % REGS_STEP || regs < REGS_MIN || regs > REGS_MAX)
        emu_fail("setmaxnreg", "%u registers: a multiple of %d from %d to %d", regs, REGS_STEP, REGS_MIN, REGS_MAX);
    if (*have == want)
        return; // another lane of the warp has done it
    if (more != (want > *have))
        emu_fail("setmaxnreg", "%s to %u from %d registers", what, regs, *have);
    while (*have != want && (want - *have) * EMU_WARP > b->regs_free)
        emu_fiber_block(EMU_AT_REGS, what, file, line);
    if (*have != want) {
        b->regs_free -= (want - *have) * EMU_WARP;
        *have = want;
        regs_wake(b);
    }
}
