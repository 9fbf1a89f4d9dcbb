/* Packing, rows read back, and the embedding lookup. */
#include "checkkern.h"

#include "kernels/cpu/pack.h"
#include "weights.h"

static void check_rows(const ck_weight *c)
{
    size_t cols = (size_t)c->w.cols;
    float *want = ck_alloc(cols * 4, 4), *got = ck_alloc(cols * 4, 4);
    for (int32_t r = 0; r < c->w.rows; r++) {
        kern_dequant_row(c->w.type, c->raw + (size_t)r * kern_row_bytes(c->w.type, c->w.cols), c->w.cols, want);
        pack_row_floats(&c->w, r, got);
        if (!ck_same_floats("row read back", want, got, cols))
            return;
    }
}

static void run(int type)
{
    for (int round = 0; round < 12; round++) {
        int32_t block = kern_types[type].block, rows = ck_rand_int(1, 50);
        int32_t cols = block * ck_rand_int(1, block == 1 ? 100 : 6);
        ck_weight c = ck_weight_make((kern_type)type, rows, cols, ck_rand_int(0, CKW_KINDS - 1));
        check_rows(&c);
        int32_t slots[6], tok_slot[8];
        for (int i = 0; i < 6; i++)
            slots[i] = ck_rand_int(0, rows - 1);
        for (int i = 0; i < 8; i++)
            tok_slot[i] = ck_rand_int(-3, 5);
        float *embeds = ck_alloc((size_t)cols * 3 * 4, 4), *want = ck_alloc((size_t)cols * 8 * 4, 4);
        float *got = ck_alloc((size_t)cols * 8 * 4, 4), *row = ck_alloc((size_t)cols * 4, 4);
        ck_fill(embeds, (size_t)cols * 3, CK_FILL_MIXED);
        kern_batch b = {.tok_count = 8, .tok_slot = tok_slot, .slots = slots, .embeds = embeds};
        kern_embed_args a = {.batch = &b, .table = &c.w, .scale = ck_one_in(2) ? 1.0f : 25.25f, .x = got};
        ck.level->embed(&a, 0, 3);
        ck.level->embed(&a, 3, cpu_embed_tiles(&a));
        for (int t = 0; t < 8; t++) {
            pack_row_floats(&c.w, slots[tok_slot[t] < 0 ? 0 : tok_slot[t]], row);
            for (int32_t k = 0; k < cols; k++)
                want[t * cols + k] = tok_slot[t] < 0 ? embeds[(-1 - tok_slot[t]) * cols + k] : row[k] * a.scale;
        }
        ck_same_floats("embedding", want, got, (size_t)cols * 8);
        ck_release();
    }
}

/* A weight packed by the device; its rows come back as they were. */
static kern_weight pack_dev(const ck_weight *c)
{
    const kern_ops *ops = ck.dev->ops;
    kern_weight w = c->w;
    size_t row_bytes = kern_row_bytes(w.type, w.cols), cols = (size_t)w.cols;
    int32_t split = w.rows / 2 / ops->pack_rows * ops->pack_rows;
    w.data = ck_room(w.bytes = ops->weight_bytes(ck.dev, w.type, w.rows, w.cols));
    ops->weight_pack(ck.dev, &w, 0, split, c->raw);
    ops->weight_pack(ck.dev, &w, split, w.rows - split, c->raw + (size_t)split * row_bytes);
    float *want = ck_alloc(cols * 4, 4), *got = ck_alloc(cols * 4, 4);
    for (int32_t r = 0; r < w.rows; r += ck_rand_int(1, 9)) {
        kern_dequant_row(w.type, c->raw + (size_t)r * row_bytes, w.cols, want);
        ops->weight_row(ck.dev, &w, r, got);
        ck_same_floats("row read back", want, got, cols);
    }
    return w;
}

static void run_dev(int type)
{
    for (int round = 0; round < 8; round++) {
        int32_t rows = ck_rand_int(1, 50), cols = ck_rand_int(1, 300), slots[6], tok_slot[8];
        ck_weight c = ck_weight_make((kern_type)type, rows, cols, ck_rand_int(0, CKW_KINDS - 1));
        size_t bytes = (size_t)cols * 8 * 4;
        for (int i = 0; i < 6; i++)
            slots[i] = ck_rand_int(0, rows - 1);
        for (int i = 0; i < 8; i++)
            tok_slot[i] = ck_rand_int(-3, 5);
        float *embeds = ck_alloc((size_t)cols * 3 * 4, 4), *want = ck_alloc(bytes, 4);
        ck_fill(embeds, (size_t)cols * 3, CK_FILL_MIXED);
        kern_batch b = {.tok_count = 8, .tok_slot = tok_slot, .slots = slots, .embeds = embeds};
        kern_embed_args a = {.batch = &b, .table = &c.w, .scale = ck_one_in(2) ? 1.0f : 25.25f, .x = want};
        ck.ref->embed(&a, 0, cpu_embed_tiles(&a));
        kern_weight w = pack_dev(&c);
        b.tok_slot = ck_put(tok_slot, sizeof tok_slot);
        b.slots = ck_put(slots, sizeof slots);
        b.embeds = ck_put(embeds, (size_t)cols * 3 * 4);
        a.table = &w;
        a.x = ck_room(bytes);
        ck.dev->ops->embed(ck.dev, &a);
        ck_same_floats("embedding", want, ck_get(a.x, bytes), bytes / 4);
        ck_release();
    }
}

const ck_test ck_embed_tests[] = {
    {"embed.F32", run, NULL, KT_F32, run_dev},   {"embed.F16", run, NULL, KT_F16, run_dev},
    {"embed.BF16", run, NULL, KT_BF16, run_dev},
    {"embed.Q8_0", run, NULL, KT_Q8_0}, {"embed.Q4_0", run, NULL, KT_Q4_0}, {"embed.Q4_1", run, NULL, KT_Q4_1},
    {"embed.Q5_0", run, NULL, KT_Q5_0}, {"embed.Q5_1", run, NULL, KT_Q5_1}, {"embed.Q4_K", run, NULL, KT_Q4_K},
    {"embed.Q5_K", run, NULL, KT_Q5_K}, {"embed.Q6_K", run, NULL, KT_Q6_K}, {0}};
