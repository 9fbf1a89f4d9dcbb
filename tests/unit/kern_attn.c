/* Attention against a plain softmax in double, and against itself in other batches, splits and page orders. */
#include "../checkkern/attn_world.h"

#include "base/hash.h"
#include "kernels/device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka wants the three above first
#include <cmocka.h>

static void *world_alloc(size_t bytes)
{
    void *p = aligned_alloc(64, td_align_up(bytes + 64, 64));
    assert_non_null(p);
    return memset(p, 0, bytes);
}

static void world_free(void *p) { free(p); }

static const cpu_level *levels[CPU_LEVELS_MAX];
static int level_count;

/* Largest difference from softmax(q·k) v in double, over keys and values before rounding to the cache's type. */
static double worst_error(const attn_world *w)
{
    const attn_shape *s = &w->shape;
    int32_t D = s->head_dim, G = s->q_heads / s->kv_heads, kv_step = 2 * s->kv_heads * D;
    double worst = 0.0, *p = world_alloc((size_t)w->page_max * (size_t)s->block_tok * 8);
    for (int32_t t = 0; t < w->batch.tok_count; t++)
        for (int32_t h = 0; h < s->q_heads; h++) {
            const float *q = w->q + (t * s->q_heads + h) * D, *kv = w->kv[w->row[t]] + h / G * D;
            int32_t k0 = s->window > 0 ? TD_MAX(w->pos[t] - s->window + 1, 0) : 0;
            double sum = 0.0;
            for (int32_t k = k0; k <= w->pos[t]; k++) {
                double dot = 0.0;
                for (int32_t d = 0; d < D; d++)
                    dot += (double)q[d] * (double)kv[(int64_t)k * kv_step + d];
                dot *= (double)s->scale;
                dot = s->softcap > 0.0f ? (double)s->softcap * tanh(dot / (double)s->softcap) : dot;
                sum += p[k] = exp(dot);
            }
            for (int32_t d = 0; d < D; d++) {
                double o = 0.0;
                for (int32_t k = k0; k <= w->pos[t]; k++)
                    o += p[k] * (double)kv[(int64_t)k * kv_step + s->kv_heads * D + d];
                double err = fabs(o / sum - (double)w->out[(t * s->q_heads + h) * D + d]);
                worst = err > worst || err != err ? err : worst;
            }
        }
    world_free(p);
    return worst;
}

static void test_oracle(void **state)
{
    (void)state;
    static const attn_row rows[] = {{3, 3}, {1, 70}, {5, 200}, {1, 1}, {40, 1090}, {1, 2050}};
    static const double limit[KV_TYPES] = {2e-6, 3e-3, 2.5e-2, 5e-2};
    for (int i = 0; i < level_count; i++)
        for (int type = 0; type < KV_TYPES; type++)
            for (int variant = 0; variant < 4; variant++) {
                bool lone = variant == 3; // one tile, cut by heads
                attn_shape s = {.q_heads = lone ? 5 : 4, .kv_heads = lone ? 1 : 2, .head_dim = variant == 2 ? 96 : 32,
                                .block_tok = 16 << variant % 3, .window = variant == 1 ? 100 : 0,
                                .type = (kern_kv_type)type, .scale = 0.2f, .softcap = variant == 2 ? 5.0f : 0.0f};
                attn_world w;
                world_open(&w, &s, lone ? rows + 1 : rows, lone ? 1 : TD_COUNT(rows), levels[i], 7);
                world_run(&w, levels[i]);
                double err = worst_error(&w);
                if (!(err < limit[type]))
                    fail_msg("%s %s variant %d: error %g", levels[i]->name, kern_kv_type_names[type], variant, err);
                world_close(&w);
            }
}

