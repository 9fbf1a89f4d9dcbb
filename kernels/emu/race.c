/* race.c - looks at every access to memory: is it inside something, is a copy under way there, and is what others did
 * there ordered with it?
 *
 * The shadow keeps for each 4 bytes two writes and two reads, each with who, when and where. A new access that
 * overlaps one of them in bytes, is not ordered behind it, is a write on one side and not atomic on both, is a race,
 * whichever ran first here. Two readers are enough to see that somebody else read; a third may hide one of them. */
#include "kernels/emu/int.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#ifdef TD_EMU_HOOKS
bool emu_checking = true;
bool emu_has_checks(void) { return true; }
#else
bool emu_checking;
bool emu_has_checks(void) { return false; }
#endif

void emu_set_checks(bool on) { emu_checking = on && emu_has_checks(); }

extern const char __executable_start[], end[];

static emu_fiber *fiber_of(const emu_group *g, uint32_t gid)
{
    return g->blocks[gid / g->fiber_stride].fibers[gid % g->fiber_stride];
}

static bool ordered(const emu_rec *r, const emu_fiber *f)
{
    const emu_block *b = f->block;
    const emu_group *g = b->group;
    if (r->op != g->op->when.id)
        return emu_when_before(r->op, &g->op->when);
    if (r->group != g->index)
        return g->acquired && g->acquired[r->group] > r->rel;
    if (r->gid == f->gid)
        return true;
    if (r->epoch < (r->gid / g->fiber_stride == b->rank ? b->epoch : g->cluster_epoch))
        return true;
    if (r->gid / EMU_WARP == f->gid / EMU_WARP && f->seen[r->gid % EMU_WARP] >= r->clock)
        return true;
    return f->wide && f->wide[r->gid] >= r->clock;
}

typedef struct access {
    emu_fiber *f;
    const void *at, *pc;
    bool write, shared;
    int kind;
    size_t bytes, off; // off: in shared memory, or in its allocation
    emu_rec me;
} access;

static __attribute__((noreturn)) void race(const access *a, const emu_rec *r, bool r_writes)
{
    const emu_group *g = a->f->block->group;
    char place[300] = "", who[120];
    emu_checking = false;
    if (r->pc && emu_place_text(__executable_start + r->pc, place + 4, sizeof place - 4))
        memcpy(place, " at ", 4);
    if (r->op != g->op->when.id)
        snprintf(who, sizeof who, "%s", emu_when_what(r->op));
    else if (r->group != g->index)
        snprintf(who, sizeof who, "another block (number %u)", r->group);
    else
        snprintf(who, sizeof who, "thread %u", fiber_of(g, r->gid)->tid);
    const char *kind = r->op == g->op->when.id               ? "race"
                       : emu_when_later(r->op, &g->op->when) ? "missing griddepcontrol.wait"
                                                             : "race between streams";
    emu_fail_at(a->pc, kind, "%s of %zu bytes at offset %zu of %s memory, not ordered with %s by %s%s",
                a->write ? "write" : "read", a->bytes, a->off, a->shared ? "shared" : "global",
                r_writes ? "a write" : "a read", who, place);
}

static bool conflicts(const access *a, const emu_rec *r, uint32_t oldest)
{
    return r->epoch >= oldest && r->epoch && (r->mask & a->me.mask) &&
           !(r->kind == EMU_ACC_ATOMIC && a->kind == EMU_ACC_ATOMIC) && !ordered(r, a->f);
}

static void note_read(emu_cell *c, const access *a, uint32_t oldest)
{
    for (int i = 0; i < 2; i++) {
        emu_rec *r = &c->read[i];
        bool mine = r->op == a->me.op && r->group == a->me.group && r->gid == a->me.gid;
        if (mine && r->epoch == a->me.epoch && r->clock == a->me.clock) {
            r->mask |= a->me.mask;
            return;
        }
        if (mine || r->epoch < oldest || !r->epoch || ordered(r, a->f)) {
            *r = a->me;
            return;
        }
    }
    c->read[a->me.clock & 1] = a->me;
}

/* Whoever wrote r made it visible to the async proxy afterwards. */
static bool fenced(const emu_fiber *f, const emu_rec *r)
{
    const emu_group *g = f->block->group;
    return r->op != g->op->when.id || r->group != g->index || fiber_of(g, r->gid)->proxy_fence > r->clock;
}

