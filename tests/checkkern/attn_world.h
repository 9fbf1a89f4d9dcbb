/* attn_world.h - a paged cache filled with random keys and values, and queries over it, for tests of attention.
 *
 * Blocks of a row lie scattered; whatever is not stored is NaN. Rows are (tokens in this step, context after it). The
 * including file says where memory comes from. */
#ifndef TD_TESTS_ATTN_WORLD_H
#define TD_TESTS_ATTN_WORLD_H

#include "kernels/cpu/attn.h"

#include <string.h>

static void *world_alloc(size_t bytes); // zeroed, aligned to 64
static void world_free(void *p);

typedef struct attn_row {
    int32_t tok_count, ctx;
} attn_row;

typedef struct attn_shape {
    int32_t q_heads, kv_heads, head_dim, block_tok, window;
    kern_kv_type type;
    float scale, softcap;
} attn_shape;

typedef struct attn_world {
    attn_shape shape;
    int32_t row_count, page_max, block_count;
    const attn_row *rows;
    float **kv;              // [row] → [ctx][K heads, V heads][D] as given to kv_store
    kern_kv_layer layer;
    size_t cache_bytes;
    int32_t *page;           // [row][page_max]
    int32_t *pos, *row, *row_tok0, *row_ctx, *slot;
    kern_batch batch;
    float *q, *out;          // [T][Hq][D]
    void *scratch;
    kern_attn_args args;
} attn_world;

static inline uint32_t world_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

static inline float world_float(uint64_t *seed) // about normal
{
    float s = 0.0f;
    for (int i = 0; i < 4; i++)
        s += (float)(world_random(seed) >> 8) * (1.0f / 8388608.0f) - 1.0f;
    return s * 0.87f;
}

/* Stores the whole context of every row with the level's kv_store, a row at a time. */
static inline void world_store(attn_world *w, const cpu_level *level)
{
    const attn_shape *s = &w->shape;
    for (int32_t r = 0; r < w->row_count; r++) {
        int32_t ctx = w->rows[r].ctx;
        int32_t *slot = world_alloc((size_t)ctx * 4);
        for (int32_t i = 0; i < ctx; i++)
            slot[i] = w->page[r * w->page_max + i / s->block_tok] * s->block_tok + i % s->block_tok;
        kern_batch b = {.tok_count = ctx, .row_count = 1, .group_count = 1};
        b.group[0].kv_slot = slot;
        b.group[0].block_tok = s->block_tok;
        kern_kv_store_args a = {.batch = &b, .kv = &w->layer, .qkv = w->kv[r],
                                .qkv_stride = 2 * s->kv_heads * s->head_dim};
        level->kv_store(&a, 0, cpu_kv_store_tiles(&a));
        world_free(slot);
    }
}

