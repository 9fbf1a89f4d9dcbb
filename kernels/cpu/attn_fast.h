/* attn_fast.h - the tile of attention that the vector levels share: which keys meet which rows, in which order.
 *
 * Included once by attention_<isa>.c, which defines the functions declared at the top. A tile's rows are its (token, q
 * head) pairs, ascending in position. They are worked on in micro blocks of up to ATTN_MICRO rows against tiles of 64
 * keys: scores S[row][64], softmax in place, then S times V. With more than ATTN_DIRECT_ROWS rows the keys and values
 * of a tile are first widened to float, once for them all; with fewer (decode) they are widened on the way to the
 * product, which reads each of them once anyway. A value is the same either way. */
#ifndef TD_KERNELS_CPU_ATTN_FAST_H
#define TD_KERNELS_CPU_ATTN_FAST_H

#include "kernels/cpu/attn.h"

#include <string.h>

enum { ATTN_MICRO = 6, ATTN_DIRECT_MICRO = 4, ATTN_DIRECT_ROWS = 16, ATTN_GROUPS = ATTN_TILE / KV_LANES };

/* The 64 keys of a tile as the micro kernels read them. */
typedef struct attn_keys {
    kern_kv_type type;
    const uint8_t *k[ATTN_GROUPS]; // [D][16]
    const uint8_t *v[ATTN_GROUPS]; // [16][D]
    const uint8_t *k_ahead[ATTN_GROUPS], *v_ahead[ATTN_GROUPS]; // what comes next, to be fetched while these are used
    const uint16_t *k_scale[ATTN_GROUPS];
    float v_scale[ATTN_TILE * TD_MODEL_HEAD_DIM_MAX / KV_Q8_DIMS]; // [64][D/32]
} attn_keys;

typedef struct attn_work {
    _Alignas(64) float q[ATTN_ROW_FLOATS];  // micro blocks of [D][rows]
    float s[ATTN_ROWS * ATTN_TILE];         // [row][64] scores, then weights
    float o[ATTN_ROW_FLOATS];               // [row][D] of the chunk
    float run[ATTN_ROW_FLOATS];             // [row][D] of the chunks before
    float k[ATTN_TILE * TD_MODEL_HEAD_DIM_MAX], v[ATTN_TILE * TD_MODEL_HEAD_DIM_MAX]; // widened
    float m[ATTN_ROWS], l[ATTN_ROWS], run_m[ATTN_ROWS], run_l[ATTN_ROWS], top[ATTN_ROWS], alpha[ATTN_ROWS];
    int32_t first[ATTN_ROWS], pos[ATTN_ROWS]; // first and last key that a row sees
    int32_t lo[ATTN_ROWS], hi[ATTN_ROWS];     // the same inside the tile at hand: [lo, hi), empty when lo >= hi
    attn_keys keys;
} attn_work;

/* s[row][64] = q · k, for all 64 keys. q is a micro block. */
static void scores(int rows, const float *q, const attn_keys *keys, int32_t D, float *s);
/* o[row][D] = fma(p[row][j], v[j], o) for keys j in [j0, j1), ascending. */
static void add_values(int rows, const float *p, const attn_keys *keys, int32_t D, int j0, int j1, float *o);
/* Softmax of rows in three steps, so that rows do not wait for one another. Scales and caps one row of scores; returns
 * the greatest in [lo, hi). */
static float row_top(const kern_attn_args *a, float *s, int32_t lo, int32_t hi);
/* m = max(m, top) of n rows and the alpha that follows; up to 15 rows more are written. */
static void rows_alpha(int32_t n, const float *top, float *m, float *alpha);
/* Scores to weights, 0 outside [lo, hi); returns their sum. */
static float row_weights(float *s, int32_t lo, int32_t hi, float m);
static void scale_row(float *o, int32_t D, float alpha);
/* run = run * wa + o * wb as the merge of two chunks has it. */
static void merge_row(float *run, float wa, const float *o, float wb, int32_t D);
static void finish_row(const float *o, float l, int32_t D, float *out);
/* n codes of 16 tokens to floats, in the same order, fetching `ahead` meanwhile. */
static inline void widen_codes(kern_kv_type type, const uint8_t *codes, const uint8_t *ahead, int32_t n, float *out);
/* The same for K and V of q8_0, whose codes want their scales. */
static void widen_q8(const kv_group16 *g, const kv_group16 *ahead, int32_t D, float *k, float *v);
static void widen_scales(const uint16_t *h, int32_t n, float *out); // n a multiple of 16

static void merge_state(float *run, float *run_m, float *run_l, const float *o, float m, float l, int32_t D)
{
    float m_new = m > *run_m || m != m ? m : *run_m;
    float wa = kern_exp(*run_m - m_new), wb = kern_exp(m - m_new);
    *run_l = __builtin_fmaf(*run_l, wa, l * wb);
    *run_m = m_new;
    merge_row(run, wa, o, wb, D);
}