static void cell_access(emu_cell *c, access *a, uint32_t oldest)
{
    bool arrives = a->kind == EMU_ACC_DELIVER || a->kind == EMU_ACC_BULK;
    if (c->in_flight && !arrives && c->write.epoch >= oldest)
        emu_fail_at(a->pc, c->in_flight == EMU_IN_FLIGHT_CP_ASYNC ? "cp.async in flight" : "bulk copy in flight",
                    "%s of %zu bytes at offset %zu of shared memory, into which thread %u has a copy under way",
                    a->write ? "write" : "read", a->bytes, a->off, fiber_of(a->f->block->group, c->write.gid)->tid);
    if (conflicts(a, &c->write, oldest))
        race(a, &c->write, true);
    if (conflicts(a, &c->other, oldest))
        race(a, &c->other, true);
    if (a->kind == EMU_ACC_ASYNC && c->generic && c->write.epoch >= oldest && !fenced(a->f, &c->write))
        emu_fail_at(a->pc, "missing fence.proxy.async", "the async proxy reads shared memory at offset %zu, which "
                    "thread %u wrote and did not fence", a->off, fiber_of(a->f->block->group, c->write.gid)->tid);
    if (!a->write) {
        note_read(c, a, oldest);
        return;
    }
    for (int i = 0; i < 2; i++)
        if (conflicts(a, &c->read[i], oldest))
            race(a, &c->read[i], false);
    if (c->write.mask & ~a->me.mask)
        c->other = c->write;
    c->other.mask &= (uint8_t)~a->me.mask;
    c->write = a->me;
    c->generic = a->kind != EMU_ACC_BULK && a->kind != EMU_ACC_ISSUE;
    c->layout = 0;
}

static void cells_access(emu_cell *shadow, access *a, uint32_t oldest)
{
    emu_fiber *f = a->f;
    const emu_group *g = f->block->group;
    a->me = (emu_rec){.epoch = f->block->epoch, .clock = f->clock, .op = g->op->when.id, .group = g->index,
                      .gid = (uint16_t)f->gid, .rel = g->releases, .kind = (uint8_t)a->kind,
                      .pc = a->pc ? (uint32_t)((const char *)a->pc - __executable_start) : 0};
    for (size_t at = a->off, stop = a->off + a->bytes; at < stop;) {
        size_t n = TD_MIN(4 - at % 4, stop - at);
        a->me.mask = (uint8_t)(((1u << n) - 1) << at % 4);
        cell_access(&shadow[at / 4], a, oldest);
        at += n;
    }
}

/* The block of f's cluster whose shared memory, red zones included, holds `at`. */
emu_block *emu_shared_block(const emu_fiber *f, const void *p)
{
    emu_group *g = f->block->group;
    const uint8_t *at = p;
    for (uint32_t r = 0; r < g->block_count; r++) {
        emu_block *b = &g->blocks[(f->block->rank + r) % g->block_count];
        if (at >= b->smem - EMU_RED_ZONE && at < b->smem + EMU_SMEM_MAX + EMU_RED_ZONE)
            return b;
    }
    return NULL;
}

static void outside(const access *a)
{
    const emu_fiber *f = a->f;
    const emu_launch_op *op = f->block->group->op;
    const char *at = a->at, *args = op->args;
    const char *verb = a->write ? "write" : "read";
    if (!a->write && at >= args && at + a->bytes <= args + op->args_bytes)
        return;
    if (at >= __executable_start && at + a->bytes <= end) {
        if (!a->write)
            return;
        emu_fail_at(a->pc, "out of bounds", "write of %zu bytes to static memory of the host", a->bytes);
    }
    for (uint32_t t = 0; t < f->block->thread_count; t++)
        if (at >= f->block->fibers[t]->stack_lo && at < f->block->fibers[t]->stack_hi)
            emu_fail_at(a->pc, "out of bounds", "%s of %zu bytes of local memory of thread %u", verb, a->bytes, t);
    const emu_region *r = emu_mem_find(at - 256);
    if (r)
        emu_fail_at(a->pc, "out of bounds", "%s of %zu bytes of global memory, %zu bytes past the end of an allocation "
                    "of %zu", verb, a->bytes, (size_t)((const uint8_t *)at - r->hi), (size_t)(r->hi - r->lo));
    r = emu_mem_find(at + 255);
    if (r)
        emu_fail_at(a->pc, "out of bounds", "%s of %zu bytes of global memory, %zu bytes before an allocation of %zu",
                    verb, a->bytes, (size_t)(r->lo - (const uint8_t *)at), (size_t)(r->hi - r->lo));
    emu_fail_at(a->pc, "out of bounds", "%s of %zu bytes at %p, which is no memory of the device", verb, a->bytes,
                (const void *)at);
}

static void global_access(access *a)
{
    const uint8_t *at = a->at;
    emu_region *r = emu_mem_find(at);
    if (!r) {
        outside(a);
        return;
    }
    a->off = (size_t)(at - r->lo);
    if (a->bytes > (size_t)(r->hi - at))
        emu_fail_at(a->pc, "out of bounds", "%s of %zu bytes at offset %zu of an allocation of %zu",
                    a->write ? "write" : "read", a->bytes, a->off, (size_t)(r->hi - r->lo));
    if (!r->device)
        emu_fail_at(a->pc, "out of bounds", "%s of %zu bytes of host memory", a->write ? "write" : "read", a->bytes);
    if (a->write && a->kind == EMU_ACC_PLAIN)
        a->f->fenced = false;
    if (r->shadow)
        cells_access(r->shadow, a, 1);
}

