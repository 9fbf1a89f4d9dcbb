/* Sampling: one block a row, logits to token id in a slot; docs/internals/sampler.md has the order of operations. The
 * answer is the CPU's, bit for bit: weights are integers, log probabilities keep the CPU's segments and lanes. Only the
 * mean of typical_p is summed in another order, in double. */
#include "kernels/cuda/ptx.cuh"

#include "kernels/cuda/gpu_ops.h"
#include "kernels/cuda/select.cuh"

enum { SEGMENTS_MAX = TD_MODEL_VOCAB_MAX / SAMPLE_SEGMENT + 1 };

typedef struct sample_shared {
    select_shared select;
    double sums[2][SELECT_THREADS];
    float segment[SEGMENTS_MAX];
    uint32_t min_key[2];                // of the row, of the adjusted row
    int32_t bad, first, before;
    int32_t top_count, top[TD_LOGPROBS_MAX];
} sample_shared;

static __device__ __forceinline__ float key_value(uint32_t key)
{
    return __uint_as_float(key & 0x80000000 ? key : ~key & 0x7fffffff);
}

/* The greatest value's key; s->bad where one is NaN or +infinity. */
static __device__ uint32_t greatest(const float *z, int32_t n, uint32_t *shared_key, sample_shared *s)
{
    uint32_t key = 0xffffffffu;
    int32_t bad = 0;
    if (threadIdx.x == 0)
        *shared_key = key;
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < n; i += SELECT_THREADS) {
        uint32_t bits = __float_as_uint(z[i]);
        if ((bits & 0x7fffffff) > 0x7f800000 || bits == 0x7f800000)
            bad = 1;
        else
            key = min(key, select_key(z[i]));
    }
    for (int d = 16; d > 0; d /= 2)
        key = min(key, __shfl_xor_sync(0xffffffffu, key, d));
    if (threadIdx.x % 32 == 0)
        atomicMin(shared_key, key);
    if (bad)
        atomicExch(&s->bad, 1);
    __syncthreads();
    return *shared_key;
}

static __device__ void adjust(const kern_sample_row &r, const float *x, int32_t vocab, float *z)
{
    for (int32_t i = (int32_t)threadIdx.x; i < vocab; i += SELECT_THREADS)
        z[i] = sample_allowed(r.mask, i) ? x[i] : -__builtin_inff();
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < r.adj_count; i += SELECT_THREADS) {
        kern_sample_adj adj = r.adj[i];
        z[adj.id] = sample_adjust(&r, &adj, z[adj.id]);
    }
    __syncthreads();
}

/* What min_p, top_k and top_p leave: up to this place. */
static __device__ select_place keep_top(const select_view &v, const kern_sample_row &r, select_shared *s)
{
    uint32_t k = r.top_k > 0 ? (uint32_t)r.top_k : 0xffffffffu;
    select_place p = select_find(v, k, ~0ull, s);
    if (r.top_p < 1.0f) {
        select_mass limit = sample_share(p.mass, r.top_p);
        p = select_find(v, k, limit ? limit : 1, s);
    }
    return p;
}

/* Mean of y under the weights, over the tokens that count and come up to the place; the others leave z. */
static __device__ float mean_kept(const select_view &v, float *z, const select_place &p, sample_shared *s)
{
    double sum = 0.0, sum_y = 0.0;
    for (int32_t id = (int32_t)threadIdx.x; id < v.n; id += SELECT_THREADS) {
        select_token t = token_at(v, id);
        if (t.bucket < 0 || !select_before(p, select_key(t.value), id) || token_mass(v, t) == 0) {
            z[id] = -__builtin_inff();
            continue;
        }
        double w = (double)kern_exp(t.y);
        sum += w;
        sum_y += w * (double)t.y;
    }
    s->sums[0][threadIdx.x] = sum;
    s->sums[1][threadIdx.x] = sum_y;
    for (uint32_t half = SELECT_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            for (int i = 0; i < 2; i++)
                s->sums[i][threadIdx.x] += s->sums[i][threadIdx.x + half];
    }
    __syncthreads();
    return (float)(s->sums[1][0] / s->sums[0][0]);
}

