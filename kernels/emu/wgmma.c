/* wgmma.c - products of four warps, which run until their wait.
 *
 * Each warp computes its own 16 of the 64 rows, when it waits; until then its accumulators are NaN, and touching them,
 * or writing to the shared memory that the product reads, is a fault. The operands are found through the very
 * descriptors that the card decodes: start, leading and stride offsets, base offset and swizzle. */
#include "kernels/emu/async.h"
#include "kernels/emu/dot.h"

#include "base/arena.h"
#include "base/err.h"

#include <string.h>

enum { ROWS = 16, N_MAX = 256, UNITS = EMU_SMEM_MAX / 16 + 1 };

typedef struct desc {
    uint32_t start, lead, stride; // bytes
    uint32_t base, swizzle_bytes;
} desc;

/* One warp's part of one instruction. */
typedef struct wgmma_op {
    struct wgmma_op *next;
    emu_wgmma_args args;
    float *d[EMU_WARP];             // [n / 2] of each lane
    const uint32_t *a_at[EMU_WARP]; // A from registers, and what they held
    uint32_t a[EMU_WARP][4];
    float *c;                       // [EMU_WARP][n / 2]; NULL: what the product before leaves
    uint32_t batch;
    const char *file;
    int line;
    uint8_t reads[(UNITS + 7) / 8]; // 16-byte units of shared memory
} wgmma_op;

struct emu_wgmma_state { // of a warp
    wgmma_op *ops;       // in flight, oldest first
    uint32_t batch, issued;
    bool fenced;
};

typedef struct wgmma_req {
    const emu_wgmma_args *args;
    float *d;
    const uint32_t *a;
    uint32_t newest; // of a wait
    int kind;
} wgmma_req;

enum { FENCE, COMMIT };

static emu_wgmma_state *state_now(void)
{
    emu_block *b = emu_cur->block;
    if (!b->wgmma) {
        b->wgmma = emu_alloc(b->warp_count * sizeof *b->wgmma);
    }
    if (emu_cur->warp / EMU_GROUP_WARPS * EMU_GROUP_WARPS + EMU_GROUP_WARPS > b->warp_count)
        emu_fail("wgmma", "wgmma takes four whole warps that begin at a multiple of four");
    return &b->wgmma[emu_cur->warp];
}

static desc decode(uint64_t bits)
{
    static const uint32_t swizzle[] = {0, 128, 64, 32};
    return (desc){.start = (uint32_t)(bits & 0x3fff) << 4, .lead = (uint32_t)(bits >> 16 & 0x3fff) << 4,
                  .stride = (uint32_t)(bits >> 32 & 0x3fff) << 4, .base = (uint32_t)(bits >> 49 & 7),
                  .swizzle_bytes = swizzle[bits >> 62]};
}

/* Where element (mn, k) lies. Without swizzle a tile is made of 8 x 16-byte matrices of 128 bytes; with one, of 8
 * rows of the swizzle's width. `lead` steps along k, or, for a transposed operand, along mn by the swizzle's width. */
static uint32_t offset_of(const desc *d, bool trans, uint32_t mn, uint32_t k, uint32_t elem_bytes)
{
    uint32_t w = d->swizzle_bytes, columns = w / 16, kb = k * elem_bytes, at;
    if (!trans && w)
        at = mn / 8 * d->stride + mn % 8 * w + kb;
    else if (!trans)
        at = mn / 8 * d->stride + mn % 8 * 16 + kb / 16 * d->lead + kb % 16;
    else if (w)
        at = mn / 8 / columns * d->lead + mn / 8 % columns * 16 + mn % 8 * 2 + k % 8 * w + k / 8 * d->stride;
    else
        at = mn / 8 * d->stride + mn % 8 * 2 + k % 8 * 16 + k / 8 * d->lead;
    at += d->start;
    return columns ? at ^ (((at >> 7) - d->base) & (columns - 1)) << 4 : at;
}

