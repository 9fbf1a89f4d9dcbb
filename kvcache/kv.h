/* kv.h - the pool of KV blocks: who holds what, what is cached under which name, what may be reused.
 *
 * Every block has the same size: block_tok tokens of `layers_per_block` layers, K and V. A KV group is a set of at
 * most that many layers of one kind (full or window) that share a page table, so all groups draw from one pool and
 * nothing is set aside for one kind. A block's memory is, layer by layer, what the back end's kv_layer_bytes()
 * says; kv_layer_view() is the only way in.
 *
 *      free ──kv_alloc──▶ held ──last unref──▶ cached (it has a name) or free (it has none)
 *        ▲                 │ ▲                   │   │
 *        │              op refs only             │   └──kv_find + kv_ref──▶ held
 *        │                 ▼ │                   │
 *        └────────────── leased                  └──evicted by kv_alloc, least recently released first
 *
 * A block may be reused only when request refs and operation refs are both 0: asserted in one function, block_retire().
 * Engine thread only, except kv_counts(). Nothing here allocates after kv_pool_open(). */
#ifndef TD_KVCACHE_KV_H
#define TD_KVCACHE_KV_H

#include "base/err.h"
#include "base/hash.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct kv_pool kv_pool;
typedef td_sha256 kv_key; // name of a full block: the hash chain's value at its last token, see prefix.h

typedef struct kv_group_desc {
    int32_t window;       // tokens a query sees, 0 = all
    int32_t layer_count;  // ≤ layers_per_block
} kv_group_desc;

typedef struct kv_geometry {
    kern_kv_type type;
    int32_t heads, head_dim; // of one layer, this rank
    int32_t block_tok;       // multiple of TD_KV_HASH_UNIT_TOK
    int32_t layers_per_block;
    int32_t group_count;
    kv_group_desc group[TD_KV_GROUPS_MAX];
    int32_t layer_count;
    int32_t layer_group[TD_MODEL_LAYERS_MAX]; // group of each layer
    int32_t layer_index[TD_MODEL_LAYERS_MAX]; // its place inside the group's blocks
} kv_geometry;

/* Groups layers by window: each kind is cut into groups of equal size, the size of the smallest kind, so that a block
 * wastes little. window[layer]: 0 = full. */
td_rc kv_geometry_plan(kern_kv_type type, int32_t heads, int32_t head_dim, int32_t block_tok, const int32_t *window,
                       int32_t layer_count, kv_geometry *out, td_err *err);
size_t kv_block_bytes(const kern_dev *dev, const kv_geometry *g);
/* Blocks that a sequence of tok_count tokens holds at most at once, when it is computed in steps of step_tok. */
int64_t kv_blocks_needed(const kv_geometry *g, int64_t tok_count, int64_t step_tok);

td_rc kv_pool_open(kern_dev *dev, const kv_geometry *g, int32_t block_count, kv_pool **out, td_err *err);
void kv_pool_close(kv_pool *p);
const kv_geometry *kv_pool_geometry(const kv_pool *p);
void kv_layer_view(const kv_pool *p, int32_t layer, kern_kv_layer *out);

/* Blocks that kv_alloc() could give now: free and cached ones. */
int32_t kv_available(const kv_pool *p);
/* A block for `group` with one request ref and no name; -1 when every block is in use. */
int32_t kv_alloc(kv_pool *p, int32_t group);
void kv_ref(kv_pool *p, int32_t block);
void kv_unref(kv_pool *p, int32_t block);
void kv_op_ref(kv_pool *p, int32_t block);
void kv_op_unref(kv_pool *p, int32_t block);

/* Names a full block so that others find it. When another block already has the name, that one keeps it. */
void kv_publish(kv_pool *p, int32_t block, const kv_key *key);
/* The block of `group` under this name, or -1. It takes no ref. */
int32_t kv_find(const kv_pool *p, int32_t group, const kv_key *key);
/* Forgets every name. Held blocks stay with their requests. */
void kv_forget_all(kv_pool *p);
/* Copies the first tok_count tokens of src into dst, all layers of the group: copy-on-write. */
void kv_copy_block(kv_pool *p, int32_t group, int32_t dst, int32_t src, int32_t tok_count);

typedef struct kv_count { // always: free + cached + held + leased + quarantined = total
    int64_t free, cached, held, leased, quarantined, total;
} kv_count;
void kv_counts(const kv_pool *p, kv_count *out); // any thread
/* One block as it is now, and the SHA-256 of its bytes, which lie as the back end wants them: for those who look for a
 * fault. */
typedef struct kv_block_view {
    const char *state;            // "free", "cached", "held", "leased"
    int32_t group, request_refs, op_refs;
    bool named;
    kv_key key;                   // when named
} kv_block_view;
void kv_block_look(const kv_pool *p, int32_t block, kv_block_view *out);
td_sha256 kv_block_digest(const kv_pool *p, int32_t block);
/* Recounts from the blocks themselves and asserts that lists, names and counters agree. Slow: tests and idle
 * moments. */
void kv_audit(const kv_pool *p);

#endif
