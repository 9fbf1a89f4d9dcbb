/* prefix.h - names of KV content, and the longest cached prefix of a sequence.
 *
 * Content is named by a hash chain over units of 16 tokens:
 *     H0 = SHA-256("kvx1" | model fingerprint | numerics id | LoRA digest | cache salt)
 *     Hi = SHA-256(Hi-1 | 16 token ids, u32 little endian)
 * A block of any multiple of 16 tokens carries the name of its last unit, so the same content has the same name
 * whatever the block size. Engine thread only. */
#ifndef TD_KVCACHE_PREFIX_H
#define TD_KVCACHE_PREFIX_H

#include "kvcache/kv.h"

/* H0. lora: 32 bytes or NULL; salt may be NULL. */
kv_key prefix_root(const uint8_t model_fp[32], const char *numerics_id, const uint8_t *lora, const char *salt);

typedef struct prefix_chain { // of one sequence; grows with its tokens
    kv_key root;
    kv_key *keys;    // [unit_cap] name after each 16 tokens
    int32_t unit_count, unit_cap;
} prefix_chain;

/* keys: memory for unit_cap names, owned by the caller. */
void prefix_chain_init(prefix_chain *c, kv_key root, kv_key *keys, int32_t unit_cap);
/* Brings the chain up to the full units of ids[0, count). */
void prefix_chain_extend(prefix_chain *c, const int32_t *ids, int32_t count);
/* Name of page `page` of block_tok tokens, or NULL when the chain does not reach its end. */
const kv_key *prefix_page_key(const prefix_chain *c, int32_t block_tok, int32_t page);

/* Length in tokens, a multiple of the block size and at most tok_max, of the longest prefix whose blocks are all there:
 * every page of a full group, and of a window group those that a query after the prefix can see. */
int32_t prefix_lookup(const kv_pool *p, const prefix_chain *c, int32_t tok_max);

/* First page of `group` that a query at position pos or later can see. */
int32_t prefix_first_page(const kv_geometry *g, int32_t group, int32_t pos);

#endif