static void desc_check(const desc *d, const char *which)
{
    uint32_t rows = d->swizzle_bytes / 16;
    if (rows && (d->start >> 7 & 7 & (rows - 1)) != (d->base & (rows - 1)))
        emu_fail("wgmma descriptor", "%s starts at offset %u: a tile with swizzle %u begins at a multiple of %u, or "
                 "its base offset says so", which, d->start, d->swizzle_bytes, d->swizzle_bytes * 8);
    if (rows && d->stride % (d->swizzle_bytes * 8))
        emu_fail("wgmma descriptor", "%s has stride offset %u: with swizzle %u a multiple of %u", which, d->stride,
                 d->swizzle_bytes, d->swizzle_bytes * 8);
}

/* Calls for each 16 bytes of the operand that the product reads; each is within one row of 16 bytes. */
static void operand_access(const wgmma_op *op, bool of_a, uint8_t *units, int kind)
{
    const emu_wgmma_args *g = &op->args;
    emu_block *b = emu_cur->block;
    desc d = decode(of_a ? g->a : g->b);
    bool trans = of_a ? g->trans_a : g->trans_b;
    uint32_t elem = g->fp8 ? 1 : 2, k_count = 32 / elem, first = of_a ? emu_cur->warp % 4 * ROWS : 0;
    uint32_t last = of_a ? first + ROWS : g->n, mn_step = trans ? 8 : 1, k_step = trans ? 1 : 16 / elem;
    for (uint32_t mn = first; mn < last; mn += mn_step)
        for (uint32_t k = 0; k < k_count; k += k_step) {
            uint32_t at = offset_of(&d, trans, mn, k, elem);
            if (at + 16 > b->smem_bytes)
                emu_fail("wgmma descriptor", "%s at row %u, k %u lies at offset %u of shared memory of %zu bytes",
                         of_a ? "A" : "B", mn, k, at, b->smem_bytes);
            emu_tile_access(b, at, d.swizzle_bytes);
            emu_access(b->smem + at, 16, false, kind, NULL);
            if (units)
                units[at / 16 / 8] |= (uint8_t)(1u << at / 16 % 8);
        }
}

static emu_num number(const emu_wgmma_args *g, const uint8_t *at)
{
    uint16_t half;
    if (g->fp8)
        return emu_num_e4m3(*at);
    memcpy(&half, at, 2);
    return emu_num_bf16(half);
}

/* Element (i, k) of A in the lanes' registers, as mma.sync has it. */
static const uint8_t *in_regs(const wgmma_op *op, uint32_t i, uint32_t k)
{
    return (const uint8_t *)&op->a[i % 8 * 4 + k % 8 / 2][i / 8 + k / 8 * 2] + k % 2 * 2;
}

static void product(const wgmma_op *op, float (*r)[N_MAX / 2])
{
    const emu_wgmma_args *g = &op->args;
    const uint8_t *smem = emu_cur->block->smem;
    emu_row a[ROWS];
    static _Thread_local emu_row b[N_MAX];
    desc da = decode(g->a), db = decode(g->b);
    uint32_t elem = g->fp8 ? 1 : 2, k_count = 32 / elem, first = emu_cur->warp % 4 * ROWS;
    for (uint32_t n = 0; n < g->n; n++) {
        b[n].special = false;
        for (uint32_t k = 0; k < k_count; k++)
            emu_row_set(&b[n], (int)k, number(g, smem + offset_of(&db, g->trans_b, n, k, elem)));
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        a[i].special = false;
        for (uint32_t k = 0; k < k_count; k++) {
            const uint8_t *at = g->a_regs ? in_regs(op, i, k) : smem + offset_of(&da, g->trans_a, first + i, k, elem);
            emu_row_set(&a[i], (int)k, number(g, at));
        }
    }
    for (uint32_t l = 0; l < EMU_WARP; l++)
        for (uint32_t e = 0; e < g->n / 2; e++) {
            uint32_t i = l / 4 + e / 2 % 2 * 8, n = e / 4 * 8 + l % 4 * 2 + e % 2;
            float c = g->scale_d ? r[l][e] : 0.0f;
            r[l][e] = g->fp8 ? emu_dot_fp8(&a[i], &b[n], c) : emu_dot_half(&a[i], &b[n], c);
        }
}