typedef struct attn_pass { // rows [r0, r0 + n) of a tile
    const kern_attn_args *a;
    const attn_plan *plan;
    const attn_tile *tile;
    attn_work *w;
    int32_t r0, n, D;
    int32_t G;           // query heads of the tile
    int32_t micro_count; // micro blocks: even shares of n
} attn_pass;

/* Whether keys and values are widened on the way into the product. */
static bool is_direct(const attn_pass *p) { return p->n <= ATTN_DIRECT_ROWS || p->a->kv->type == KV_F32; }

static int32_t micro_blocks(const attn_pass *p)
{
    int32_t rows = is_direct(p) && p->a->kv->type != KV_F32 ? ATTN_DIRECT_MICRO : ATTN_MICRO;
    return (p->n + rows - 1) / rows;
}

static int32_t micro_start(const attn_pass *p, int32_t i) { return i * p->n / p->micro_count; }

static int32_t pass_tok(const attn_pass *p, int32_t r) { return p->tile->tok0 + (p->r0 + r) / p->G; }
static int32_t pass_head(const attn_pass *p, int32_t r) { return p->tile->q_head0 + (p->r0 + r) % p->G; }

static void load_rows(const attn_pass *p)
{
    const kern_attn_args *a = p->a;
    for (int32_t i = 0; i < p->micro_count; i++) {
        int32_t b0 = micro_start(p, i), rows = micro_start(p, i + 1) - b0;
        for (int32_t r = 0; r < rows; r++) {
            int32_t tok = pass_tok(p, b0 + r);
            const float *q = a->q + (int64_t)tok * a->q_stride + pass_head(p, b0 + r) * p->D;
            p->w->pos[b0 + r] = a->batch->pos[tok];
            p->w->first[b0 + r] = attn_first_key(a->batch->pos[tok], a->window);
            for (int32_t d = 0; d < p->D; d++)
                p->w->q[b0 * p->D + d * rows + r] = q[d];
        }
    }
}

static void fetch_scales(const kv_group16 *g, int32_t D)
{
    for (int32_t i = 0; i < KV_LANES * D / KV_Q8_DIMS; i += 32) {
        __builtin_prefetch(g->k_scale + i);
        __builtin_prefetch(g->v_scale + i);
    }
}

/* The group of 16 keys at `key`, or `last` where no row sees it any more. */
static kv_group16 group_ahead(const attn_pass *p, int32_t key, const kv_group16 *last)
{
    return key <= p->w->pos[p->n - 1] ? attn_group_at(p->a, p->tile->row, key, p->tile->kv_head) : *last;
}

static void widen(const kern_kv_layer *kv, const kv_group16 *g, const kv_group16 *ahead, float *k, float *v)
{
    int32_t n = KV_LANES * kv->head_dim;
    if (kv->type == KV_BF16) {
        widen_codes(KV_BF16, g->k, ahead->k, n, k);
        widen_codes(KV_BF16, g->v, ahead->v, n, v);
    } else if (kv->type == KV_F16) {
        widen_codes(KV_F16, g->k, ahead->k, n, k);
        widen_codes(KV_F16, g->v, ahead->v, n, v);
    } else {
        widen_q8(g, ahead, kv->head_dim, k, v);
    }
}

static void widen_keys(const attn_pass *p, int32_t base, int32_t g0, int32_t g1)
{
    attn_work *w = p->w;
    kv_group16 kv = attn_group_at(p->a, p->tile->row, base + g0 * KV_LANES, p->tile->kv_head);
    w->keys.type = KV_F32;
    for (int32_t g = g0; g <= g1; g++) {
        float *k = w->k + g * KV_LANES * p->D, *v = w->v + g * KV_LANES * p->D;
        kv_group16 ahead = group_ahead(p, base + (g + 1) * KV_LANES, &kv);
        widen(p->a->kv, &kv, &ahead, k, v);
        w->keys.k[g] = w->keys.k_ahead[g] = (uint8_t *)k;
        w->keys.v[g] = w->keys.v_ahead[g] = (uint8_t *)v;
        kv = ahead;
    }
}

