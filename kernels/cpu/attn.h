/* attn.h - how attention is cut into tiles, shared by all levels.
 *
 * Rows of the batch are cut into blocks of tokens; a tile is (token block, kv head): all query heads of the group, so
 * that each K and V element is read once for them all. Where that leaves too few tiles, as for one long sequence at
 * decode, a row is also cut into its chunks of 1024 keys: each chunk's (m, l, O) goes to scratch and attn_merge joins
 * them ascending, which is the sequence of merges that an unsplit tile does in place. So the cut never shows in the
 * bits.
 *
 * The plan is made by cpu_attention_tiles() on the calling thread and read by every tile: one entry a row, in scratch.
 * */
#ifndef TD_KERNELS_CPU_ATTN_H
#define TD_KERNELS_CPU_ATTN_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/kv.h"

enum {
    ATTN_CHUNK = 1024,       // keys, at absolute positions: numerics
    ATTN_TILE = 64,          // keys, at absolute positions: numerics
    ATTN_ROWS = 96,          // (token, q head) pairs that one tile works on, fewer where heads are wider than 128
    ATTN_ROW_FLOATS = ATTN_ROWS * 128,
    ATTN_TILES_ENOUGH = 64,  // below this many tiles, long rows are split
    ATTN_TILES_FEW = 2,      // below this many after that, so are the heads of a group
    ATTN_PARTS = 256,        // (token, chunk) pairs that scratch has room for, or the chunks of one token if more
    ATTN_PART_PAD = 8,       // floats after O in a partial: m, l, padding
};

typedef struct attn_plan_row {
    int32_t tile0;           // first tile of the row, as if heads were not split
    int32_t part0;           // first (token, chunk) partial, -1: not split
    int32_t merge0;          // first token of the row among those to merge
    int32_t chunk0, chunk_count; // chunks that any of its tokens sees
} attn_plan_row;

typedef struct attn_plan {
    int32_t tile_count, merge_count; // tiles of attention; tokens to merge
    int32_t block_tok;       // query tokens of a tile
    int32_t head_parts;      // tiles that share a kv head's query heads
    int32_t part_count;
    attn_plan_row *row;      // [row_count + 1]
    float *part;             // [part][Hq][D + 8]: O, then m, l, padding
} attn_plan;

/* What one tile is to do. */
typedef struct attn_tile {
    int32_t row, tok0, tok1; // flat tokens
    int32_t kv_head;
    int32_t q_head0, q_head1; // query heads, all of kv_head
    int32_t chunk0, chunk1;  // chunks of keys to visit
    int32_t part0;           // partial of (tok0, chunk0), -1: finish in place
    int32_t part_stride;     // partials from a token to the next
} attn_tile;

attn_tile attn_tile_at(const kern_attn_args *a, const attn_plan *p, int64_t t);
static inline const attn_plan *attn_plan_of(const kern_attn_args *a) { return a->scratch; }

static inline int32_t attn_rows_max(int32_t head_dim) { return TD_MIN((int32_t)ATTN_ROWS, ATTN_ROW_FLOATS / head_dim); }

/* First key that a query at `pos` sees; the last one is at pos. */
static inline int32_t attn_first_key(int32_t pos, int32_t window)
{
    return window > 0 && pos >= window ? pos - window + 1 : 0;
}

/* The 16 keys from `key` (a multiple of 16) of one kv head, through the row's page table. */
static inline kv_group16 attn_group_at(const kern_attn_args *a, int32_t row, int32_t key, int32_t kv_head)
{
    const kern_batch_group *g = &a->batch->group[a->group];
    int32_t page = g->page[(int64_t)row * g->page_max + key / g->block_tok];
    return kv_group_at(a->kv, (int64_t)page * g->block_tok + key % g->block_tok, kv_head);
}

static inline float *attn_part(const kern_attn_args *a, const attn_plan *p, int32_t part, int32_t head)
{
    size_t stride = (size_t)a->kv->head_dim + ATTN_PART_PAD;
    return p->part + ((size_t)part * (size_t)a->q_heads + (size_t)head) * stride;
}

/* The token and partials behind one tile of attn_merge. */
typedef struct attn_merge_tile {
    int32_t tok, part0, part_count; // its partials, ascending in chunk
} attn_merge_tile;

attn_merge_tile attn_merge_at(const kern_attn_args *a, const attn_plan *p, int64_t t);

#endif