/* Takes all but the typical tokens out of z; returns the mass of those that stay, counted anew. */
static __device__ select_mass keep_typical(select_view v, float *z, const select_place &p, float typical_p,
                                           sample_shared *s)
{
    select_view typical = v;
    typical.kind = SELECT_TYPICAL;
    typical.mean = mean_kept(v, z, p, s);
    select_count(typical, &s->select);
    select_mass limit = sample_share(select_find(typical, 0xffffffffu, ~0ull, &s->select).mass, typical_p);
    select_place last = select_find(typical, 0xffffffffu, limit ? limit : 1, &s->select);
    for (int32_t id = (int32_t)threadIdx.x; id < v.n; id += SELECT_THREADS) {
        select_token t = token_at(typical, id);
        if (t.bucket >= 0 && !select_before(last, select_key(t.value), id))
            z[id] = -__builtin_inff();
    }
    __syncthreads();
    select_count(v, &s->select);
    return select_find(v, 0xffffffffu, ~0ull, &s->select).mass;
}

static __device__ int32_t draw(const kern_sample_row &r, const float *z, float *own, int32_t vocab, float z_max,
                               sample_shared *s)
{
    select_view v = {SELECT_WEIGHT, z, vocab, z_max, 1.0f / r.temperature, SAMPLE_Y_MIN, 0.0f};
    if (r.min_p > 0.0f)
        v.y_min = fmaxf(v.y_min, kern_log(r.min_p));
    select_count(v, &s->select);
    select_place p = keep_top(v, r, &s->select);
    select_mass mass = p.mass;
    if (r.typical_p < 1.0f)
        mass = keep_typical(v, own, p, r.typical_p, s);
    return select_find(v, 0xffffffffu, sample_point(&r, mass) + 1, &s->select).id;
}

static __device__ int32_t first_equal(const float *z, int32_t n, uint32_t key, sample_shared *s)
{
    if (threadIdx.x == 0)
        s->first = n;
    __syncthreads();
    int32_t first = n;
    for (int32_t i = (int32_t)threadIdx.x; i < n && first == n; i += SELECT_THREADS)
        if (select_key(z[i]) == key)
            first = i;
    for (int d = 16; d > 0; d /= 2)
        first = min(first, __shfl_xor_sync(0xffffffffu, first, d));
    if (threadIdx.x % 32 == 0)
        atomicMin(&s->first, first);
    __syncthreads();
    return s->first;
}

/* ln of the sum of exp(x - max): float over segments in 16 lanes and the tree 8, 4, 2, 1, double over the segments. */
static __device__ double log_sum_exp(const float *x, int32_t vocab, float max, sample_shared *s)
{
    int32_t segments = (vocab + SAMPLE_SEGMENT - 1) / SAMPLE_SEGMENT, lane = (int32_t)threadIdx.x % 16;
    for (int32_t at = (int32_t)threadIdx.x / 32 * 2; at < segments; at += SELECT_THREADS / 16) {
        int32_t seg = at + (int32_t)threadIdx.x % 32 / 16; // a warp takes two; the second may be beyond the end
        int32_t end = min((seg + 1) * SAMPLE_SEGMENT, vocab);
        float sum = 0.0f;
        for (int32_t i = seg * SAMPLE_SEGMENT + lane; i < end; i += 16)
            sum += kern_exp(x[i] - max);
        for (int w = 8; w > 0; w /= 2)
            sum += __shfl_down_sync(0xffffffffu, sum, w, 16);
        if (lane == 0 && seg < segments)
            s->segment[seg] = sum;
    }
    __syncthreads();
    double sum = 0.0;
    for (int32_t i = 0; i < segments; i++)
        sum += (double)s->segment[i];
    return kern_log_wide(sum);
}

/* 1 + the tokens before this one in the order of raw logits. */
static __device__ int32_t rank_of(const float *x, int32_t vocab, int32_t token, sample_shared *s)
{
    uint32_t key = select_key(x[token]);
    int32_t before = 0;
    if (threadIdx.x == 0)
        s->before = 0;
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < vocab; i += SELECT_THREADS) {
        uint32_t k = select_key(x[i]);
        before += k < key || (k == key && i < token);
    }
    atomicAdd(&s->before, before);
    __syncthreads();
    return s->before + 1;
}