static void point_at_keys(const attn_pass *p, int32_t base, int32_t g0, int32_t g1)
{
    attn_keys *keys = &p->w->keys;
    int32_t scales = KV_LANES * (p->D / KV_Q8_DIMS);
    keys->type = p->a->kv->type;
    for (int32_t g = g0; g <= g1; g++) {
        kv_group16 kv = attn_group_at(p->a, p->tile->row, base + g * KV_LANES, p->tile->kv_head);
        kv_group16 ahead = group_ahead(p, base + ATTN_TILE + g * KV_LANES, &kv);
        keys->k[g] = kv.k;
        keys->v[g] = kv.v;
        keys->k_ahead[g] = kv.v;
        keys->v_ahead[g] = ahead.k;
        keys->k_scale[g] = kv.k_scale;
        if (keys->type == KV_Q8_0) {
            fetch_scales(&ahead, p->D);
            widen_scales(kv.v_scale, scales, keys->v_scale + g * scales);
        }
    }
}

/* Brings the tile of keys at `base`, or points at it. Groups of 16 that no row sees are not touched: others stand in
 * for them, and what comes of them is masked. */
static void load_keys(const attn_pass *p, int32_t base, int32_t key0, int32_t key1)
{
    attn_keys *keys = &p->w->keys;
    int32_t g0 = (key0 - base) / KV_LANES, g1 = (key1 - 1 - base) / KV_LANES;
    if (is_direct(p))
        point_at_keys(p, base, g0, g1);
    else
        widen_keys(p, base, g0, g1);
    for (int32_t g = 0; g < ATTN_GROUPS; g++)
        if (g < g0 || g > g1) {
            keys->k[g] = keys->k_ahead[g] = keys->k[g0];
            keys->v[g] = keys->v_ahead[g] = keys->v[g0];
            keys->k_scale[g] = keys->k_scale[g0];
        }
}

/* Values of the keys that each row sees: those that all of a micro block see in one go, the edges row by row. */
static void add_values_ragged(const attn_pass *p, int32_t b0, int32_t rows)
{
    attn_work *w = p->w;
    int32_t lo = 0, hi = ATTN_TILE;
    for (int32_t r = b0; r < b0 + rows; r++) {
        lo = TD_MAX(lo, w->lo[r]);
        hi = TD_MIN(hi, w->hi[r]);
    }
    hi = TD_MAX(lo, hi);
    for (int32_t r = b0; r < b0 + rows; r++)
        if (w->lo[r] < TD_MIN(lo, w->hi[r]))
            add_values(1, w->s + r * ATTN_TILE, &w->keys, p->D, w->lo[r], TD_MIN(lo, w->hi[r]), w->o + r * p->D);
    if (lo < hi)
        add_values(rows, w->s + b0 * ATTN_TILE, &w->keys, p->D, lo, hi, w->o + b0 * p->D);
    for (int32_t r = b0; r < b0 + rows; r++)
        if (TD_MAX(hi, w->lo[r]) < w->hi[r])
            add_values(1, w->s + r * ATTN_TILE, &w->keys, p->D, TD_MAX(hi, w->lo[r]), w->hi[r], w->o + r * p->D);
}

static bool sees_tile(const attn_work *w, int32_t b0, int32_t b1)
{
    for (int32_t r = b0; r < b1; r++)
        if (w->lo[r] < w->hi[r])
            return true;
    return false;
}

/* Scores of all rows to weights; o and l of those that see the tile are brought to the new maximum. */
static void soften(const attn_pass *p)
{
    attn_work *w = p->w;
    for (int32_t r = 0; r < p->n; r++)
        w->top[r] = w->lo[r] < w->hi[r] ? row_top(p->a, w->s + r * ATTN_TILE, w->lo[r], w->hi[r]) : w->m[r];
    rows_alpha(p->n, w->top, w->m, w->alpha);
    for (int32_t r = 0; r < p->n; r++) {
        if (w->lo[r] >= w->hi[r])
            continue;
        float sum = row_weights(w->s + r * ATTN_TILE, w->lo[r], w->hi[r], w->m[r]);
        w->l[r] = __builtin_fmaf(w->l[r], w->alpha[r], sum);
        if (w->alpha[r] != 1.0f)
            scale_row(w->o + r * p->D, p->D, w->alpha[r]);
    }
}

/* One tile of 64 keys for the rows that see any of them. */
static void add_tile(const attn_pass *p, int32_t base)
{
    attn_work *w = p->w;
    int32_t key0 = base + ATTN_TILE, key1 = base;
    for (int32_t r = 0; r < p->n; r++) {
        w->lo[r] = TD_MAX(w->first[r] - base, 0);
        w->hi[r] = TD_MIN(w->pos[r] + 1 - base, (int32_t)ATTN_TILE);
        if (w->lo[r] < w->hi[r]) {
            key0 = TD_MIN(key0, base + w->lo[r]);
            key1 = TD_MAX(key1, base + w->hi[r]);
        }
    }
    if (key0 >= key1)
        return;
    load_keys(p, base, key0, key1);
    for (int32_t i = 0; i < p->micro_count; i++) {
        int32_t b0 = micro_start(p, i), b1 = micro_start(p, i + 1);
        if (sees_tile(w, b0, b1))
            scores(b1 - b0, w->q + b0 * p->D, &w->keys, p->D, w->s + b0 * ATTN_TILE);
    }
    soften(p);
    for (int32_t i = 0; i < p->micro_count; i++) {
        int32_t b0 = micro_start(p, i), b1 = micro_start(p, i + 1);
        if (sees_tile(w, b0, b1))
            add_values_ragged(p, b0, b1 - b0);
    }
}

