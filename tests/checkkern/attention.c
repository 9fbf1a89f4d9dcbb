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

/* ---- on a device ---- */

/* The world's keys and values in a cache of the device, NaN where nothing is stored. */
static kern_kv_layer cache_dev(const attn_world *w)
{
    const attn_shape *s = &w->shape;
    kern_kv_layer kv = w->layer;
    kv.block_stride = ck.dev->ops->kv_layer_bytes(s->type, s->kv_heads, s->head_dim, s->block_tok);
    size_t bytes = kv.block_stride * (size_t)w->block_count;
    void *nan = ck_alloc(bytes, 64);
    memset(nan, 0xff, bytes);
    kv.base = ck_put(nan, bytes);
    for (int32_t r = 0; r < w->row_count; r++) {
        int32_t ctx = w->rows[r].ctx, *slot = ck_alloc((size_t)ctx * 4, 4);
        for (int32_t i = 0; i < ctx; i++)
            slot[i] = w->page[r * w->page_max + i / s->block_tok] * s->block_tok + i % s->block_tok;
        int32_t width = 2 * s->kv_heads * s->head_dim;
        kern_batch b = {.tok_count = ctx, .row_count = 1, .group_count = 1};
        b.group[0].kv_slot = ck_put(slot, (size_t)ctx * 4);
        kern_kv_store_args a = {.batch = &b, .kv = &kv, .qkv_stride = width,
                                .qkv = ck_put(w->kv[r], (size_t)ctx * (size_t)width * 4)};
        ck.dev->ops->kv_store(ck.dev, &a);
    }
    return kv;
}

static const float *attend_dev(const attn_world *w, const kern_kv_layer *kv, const kern_batch *host, const float *q)
{
    size_t toks = (size_t)host->tok_count, rows = (size_t)host->row_count;
    size_t bytes = toks * (size_t)(w->shape.q_heads * w->shape.head_dim) * 4;
    kern_batch b = *host;
    b.pos = ck_put(host->pos, toks * 4);
    b.row = ck_put(host->row, toks * 4);
    b.row_tok0 = ck_put(host->row_tok0, (rows + 1) * 4);
    b.row_ctx = ck_put(host->row_ctx, rows * 4);
    b.group[0].page = ck_put(host->group[0].page, rows * (size_t)w->page_max * 4);
    kern_attn_args a = w->args;
    a.batch = &b;
    a.kv = kv;
    a.q = ck_put(q, bytes);
    a.out = ck_room(bytes);
    int32_t ctx_max = w->page_max * w->shape.block_tok;
    a.scratch = ck_room(ck.dev->ops->attn_scratch_bytes(ck.dev, b.tok_count, a.q_heads, kv->head_dim, ctx_max));
    ck.dev->ops->attention(ck.dev, &a);
    return ck_get(a.out, bytes);
}

/* Token t as a batch of its own. */
static void check_alone(const attn_world *w, const kern_kv_layer *kv, const float *all, int32_t t)
{
    int32_t r = w->row[t], zero = 0, tok0[2] = {0, 1}, ctx = w->pos[t] + 1;
    int32_t width = w->shape.q_heads * w->shape.head_dim;
    kern_batch b = w->batch;
    b.tok_count = b.row_count = 1;
    b.pos = &w->pos[t];
    b.row = &zero;
    b.row_tok0 = tok0;
    b.row_ctx = &ctx;
    b.group[0].page = w->page + (size_t)r * (size_t)w->page_max;
    const float *one = attend_dev(w, kv, &b, w->q + (size_t)t * (size_t)width);
    ck_same_floats("a token alone", all + (size_t)t * (size_t)width, one, (size_t)width);
}

static void run_dev(int type)
{
    for (int round = 0; round < (type == KV_BF16 ? 6 : 2); round++) {
        static const int32_t dims[] = {64, 64, 128, 96, 80, 40, 256};
        attn_shape s = random_shape(type);
        s.head_dim = dims[ck_rand_int(0, (int)TD_COUNT(dims) - 1)];
        s.window = ck_one_in(2) ? 0 : ck_rand_int(1, ck_one_in(2) ? 40 : 1200);
        s.scale = 1.0f / sqrtf((float)s.head_dim);
        attn_row rows[4];
        int count = ck_rand_int(1, 4);
        for (int i = 0; i < count; i++) {
            int32_t toks = ck_one_in(3) ? ck_rand_int(2, 30) : ck_rand_int(0, 1);
            rows[i] = (attn_row){toks, TD_MAX(toks + ck_rand_int(0, 100), 1)};
        }
        if (round == 1) { // chunks that merge
            rows[0] = (attn_row){1, ck_rand_int(1030, 2200)};
            rows[1] = (attn_row){2, 40}; // so that row 0 is split only where it is alone
            s.q_heads = s.kv_heads = 1;
            s.head_dim = 64;
            count = 2;
        }
        attn_world w;
        int32_t window = s.window;
        s.window = 0; // every context is stored whole first
        uint64_t seed = ck_rand();
        world_open(&w, &s, rows, count, ck.ref, seed);
        kern_kv_layer kv = cache_dev(&w);
        s.window = window;
        world_open(&w, &s, rows, count, ck.ref, seed);
        size_t n = (size_t)w.batch.tok_count * (size_t)(s.q_heads * s.head_dim);
        for (size_t i = 0; i < n; i++)
            w.q[i] = kern_bf16_to_f32(kern_f32_to_bf16(w.q[i]));
        world_run(&w, ck.ref);
        if (n) {
            const float *got = attend_dev(&w, &kv, &w.batch, w.q);
            bool rounds = type == KV_BF16; // the tensor cores' kernel rounds weights
            if (!ck_near_floats("out", w.out, got, n, rounds ? 0.01f : 1e-4f, rounds ? 0.02f : 1e-5f))
                printf("    D %d, heads %d/%d, block %d, window %d, softcap %g\n", s.head_dim, s.q_heads, s.kv_heads,
                       s.block_tok, s.window, (double)s.softcap);
            for (int i = 0; i < 2; i++)
                check_alone(&w, &kv, got, i * ck_rand_int(0, w.batch.tok_count - 1));
        }
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
    {"attention.float32", run, bench, KV_F32, run_dev},   {"attention.float16", run, bench, KV_F16, run_dev},
    {"attention.bfloat16", run, bench, KV_BF16, run_dev}, {"attention.q8_0", run, bench, KV_Q8_0},
    {NULL, NULL, NULL, 0},
};