static inline void world_open(attn_world *w, const attn_shape *shape, const attn_row *rows, int32_t row_count,
                              const cpu_level *level, uint64_t seed)
{
    *w = (attn_world){.shape = *shape, .row_count = row_count, .rows = rows};
    const attn_shape *s = &w->shape;
    int32_t tok_count = 0, ctx_max = 1;
    for (int32_t r = 0; r < row_count; r++) {
        tok_count += rows[r].tok_count;
        ctx_max = TD_MAX(ctx_max, rows[r].ctx);
        w->block_count += (rows[r].ctx + s->block_tok - 1) / s->block_tok;
    }
    w->block_count += 3;
    w->page_max = (ctx_max + s->block_tok - 1) / s->block_tok;
    size_t stride = cpu_kv_layer_bytes(s->type, s->kv_heads, s->head_dim, s->block_tok) + 64;
    w->cache_bytes = stride * (size_t)w->block_count;
    w->layer = (kern_kv_layer){.type = s->type, .heads = s->kv_heads, .head_dim = s->head_dim,
                               .block_tok = s->block_tok, .block_stride = stride, .base = world_alloc(w->cache_bytes)};
    memset(w->layer.base, 0xff, w->cache_bytes);
    w->page = world_alloc((size_t)row_count * (size_t)w->page_max * 4);
    memset(w->page, 0xff, (size_t)row_count * (size_t)w->page_max * 4);
    int32_t *order = world_alloc((size_t)w->block_count * 4), used = 0;
    for (int32_t i = 0; i < w->block_count; i++) {
        int32_t j = (int32_t)(world_random(&seed) % (uint32_t)(i + 1));
        order[i] = order[j];
        order[j] = i;
    }
    w->kv = world_alloc((size_t)row_count * sizeof *w->kv);
    w->pos = world_alloc((size_t)tok_count * 4);
    w->row = world_alloc((size_t)tok_count * 4);
    w->row_tok0 = world_alloc((size_t)(row_count + 1) * 4);
    w->row_ctx = world_alloc((size_t)row_count * 4);
    for (int32_t r = 0, t = 0; r < row_count; r++) {
        for (int32_t i = 0; i < (rows[r].ctx + s->block_tok - 1) / s->block_tok; i++)
            w->page[r * w->page_max + i] = order[used++];
        size_t n = (size_t)rows[r].ctx * 2 * (size_t)s->kv_heads * (size_t)s->head_dim;
        w->kv[r] = world_alloc(n * 4);
        for (size_t i = 0; i < n; i++)
            w->kv[r][i] = world_float(&seed);
        w->row_tok0[r] = t;
        w->row_ctx[r] = rows[r].ctx;
        for (int32_t i = 0; i < rows[r].tok_count; i++, t++) {
            w->pos[t] = rows[r].ctx - rows[r].tok_count + i;
            w->row[t] = r;
        }
        w->row_tok0[r + 1] = t;
    }
    world_free(order);
    world_store(w, level);
    // What a window left behind is gone: no kernel may look there.
    for (int32_t r = 0; r < row_count && s->window > 0; r++)
        for (int32_t i = 0; rows[r].tok_count > 0 && i < w->page_max; i++)
            if ((i + 1) * s->block_tok <= attn_first_key(w->pos[w->row_tok0[r]], s->window))
                w->page[r * w->page_max + i] = -1;
    size_t n = (size_t)tok_count * (size_t)s->q_heads * (size_t)s->head_dim;
    w->q = world_alloc(n * 4);
    w->out = world_alloc(n * 4);
    for (size_t i = 0; i < n; i++)
        w->q[i] = world_float(&seed) * 1.5f;
    int32_t tok_max = TD_MAX(tok_count, row_count);
    w->scratch = world_alloc(cpu_attn_scratch_bytes(NULL, tok_max, s->q_heads, s->head_dim, ctx_max));
    w->batch = (kern_batch){.tok_count = tok_count, .row_count = row_count, .pos = w->pos, .row = w->row,
                            .row_tok0 = w->row_tok0, .row_ctx = w->row_ctx, .group_count = 1};
    w->batch.group[0] = (kern_batch_group){.page = w->page, .page_max = w->page_max, .block_tok = s->block_tok};
    w->args = (kern_attn_args){.batch = &w->batch, .kv = &w->layer, .q_heads = s->q_heads, .q = w->q,
                               .q_stride = s->q_heads * s->head_dim, .scale = s->scale, .softcap = s->softcap,
                               .window = s->window, .out = w->out, .scratch = w->scratch};
}

static inline void world_run(attn_world *w, const cpu_level *level)
{
    int64_t tiles = cpu_attention_tiles(&w->args);
    for (int64_t t = tiles - 1; t >= 0; t--) // any order
        level->attention(&w->args, t, t + 1);
    tiles = cpu_attn_merge_tiles(&w->args);
    if (tiles)
        level->attn_merge(&w->args, 0, tiles);
}

static inline void world_close(attn_world *w)
{
    for (int32_t r = 0; r < w->row_count; r++)
        world_free(w->kv[r]);
    void *all[] = {w->kv, w->layer.base, w->page, w->pos, w->row, w->row_tok0, w->row_ctx, w->q, w->out, w->scratch};
    for (size_t i = 0; i < TD_COUNT(all); i++)
        world_free(all[i]);
}

#endif
