/* Attention of each level against plain C, bit for bit: mixed rows, windows, all cache types, NaN in every slot that is
 * not stored and no page where a window left it behind. The truth of plain C is unit test kern_attn. */
#include "checkkern.h"

#include "attn_world.h"

#include <math.h>
#include <stdio.h>

static void *world_alloc(size_t bytes) { return ck_alloc(bytes, 64); }
static void world_free(void *p) { (void)p; } // ck_release() does

static attn_shape random_shape(int type)
{
    static const int32_t dims[] = {8, 16, 24, 32, 64, 80, 96, 128, 256, 512}, q8_dims[] = {32, 64, 96, 128, 256, 512};
    attn_shape s = {.type = (kern_kv_type)type, .kv_heads = ck_rand_int(1, 3), .block_tok = 16 << ck_rand_int(0, 3)};
    int last = ck_one_in(4) ? 0 : 2; // wide heads are slow in plain C
    s.head_dim = type == KV_Q8_0 ? q8_dims[ck_rand_int(0, (int)TD_COUNT(q8_dims) - 1 - last)]
                                 : dims[ck_rand_int(0, (int)TD_COUNT(dims) - 1 - last)];
    s.q_heads = s.kv_heads * ck_rand_int(1, 8);
    s.window = ck_one_in(2) ? 0 : ck_rand_int(1, ck_one_in(2) ? 90 : 1500);
    s.scale = 1.0f / sqrtf((float)s.head_dim);
    s.softcap = ck_one_in(4) ? 3.0f : 0.0f;
    return s;
}

enum { ROWS_MAX = 80, ROWS_FEW = 6 };

/* Some calls have so many rows that none is split, a long one neither. */
static int random_rows(attn_row *rows, int64_t budget)
{
    int n = 0;
    if (ck_one_in(4)) {
        for (; n < ROWS_MAX; n++)
            rows[n] = (attn_row){1, ck_rand_int(1, 40)};
        rows[ck_rand_int(0, ROWS_MAX - 1)] = (attn_row){ck_rand_int(1, 3), ck_rand_int(1000, 4000)};
        return n;
    }
    for (int count = ck_rand_int(1, ROWS_FEW); n < count; n++) {
        int32_t toks = ck_one_in(4) ? ck_rand_int(2, 64) : ck_rand_int(0, 1);
        int32_t ctx = toks + (ck_one_in(6) ? ck_rand_int(0, 5000) : ck_rand_int(0, 150));
        rows[n] = (attn_row){toks, TD_MAX(ctx, 1)};
        budget -= (int64_t)TD_MAX(toks, 1) * rows[n].ctx;
        if (budget < 0)
            return n + (n == 0);
    }
    return n;
}

static void run(int type)
{
    for (int round = 0; round < 25; round++) {
        attn_shape s = random_shape(type);
        attn_row rows[ROWS_MAX] = {{1, 1}};
        int count = random_rows(rows, 8000000 / (s.q_heads * s.head_dim));
        if (rows[0].ctx * rows[0].tok_count * s.q_heads * s.head_dim > 40000000)
            rows[0] = (attn_row){1, 1100};
        attn_world w;
        world_open(&w, &s, rows, count, ck.ref, ck_rand());
        size_t n = (size_t)w.batch.tok_count * (size_t)(s.q_heads * s.head_dim);
        if (ck_one_in(8) && n)
            w.q[ck_rand() % n] = ck_one_in(2) ? NAN : INFINITY;
        if (ck_one_in(4))
            for (size_t i = 0; i < n; i++)
                w.q[i] *= 100.0f; // weights of 0 and 1
        float *want = w.out;
        world_run(&w, ck.ref);
        w.args.out = w.out = ck_alloc(n * 4, 4);
        world_run(&w, ck.level);
        if (!ck_same_floats("out", want, w.out, n))
            printf("    D %d, heads %d/%d, block %d, window %d, softcap %g, %d rows, first %d/%d\n", s.head_dim,
                   s.q_heads, s.kv_heads, s.block_tok, s.window, (double)s.softcap, count, rows[0].tok_count,
                   rows[0].ctx);
        ck_release();
    }
}

static void bench_one(int type, int32_t q_heads, int32_t kv_heads, int32_t D, int32_t toks, int32_t ctx)
{
    attn_shape s = {.q_heads = q_heads, .kv_heads = kv_heads, .head_dim = D, .block_tok = 16,
                    .type = (kern_kv_type)type, .scale = 0.1f};
    attn_row row = {toks, ctx};
    attn_world w;
    world_open(&w, &s, &row, 1, ck.level, 1);
    double best = 1e9, keys = 0.0;
    for (int i = 0; i < 4; i++) {
        double t = ck_seconds();
        world_run(&w, ck.level);
        best = fmin(best, ck_seconds() - t);
    }
    for (int32_t t = 0; t < toks; t++)
        keys += w.pos[t] + 1;
    double bytes = (double)ctx * (double)cpu_kv_layer_bytes((kern_kv_type)type, kv_heads, D, 16) / 16.0;
    printf("%-20s %-10s heads %d/%d x %d, %3d tokens at %5d: %8.3f ms %6.1f GMAC/s", ck.test, ck.level->name, q_heads,
           kv_heads, D, toks, ctx, best * 1e3, keys * q_heads * D * 2 / best * 1e-9);
    if (toks == 1)
        printf(" %5.1f GB/s", bytes / best * 1e-9);
    printf("\n");
    ck_release();
}

static void bench(int type)
{
    if (ck.level == ck.ref)
        return;
    bench_one(type, 9, 3, 64, 256, 2048);
    bench_one(type, 9, 3, 64, 256, 8192);
    bench_one(type, 32, 8, 128, 64, 4096);
    bench_one(type, 9, 3, 64, 1, 8192);
    bench_one(type, 32, 8, 128, 1, 16384);
}

const ck_test ck_attention_tests[] = {
    {"attention.float32", run, bench, KV_F32},   {"attention.float16", run, bench, KV_F16},
    {"attention.bfloat16", run, bench, KV_BF16}, {"attention.q8_0", run, bench, KV_Q8_0},
    {NULL, NULL, NULL, 0},
};
