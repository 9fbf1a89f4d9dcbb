/* Head norm, rope and store: q and k in place and every byte of the cache, against plain C; plain C against the input.
 * */
#include "checkkern.h"

#include "base/check.h"
#include "kernels/cpu/kv.h"

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
    {"kv_store.float32", run, bench, KV_F32},   {"kv_store.float16", run, bench, KV_F16},
    {"kv_store.bfloat16", run, bench, KV_BF16}, {"kv_store.q8_0", run, bench, KV_Q8_0},
    {NULL, NULL, NULL, 0},
};
