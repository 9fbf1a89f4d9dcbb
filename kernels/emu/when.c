/* when.c - the order of operations on streams, and of groups inside one launch.
 *
 * An operation knows, for each stream, up to which of its operations all was over when it began; a record in the shadow
 * names its operation, so two lookups tell whether an old access lies before. Groups of one launch run in any order:
 * only an atomic operation after a __threadfence orders them, for whoever touches the same address atomically later.
 * Such a release stands for all that its group did so far, which is a little more than the card promises. */
#include "kernels/emu/int.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"

#include <string.h>

enum { NAMED = 1 << 14 }; // operations remembered; older ones lie before everything

static struct named {
    uint32_t id, stream, seq;
    const char *what;
} named[NAMED];

void emu_when_name(uint32_t id, uint32_t stream, uint32_t seq, const char *what)
{
    named[id % NAMED] = (struct named){id, stream, seq, what};
}

bool emu_when_before(uint32_t id, const emu_when *w)
{
    const struct named *n = &named[id % NAMED];
    return n->id != id || w->before[n->stream] >= n->seq;
}

const char *emu_when_what(uint32_t id) { return named[id % NAMED].id == id ? named[id % NAMED].what : "an old one"; }

bool emu_when_later(uint32_t id, const emu_when *w)
{
    const struct named *n = &named[id % NAMED], *me = &named[w->id % NAMED];
    return n->id == id && n->stream == me->stream && n->seq > me->seq;
}

typedef struct emu_release {
    struct emu_release *next;
    const void *at;
    uint32_t upto[]; // [groups] how many releases of each group whoever acquires here lies behind
} emu_release;

static emu_release *release_at(emu_launch_op *op, const void *at, bool make)
{
    for (emu_release *r = op->releases; r; r = r->next)
        if (r->at == at)
            return r;
    if (!make)
        return NULL;
    emu_release *r = emu_alloc(sizeof *r + op->group_count * sizeof *r->upto);
    r->at = at;
    r->next = op->releases;
    op->releases = r;
    return r;
}

void emu_release_fenced(emu_fiber *f, const void *at, bool writes)
{
    emu_group *g = f->block->group;
    if (!emu_checking || emu_shared_block(f, at)) // shared memory is the group's alone
        return;
    emu_release *r = release_at(g->op, at, writes && f->fenced);
    if (!r)
        return;
    uint32_t count = g->op->group_count;
    if (!g->acquired) {
        g->acquired = emu_alloc(count * sizeof *g->acquired);
    }
    for (uint32_t i = 0; i < count; i++)
        g->acquired[i] = TD_MAX(g->acquired[i], r->upto[i]);
    if (!writes || !f->fenced)
        return;
    td_assert(g->releases < UINT16_MAX);
    g->acquired[g->index] = ++g->releases;
    memcpy(r->upto, g->acquired, count * sizeof *r->upto);
}

void emu_releases_drop(emu_launch_op *op)
{
    for (emu_release *r = op->releases, *next; r; r = next) {
        next = r->next;
        td_free(r);
    }
    op->releases = NULL;
}