static void poison(const wgmma_op *op)
{
    for (int l = 0; l < EMU_WARP; l++)
        memset(op->d[l], 0xff, op->args.n / 2 * sizeof(float));
}

static bool same_args(const emu_wgmma_args *x, const emu_wgmma_args *y)
{
    return x->a == y->a && x->b == y->b && x->n == y->n && x->scale_d == y->scale_d && x->a_regs == y->a_regs &&
           x->trans_a == y->trans_a && x->trans_b == y->trans_b && x->fp8 == y->fp8;
}

static void issue(void **req, uint32_t mask)
{
    const wgmma_req *first = req[0];
    emu_wgmma_state *s = state_now();
    (void)mask;
    if (!s->fenced)
        emu_fail("wgmma fence", "no td_wgmma_fence between the registers' last use and this wgmma");
    wgmma_op *op = emu_alloc(sizeof *op), **end = &s->ops;
    op->args = *first->args;
    op->file = emu_cur->file;
    op->line = emu_cur->line;
    op->batch = s->batch;
    const wgmma_op *before = NULL;
    for (; *end; end = &(*end)->next)
        before = (*end)->d[0] == first->d ? *end : before;
    for (uint32_t l = 0; l < EMU_WARP; l++) {
        const wgmma_req *r = req[l];
        if (!same_args(r->args, first->args))
            emu_fail("wgmma", "lane %u of the warp calls with other arguments than lane 0", l);
        op->d[l] = r->d;
        op->a_at[l] = r->a;
        if (r->a)
            memcpy(op->a[l], r->a, sizeof op->a[l]);
        emu_cur->block->fibers[emu_cur->warp * EMU_WARP + l]->regs_in_flight++;
    }
    uint32_t half = op->args.n / 2;
    if (!before) {
        op->c = emu_alloc(EMU_WARP * half * sizeof *op->c);
        for (uint32_t l = 0; l < EMU_WARP; l++)
            memcpy(op->c + l * half, op->d[l], half * sizeof *op->c);
    } else if (before->args.n != op->args.n) {
        emu_fail("wgmma", "a product of another width into accumulators that are in flight");
    }
    desc a = decode(op->args.a), b = decode(op->args.b);
    desc_check(&b, "B");
    operand_access(op, false, op->reads, EMU_ACC_ASYNC);
    if (!op->args.a_regs) {
        desc_check(&a, "A");
        operand_access(op, true, op->reads, EMU_ACC_ASYNC);
    }
    poison(op);
    *end = op;
    s->issued++;
    emu_cur->block->wgmma_in_flight++;
}

void emu_wgmma(const emu_wgmma_args *args, float *d, const uint32_t *a, const char *file, int line)
{
    wgmma_req r = {.args = args, .d = d, .a = a};
    emu_enter("td_wgmma", file, line);
    if (args->n == 0 || args->n > N_MAX || args->n % 8)
        emu_fail("wgmma", "a width of %u: a multiple of 8 up to %d", args->n, N_MAX);
    emu_meet(issue, 0xffffffffu, &r, "td_wgmma", file, line);
}

/* Runs the oldest product; its result goes to the lanes, or on to the next one into the same registers. */
static void finish(emu_wgmma_state *s)
{
    wgmma_op *op = s->ops;
    uint32_t half = op->args.n / 2;
    static _Thread_local float r[EMU_WARP][N_MAX / 2];
    operand_access(op, false, NULL, EMU_ACC_ASYNC); // whoever writes there next has to be behind this wait
    if (!op->args.a_regs)
        operand_access(op, true, NULL, EMU_ACC_ASYNC);
    td_assert(op->c);
    for (uint32_t l = 0; l < EMU_WARP; l++)
        memcpy(r[l], op->c + l * half, half * sizeof(float));
    product(op, r);
    wgmma_op *next = op->next;
    while (next && next->d[0] != op->d[0])
        next = next->next;
    for (uint32_t l = 0; l < EMU_WARP; l++) {
        memcpy(next ? op->c + l * half : op->d[l], r[l], half * sizeof(float));
        emu_cur->block->fibers[emu_cur->warp * EMU_WARP + l]->regs_in_flight--;
    }
    if (next) {
        next->c = op->c;
        op->c = NULL;
    }
    s->ops = op->next;
    emu_cur->block->wgmma_in_flight--;
    td_free(op->c);
    td_free(op);
}

