/* graph.c - recorded work. A node waits for the node before it on its stream and for the events that its stream waited
 * for; a launch runs the nodes in any order that this allows, as the schedule says. */
#include "kernels/emu/queue.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"

#include <string.h>

static void node_add(gpu_graph g, gpu_stream s, emu_op *op)
{
    if (g->count == g->cap) {
        g->cap = g->cap * 2 + 64;
        g->nodes = emu_realloc(g->nodes, g->cap * sizeof *g->nodes);
    }
    uint32_t i = s->index, joins = g->join_count[i];
    emu_node n = {.op = op, .stream = i, .deps = emu_alloc((joins + 1) * sizeof(int32_t))};
    memcpy(n.deps, g->joins[i], joins * sizeof *n.deps);
    n.dep_count = joins;
    if (g->last[i] >= 0)
        n.deps[n.dep_count++] = g->last[i];
    g->join_count[i] = 0;
    g->last[i] = (int32_t)g->count;
    g->nodes[g->count++] = n;
}

void emu_graph_add(gpu_graph g, gpu_stream s, emu_op *op)
{
    if (op->kind == EMU_OP_RECORD) {
        op->event->capture = g;
        op->event->capture_node = g->last[s->index];
        emu_op_free(op);
    } else if (op->kind == EMU_OP_WAIT) {
        uint32_t *n = &g->join_count[s->index];
        td_assert(*n < TD_COUNT(g->joins[0]));
        if (op->event->capture_node >= 0)
            g->joins[s->index][(*n)++] = op->event->capture_node;
        emu_op_free(op);
    } else {
        node_add(g, s, op);
    }
}

static bool node_ready(const gpu_graph g, const emu_node *n)
{
    bool ok = !n->done;
    for (uint32_t i = 0; i < n->dep_count; i++)
        ok = ok && g->nodes[n->deps[i]].done;
    return ok;
}

static uint32_t pick(gpu_graph g, uint64_t *random)
{
    uint32_t first = g->count, last = 0, n = 0;
    for (uint32_t i = 0; i < g->count; i++)
        if (node_ready(g, &g->nodes[i])) {
            first = TD_MIN(first, i);
            last = emu_get_order() != EMU_RANDOM || emu_random(random) % ++n == 0 ? i : last;
        }
    td_assert(first < g->count);
    return emu_get_order() == EMU_FORWARD ? first : last;
}

/* A kernel node that may overlap the one before it on its stream: the only one that waits for it, and for no other. */
static emu_op *overlapping(gpu_graph g, uint32_t at)
{
    for (uint32_t i = at + 1; i < g->count; i++)
        if (g->nodes[i].dep_count == 1 && g->nodes[i].deps[0] == (int32_t)at)
            return g->nodes[i].stream == g->nodes[at].stream ? g->nodes[i].op : NULL;
    return NULL;
}

void emu_graph_run(gpu_graph g, gpu_stream s, const uint64_t *sums)
{
    uint64_t random = emu_get_seed();
    for (uint32_t i = 0; i < g->count; i++)
        g->nodes[i].done = false;
    for (uint32_t left = g->count, forced = g->count; left > 0; left--) {
        uint32_t at = forced < g->count ? forced : pick(g, &random);
        emu_node *n = &g->nodes[at];
        uint32_t index = n->stream == g->origin->index ? s->index : n->stream;
        memset(&n->when, 0, sizeof n->when);
        emu_max_before(n->when.before, s->before);
        for (uint32_t d = 0; d < n->dep_count; d++)
            emu_max_before(n->when.before, g->nodes[n->deps[d]].when.before);
        if (sums)
            n->op->sum = sums[at];
        emu_op *next = overlapping(g, at);
        bool along = next && n->op->kind == EMU_OP_KERNEL && next->kind == EMU_OP_KERNEL && next->kernel.pdl;
        emu_queue_run(n->op, along ? next : NULL, &n->when, index);
        n->done = true;
        forced = g->count;
        for (uint32_t i = at + 1; along && i < g->count; i++)
            if (g->nodes[i].op == next)
                forced = i;
    }
    for (uint32_t i = 0; i < g->count; i++)
        emu_max_before(s->before, g->nodes[i].when.before);
}

uint64_t *emu_graph_sums(gpu_graph g)
{
    uint64_t *sums = emu_alloc((g->count + 1) * sizeof *sums);
    for (uint32_t i = 0; i < g->count; i++)
        if (g->nodes[i].op->from_host)
            sums[i] = emu_sum(g->nodes[i].op->from, g->nodes[i].op->bytes);
    return sums;
}