/* A row's chunk is complete: to scratch where the row is split, else into what the chunks before it left. */
static void end_chunk(const attn_pass *p, int32_t r, int32_t chunk)
{
    const kern_attn_args *a = p->a;
    attn_work *w = p->w;
    float *o = w->o + r * p->D, *run = w->run + r * p->D;
    int32_t first = w->first[r] / ATTN_CHUNK, last = w->pos[r] / ATTN_CHUNK;
    int32_t tok = pass_tok(p, r), head = pass_head(p, r);
    if (chunk < first || chunk > last)
        return;
    if (p->tile->part0 >= 0) {
        float *part = attn_part(a, p->plan, p->tile->part0 + (tok - p->tile->tok0) * p->tile->part_stride, head);
        memcpy(part, o, (size_t)p->D * sizeof *o);
        part[p->D] = w->m[r];
        part[p->D + 1] = w->l[r];
        return;
    }
    if (chunk > first) {
        merge_state(run, &w->run_m[r], &w->run_l[r], o, w->m[r], w->l[r], p->D);
    } else if (chunk < last) {
        memcpy(run, o, (size_t)p->D * sizeof *o);
        w->run_m[r] = w->m[r];
        w->run_l[r] = w->l[r];
    }
    if (chunk == last) {
        float *out = a->out + ((int64_t)tok * a->q_heads + head) * p->D;
        finish_row(first == last ? o : run, first == last ? w->l[r] : w->run_l[r], p->D, out);
    }
}

static void run_pass(const attn_pass *p)
{
    attn_work *w = p->w;
    load_rows(p);
    int32_t first = w->first[0], last = w->pos[p->n - 1];
    int32_t c0 = TD_MAX(p->tile->chunk0, first / ATTN_CHUNK), c1 = TD_MIN(p->tile->chunk1, last / ATTN_CHUNK + 1);
    for (int32_t c = c0; c < c1; c++) {
        for (int32_t r = 0; r < p->n; r++) {
            w->m[r] = -__builtin_inff();
            w->l[r] = 0.0f;
        }
        memset(w->o, 0, (size_t)p->n * (size_t)p->D * sizeof *w->o);
        int32_t k0 = TD_MAX(first, c * ATTN_CHUNK) / ATTN_TILE * ATTN_TILE, k1 = TD_MIN(last + 1, (c + 1) * ATTN_CHUNK);
        for (int32_t k = k0; k < k1; k += ATTN_TILE)
            add_tile(p, k);
        for (int32_t r = 0; r < p->n; r++)
            end_chunk(p, r, c);
    }
}

static void attention_tile(const kern_attn_args *a, int64_t t, attn_work *w)
{
    const attn_plan *plan = attn_plan_of(a);
    attn_tile tile = attn_tile_at(a, plan, t);
    attn_pass p = {.a = a, .plan = plan, .tile = &tile, .w = w, .D = a->kv->head_dim};
    p.G = tile.q_head1 - tile.q_head0;
    int32_t rows = (tile.tok1 - tile.tok0) * p.G, step = attn_rows_max(p.D);
    for (p.r0 = 0; p.r0 < rows; p.r0 += step) {
        p.n = TD_MIN(step, rows - p.r0);
        p.micro_count = micro_blocks(&p);
        run_pass(&p);
    }
}

static void merge_tile(const kern_attn_args *a, int64_t t, attn_work *w)
{
    const attn_plan *plan = attn_plan_of(a);
    attn_merge_tile tile = attn_merge_at(a, plan, t);
    int32_t D = a->kv->head_dim;
    for (int32_t h = 0; h < a->q_heads; h++) {
        const float *part = attn_part(a, plan, tile.part0, h);
        memcpy(w->run, part, (size_t)D * sizeof *part);
        w->run_m[0] = part[D];
        w->run_l[0] = part[D + 1];
        for (int32_t i = 1; i < tile.part_count; i++) {
            part = attn_part(a, plan, tile.part0 + i, h);
            merge_state(w->run, &w->run_m[0], &w->run_l[0], part, part[D], part[D + 1], D);
        }
        finish_row(w->run, w->run_l[0], D, a->out + ((int64_t)tile.tok * a->q_heads + h) * D);
    }
}

#endif
