/* Head norm, rope and store: q and k in place and every byte of the cache, against plain C; plain C against the input.
 * */
#include "checkkern.h"

#include "base/check.h"
#include "kernels/cpu/kv.h"
#include "kernels/cpu/kv_move.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct store_case {
    kern_kv_store_args a;
    kern_batch batch;
    kern_kv_layer kv;
    float *qkv0;
    size_t qkv_floats, cache_bytes;
} store_case;

static void make_case(store_case *c, int type)
{
    int32_t unit = type == KV_Q8_0 ? 32 : 8, D = unit * ck_rand_int(1, ck_one_in(6) ? 512 / unit : 128 / unit);
    int32_t heads = ck_rand_int(1, 4), q_heads = heads * ck_rand_int(1, 5), toks = ck_rand_int(1, 40), blocks = 4;
    int32_t block_tok = 16 << ck_rand_int(0, 3), fill = ck_rand_int(0, CK_FILLS - 1);
    int32_t *slot = ck_alloc((size_t)toks * 4, 4);
    *c = (store_case){.batch = {.tok_count = toks, .row_count = 1, .group_count = 2}};
    c->kv = (kern_kv_layer){.type = (kern_kv_type)type, .heads = heads, .head_dim = D, .block_tok = block_tok};
    size_t layer_bytes = cpu_kv_layer_bytes((kern_kv_type)type, heads, D, block_tok);
    c->kv.block_stride = layer_bytes * (size_t)ck_rand_int(1, 2);
    c->cache_bytes = c->kv.block_stride * (size_t)(blocks - 1) + layer_bytes;
    int32_t first = ck_rand_int(0, blocks * block_tok - 1);
    for (int32_t t = 0; t < toks; t++)
        slot[t] = (first + t * 7) % (blocks * block_tok); // 7 and a power of two: all different while toks allows
    c->batch.group[1] = (kern_batch_group){.kv_slot = slot, .block_tok = block_tok};
    c->a = (kern_kv_store_args){.batch = &c->batch, .group = 1, .kv = &c->kv, .q_heads = q_heads, .eps = 1e-6f};
    c->a.qkv_stride = (q_heads + 2 * heads) * D + ck_rand_int(0, 5);
    c->qkv_floats = (size_t)(toks - 1) * (size_t)c->a.qkv_stride + (size_t)((q_heads + 2 * heads) * D);
    c->qkv0 = ck_alloc(c->qkv_floats * 4, 4);
    ck_fill(c->qkv0, c->qkv_floats, fill);
    float *norm = ck_alloc((size_t)D * 4, 4), *rope;
    ck_fill(norm, (size_t)D, CK_FILL_RANDOM);
    c->a.q_norm = ck_one_in(2) ? norm : NULL;
    c->a.k_norm = ck_one_in(2) ? norm : NULL;
    if (ck_one_in(4))
        return;
    c->a.rope_dims = ck_one_in(2) ? D : 2 * ck_rand_int(1, D / 2);
    c->a.rope_pairs = ck_one_in(3);
    c->a.rope = rope = ck_alloc((size_t)toks * (size_t)c->a.rope_dims * 4, 4);
    for (int32_t i = 0; i < toks * c->a.rope_dims / 2; i++) {
        double angle = (double)ck_rand_float() * 10.0;
        rope[2 * i] = (float)cos(angle);
        rope[2 * i + 1] = (float)sin(angle);
    }
}

static void run_case(store_case *c, const cpu_level *level)
{
    c->a.qkv = ck_alloc(c->qkv_floats * 4, 4);
    memcpy(c->a.qkv, c->qkv0, c->qkv_floats * 4);
    c->kv.base = ck_alloc(c->cache_bytes, 64);
    memset(c->kv.base, 0xa7, c->cache_bytes);
    for (int64_t t = cpu_kv_store_tiles(&c->a) - 1; t >= 0; t--)
        level->kv_store(&c->a, t, t + 1);
}

