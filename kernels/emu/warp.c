/* warp.c - collectives of lanes. Lanes that name the same mask meet in a slot; the last one to arrive does the work for
 * all, over requests that lie on the stacks of the waiting lanes. A lane that calls another function, or the same one
 * from another place, under the same mask is a fault; so is a lane that ends or is stuck while others wait for it. */
#include "kernels/emu/int.h"

#include "base/err.h"

/* The slot of this mask, or a free one. Masks in flight at once are disjoint, or lanes of one wait in another: there
 * are at most as many as lanes. With a warp together it is the first. */
static emu_rendezvous *slot_of(emu_fiber *f, uint32_t mask)
{
    emu_rendezvous *slot = &f->block->meet[f->warp * EMU_WARP], *empty = NULL;
    uint32_t used = f->block->meet_used[f->warp];
    for (int i = 0; i < EMU_WARP && (used || !empty); i++) {
        if (slot[i].arrived && slot[i].mask == mask)
            return &slot[i];
        if (slot[i].arrived)
            used--;
        else if (!empty)
            empty = &slot[i];
    }
    td_assert(empty);
    return empty;
}

static uint32_t lanes_there(const emu_fiber *f)
{
    uint32_t n = f->block->thread_count - f->warp * EMU_WARP;
    return n >= EMU_WARP ? 0xffffffffu : (1u << n) - 1;
}

static void check_mask(const emu_fiber *f, uint32_t mask, const char *what)
{
    if (!(mask >> f->lane & 1))
        emu_fail("missing lane", "%s with mask 0x%08x, which does not name the calling lane %u", what, mask, f->lane);
    if (mask & ~lanes_there(f))
        emu_fail("missing lane", "%s with mask 0x%08x names lanes that the block does not have", what, mask);
    uint32_t ended = mask & f->block->ended[f->warp];
    if (ended)
        emu_fail("missing lane", "%s with mask 0x%08x names lane %d, which has ended", what, mask,
                 __builtin_ctz(ended));
}

void emu_meet(emu_collective_fn fn, uint32_t mask, void *req, const char *what, const char *file, int line)
{
    emu_enter(what, file, line);
    emu_fiber *f = emu_cur;
    check_mask(f, mask, what);
    emu_rendezvous *s = slot_of(f, mask);
    if (!s->arrived) {
        f->block->meet_used[f->warp]++;
        s->fn = fn;
        s->mask = mask;
        s->what = what;
        s->file = file;
        s->line = line;
    }
    if (s->fn != fn || s->line != line || s->file != file)
        emu_fail("divergent collective", "%s here while lanes of mask 0x%08x wait in %s at %s:%d", what, mask, s->what,
                 s->file, s->line);
    f->meet_req = req;
    s->arrived |= 1u << f->lane;
    if (s->arrived != mask) {
        emu_fiber_block(EMU_AT_WARP, what, file, line);
        return;
    }
    emu_fiber **lanes = f->block->fibers + f->warp * EMU_WARP;
    void *reqs[EMU_WARP] = {NULL};
    for (uint32_t l = 0; l < EMU_WARP; l++)
        if (mask >> l & 1)
            reqs[l] = lanes[l]->meet_req;
    fn(reqs, mask);
    s->arrived = 0;
    f->block->meet_used[f->warp]--;
    for (uint32_t l = 0; l < EMU_WARP; l++)
        if (mask >> l & 1 && l != f->lane)
            lanes[l]->state = EMU_READY;
}

static void sync_lanes(void **req, uint32_t mask)
{
    (void)req;
    emu_time_warp(emu_cur->block, emu_cur->warp, mask);
}

void emu_syncwarp(uint32_t mask, const char *file, int line)
{
    emu_meet(sync_lanes, mask, NULL, "__syncwarp", file, line);
}

typedef struct shfl_req {
    int32_t kind;
    uint32_t value, lane, width, result;
} shfl_req;

static void shfl_lanes(void **req, uint32_t mask)
{
    for (uint32_t l = 0; l < EMU_WARP; l++) {
        if (!(mask >> l & 1))
            continue;
        shfl_req *r = req[l];
        uint32_t base = l & ~(r->width - 1), from = l;
        switch (r->kind) {
        case EMU_SHFL_IDX: from = base | (r->lane & (r->width - 1)); break;
        case EMU_SHFL_UP: from = l - base >= r->lane ? l - r->lane : l; break;
        case EMU_SHFL_DOWN: from = l - base + r->lane < r->width ? l + r->lane : l; break;
        case EMU_SHFL_XOR: from = (l ^ r->lane) < base + r->width ? l ^ r->lane : l; break;
        default: td_bug("kind of shuffle", __FILE__, __LINE__);
        }
        if (!(mask >> from & 1))
            emu_fail("missing lane", "a shuffle with mask 0x%08x: lane %u reads lane %u, which does not take part",
                     mask, l, from);
        r->result = ((const shfl_req *)req[from])->value;
    }
}

uint32_t emu_shfl(int32_t kind, uint32_t mask, uint32_t value, uint32_t lane, uint32_t width, const char *file,
                  int line)
{
    static const char *const name[] = {"__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync"};
    shfl_req r = {.kind = kind, .value = value, .lane = lane, .width = width};
    if (width == 0 || width > EMU_WARP || (width & (width - 1))) {
        emu_enter(name[kind], file, line);
        emu_fail("missing lane", "a shuffle of width %u: a power of two up to 32", width);
    }
    emu_meet(shfl_lanes, mask, &r, name[kind], file, line);
    return r.result;
}

typedef struct ballot_req {
    uint32_t pred, result;
} ballot_req;

static void ballot_lanes(void **req, uint32_t mask)
{
    uint32_t bits = 0;
    for (uint32_t l = 0; l < EMU_WARP; l++)
        if (mask >> l & 1 && ((const ballot_req *)req[l])->pred)
            bits |= 1u << l;
    for (uint32_t l = 0; l < EMU_WARP; l++)
        if (mask >> l & 1)
            ((ballot_req *)req[l])->result = bits;
}

uint32_t emu_ballot(uint32_t mask, int32_t pred, const char *file, int line)
{
    ballot_req r = {.pred = pred != 0};
    emu_meet(ballot_lanes, mask, &r, "__ballot_sync", file, line);
    return r.result;
}
