/* Pool, prefix chain and page tables: a random day of requests with invariants after each step. */
#include "base/arena.h"
#include "base/check.h"
#include "kvcache/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* A device whose only operations are memory and block copy; a token's K and V are one int32 a layer. */
static void *dev_alloc(kern_dev *d, size_t bytes) { (void)d; return td_alloc(bytes); }
static void dev_free(kern_dev *d, void *p, size_t bytes) { (void)d, (void)bytes; td_free(p); }
static size_t dev_layer_bytes(kern_kv_type t, int32_t heads, int32_t dim, int32_t block_tok)
{
    (void)t, (void)heads, (void)dim;
    return (size_t)block_tok * 4;
}
static int32_t *cell(const kern_kv_layer *kv, int32_t block, int32_t tok)
{
    return (int32_t *)(void *)(kv->base + (size_t)block * kv->block_stride) + tok;
}
static void dev_copy(kern_dev *d, const kern_kv_layer *kv, int32_t dst, int32_t src, int32_t tok_count)
{
    (void)d;
    for (int32_t i = 0; i < tok_count; i++)
        *cell(kv, dst, i) = *cell(kv, src, i);
}
static const kern_ops ops = {.name = "fake", .alloc = dev_alloc, .free = dev_free, .kv_layer_bytes = dev_layer_bytes,
                             .kv_copy = dev_copy};
static kern_dev dev = {.ops = &ops, .thread_count = 1};

static uint32_t rng = 1;
static uint32_t rnd(uint32_t n)
{
    rng = rng * 1664525u + 1013904223u;
    return (rng >> 8) % n;
}

static void plan_groups(void **state)
{
    (void)state;
    int32_t window[18];
    for (int i = 0; i < 18; i++)
        window[i] = i % 6 == 5 ? 0 : 512;
    kv_geometry g;
    assert_int_equal(kv_geometry_plan(KV_BF16, 1, 256, 16, window, 18, &g, NULL), TD_OK);
    assert_int_equal(g.layers_per_block, 3);
    assert_int_equal(g.group_count, 6);
    int seen[TD_KV_GROUPS_MAX][3] = {{0}};
    for (int l = 0; l < 18; l++) {
        assert_int_equal(g.group[g.layer_group[l]].window, window[l]);
        assert_int_equal(seen[g.layer_group[l]][g.layer_index[l]]++, 0);
    }
    assert_int_equal(kv_blocks_needed(&g, 1000, 16), 63 + 5 * 34);
    assert_int_equal(kv_geometry_plan(KV_BF16, 1, 256, 24, window, 18, &g, NULL), TD_E_USAGE);
}

enum { SEQS = 12, LEN_MAX = 400, BLOCKS = 220 };
typedef struct seq {
    bool live;
    int32_t ids[LEN_MAX], len, stored;
    kv_key keys[LEN_MAX / 16];
    prefix_chain chain;
    kv_table table;
    int32_t mem[8 * LEN_MAX];
} seq;

static int32_t content(const seq *s, int32_t pos, int32_t layer) { return s->ids[pos] * 100000 + pos * 10 + layer; }

/* What the step loop does with memory: the tokens [stored, to) are written, then published, then left by windows. */
static void store(kv_pool *p, seq *s, int32_t to)
{
    const kv_geometry *g = kv_pool_geometry(p);
    for (int32_t l = 0; l < g->layer_count; l++) {
        kern_kv_layer kv;
        kv_layer_view(p, l, &kv);
        for (int32_t i = s->stored; i < to; i++)
            *cell(&kv, s->table.page[g->layer_group[l]][i / g->block_tok], i % g->block_tok) = content(s, i, l);
    }
    s->stored = to;
    prefix_chain_extend(&s->chain, s->ids, to);
    kv_table_publish(&s->table, p, &s->chain, to);
    kv_table_leave(&s->table, p, to);
}

static void check_content(kv_pool *p, const seq *s)
{
    const kv_geometry *g = kv_pool_geometry(p);
    for (int32_t l = 0; l < g->layer_count; l++) {
        kern_kv_layer kv;
        kv_layer_view(p, l, &kv);
        int32_t group = g->layer_group[l], window = g->group[group].window;
        for (int32_t i = window ? TD_MAX(s->stored - window + 1, 0) : 0; i < s->stored; i++)
            assert_int_equal(*cell(&kv, s->table.page[group][i / g->block_tok], i % g->block_tok), content(s, i, l));
    }
}

static void seq_start(kv_pool *p, seq *s, kv_key root)
{
    const kv_geometry *g = kv_pool_geometry(p);
    memset(s, 0, sizeof *s);
    s->live = true;
    s->len = 1 + (int32_t)rnd(LEN_MAX);
    int32_t shared = (int32_t)rnd((uint32_t)s->len + 1), family = (int32_t)rnd(3);
    for (int32_t i = 0; i < s->len; i++)
        s->ids[i] = i < shared ? family * 7 + i % 5 : (int32_t)rnd(1000);
    prefix_chain_init(&s->chain, root, s->keys, LEN_MAX / 16);
    prefix_chain_extend(&s->chain, s->ids, s->len);
    kv_table_init(&s->table, g, (LEN_MAX + g->block_tok - 1) / g->block_tok, s->mem);
    int32_t hit = prefix_lookup(p, &s->chain, s->len - 1);
    assert_true(hit % g->block_tok == 0 && hit < s->len);
    kv_table_adopt(&s->table, p, &s->chain, hit);
    s->stored = hit;
    check_content(p, s);
}