void emu_access(const void *at, size_t bytes, bool write, int kind, const void *pc)
{
    emu_fiber *f = emu_cur;
    const uint8_t *p = at;
    if (!emu_checking || !f)
        return;
    f->worker->accesses++;
    if ((const char *)p >= f->stack_lo && (const char *)p < f->stack_hi) {
        if (f->regs_in_flight)
            emu_regs_access(at, bytes, write, pc);
        return;
    }
    access a = {.f = f, .at = at, .pc = pc, .write = write, .kind = kind, .bytes = bytes};
    emu_block *b = emu_shared_block(f, p);
    if (b && b != f->block && b->alive == 0)
        emu_fail_at(pc, "cluster", "%s of %zu bytes of shared memory of block rank %u, which has ended",
                    write ? "write" : "read", bytes, b->rank);
    if (!b) {
        global_access(&a);
        return;
    }
    a.off = (size_t)(p - b->smem);
    a.shared = true;
    if (p < b->smem || a.off + bytes > b->smem_bytes)
        emu_fail_at(pc, "out of bounds", "%s of %zu bytes at offset %td of shared memory of %zu bytes",
                    write ? "write" : "read", bytes, p - b->smem, b->smem_bytes);
    if (f->block->wgmma_in_flight && write)
        emu_wgmma_reads(b, a.off, bytes, pc);
    cells_access(b->shadow, &a, b->group->blocks[0].first_epoch);
}

void emu_in_flight(const void *shared, size_t bytes, int what)
{
    emu_block *b = emu_checking ? emu_shared_block(emu_cur, shared) : NULL;
    size_t off = b ? (size_t)((const uint8_t *)shared - b->smem) : 0;
    for (size_t at = off / 4; b && at < (off + bytes + 3) / 4; at++)
        b->shadow[at].in_flight = (uint8_t)what;
}

void emu_tile_mark(const void *shared, size_t bytes, uint32_t swizzle_bytes)
{
    emu_block *b = emu_checking ? emu_shared_block(emu_cur, shared) : NULL;
    size_t off = b ? (size_t)((const uint8_t *)shared - b->smem) : 0;
    for (size_t at = off / 4; b && at < (off + bytes + 3) / 4; at++)
        b->shadow[at].layout = (uint8_t)(swizzle_bytes / 16 + 1);
}

void emu_tile_access(emu_block *b, size_t off, uint32_t swizzle_bytes)
{
    for (size_t at = off / 4; emu_checking && at < off / 4 + 4; at++) {
        const emu_cell *c = &b->shadow[at];
        if (c->write.epoch < b->group->blocks[0].first_epoch)
            emu_fail("wgmma descriptor", "wgmma reads shared memory at offset %zu, which nobody wrote", off);
        if (c->layout && c->layout != swizzle_bytes / 16 + 1)
            emu_fail("wgmma descriptor", "wgmma reads shared memory at offset %zu with swizzle %u, and a tensor copy "
                     "wrote it with swizzle %u", off, swizzle_bytes, (c->layout - 1u) * 16);
    }
}

/* A copy or a fill of a stream. Long ones are not noted: their shadow would be many times their size. */
void emu_copy_access(const emu_when *w, const void *at, size_t bytes, bool write, const char *what)
{
    enum { NOTED_MAX = 1 << 20 };
    emu_region *r = emu_checking && bytes <= NOTED_MAX ? emu_mem_find(at) : NULL;
    if (!r || !r->shadow)
        return;
    size_t off = (size_t)((const uint8_t *)at - r->lo);
    for (size_t i = off / 4; i < (off + bytes + 3) / 4; i++) {
        emu_cell *c = &r->shadow[i];
        const emu_rec *seen[4] = {&c->write, &c->other, write ? &c->read[0] : NULL, write ? &c->read[1] : NULL};
        for (int k = 0; k < 4; k++)
            if (seen[k] && seen[k]->epoch && !emu_when_before(seen[k]->op, w))
                emu_fail(emu_when_later(seen[k]->op, w) ? "missing griddepcontrol.wait" : "race between streams",
                         "%s %s global memory at offset %zu of %zu bytes, not ordered with a %s by %s", what,
                         write ? "writes" : "reads", i * 4, (size_t)(r->hi - r->lo), k > 1 ? "read" : "write",
                         emu_when_what(seen[k]->op));
        emu_rec me = {.epoch = 1, .op = w->id, .group = UINT32_MAX, .mask = 15};
        *(write ? &c->write : c->read[0].op == w->id || !c->read[0].epoch ? &c->read[0] : &c->read[1]) = me;
    }
}
