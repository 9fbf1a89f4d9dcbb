#include "kvcache/kv.h"

#include "base/arena.h"
#include "base/check.h"

#include <stdatomic.h>
#include <string.h>

enum { NONE = -1, DIGEST_PART_BYTES = 16 << 10 };

typedef struct kv_block {
    kv_key key;
    int32_t request_refs, op_refs;
    int32_t prev, next;      // in the free or the cached list
    int32_t bucket_next;     // others whose name falls into the same bucket
    int16_t group;
    bool named;              // key is valid and the table finds this block
    bool listed;             // in one of the two lists
} kv_block;

typedef struct kv_list {
    int32_t head, tail;
} kv_list;

typedef enum kv_state { KV_FREE, KV_CACHED, KV_HELD, KV_LEASED, KV_STATES } kv_state;

struct kv_pool {
    kern_dev *dev;
    kv_geometry geo;
    size_t layer_bytes, block_bytes;
    uint8_t *mem;            // [block][layer of group], back end's layout
    size_t mem_bytes;
    int32_t block_count;
    kv_block *blocks;        // [block_count]
    int32_t *buckets;        // [bucket_count] first block, power of two
    uint32_t bucket_count;
    kv_list free, cached;    // cached: least recently released at the head
    atomic_llong counts[KV_STATES];
};

/* ---- lists ---- */

static void list_push(kv_pool *p, kv_list *l, int32_t b)
{
    kv_block *k = &p->blocks[b];
    td_assert(!k->listed);
    k->listed = true;
    k->prev = l->tail;
    k->next = NONE;
    if (l->tail != NONE)
        p->blocks[l->tail].next = b;
    else
        l->head = b;
    l->tail = b;
}

static void list_remove(kv_pool *p, kv_list *l, int32_t b)
{
    kv_block *k = &p->blocks[b];
    td_assert(k->listed);
    k->listed = false;
    if (k->prev != NONE)
        p->blocks[k->prev].next = k->next;
    else
        l->head = k->next;
    if (k->next != NONE)
        p->blocks[k->next].prev = k->prev;
    else
        l->tail = k->prev;
}

/* ---- names ---- */

static uint32_t bucket_of(const kv_pool *p, int32_t group, const kv_key *key)
{
    uint64_t h;
    memcpy(&h, key->b, sizeof h); // a SHA-256 needs no more mixing than the group
    return (uint32_t)td_mix64(h + (uint64_t)group) & (p->bucket_count - 1);
}

static void name_drop(kv_pool *p, int32_t b)
{
    kv_block *k = &p->blocks[b];
    if (!k->named)
        return;
    int32_t *at = &p->buckets[bucket_of(p, k->group, &k->key)];
    while (*at != b)
        at = &p->blocks[*at].bucket_next;
    *at = k->bucket_next;
    k->named = false;
}

int32_t kv_find(const kv_pool *p, int32_t group, const kv_key *key)
{
    for (int32_t b = p->buckets[bucket_of(p, group, key)]; b != NONE; b = p->blocks[b].bucket_next)
        if (p->blocks[b].group == group && memcmp(&p->blocks[b].key, key, sizeof *key) == 0)
            return b;
    return NONE;
}

void kv_publish(kv_pool *p, int32_t block, const kv_key *key)
{
    kv_block *k = &p->blocks[block];
    td_assert(k->request_refs > 0);
    if (k->named || kv_find(p, k->group, key) != NONE)
        return;
    k->key = *key;
    k->named = true;
    int32_t *head = &p->buckets[bucket_of(p, k->group, key)];
    k->bucket_next = *head;
    *head = block;
}

/* ---- states ---- */

static kv_state state_of(const kv_block *k)
{
    if (k->request_refs > 0)
        return KV_HELD;
    if (k->op_refs > 0)
        return KV_LEASED;
    return k->named ? KV_CACHED : KV_FREE;
}

static void count_move(kv_pool *p, kv_state from, kv_state to)
{
    atomic_fetch_add_explicit(&p->counts[to], 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&p->counts[from], 1, memory_order_relaxed);
}

