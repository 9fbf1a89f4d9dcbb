/* Tokens between the CPU's cache layout (kv.h) and the canonical form. */
#include "kernels/cpu/kv.h"
#include "kernels/cpu/kv_move.h"

#include <string.h>

typedef struct mover {
    const kern_kv_move_args *a;
    uint8_t *codes, *scales; // of the canonical form
    bool pack;
} mover;

static void move(const mover *m, void *canon, void *cache, size_t bytes)
{
    memcpy(m->pack ? canon : cache, m->pack ? cache : canon, bytes);
}

/* One head of one token, K or V. Element d lies at cell d * step of the cache, `at` cells from its beginning. */
static void move_row(const mover *m, int32_t kind, int32_t head, int32_t t)
{
    const kern_kv_layer *kv = m->a->kv;
    int32_t D = kv->head_dim, slot = m->a->slot[t], lane = slot % kv->block_tok % KV_LANES;
    size_t code = kv_code_bytes(kv->type);
    size_t row = ((size_t)kind * (size_t)kv->heads + (size_t)head) * (size_t)m->a->tok_count + (size_t)t;
    kv_group16 g = kv_group_at(kv, slot, head);
    uint8_t *to = m->codes + row * (size_t)D * code;
    if (kind == 1)
        move(m, to, g.v + (size_t)lane * (size_t)D * code, (size_t)D * code);
    for (int32_t d = 0; kind == 0 && d < D; d++)
        move(m, to + (size_t)d * code, g.k + (size_t)(d * KV_LANES + lane) * code, code);
    for (int32_t b = 0; kv->type == KV_Q8_0 && b < D / KV_Q8_DIMS; b++)
        move(m, m->scales + (row * (size_t)(D / KV_Q8_DIMS) + (size_t)b) * 2,
             kind ? g.v_scale + lane * (D / KV_Q8_DIMS) + b : g.k_scale + b * KV_LANES + lane, 2);
}

static void move_all(const kern_kv_move_args *a, bool pack)
{
    const kern_kv_layer *kv = a->kv;
    size_t codes = 2 * kv_codes_bytes(kv->type, kv->heads, kv->head_dim, a->tok_count);
    mover m = {.a = a, .codes = a->canon, .scales = a->canon + codes, .pack = pack};
    for (int32_t kind = 0; kind < 2; kind++)
        for (int32_t h = 0; h < kv->heads; h++)
            for (int32_t t = 0; t < a->tok_count; t++)
                move_row(&m, kind, h, t);
}

void cpu_kv_pack(kern_dev *dev, const kern_kv_move_args *a)
{
    (void)dev;
    move_all(a, true);
}

void cpu_kv_unpack(kern_dev *dev, const kern_kv_move_args *a)
{
    (void)dev;
    move_all(a, false);
}
