/* sample.c - sampling by a full sort: the order of operations in its plainest form. */
#include "kernels/cpu/sample.h"
#include "kernels/ref/ref_attn.h"

/* Which of two ids comes first: greater value, then lower id. */
static bool before(const float *v, uint32_t a, uint32_t b) { return v[a] > v[b] || (v[a] == v[b] && a < b); }

static void sift_down(const float *v, uint32_t *ids, int32_t i, int32_t n)
{
    for (int32_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && before(v, ids[c], ids[c + 1]))
            c++;
        if (!before(v, ids[i], ids[c]))
            return;
        uint32_t t = ids[i];
        ids[i] = ids[c];
        ids[c] = t;
    }
}

/* Heap sort; the heap's root is the last in order, so the greatest ends up in front. */
static void sort_ids(const float *v, uint32_t *ids, int32_t n)
{
    for (int32_t i = n / 2 - 1; i >= 0; i--)
        sift_down(v, ids, i, n);
    for (int32_t end = n - 1; end > 0; end--) {
        uint32_t t = ids[0];
        ids[0] = ids[end];
        ids[end] = t;
        sift_down(v, ids, 0, end);
    }
}

/* The greatest value, NaN where one is NaN or +infinity. */
static float row_max(const float *v, int32_t n)
{
    float m = -__builtin_inff();
    for (int32_t i = 0; i < n; i++) {
        if (!(v[i] < __builtin_inff()))
            return __builtin_nanf("");
        m = v[i] > m ? v[i] : m;
    }
    return m;
}

static void adjust(const kern_sample_row *r, const float *logits, int32_t vocab, float *z)
{
    for (int32_t i = 0; i < vocab; i++)
        z[i] = sample_allowed(r->mask, i) ? logits[i] : -__builtin_inff();
    for (int32_t i = 0; i < r->adj_count; i++) {
        td_assert(r->adj[i].id >= 0 && r->adj[i].id < vocab);
        z[r->adj[i].id] = sample_adjust(r, &r->adj[i], z[r->adj[i].id]);
    }
}

/* Of the first n ids, those that typical_p keeps, in order again. Key: distance of y from the mean of y under the
 * weights, which is that of -log p from the entropy. */
static int32_t keep_typical(const kern_sample_row *r, sample_scratch s, float z_max, float inv_t, int32_t n,
                            int32_t vocab)
{
    float *z = s.z, *key = s.key;
    uint32_t *ids = s.ids, *by_id = s.tmp;
    double sum = 0.0, sum_y = 0.0;
    uint64_t total = 0, mass = 0;
    memset(by_id, 0, (size_t)vocab * sizeof *by_id);
    for (int32_t i = 0; i < n; i++)
        by_id[ids[i]] = 1;
    for (int32_t id = 0; id < vocab; id++) {
        float y = (z[id] - z_max) * inv_t;
        if (!by_id[id] || !sample_weight(y))
            continue;
        double w = (double)kern_exp(y);
        sum += w;
        sum_y += w * (double)y;
        total += sample_weight(y);
    }
    float mean = (float)(sum_y / sum);
    for (int32_t i = 0; i < n; i++)
        key[ids[i]] = -__builtin_fabsf((z[ids[i]] - z_max) * inv_t - mean);
    sort_ids(key, ids, n);
    uint64_t limit = sample_share(total, r->typical_p);
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) {
        uint64_t w = sample_weight((z[ids[i]] - z_max) * inv_t);
        if (w && (kept == 0 || mass < limit))
            ids[kept++] = ids[i];
        mass += w;
    }
    sort_ids(z, ids, kept);
    return kept;
}