/* One token alone, split over its chunks, against the same token as the last of a long unsplit row. */
static void test_split(void **state)
{
    (void)state;
    static const attn_row whole[] = {{600, 5000}}, alone[] = {{1, 5000}}, few[] = {{7, 5000}};
    for (int i = 0; i < level_count; i++)
        for (int32_t window = 0; window <= 3000; window += 3000) {
            attn_shape s = {.q_heads = 2, .kv_heads = 1, .head_dim = 16, .block_tok = 16, .window = window,
                            .type = KV_F16, .scale = 0.5f};
            attn_world a, b, c;
            world_open(&a, &s, whole, 1, levels[i], 1);
            world_open(&b, &s, alone, 1, levels[i], 1);
            world_open(&c, &s, few, 1, levels[i], 1);
            size_t row = 2 * 16, bytes = row * sizeof(float);
            memcpy(b.q, a.q + 599 * row, bytes);
            memcpy(c.q, a.q + 593 * row, 7 * bytes);
            world_run(&a, levels[i]);
            assert_int_equal(cpu_attn_merge_tiles(&a.args), 0);
            world_run(&b, levels[i]);
            assert_int_equal(cpu_attn_merge_tiles(&b.args), 1);
            world_run(&c, levels[i]);
            assert_int_equal(cpu_attn_merge_tiles(&c.args), 7);
            assert_memory_equal(b.out, a.out + 599 * row, bytes);
            assert_memory_equal(c.out, a.out + 593 * row, 7 * bytes);
            world_close(&a);
            world_close(&b);
            world_close(&c);
        }
}

/* An infinite value among the keys or values of later tokens reaches no earlier query. */
static void test_masked(void **state)
{
    (void)state;
    static const attn_row rows[] = {{20, 90}};
    for (int i = 0; i < level_count; i++)
        for (int part = 0; part < 2; part++) {
            attn_shape s = {.q_heads = 6, .kv_heads = 2, .head_dim = 64, .block_tok = 16, .type = KV_F32,
                            .scale = 0.125f};
            attn_world a, b;
            world_open(&a, &s, rows, 1, levels[i], 3);
            world_open(&b, &s, rows, 1, levels[i], 3);
            for (int32_t d = 0; d < 64; d++)
                b.kv[0][80 * 256 + part * 128 + d] = d & 1 ? NAN : INFINITY;
            world_store(&b, levels[i]);
            world_run(&a, levels[i]);
            world_run(&b, levels[i]);
            size_t row = 6 * 64;
            assert_memory_equal(a.out, b.out, 10 * row * sizeof(float)); // positions 70 to 79
            assert_true(isnan(b.out[10 * row + 1]));
            assert_memory_equal(a.out + 10 * row + 3 * 64, b.out + 10 * row + 3 * 64, 3 * 64 * sizeof(float));
            world_close(&a);
            world_close(&b);
        }
}

/* Through the operation table, with any number of threads: the same bits, split or not. */
static void test_threads(void **state)
{
    (void)state;
    static const attn_row rows[][3] = {{{200, 2500}, {1, 3000}, {3, 40}}, {{1, 4500}, {1, 90}, {2, 2049}}};
    for (int i = 0; i < level_count; i++)
        for (int32_t threads = 1; threads <= 4; threads++)
            for (int variant = 0; variant < 2; variant++) {
                attn_shape s = {.q_heads = 6, .kv_heads = 2, .head_dim = 16, .block_tok = 32, .type = KV_BF16,
                                .scale = 0.3f};
                kern_dev_opts o = {.device = "cpu", .cpu_isa = levels[i]->name, .threads = threads};
                kern_dev *dev;
                attn_world w;
                assert_int_equal(kern_dev_open(&o, &dev, NULL), TD_OK);
                world_open(&w, &s, rows[variant], 3, levels[i], 5);
                size_t bytes = (size_t)w.batch.tok_count * 6 * 16 * sizeof(float);
                world_run(&w, levels[0]);
                float *want = w.out;
                w.args.out = w.out = world_alloc(bytes);
                dev->ops->attention(dev, &w.args);
                assert_memory_equal(want, w.out, bytes);
                world_free(want);
                world_close(&w);
                kern_dev_close(dev);
            }
}

static void check_bits(const cpu_level *level, const char *what, const float *x, size_t count, uint32_t want)
{
    uint32_t crc = td_crc32c(0, x, count * sizeof *x);
    if (crc != want)
        fail_msg("%s: %s is 0x%08x, not 0x%08x", level->name, what, crc, want);
}