/* The one place where a block becomes reusable. */
static void block_retire(kv_pool *p, int32_t b)
{
    kv_block *k = &p->blocks[b];
    td_assert(k->request_refs == 0 && k->op_refs == 0);
    list_push(p, k->named ? &p->cached : &p->free, b);
}

/* Changes one of the two counts and moves the block to where its state says. */
static void refs_change(kv_pool *p, int32_t b, int32_t request, int32_t op)
{
    td_assert(b >= 0 && b < p->block_count);
    kv_block *k = &p->blocks[b];
    kv_state from = state_of(k);
    if (k->listed)
        list_remove(p, k->named ? &p->cached : &p->free, b);
    k->request_refs += request;
    k->op_refs += op;
    td_assert(k->request_refs >= 0 && k->op_refs >= 0);
    kv_state to = state_of(k);
    if (from != to)
        count_move(p, from, to);
    if (to == KV_FREE || to == KV_CACHED)
        block_retire(p, b);
}

void kv_ref(kv_pool *p, int32_t b) { refs_change(p, b, 1, 0); }
void kv_unref(kv_pool *p, int32_t b) { refs_change(p, b, -1, 0); }
void kv_op_ref(kv_pool *p, int32_t b) { refs_change(p, b, 0, 1); }
void kv_op_unref(kv_pool *p, int32_t b) { refs_change(p, b, 0, -1); }

int32_t kv_available(const kv_pool *p)
{
    return (int32_t)(atomic_load_explicit(&p->counts[KV_FREE], memory_order_relaxed) +
                     atomic_load_explicit(&p->counts[KV_CACHED], memory_order_relaxed));
}

static void block_forget(kv_pool *p, int32_t b)
{
    kv_block *k = &p->blocks[b];
    bool cached = k->listed;
    if (cached)
        list_remove(p, &p->cached, b);
    name_drop(p, b);
    if (cached) {
        count_move(p, KV_CACHED, KV_FREE);
        block_retire(p, b);
    }
}

int32_t kv_alloc(kv_pool *p, int32_t group)
{
    if (p->free.head == NONE && p->cached.head != NONE)
        block_forget(p, p->cached.head);
    int32_t b = p->free.head;
    if (b == NONE)
        return NONE;
    p->blocks[b].group = (int16_t)group;
    kv_ref(p, b);
    return b;
}

void kv_forget_all(kv_pool *p)
{
    for (int32_t b = 0; b < p->block_count; b++)
        if (p->blocks[b].named)
            block_forget(p, b);
}

void kv_counts(const kv_pool *p, kv_count *out)
{
    // Loads one by one while the engine moves blocks: total is constant, and held absorbs the difference, so that the
    // promised sum holds in every snapshot.
    out->total = p->block_count;
    out->free = TD_MAX(atomic_load(&p->counts[KV_FREE]), 0);
    out->cached = TD_MAX(TD_MIN(atomic_load(&p->counts[KV_CACHED]), out->total - out->free), 0);
    out->leased = TD_MAX(TD_MIN(atomic_load(&p->counts[KV_LEASED]), out->total - out->free - out->cached), 0);
    out->quarantined = 0;
    out->held = out->total - out->free - out->cached - out->leased;
}

void kv_audit(const kv_pool *p)
{
    long long seen[KV_STATES] = {0}, listed = 0;
    for (int32_t b = 0; b < p->block_count; b++) {
        const kv_block *k = &p->blocks[b];
        kv_state s = state_of(k);
        seen[s]++;
        listed += k->listed;
        td_assert(k->listed == (s == KV_FREE || s == KV_CACHED));
        td_assert(!k->named || kv_find(p, k->group, &k->key) == b);
    }
    for (int s = 0; s < KV_STATES; s++)
        td_assert(seen[s] == atomic_load(&p->counts[s]));
    td_assert(listed == seen[KV_FREE] + seen[KV_CACHED]);
}

