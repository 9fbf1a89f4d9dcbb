/* sample_fast.h - sampling of the vector levels, without sorting the vocabulary.
 *
 * Tokens are counted into buckets of y = (z - max z) / T, each with its sum of weights. The order that sampling is
 * defined by runs through the buckets one after another, so a place in it (the k-th token, a share of the mass, the
 * draw) lies in one bucket; only that one is sorted. Weights are whole numbers, so the sums equal those of the sorted
 * list exactly.
 *
 * Included once by sample_<isa>.c, which defines the functions declared at the top. */
#ifndef TD_KERNELS_CPU_SAMPLE_FAST_H
#define TD_KERNELS_CPU_SAMPLE_FAST_H

#include "kernels/cpu/fast.h"
#include "kernels/cpu/sample.h"

#include <string.h>

enum { BUCKETS = 1024 };
#define BUCKETS_PER_Y ((float)BUCKETS / -SAMPLE_Y_MIN)

typedef struct sample_view { // the tokens that take part: those with y >= y_min
    const float *z;
    int32_t n;
    float z_max, inv_t, y_min;
} sample_view;

typedef struct sample_buckets {
    uint64_t mass[BUCKETS + 1];  // the last one takes what does not take part
    uint32_t count[BUCKETS + 1];
} sample_buckets;

/* The greatest of n, NaN where one is NaN or +infinity. */
static float row_max(const float *x, int32_t n);
static void copy_allowed(const float *x, const uint32_t *mask, int32_t n, float *z);
/* First index in [from, n) whose value is v, or above v; n where there is none. */
static int32_t next_equal(const float *x, int32_t from, int32_t n, float v);
static int32_t next_above(const float *x, int32_t from, int32_t n, float v);
/* How many come before (v, id): greater, or equal with a lower id. */
static int32_t count_before(const float *x, int32_t n, float v, int32_t id);
static float lane_sum_exp(const float *x, int32_t n, float max);
static void fill_buckets(const sample_view *v, sample_buckets *b); // adds
/* Ids of a bucket, ascending; returns their number. */
static int32_t bucket_ids(const sample_view *v, int32_t bucket, uint32_t *ids);

static float view_y(const sample_view *v, uint32_t id) { return (v->z[id] - v->z_max) * v->inv_t; }

/* Whole numbers that ascend as floats descend; zeros of both signs, and denormals, are one. */
static uint32_t descending(float f)
{
    uint32_t u = kern_to_bits(f + 0.0f);
    return u >> 31 ? u : ~u & 0x7fffffff;
}

/* Stable: 11, 11 and 10 bits of key[i], which goes with ids[i]. */
static void sort_pass(const uint32_t *from, uint32_t *to, int32_t n, const float *key, int shift)
{
    uint32_t start[2049] = {0};
    for (int32_t i = 0; i < n; i++)
        start[(descending(key[from[i]]) >> shift & 2047) + 1]++;
    for (int i = 1; i < 2048; i++)
        start[i] += start[i - 1];
    for (int32_t i = 0; i < n; i++)
        to[start[descending(key[from[i]]) >> shift & 2047]++] = from[i];
}

/* Ids that ascend come out by key descending, equals still ascending. */
static void sort_ids(const float *key, uint32_t *ids, uint32_t *tmp, int32_t n)
{
    if (n > 64) {
        sort_pass(ids, tmp, n, key, 0);
        sort_pass(tmp, ids, n, key, 11);
        sort_pass(ids, tmp, n, key, 22);
        memcpy(ids, tmp, (size_t)n * sizeof *ids);
        return;
    }
    for (int32_t i = 1; i < n; i++) {
        uint32_t id = ids[i];
        int32_t j = i;
        for (; j > 0 && key[ids[j - 1]] < key[id]; j--)
            ids[j] = ids[j - 1];
        ids[j] = id;
    }
}