/* The order of sums is part of what `cpu1` names: these bits change with that name alone. */
static void test_pinned_attention(void **state)
{
    (void)state;
    static const attn_row rows[] = {{3, 2600}, {1, 1500}};
    for (int i = 0; i < level_count; i++) {
        attn_shape s = {.q_heads = 4, .kv_heads = 2, .head_dim = 32, .block_tok = 16, .type = KV_Q8_0, .scale = 0.25f,
                        .softcap = 20.0f};
        attn_world w;
        world_open(&w, &s, rows, TD_COUNT(rows), levels[i], 2024);
        world_run(&w, levels[i]);
        check_bits(levels[i], "attention", w.out, 4 * 4 * 32, 0x5679fe45);
        world_close(&w);
    }
}

static void test_pinned_rows(void **state)
{
    (void)state;
    enum { TOKS = 50, COLS = 100 };
    static float x[TOKS * COLS], weight[COLS], out[TOKS * 128];
    double freq[COLS / 2];
    int32_t pos[TOKS];
    uint64_t seed = 3;
    for (int i = 0; i < TOKS * COLS; i++)
        x[i] = world_float(&seed);
    for (int i = 0; i < COLS; i++)
        weight[i] = world_float(&seed);
    for (int i = 0; i < COLS / 2; i++)
        freq[i] = 1.0 / (1.0 + i * i);
    for (int i = 0; i < TOKS; i++)
        pos[i] = i * i * 401;
    kern_batch b = {.tok_count = TOKS, .pos = pos};
    kern_act act = {.kind = KA_F32, .tok_count = TOKS, .cols = COLS, .stride = 128 * sizeof(float), .data = out};
    kern_norm_args norm = {.tok_count = TOKS, .cols = COLS, .eps = 1e-5f, .x = x, .weight = weight, .out = &act};
    kern_rope_args rope = {.batch = &b, .inv_freq = freq, .dims = COLS, .mscale = 1.1f, .table = out};
    for (int i = 0; i < level_count; i++) {
        memset(out, 0, sizeof out);
        levels[i]->norm(&norm, 0, cpu_norm_tiles(&norm));
        check_bits(levels[i], "norm", out, TOKS * 128, 0x75f0ee59);
        levels[i]->rope(&rope, 0, cpu_rope_tiles(&rope));
        check_bits(levels[i], "rope", out, TOKS * COLS, 0x270fa2cf);
    }
}

/* A copied block holds what the first one held. */
static void test_copy(void **state)
{
    (void)state;
    static const attn_row rows[] = {{2, 45}};
    for (int type = 0; type < KV_TYPES; type++) {
        attn_shape s = {.q_heads = 2, .kv_heads = 1, .head_dim = 32, .block_tok = 16, .type = (kern_kv_type)type,
                        .scale = 0.2f};
        attn_world w;
        world_open(&w, &s, rows, 1, levels[0], 11);
        float before[2 * 2 * 32];
        world_run(&w, levels[level_count - 1]);
        memcpy(before, w.out, sizeof before);
        int32_t used[3] = {w.page[0], w.page[1], w.page[2]}, spare = 0;
        while (spare == used[0] || spare == used[1] || spare == used[2])
            spare++;
        cpu_kv_copy(NULL, &w.layer, spare, used[2], 13);
        memset(w.layer.base + (size_t)used[2] * w.layer.block_stride, 0xff, w.layer.block_stride);
        w.page[2] = spare;
        world_run(&w, levels[level_count - 1]);
        assert_memory_equal(before, w.out, sizeof before);
        world_close(&w);
    }
}

int main(void)
{
    level_count = cpu_levels(levels);
    cpu_fp_setup();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_oracle), cmocka_unit_test(test_split),
                                       cmocka_unit_test(test_masked), cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_copy),
                                       cmocka_unit_test(test_pinned_attention),
                                       cmocka_unit_test(test_pinned_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