static float stored_v(const kern_kv_layer *kv, kv_group16 g, int32_t i)
{
    const uint16_t *half = (const uint16_t *)(const void *)g.v;
    switch (kv->type) {
    case KV_F32: return ((const float *)(const void *)g.v)[i];
    case KV_F16: return kern_f16_to_f32(half[i]);
    case KV_BF16: return kern_bf16_to_f32(half[i]);
    default: return (float)(int8_t)g.v[i] * kern_f16_to_f32(g.v_scale[i / KV_Q8_DIMS]);
    }
}

/* What rounding may cost v[d]: nothing, part of the value, or part of the largest of its block. */
static float rounding(const kern_kv_layer *kv, const float *v, int32_t d)
{
    float amax = 0.0f;
    if (kv->type == KV_F32)
        return 0.0f;
    if (kv->type != KV_Q8_0)
        return fabsf(v[d]) * 0.004f + 1e-5f;
    for (int32_t i = d / KV_Q8_DIMS * KV_Q8_DIMS; i < (d / KV_Q8_DIMS + 1) * KV_Q8_DIMS; i++)
        amax = fmaxf(amax, fabsf(v[i]));
    return amax * 0.0042f + 1e-5f;
}

/* The stored v of each token against its value in qkv, which nothing changes on the way. */
static void check_truth(const store_case *c)
{
    int32_t D = c->kv.head_dim;
    for (int32_t t = 0; t < c->batch.tok_count; t++)
        for (int32_t h = 0; h < c->kv.heads; h++) {
            int32_t slot = c->batch.group[1].kv_slot[t], lane = slot % c->kv.block_tok % KV_LANES;
            kv_group16 g = kv_group_at(&c->kv, slot, h);
            const float *v = c->a.qkv + t * c->a.qkv_stride + (c->a.q_heads + c->kv.heads + h) * D;
            for (int32_t d = 0; d < D; d++) {
                float got = stored_v(&c->kv, g, lane * D + d);
                if (fabsf(got - v[d]) > rounding(&c->kv, v, d))
                    ck_fail("v[%d] of token %d: %.9g for %.9g", d, t, (double)got, (double)v[d]);
            }
        }
}

static bool all_plain(const store_case *c)
{
    for (size_t i = 0; i < c->qkv_floats; i++)
        if (!(fabsf(c->qkv0[i]) < 1000.0f))
            return false;
    return true;
}

static void run(int type)
{
    for (int round = 0; round < 60; round++) {
        store_case want, got;
        make_case(&want, type);
        run_case(&want, ck.ref);
        got = want;
        got.a.kv = &got.kv;
        run_case(&got, ck.level);
        ck_same_floats("qkv", want.a.qkv, got.a.qkv, want.qkv_floats);
        if (type == KV_F32)
            ck_same_floats("cache", (const float *)(const void *)want.kv.base, (const float *)(const void *)got.kv.base,
                           want.cache_bytes / 4);
        else
            ck_same_bytes("cache", want.kv.base, got.kv.base, want.cache_bytes);
        if (ck.level == ck.ref && all_plain(&want))
            check_truth(&want);
        ck_release();
    }
}

/* ---- on a device ---- */

typedef struct dev_cache {
    kern_kv_layer kv;
    size_t bytes;
} dev_cache;

/* The device's cache of the case's shape, every byte 0xa7. */
static dev_cache cache_dev(const store_case *c)
{
    int32_t blocks = 4;
    dev_cache d = {.kv = c->kv};
    size_t layer = ck.dev->ops->kv_layer_bytes(c->kv.type, c->kv.heads, c->kv.head_dim, c->kv.block_tok);
    d.kv.block_stride = layer * (size_t)ck_rand_int(1, 2);
    d.bytes = d.kv.block_stride * (size_t)(blocks - 1) + layer;
    void *fill = ck_alloc(d.bytes, 64);
    memset(fill, 0xa7, d.bytes);
    d.kv.base = ck_put(fill, d.bytes);
    return d;
}