void kv_block_look(const kv_pool *p, int32_t b, kv_block_view *out)
{
    static const char *const names[KV_STATES] = {
        [KV_FREE] = "free", [KV_CACHED] = "cached", [KV_HELD] = "held", [KV_LEASED] = "leased"};
    td_assert(b >= 0 && b < p->block_count);
    const kv_block *k = &p->blocks[b];
    *out = (kv_block_view){.state = names[state_of(k)], .group = k->group, .request_refs = k->request_refs,
                           .op_refs = k->op_refs, .named = k->named, .key = k->key};
}

td_sha256 kv_block_digest(const kv_pool *p, int32_t b)
{
    td_assert(b >= 0 && b < p->block_count);
    td_sha256_ctx *sha = td_sha256_new();
    uint8_t part[DIGEST_PART_BYTES];
    if (!sha) // no memory: a digest that nobody has
        return (td_sha256){{0}};
    for (size_t at = 0; at < p->block_bytes; at += sizeof part) {
        size_t n = TD_MIN(sizeof part, p->block_bytes - at);
        p->dev->ops->get(p->dev, part, p->mem + (size_t)b * p->block_bytes + at, n);
        td_sha256_add(sha, part, n);
    }
    return td_sha256_end(sha);
}

/* ---- memory ---- */

void kv_layer_view(const kv_pool *p, int32_t layer, kern_kv_layer *out)
{
    td_assert(layer >= 0 && layer < p->geo.layer_count);
    *out = (kern_kv_layer){
        .type = p->geo.type, .heads = p->geo.heads, .head_dim = p->geo.head_dim, .block_tok = p->geo.block_tok,
        .base = p->mem + (size_t)p->geo.layer_index[layer] * p->layer_bytes, .block_stride = p->block_bytes};
}

void kv_copy_block(kv_pool *p, int32_t group, int32_t dst, int32_t src, int32_t tok_count)
{
    for (int32_t l = 0; l < p->geo.layer_count; l++) {
        if (p->geo.layer_group[l] != group)
            continue;
        kern_kv_layer view;
        kv_layer_view(p, l, &view);
        p->dev->ops->kv_copy(p->dev, &view, dst, src, tok_count);
    }
}

const kv_geometry *kv_pool_geometry(const kv_pool *p) { return &p->geo; }

static bool pool_alloc(kv_pool *p)
{
    p->bucket_count = 16;
    while (p->bucket_count < (uint32_t)p->block_count)
        p->bucket_count *= 2;
    p->blocks = td_alloc((size_t)p->block_count * sizeof *p->blocks);
    p->buckets = td_alloc(p->bucket_count * sizeof *p->buckets);
    p->mem = p->dev->ops->alloc(p->dev, p->mem_bytes);
    return p->blocks && p->buckets && p->mem;
}

td_rc kv_pool_open(kern_dev *dev, const kv_geometry *g, int32_t block_count, kv_pool **out, td_err *err)
{
    kv_pool *p = td_alloc(sizeof *p);
    if (!p)
        return td_fail(err, TD_E_NOMEM, "not enough memory for the KV pool");
    p->dev = dev;
    p->geo = *g;
    p->block_count = block_count;
    p->layer_bytes = dev->ops->kv_layer_bytes(g->type, g->heads, g->head_dim, g->block_tok);
    p->block_bytes = kv_block_bytes(dev, g);
    p->free = p->cached = (kv_list){NONE, NONE};
    if (block_count < 1 || !td_size_mul_ok(p->block_bytes, (size_t)block_count, &p->mem_bytes) || !pool_alloc(p)) {
        td_fail(err, TD_E_NOMEM, "not enough memory for %d KV blocks of %zu bytes; lower --kv-cache-memory",
                block_count, p->block_bytes);
        kv_pool_close(p);
        return TD_E_NOMEM;
    }
    for (uint32_t i = 0; i < p->bucket_count; i++)
        p->buckets[i] = NONE;
    for (int32_t b = 0; b < block_count; b++)
        list_push(p, &p->free, b);
    atomic_store(&p->counts[KV_FREE], block_count);
    *out = p;
    return TD_OK;
}

void kv_pool_close(kv_pool *p)
{
    if (!p)
        return;
    if (p->mem)
        p->dev->ops->free(p->dev, p->mem, p->mem_bytes);
    td_free(p->buckets);
    td_free(p->blocks);
    td_free(p);
}