static int32_t draw(const kern_sample_row *r, sample_scratch s, int32_t vocab, float z_max)
{
    float inv_t = 1.0f / r->temperature, y_min = r->min_p > 0.0f ? kern_log(r->min_p) : -__builtin_inff();
    int32_t n = 0, kept = 0;
    uint64_t total = 0, mass = 0;
    for (int32_t i = 0; i < vocab; i++)
        s.ids[i] = (uint32_t)i;
    sort_ids(s.z, s.ids, vocab);
    while (n < vocab && (r->top_k <= 0 || n < r->top_k) && (s.z[s.ids[n]] - z_max) * inv_t >= y_min)
        total += sample_weight((s.z[s.ids[n++]] - z_max) * inv_t);
    if (r->top_p < 1.0f) {
        uint64_t limit = sample_share(total, r->top_p);
        for (; kept < n && (kept == 0 || mass < limit); kept++)
            mass += sample_weight((s.z[s.ids[kept]] - z_max) * inv_t);
        n = kept;
    }
    if (r->typical_p < 1.0f)
        n = keep_typical(r, s, z_max, inv_t, n, vocab);
    total = mass = 0;
    for (int32_t i = 0; i < n; i++)
        total += sample_weight((s.z[s.ids[i]] - z_max) * inv_t);
    uint64_t point = sample_point(r, total);
    for (int32_t i = 0;; i++)
        if ((mass += sample_weight((s.z[s.ids[i]] - z_max) * inv_t)) > point)
            return (int32_t)s.ids[i];
}

static float lane_sum_exp(const float *v, int32_t n, float max)
{
    float lane[16] = {0};
    for (int32_t i = 0; i < n; i++)
        lane[i % 16] += kern_exp(v[i] - max);
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            lane[i] += lane[i + w];
    return lane[0];
}

/* Log probabilities of the raw logits: x - max - ln(sum of exp(x - max)). */
static void log_probs(const kern_sample_row *r, const float *logits, int32_t vocab, float max, uint32_t *ids,
                      kern_sample_out *out)
{
    double sum = 0.0;
    for (int32_t i = 0; i < vocab; i += SAMPLE_SEGMENT)
        sum += (double)lane_sum_exp(logits + i, TD_MIN(vocab - i, (int32_t)SAMPLE_SEGMENT), max);
    double log_sum = kern_log_wide(sum);
    out->logprob = (float)((double)(logits[out->token] - max) - log_sum);
    out->rank = 1;
    for (int32_t i = 0; i < vocab; i++)
        out->rank += before(logits, (uint32_t)i, (uint32_t)out->token);
    for (int32_t i = 0; i < vocab; i++)
        ids[i] = (uint32_t)i;
    if (r->top_n > 0)
        sort_ids(logits, ids, vocab);
    for (int32_t i = 0; i < TD_MIN(r->top_n, vocab); i++) {
        out->top_ids[i] = (int32_t)ids[i];
        out->top_logprobs[i] = (float)((double)(logits[ids[i]] - max) - log_sum);
    }
}

static void sample_row(const kern_sample_args *a, const kern_sample_row *r, kern_sample_out *out)
{
    const float *logits = a->logits + (int64_t)r->logit_row * a->logit_stride;
    sample_scratch s = sample_scratch_at(a);
    float max = row_max(logits, a->vocab);
    adjust(r, logits, a->vocab, s.z);
    float z_max = row_max(s.z, a->vocab);
    sample_bad(a, r, out);
    if (max != max || z_max != z_max || z_max == -__builtin_inff())
        return;
    out->bad = false;
    if (r->given)
        out->token = r->given_id;
    else if (r->temperature > 0.0f)
        out->token = draw(r, s, a->vocab, z_max);
    else
        for (out->token = 0; s.z[out->token] != z_max;)
            out->token++;
    sample_to_slot(a, r, out->token);
    if (r->want_logprob || r->top_n > 0)
        log_probs(r, logits, a->vocab, max, s.ids, out);
}

void ref_sample(const kern_sample_args *a, int64_t t0, int64_t t1)
{
    for (int64_t t = t0; t < t1; t++)
        sample_row(a, &a->rows[t], &a->out[t]);
}