/* A place in the order: after `id`, with what came up to there and including it. */
typedef struct sample_cut {
    uint64_t mass;
    int32_t id; // -1: after everything
} sample_cut;

typedef struct sample_run {
    sample_view v;
    sample_scratch s;
    sample_buckets b;
    int32_t sorted, sorted_count; // the bucket that lies sorted in s.ids, or -1
} sample_run;

static void open_bucket(sample_run *r, int32_t bucket)
{
    if (r->sorted == bucket)
        return;
    r->sorted = bucket;
    r->sorted_count = bucket_ids(&r->v, bucket, r->s.ids);
    sort_ids(r->v.z, r->s.ids, r->s.tmp, r->sorted_count);
}

/* The first place where `count` tokens or a mass of `mass` are reached. */
static sample_cut find_cut(sample_run *r, uint64_t count, uint64_t mass)
{
    sample_cut c = {0, -1};
    uint64_t n = 0;
    int32_t k = 0;
    for (; k < BUCKETS && n + r->b.count[k] < count && c.mass + r->b.mass[k] < mass; k++) {
        n += r->b.count[k];
        c.mass += r->b.mass[k];
    }
    if (k == BUCKETS)
        return c;
    open_bucket(r, k);
    for (int32_t i = 0; i < r->sorted_count; i++) {
        c.id = (int32_t)r->s.ids[i];
        c.mass += sample_weight(view_y(&r->v, r->s.ids[i]));
        if (++n >= count || c.mass >= mass)
            break;
    }
    return c;
}

static void count_all(sample_run *r)
{
    memset(&r->b, 0, sizeof r->b);
    fill_buckets(&r->v, &r->b);
    r->sorted = -1;
}

static uint64_t mass_all(const sample_run *r)
{
    uint64_t sum = 0;
    for (int32_t k = 0; k < BUCKETS; k++)
        sum += r->b.mass[k];
    return sum;
}

/* What min_p, top_k and top_p leave: the place in the order after the last token kept. */
static sample_cut keep_top(sample_run *r, const kern_sample_row *row)
{
    sample_cut c = {mass_all(r), -1};
    uint64_t k = row->top_k > 0 ? (uint64_t)row->top_k : UINT64_MAX;
    if (k != UINT64_MAX)
        c = find_cut(r, k, UINT64_MAX);
    if (row->top_p < 1.0f)
        c = find_cut(r, k, TD_MAX(sample_share(c.mass, row->top_p), (uint64_t)1));
    return c;
}

/* Takes all but the typical tokens up to the cut out of z: key and order as docs/internals/sampler.md has them. */
static void keep_typical(sample_run *r, sample_cut cut, float typical_p)
{
    float *z = r->s.z, *key = r->s.key, last = cut.id < 0 ? -__builtin_inff() : z[cut.id];
    double sum = 0.0, sum_y = 0.0;
    uint64_t total = 0, mass = 0;
    int32_t n = 0;
    for (int32_t id = 0; id < r->v.n; id++) {
        float y = view_y(&r->v, (uint32_t)id);
        uint64_t w = y >= r->v.y_min && (z[id] > last || (z[id] == last && id <= cut.id)) ? sample_weight(y) : 0;
        if (!w) {
            z[id] = -__builtin_inff();
            continue;
        }
        sum += (double)kern_exp(y);
        sum_y += (double)kern_exp(y) * (double)y;
        total += w;
        r->s.ids[n++] = (uint32_t)id;
    }
    float mean = (float)(sum_y / sum);
    for (int32_t i = 0; i < n; i++)
        key[r->s.ids[i]] = -__builtin_fabsf(view_y(&r->v, r->s.ids[i]) - mean);
    sort_ids(key, r->s.ids, r->s.tmp, n);
    uint64_t limit = sample_share(total, typical_p);
    for (int32_t i = 0; i < n; i++) {
        uint64_t w = sample_weight(view_y(&r->v, r->s.ids[i]));
        if (i > 0 && mass >= limit)
            z[r->s.ids[i]] = -__builtin_inff();
        mass += w;
    }
    count_all(r);
}

