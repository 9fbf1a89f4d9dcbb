/* table.h - the blocks of one sequence: a page table per KV group.
 *
 * Page k of a group holds tokens [k * block_tok, (k + 1) * block_tok). Pages that a window left behind are -1 and their
 * blocks are back in the pool. A table owns one request ref on each block it names. Engine thread only. */
#ifndef TD_KVCACHE_TABLE_H
#define TD_KVCACHE_TABLE_H

#include "kvcache/kv.h"
#include "kvcache/prefix.h"

typedef struct kv_table {
    int32_t *page[TD_KV_GROUPS_MAX]; // [page_cap] blocks
    int32_t page_cap;
    int32_t page_count;              // pages that exist, the same in every group
    int32_t live_from[TD_KV_GROUPS_MAX]; // first page that is not -1
    int32_t published;               // pages whose blocks have been offered under their names
} kv_table;

/* mem: kv_table_mem_count() integers, owned by the caller. */
size_t kv_table_mem_count(const kv_geometry *g, int32_t page_cap);
void kv_table_init(kv_table *t, const kv_geometry *g, int32_t page_cap, int32_t *mem);

/* Takes the blocks of a cached prefix of tok_count tokens (a result of prefix_lookup) into an empty table. */
void kv_table_adopt(kv_table *t, kv_pool *p, const prefix_chain *c, int32_t tok_count);
/* Makes room for tokens [0, tok_count): all of it or, when the pool cannot, nothing (false). */
bool kv_table_reserve(kv_table *t, kv_pool *p, int32_t tok_count);
/* Blocks that kv_table_reserve would take from the pool. */
int32_t kv_table_missing(const kv_table *t, const kv_geometry *g, int32_t tok_count);
/* Gives back the pages that no query at position pos or later sees. */
void kv_table_leave(kv_table *t, kv_pool *p, int32_t pos);
/* Names the blocks that are full once tok_count tokens are stored. */
void kv_table_publish(kv_table *t, kv_pool *p, const prefix_chain *c, int32_t tok_count);
/* A second table with the same content: full pages are shared, the last partial one is copied. False: no block free. */
bool kv_table_fork(kv_table *to, const kv_table *from, kv_pool *p, int32_t tok_count);
/* Gives everything back, last page first, so that a prefix outlives its continuations in the cache. */
void kv_table_clear(kv_table *t, kv_pool *p);

#endif