static void seq_fork(kv_pool *p, seq *to, const seq *from)
{
    *to = *from;
    prefix_chain_init(&to->chain, from->chain.root, to->keys, LEN_MAX / 16);
    kv_table_init(&to->table, kv_pool_geometry(p), from->table.page_cap, to->mem);
    to->live = kv_table_fork(&to->table, &from->table, p, from->stored);
    if (!to->live)
        return;
    for (int32_t i = to->stored; i < to->len; i++)
        to->ids[i] = (int32_t)rnd(1000);
    prefix_chain_extend(&to->chain, to->ids, to->stored);
    check_content(p, to);
}

static void random_day(void **state)
{
    (void)state;
    int32_t window[6] = {48, 48, 0, 48, 48, 0};
    static seq seqs[SEQS];
    uint8_t fp[32] = {1};
    kv_key root = prefix_root(fp, "cpu1", NULL, NULL);
    for (int32_t block_tok = 16; block_tok <= 64; block_tok *= 2) {
        kv_geometry g;
        assert_int_equal(kv_geometry_plan(KV_F32, 1, 8, block_tok, window, 6, &g, NULL), TD_OK);
        kv_pool *p;
        assert_int_equal(kv_pool_open(&dev, &g, BLOCKS * 16 / block_tok, &p, NULL), TD_OK);
        memset(seqs, 0, sizeof seqs);
        int64_t hits = 0;
        for (int step = 0; step < 4000; step++) {
            seq *s = &seqs[rnd(SEQS)];
            if (!s->live) {
                if (rnd(4) == 0 && seqs[0].live && seqs[0].stored > 0 && s != &seqs[0])
                    seq_fork(p, s, &seqs[0]);
                else
                    seq_start(p, s, root), hits += s->stored;
            } else if (s->stored == s->len || rnd(20) == 0) {
                check_content(p, s);
                kv_table_clear(&s->table, p);
                s->live = false;
            } else {
                int32_t more = 1 + (int32_t)rnd(90), to = TD_MIN(s->stored + more, s->len);
                if (kv_table_reserve(&s->table, p, to))
                    store(p, s, to);
                else
                    kv_table_clear(&s->table, p), s->live = false;
            }
            kv_audit(p);
        }
        assert_true(hits > 1000);
        for (int i = 0; i < SEQS; i++)
            if (seqs[i].live)
                kv_table_clear(&seqs[i].table, p);
        kv_count c;
        kv_counts(p, &c);
        assert_true(c.held == 0 && c.free + c.cached == c.total);
        kv_forget_all(p);
        kv_counts(p, &c);
        assert_true(c.free == c.total);
        kv_audit(p);
        kv_pool_close(p);
    }
}

static void salts_and_sizes_name_alike(void **state)
{
    (void)state;
    uint8_t fp[32] = {9};
    kv_key a = prefix_root(fp, "cpu1", NULL, NULL), b = prefix_root(fp, "cpu1", NULL, "x"),
           e = prefix_root(fp, "cpu1", NULL, "");
    assert_memory_not_equal(&a, &b, 32);
    assert_memory_not_equal(&a, &e, 32);
    int32_t ids[64] = {5};
    kv_key keys[4];
    prefix_chain c;
    prefix_chain_init(&c, a, keys, 4);
    prefix_chain_extend(&c, ids, 63);
    assert_int_equal(c.unit_count, 3);
    assert_ptr_equal(prefix_page_key(&c, 16, 1), prefix_page_key(&c, 32, 0));
    assert_null(prefix_page_key(&c, 32, 1));
}

static void leased_blocks_wait(void **state)
{
    (void)state;
    int32_t window[1] = {0};
    kv_geometry g;
    kv_pool *p;
    assert_int_equal(kv_geometry_plan(KV_F32, 1, 8, 16, window, 1, &g, NULL), TD_OK);
    assert_int_equal(kv_pool_open(&dev, &g, 2, &p, NULL), TD_OK);
    int32_t a = kv_alloc(p, 0), b = kv_alloc(p, 0);
    assert_int_equal(kv_alloc(p, 0), -1);
    kv_op_ref(p, a);
    kv_unref(p, a);
    assert_int_equal(kv_alloc(p, 0), -1);
    kv_count c;
    kv_counts(p, &c);
    assert_true(c.leased == 1 && c.held == 1 && c.free == 0);
    kv_op_unref(p, a);
    assert_int_equal(kv_alloc(p, 0), a);
    kv_unref(p, a), kv_unref(p, b);
    kv_audit(p);
    kv_pool_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plan_groups), cmocka_unit_test(random_day),
                                       cmocka_unit_test(salts_and_sizes_name_alike),
                                       cmocka_unit_test(leased_blocks_wait)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