static int32_t draw(sample_run *r, const kern_sample_row *row)
{
    count_all(r);
    sample_cut c = keep_top(r, row);
    if (row->typical_p < 1.0f) {
        keep_typical(r, c, row->typical_p);
        c.mass = mass_all(r);
    }
    return find_cut(r, UINT64_MAX, sample_point(row, c.mass) + 1).id;
}

/* The n greatest, descending, lower ids first among equals. */
static void top_ids(const float *x, int32_t vocab, int32_t n, int32_t *out)
{
    int32_t have = 0;
    for (int32_t id = 0; id < vocab; id++) {
        if (have == n && (id = next_above(x, id, vocab, x[out[n - 1]])) == vocab)
            return;
        int32_t i = have < n ? have++ : n - 1;
        for (; i > 0 && x[out[i - 1]] < x[id]; i--)
            out[i] = out[i - 1];
        out[i] = id;
    }
}

static void log_probs(const kern_sample_row *row, const float *x, int32_t vocab, float max, kern_sample_out *out)
{
    double sum = 0.0;
    for (int32_t i = 0; i < vocab; i += SAMPLE_SEGMENT)
        sum += (double)lane_sum_exp(x + i, TD_MIN(vocab - i, (int32_t)SAMPLE_SEGMENT), max);
    double log_sum = kern_log_wide(sum);
    int32_t n = TD_MIN(row->top_n, vocab);
    out->logprob = (float)((double)(x[out->token] - max) - log_sum);
    out->rank = 1 + count_before(x, vocab, x[out->token], out->token);
    if (n > 0)
        top_ids(x, vocab, n, out->top_ids);
    for (int32_t i = 0; i < n; i++)
        out->top_logprobs[i] = (float)((double)(x[out->top_ids[i]] - max) - log_sum);
}

static void sample_row(const kern_sample_args *a, const kern_sample_row *row, kern_sample_out *out)
{
    const float *x = a->logits + (int64_t)row->logit_row * a->logit_stride;
    sample_run r = {.s = sample_scratch_at(a), .v = {.z = x, .n = a->vocab}};
    float max = row_max(x, a->vocab);
    r.v.z_max = max;
    if (row->mask || row->adj_count > 0 || (row->typical_p < 1.0f && row->temperature > 0.0f)) {
        copy_allowed(x, row->mask, a->vocab, r.s.z);
        for (int32_t i = 0; i < row->adj_count; i++) {
            const kern_sample_adj *adj = &row->adj[i];
            td_assert(adj->id >= 0 && adj->id < a->vocab);
            r.s.z[adj->id] = sample_adjust(row, adj, r.s.z[adj->id]);
        }
        r.v.z = r.s.z;
        r.v.z_max = row_max(r.s.z, a->vocab);
    }
    sample_bad(a, row, out);
    if (max != max || r.v.z_max != r.v.z_max || r.v.z_max == -__builtin_inff())
        return;
    out->bad = false;
    if (row->given) {
        out->token = row->given_id;
    } else if (row->temperature > 0.0f) {
        r.v.inv_t = 1.0f / row->temperature;
        r.v.y_min = row->min_p > 0.0f ? TD_MAX(SAMPLE_Y_MIN, kern_log(row->min_p)) : SAMPLE_Y_MIN;
        out->token = draw(&r, row);
    } else {
        out->token = next_equal(r.v.z, 0, a->vocab, r.v.z_max);
    }
    sample_to_slot(a, row, out->token);
    if (row->want_logprob || row->top_n > 0)
        log_probs(row, x, a->vocab, max, out);
}

static void sample_rows(const kern_sample_args *a, int64_t t0, int64_t t1)
{
    for (int64_t t = t0; t < t1; t++)
        sample_row(a, &a->rows[t], &a->out[t]);
}

#endif