/* The n first ids of the order of raw logits into s->top. */
static __device__ void top_ids(const float *x, int32_t vocab, int32_t n, float max, sample_shared *s)
{
    select_view v = {SELECT_RAW, x, vocab, max, 1.0f, 0.0f, 0.0f};
    select_count(v, &s->select);
    select_place p = select_find(v, (uint32_t)n, ~0ull, &s->select);
    if (threadIdx.x == 0)
        s->top_count = 0;
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < vocab; i += SELECT_THREADS)
        if (select_before(p, select_key(x[i]), i))
            s->top[atomicAdd(&s->top_count, 1)] = i;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    for (int32_t i = 1; i < n; i++) {
        int32_t id = s->top[i], j = i;
        uint32_t key = select_key(x[id]);
        for (; j > 0; j--) {
            uint32_t k = select_key(x[s->top[j - 1]]);
            if (k < key || (k == key && s->top[j - 1] < id))
                break;
            s->top[j] = s->top[j - 1];
        }
        s->top[j] = id;
    }
}

static __device__ void log_probs(const kern_sample_row &r, const float *x, int32_t vocab, float max, int32_t token,
                                 kern_sample_out *out, sample_shared *s)
{
    double log_sum = log_sum_exp(x, vocab, max, s);
    int32_t rank = rank_of(x, vocab, token, s), n = min(r.top_n, vocab);
    if (n > 0)
        top_ids(x, vocab, n, max, s);
    if (threadIdx.x != 0)
        return;
    out->logprob = (float)((double)(x[token] - max) - log_sum);
    out->rank = rank;
    for (int32_t i = 0; i < n; i++) {
        out->top_ids[i] = s->top[i];
        out->top_logprobs[i] = (float)((double)(x[s->top[i]] - max) - log_sum);
    }
}

/* The answer for a row that cannot be sampled; what a good one does not fill in stays as here. */
static __device__ void answer_bad(kern_sample_out *out)
{
    out->token = -1;
    out->rank = 0;
    out->logprob = 0.0f;
    out->bad = true;
    for (int32_t i = 0; i < TD_LOGPROBS_MAX; i++) {
        out->top_ids[i] = -1;
        out->top_logprobs[i] = 0.0f;
    }
}

static __global__ void __launch_bounds__(SELECT_THREADS, 1) sample_kernel(gpu_sample_args a)
{
    TD_SMEM(sample_shared, s);
    kern_sample_row r = a.rows[blockIdx.x];
    kern_sample_out *out = a.out + blockIdx.x;
    const float *x = a.logits + (size_t)r.logit_row * (size_t)a.logit_stride, *z = x;
    float *own = a.scratch + (size_t)blockIdx.x * (size_t)a.vocab;
    bool drawn = r.temperature > 0.0f && !r.given;
    if (threadIdx.x == 0) {
        s->bad = 0;
        answer_bad(out);
    }
    uint32_t max = greatest(x, a.vocab, &s->min_key[0], s), z_max = max;
    if (r.mask || r.adj_count > 0 || (r.typical_p < 1.0f && drawn)) {
        adjust(r, x, a.vocab, own);
        z = own;
        z_max = greatest(z, a.vocab, &s->min_key[1], s);
    }
    bool bad = s->bad || z_max >= select_key(-__builtin_inff());
    int32_t token = 0;
    if (!bad)
        token = r.given ? r.given_id
                : drawn ? draw(r, z, own, a.vocab, key_value(z_max), s)
                        : first_equal(z, a.vocab, z_max, s);
    if (threadIdx.x == 0) {
        if (r.out_slot >= 0)
            a.slots[r.out_slot] = token;
        out->bad = bad;
        if (!bad)
            out->token = token;
    }
    if (!bad && (r.want_logprob || r.top_n > 0))
        log_probs(r, x, a.vocab, key_value(max), token, out, s);
}

void GPU_SYM(op_sample)(const gpu_sample_args *a, gpu_stream s)
{
    td_assert(a->vocab > 0 && a->vocab <= TD_MODEL_VOCAB_MAX);
    if (a->row_count)
        TD_LAUNCH(sample_kernel, a->row_count, SELECT_THREADS, sizeof(sample_shared), s, *a);
}
