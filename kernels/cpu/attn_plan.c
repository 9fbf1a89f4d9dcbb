#include "kernels/cpu/attn.h"

static int32_t row_tokens(const kern_batch *b, int32_t row) { return b->row_tok0[row + 1] - b->row_tok0[row]; }

static int32_t div_up(int32_t a, int32_t b) { return (a + b - 1) / b; }

/* Chunks that the tokens of a row see: from the first key of its first token to the position of its last. */
static void row_chunks(const kern_attn_args *a, int32_t row, attn_plan_row *r)
{
    const kern_batch *b = a->batch;
    int32_t first = attn_first_key(b->pos[b->row_tok0[row]], a->window) / ATTN_CHUNK;
    r->chunk0 = first;
    r->chunk_count = b->pos[b->row_tok0[row + 1] - 1] / ATTN_CHUNK + 1 - first;
}

static size_t plan_bytes(int32_t row_count)
{
    return td_align_up(sizeof(attn_plan), 64) + td_align_up(((size_t)row_count + 1) * sizeof(attn_plan_row), 64);
}

size_t cpu_attn_scratch_bytes(kern_dev *dev, int32_t tok_max, int32_t q_heads, int32_t head_dim, int32_t ctx_max)
{
    (void)dev;
    size_t parts = (size_t)TD_MAX((int32_t)ATTN_PARTS, div_up(ctx_max, ATTN_CHUNK));
    return plan_bytes(tok_max) + parts * (size_t)q_heads * ((size_t)head_dim + ATTN_PART_PAD) * sizeof(float);
}

int64_t cpu_attention_tiles(const kern_attn_args *a)
{
    const kern_batch *b = a->batch;
    attn_plan *p = a->scratch;
    int32_t heads = a->kv->heads;
    td_assert(a->q_heads % heads == 0 && a->kv->block_tok % KV_LANES == 0 && a->kv->head_dim % 8 == 0);
    td_assert(a->kv->head_dim <= TD_MODEL_HEAD_DIM_MAX);
    td_assert(a->kv->type != KV_Q8_0 || a->kv->head_dim % KV_Q8_DIMS == 0);
    p->row = (attn_plan_row *)(void *)((char *)p + td_align_up(sizeof *p, 64));
    p->part = (float *)(void *)((char *)p + plan_bytes(b->row_count));
    p->block_tok = TD_MAX(attn_rows_max(a->kv->head_dim) / (a->q_heads / heads), 1);
    p->part_count = p->merge_count = p->tile_count = 0;
    int32_t whole_tiles = 0;
    for (int32_t r = 0; r < b->row_count; r++)
        whole_tiles += div_up(row_tokens(b, r), p->block_tok) * heads;
    for (int32_t r = 0; r < b->row_count; r++) {
        attn_plan_row *row = &p->row[r];
        int32_t tok_count = row_tokens(b, r);
        *row = (attn_plan_row){.tile0 = p->tile_count, .part0 = -1, .merge0 = p->merge_count, .chunk_count = 1};
        if (tok_count == 0)
            continue;
        row_chunks(a, r, row);
        int64_t parts = (int64_t)tok_count * row->chunk_count;
        int32_t tiles = div_up(tok_count, p->block_tok) * heads;
        bool fits = parts + p->part_count <= ATTN_PARTS || (tok_count == 1 && p->part_count == 0);
        if (whole_tiles < ATTN_TILES_ENOUGH && row->chunk_count > 1 && fits) {
            row->part0 = p->part_count;
            p->part_count += (int32_t)parts;
            p->merge_count += tok_count;
            tiles *= row->chunk_count;
        }
        p->tile_count += tiles;
    }
    p->row[b->row_count] = (attn_plan_row){.tile0 = p->tile_count, .part0 = -1, .merge0 = p->merge_count};
    // One short sequence of a model with one kv head: half of the heads still use each key twice.
    p->head_parts = p->tile_count < ATTN_TILES_FEW && a->q_heads / heads >= 4 ? 2 : 1;
    return p->tile_count * p->head_parts;
}

/* The row whose range of `first` holds t: rows without any are skipped, since their range is empty. */
#define FIND_ROW(p, rows, field, t, out)             \
    do {                                             \
        int32_t lo_ = 0, hi_ = (rows);               \
        while (hi_ - lo_ > 1) {                      \
            int32_t mid_ = (lo_ + hi_) / 2;          \
            if ((p)->row[mid_].field <= (t))         \
                lo_ = mid_;                          \
            else                                     \
                hi_ = mid_;                          \
        }                                            \
        (out) = lo_;                                 \
    } while (0)

attn_tile attn_tile_at(const kern_attn_args *a, const attn_plan *p, int64_t t)
{
    const kern_batch *b = a->batch;
    int32_t r, part = (int32_t)(t % p->head_parts);
    t /= p->head_parts;
    FIND_ROW(p, b->row_count, tile0, t, r);
    const attn_plan_row *row = &p->row[r];
    int32_t i = (int32_t)t - row->tile0, heads = a->kv->heads, G = a->q_heads / heads, first = b->row_tok0[r], block;
    attn_tile tile = {.row = r, .chunk0 = row->chunk0, .chunk1 = row->chunk0 + row->chunk_count, .part0 = -1};
    if (row->part0 < 0) { // later blocks see more keys: they go first, so that the last tiles of a step are short
        block = div_up(row_tokens(b, r), p->block_tok) - 1 - i / heads;
        tile.kv_head = i % heads;
    } else {
        int32_t chunk = i % row->chunk_count;
        block = i / row->chunk_count / heads;
        tile.kv_head = i / row->chunk_count % heads;
        tile.part0 = row->part0 + block * p->block_tok * row->chunk_count + chunk;
        tile.part_stride = row->chunk_count;
        tile.chunk0 += chunk;
        tile.chunk1 = tile.chunk0 + 1;
    }
    tile.q_head0 = tile.kv_head * G + part * G / p->head_parts;
    tile.q_head1 = tile.kv_head * G + (part + 1) * G / p->head_parts;
    tile.tok0 = first + block * p->block_tok;
    tile.tok1 = TD_MIN(tile.tok0 + p->block_tok, b->row_tok0[r + 1]);
    return tile;
}

int64_t cpu_attn_merge_tiles(const kern_attn_args *a) { return attn_plan_of(a)->merge_count; }

attn_merge_tile attn_merge_at(const kern_attn_args *a, const attn_plan *p, int64_t t)
{
    const kern_batch *b = a->batch;
    int32_t r;
    FIND_ROW(p, b->row_count, merge0, t, r);
    const attn_plan_row *row = &p->row[r];
    int32_t i = (int32_t)t - row->merge0, tok = b->row_tok0[r] + i;
    int32_t chunk0 = attn_first_key(b->pos[tok], a->window) / ATTN_CHUNK, chunk1 = b->pos[tok] / ATTN_CHUNK + 1;
    return (attn_merge_tile){tok, row->part0 + i * row->chunk_count + chunk0 - row->chunk0, chunk1 - chunk0};
}