static void wait(void **req, uint32_t mask)
{
    emu_wgmma_state *s = state_now();
    (void)mask;
    while (s->ops && s->ops->batch + ((const wgmma_req *)req[0])->newest < s->batch)
        finish(s);
    s->fenced = s->fenced && s->ops;
}

void emu_wgmma_wait(uint32_t newest, const char *file, int line)
{
    wgmma_req r = {.newest = newest};
    emu_meet(wait, 0xffffffffu, &r, "td_wgmma_wait", file, line);
}

static void mark(void **req, uint32_t mask)
{
    emu_wgmma_state *s = state_now();
    (void)mask;
    if (((const wgmma_req *)req[0])->kind == FENCE)
        s->fenced = true;
    else
        s->batch++;
}

void emu_wgmma_fence(const char *file, int line)
{
    wgmma_req r = {.kind = FENCE};
    emu_meet(mark, 0xffffffffu, &r, "td_wgmma_fence", file, line);
}

void emu_wgmma_commit(const char *file, int line)
{
    wgmma_req r = {.kind = COMMIT};
    emu_meet(mark, 0xffffffffu, &r, "td_wgmma_commit", file, line);
}

void emu_regs_access(const void *at, size_t bytes, bool write, const void *pc)
{
    const uint8_t *p = at;
    const emu_fiber *f = emu_cur;
    const emu_wgmma_state *s = &f->block->wgmma[f->warp];
    for (const wgmma_op *op = s->ops; op; op = op->next) {
        const uint8_t *d = (const uint8_t *)op->d[f->lane], *a = (const uint8_t *)op->a_at[f->lane];
        if (p < d + op->args.n / 2 * 4 && p + bytes > d)
            emu_fail_at(pc, "wgmma in flight", "%s of an accumulator before the wait for its wgmma at %s:%d",
                        write ? "write" : "read", op->file, op->line);
        if (a && write && p < a + 16 && p + bytes > a)
            emu_fail_at(pc, "wgmma in flight", "write to a register of A before the wait for its wgmma at %s:%d",
                        op->file, op->line);
    }
}

void emu_wgmma_reads(emu_block *b, size_t off, size_t bytes, const void *pc)
{
    for (uint32_t w = 0; w < b->warp_count; w++)
        for (const wgmma_op *op = b->wgmma[w].ops; op; op = op->next)
            for (size_t u = off / 16; u <= (off + bytes - 1) / 16; u++)
                if (op->reads[u / 8] >> u % 8 & 1)
                    emu_fail_at(pc, "wgmma in flight", "write of %zu bytes at offset %zu of shared memory, which the "
                                "wgmma of warp %u at %s:%d still reads", bytes, off, w, op->file, op->line);
}

void emu_wgmma_close(emu_block *b)
{
    for (uint32_t w = 0; b->wgmma && w < b->warp_count; w++) {
        emu_cur = b->fibers[w * EMU_WARP];
        if (b->wgmma[w].ops) {
            emu_cur->file = b->wgmma[w].ops->file;
            emu_cur->line = b->wgmma[w].ops->line;
            emu_fail("wgmma in flight", "the warp ended and had not waited for its wgmma");
        }
        if (b->wgmma[w].issued != b->wgmma[w / 4 * 4].issued)
            emu_fail("wgmma", "warp %u ran %u wgmma instructions and warp %u of its group %u", w, b->wgmma[w].issued,
                     w / 4 * 4, b->wgmma[w / 4 * 4].issued);
    }
    emu_cur = NULL;
    td_free(b->wgmma);
}