/* The cache holds the canonical rows where [k|v][head][tok][dim] has them, and nothing else was written. */
static void check_cache(const store_case *c, const dev_cache *d, const uint8_t *canon)
{
    size_t row = (size_t)c->kv.head_dim * kv_code_bytes(c->kv.type);
    uint8_t *want = ck_alloc(d->bytes, 64);
    int32_t T = c->batch.tok_count, bt = c->kv.block_tok, H = c->kv.heads;
    memset(want, 0xa7, d->bytes);
    for (int32_t plane = 0; plane < 2 * H; plane++)
        for (int32_t t = 0; t < T; t++) {
            int32_t slot = c->batch.group[1].kv_slot[t];
            memcpy(want + (size_t)(slot / bt) * d->kv.block_stride + (size_t)(plane * bt + slot % bt) * row,
                   canon + (size_t)(plane * T + t) * row, row);
        }
    ck_same_bytes("cache", want, ck_get(d->kv.base, d->bytes), d->bytes);
}

static const uint8_t *pack_dev(const store_case *c, const dev_cache *d, const int32_t *slot)
{
    size_t bytes = kern_kv_canon_bytes(c->kv.type, c->kv.heads, c->kv.head_dim, c->batch.tok_count);
    kern_kv_move_args a = {.kv = &d->kv, .slot = slot, .tok_count = c->batch.tok_count, .canon = ck_room(bytes)};
    ck.dev->ops->kv_pack(ck.dev, &a);
    return ck_get(a.canon, bytes);
}

static void check_canon(const store_case *c, const uint8_t *want, const uint8_t *got, bool exact)
{
    kern_kv_type type = c->kv.type;
    size_t bytes = kern_kv_canon_bytes(type, c->kv.heads, c->kv.head_dim, c->batch.tok_count);
    size_t n = bytes / kv_code_bytes(type);
    if (type == KV_F32) {
        ck_near_floats("stored", (const float *)(const void *)want, (const float *)(const void *)got, n,
                       exact ? 0.0f : 2e-6f, exact ? 0.0f : 2e-5f);
    } else if (exact) {
        ck_same_bytes("stored", want, got, bytes);
    } else {
        const uint16_t *w = (const uint16_t *)(const void *)want, *g = (const uint16_t *)(const void *)got;
        for (size_t i = 0; i < n; i++) {
            float a = type == KV_F16 ? kern_f16_to_f32(w[i]) : kern_bf16_to_f32(w[i]);
            float b = type == KV_F16 ? kern_f16_to_f32(g[i]) : kern_bf16_to_f32(g[i]);
            ck_near_floats("stored", &a, &b, 1, type == KV_F16 ? 0x1p-10f : 0x1p-7f, 2e-5f);
        }
    }
}

/* Whole blocks: the copy has the bytes, its neighbours keep theirs. */
static void check_copy(const dev_cache *d)
{
    size_t layer = ck.dev->ops->kv_layer_bytes(d->kv.type, d->kv.heads, d->kv.head_dim, d->kv.block_tok);
    int32_t src = ck_rand_int(0, 3), dst = ck_rand_int(0, 3);
    uint8_t *want = ck_get(d->kv.base, d->bytes);
    memcpy(want + (size_t)dst * d->kv.block_stride, want + (size_t)src * d->kv.block_stride, dst == src ? 0 : layer);
    ck.dev->ops->kv_copy(ck.dev, &d->kv, dst, src, ck_rand_int(1, d->kv.block_tok));
    ck_same_bytes("after a copy", want, ck_get(d->kv.base, d->bytes), d->bytes);
}

static void run_dev(int type)
{
    for (int round = 0; round < 15; round++) {
        store_case c;
        make_case(&c, type);
        run_case(&c, ck.ref);
        int32_t T = c.batch.tok_count, D = c.kv.head_dim;
        bool exact = !c.a.q_norm && !c.a.k_norm;
        dev_cache cache = cache_dev(&c), fresh = cache_dev(&c);
        int32_t *slot = ck_put(c.batch.group[1].kv_slot, (size_t)T * 4);
        kern_batch batch = c.batch;
        kern_kv_store_args a = c.a;
        batch.group[1].kv_slot = slot;
        a.batch = &batch;
        a.kv = &cache.kv;
        a.qkv = ck_put(c.qkv0, c.qkv_floats * 4);
        a.q_norm = ck_put(c.a.q_norm, (size_t)D * 4);
        a.k_norm = ck_put(c.a.k_norm, (size_t)D * 4);
        a.rope = ck_put(c.a.rope, (size_t)T * (size_t)c.a.rope_dims * 4);
        ck.dev->ops->kv_store(ck.dev, &a);
        ck_near_floats("qkv", c.a.qkv, ck_get(a.qkv, c.qkv_floats * 4), c.qkv_floats, exact ? 0.0f : 2e-6f,
                       exact ? 0.0f : 2e-5f);
        const uint8_t *got = pack_dev(&c, &cache, slot);
        check_cache(&c, &cache, got);
        // A CPU's tokens in canonical form: what the device stored, and what it takes in.
        uint8_t *want = ck_alloc(kern_kv_canon_bytes(c.kv.type, c.kv.heads, D, T), 64);
        kern_kv_move_args move = {.kv = &c.kv, .slot = c.batch.group[1].kv_slot, .tok_count = T, .canon = want};
        cpu_kv_pack(NULL, &move);
        check_canon(&c, want, got, exact);
        move = (kern_kv_move_args){.kv = &fresh.kv, .slot = slot, .tok_count = T};
        move.canon = ck_put(want, kern_kv_canon_bytes(c.kv.type, c.kv.heads, D, T));
        ck.dev->ops->kv_unpack(ck.dev, &move);
        check_cache(&c, &fresh, want);
        check_copy(&cache);
        ck_release();
    }
}

static void bench(int type)
{
    enum { TOKS = 256, HQ = 9, HKV = 3, DIM = 64 };
    store_case c = {.batch = {.tok_count = TOKS, .row_count = 1, .group_count = 1}};
    int32_t *slot = ck_alloc(TOKS * 4, 4);
    for (int32_t t = 0; t < TOKS; t++)
        slot[t] = t;
    c.batch.group[0] = (kern_batch_group){.kv_slot = slot, .block_tok = 16};
    c.kv = (kern_kv_layer){.type = (kern_kv_type)type, .heads = HKV, .head_dim = DIM, .block_tok = 16};
    c.kv.block_stride = cpu_kv_layer_bytes((kern_kv_type)type, HKV, DIM, 16);
    c.kv.base = ck_alloc(c.kv.block_stride * TOKS / 16, 64);
    c.a = (kern_kv_store_args){.batch = &c.batch, .kv = &c.kv, .q_heads = HQ, .rope_dims = DIM};
    c.a.qkv_stride = (HQ + 2 * HKV) * DIM;
    c.a.qkv = ck_alloc((size_t)TOKS * (size_t)c.a.qkv_stride * 4, 64);
    float *rope = ck_alloc(TOKS * DIM * 4, 64);
    ck_fill(rope, TOKS * DIM, CK_FILL_RANDOM);
    c.a.rope = rope;
    double best = 1e9;
    for (int i = 0; i < 10; i++) {
        ck_fill(c.a.qkv, (size_t)TOKS * (size_t)c.a.qkv_stride, CK_FILL_RANDOM);
        double t = ck_seconds();
        ck.level->kv_store(&c.a, 0, cpu_kv_store_tiles(&c.a));
        best = fmin(best, ck_seconds() - t);
    }
    printf("%-14s %-10s %8.2f us a token of 9 + 3 + 3 heads of 64\n", ck.test, ck.level->name, best / TOKS * 1e6);
}

const ck_test ck_kv_store_tests[] = {
    {"kv_store.float32", run, bench, KV_F32, run_dev},   {"kv_store.float16", run, bench, KV_F16, run_dev},
    {"kv_store.bfloat16", run, bench, KV_BF16, run_dev}, {"kv_store.q8_0", run, bench, KV_Q8_0},
    {NULL, NULL, NULL, 0},
};
