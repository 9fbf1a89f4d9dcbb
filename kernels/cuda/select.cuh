/* select.cuh - finding a place in the order of a row's tokens without sorting it; one block works on one row.
 *
 * The order is value descending, id ascending. All tokens are counted once into buckets of their distance from the
 * greatest value, with their whole-number weights; a place where a count or a mass is reached falls into one bucket,
 * and three passes over 11 bits of the value's key at a time, and one over ids, find the token itself. Counts and
 * weights are integers, so neither the order of the atomic additions nor the number of threads shows in the result. */
#ifndef TD_KERNELS_CUDA_SELECT_CUH
#define TD_KERNELS_CUDA_SELECT_CUH

#include "kernels/cuda/ptx.cuh"
#include "kernels/sampling.h"

enum {
    SELECT_THREADS = 512,
    SELECT_WARPS = SELECT_THREADS / 32,
    SELECT_BUCKETS = 1024,
    SELECT_DIGITS = 2048,
};

typedef unsigned long long select_mass;

typedef enum select_kind {
    SELECT_WEIGHT,  // by z; the weight of y counts
    SELECT_TYPICAL, // by -|y - mean|; the weight of y counts
    SELECT_RAW,     // by z, all of them; no weights
} select_kind;

typedef struct select_view {
    select_kind kind;
    const float *z;  // [n]
    int32_t n;
    float z_max, inv_t;
    float y_min;     // tokens with a smaller y do not count
    float mean;      // of y, for SELECT_TYPICAL
} select_view;

typedef struct select_place { // after a token, with what came up to there and including it
    select_mass mass;
    uint32_t key;
    int32_t id;      // -1: after everything
} select_place;

typedef struct select_shared {
    select_mass mass[SELECT_BUCKETS], digit_mass[SELECT_DIGITS], warp_mass[SELECT_WARPS], total_mass, found_mass;
    uint32_t count[SELECT_BUCKETS], digit_count[SELECT_DIGITS], warp_count[SELECT_WARPS], total_count, found_count;
    int32_t found;   // bucket, digit or id
} select_shared;

/* Smaller keys come first in the order. Denormals and both zeros are one value, as comparisons with flush-to-zero have
 * it. No NaN. */
static __device__ __forceinline__ uint32_t select_key(float v)
{
    uint32_t u = __float_as_uint(v);
    if ((u & 0x7f800000) == 0)
        u = 0;
    return u & 0x80000000 ? u : ~(u | 0x80000000);
}

typedef struct select_token {
    float y;
    float value; // what decides the order
    int32_t bucket; // -1: does not count
} select_token;

static __device__ __forceinline__ select_token token_at(const select_view &v, int32_t id)
{
    float z = v.z[id], y = (z - v.z_max) * v.inv_t, from_first = -y;
    select_token t = {y, z, -1};
    if (v.kind != SELECT_RAW && !(y >= v.y_min))
        return t;
    if (v.kind == SELECT_TYPICAL) {
        from_first = fabsf(y - v.mean);
        t.value = -from_first;
    }
    from_first *= (float)(SELECT_BUCKETS - 1) / -SAMPLE_Y_MIN;
    t.bucket = from_first < (float)(SELECT_BUCKETS - 1) ? (int32_t)from_first : SELECT_BUCKETS - 1;
    return t;
}

static __device__ __forceinline__ select_mass token_mass(const select_view &v, const select_token &t)
{
    return v.kind == SELECT_RAW ? 0 : sample_weight(t.y);
}

/* Everything into buckets. */
static __device__ void select_count(const select_view &v, select_shared *s)
{
    for (int32_t b = (int32_t)threadIdx.x; b < SELECT_BUCKETS; b += SELECT_THREADS) {
        s->count[b] = 0;
        s->mass[b] = 0;
    }
    __syncthreads();
    for (int32_t id = (int32_t)threadIdx.x; id < v.n; id += SELECT_THREADS) {
        select_token t = token_at(v, id);
        if (t.bucket < 0)
            continue;
        atomicAdd(&s->count[t.bucket], 1u);
        if (v.kind != SELECT_RAW)
            atomicAdd(&s->mass[t.bucket], token_mass(v, t));
    }
    __syncthreads();
}

static __device__ __forceinline__ select_mass shfl_up_mass(select_mass m, int d)
{
    uint32_t lo = __shfl_up_sync(0xffffffffu, (uint32_t)m, d), hi = __shfl_up_sync(0xffffffffu, (uint32_t)(m >> 32), d);
    return (select_mass)hi << 32 | lo;
}

/* Counts and masses of all threads before this one, in thread order, into *count and *mass; totals into s. */
static __device__ void scan_before(uint32_t *count, select_mass *mass, select_shared *s)
{
    int32_t lane = (int32_t)threadIdx.x % 32, warp = (int32_t)threadIdx.x / 32;
    uint32_t own_count = *count, c = own_count;
    select_mass own_mass = *mass, m = own_mass;
    for (int d = 1; d < 32; d *= 2) {
        uint32_t pc = __shfl_up_sync(0xffffffffu, c, d);
        select_mass pm = shfl_up_mass(m, d);
        if (lane >= d) {
            c += pc;
            m += pm;
        }
    }
    if (lane == 31) {
        s->warp_count[warp] = c;
        s->warp_mass[warp] = m;
    }
    __syncthreads();
    uint32_t before_count = 0, all_count = 0;
    select_mass before_mass = 0, all_mass = 0;
    for (int32_t w = 0; w < SELECT_WARPS; w++) {
        if (w == warp) {
            before_count = all_count;
            before_mass = all_mass;
        }
        all_count += s->warp_count[w];
        all_mass += s->warp_mass[w];
    }
    if (threadIdx.x == 0) {
        s->total_count = all_count;
        s->total_mass = all_mass;
        s->found = -1;
    }
    __syncthreads();
    *count = before_count + c - own_count;
    *mass = before_mass + m - own_mass;
}

/* The first of n bins, n a multiple of SELECT_THREADS, where base plus everything up to it reaches want_count or
 * want_mass: into s->found (-1: none), with what lies before it in s->found_count and s->found_mass. */
static __device__ void find_bin(const uint32_t *counts, const select_mass *masses, int32_t n, uint32_t base_count,
                                select_mass base_mass, uint32_t want_count, select_mass want_mass, select_shared *s)
{
    int32_t per = n / SELECT_THREADS, first = (int32_t)threadIdx.x * per;
    uint32_t count = 0;
    select_mass mass = 0;
    for (int32_t i = 0; i < per; i++) {
        count += counts[first + i];
        mass += masses[first + i];
    }
    scan_before(&count, &mass, s);
    count += base_count;
    mass += base_mass;
    for (int32_t i = 0; i < per && count < want_count && mass < want_mass; i++) {
        uint32_t c = count + counts[first + i];
        select_mass m = mass + masses[first + i];
        if (c >= want_count || m >= want_mass) {
            s->found = first + i;
            s->found_count = count;
            s->found_mass = mass;
        }
        count = c;
        mass = m;
    }
    __syncthreads();
}

/* Of the tokens of `bucket` whose key's upper bits are `prefix`: counts and masses by the next `bits` above `shift`. */
static __device__ void count_digits(const select_view &v, int32_t bucket, uint32_t prefix, int shift, int bits,
                                    select_shared *s)
{
    for (int32_t d = (int32_t)threadIdx.x; d < SELECT_DIGITS; d += SELECT_THREADS) {
        s->digit_count[d] = 0;
        s->digit_mass[d] = 0;
    }
    __syncthreads();
    for (int32_t id = (int32_t)threadIdx.x; id < v.n; id += SELECT_THREADS) {
        select_token t = token_at(v, id);
        if (t.bucket != bucket)
            continue;
        uint32_t key = select_key(t.value), digit = key >> shift & ((1u << bits) - 1);
        if (shift + bits < 32 && key >> (shift + bits) != prefix)
            continue;
        atomicAdd(&s->digit_count[digit], 1u);
        if (v.kind != SELECT_RAW)
            atomicAdd(&s->digit_mass[digit], token_mass(v, t));
    }
    __syncthreads();
}

/* Of the tokens with this key, by id, the one where a want is reached. Threads own ranges of ids. */
static __device__ select_place find_id(const select_view &v, int32_t bucket, uint32_t key, uint32_t base_count,
                                       select_mass base_mass, uint32_t want_count, select_mass want_mass,
                                       select_shared *s)
{
    int32_t per = (v.n + SELECT_THREADS - 1) / SELECT_THREADS, first = (int32_t)threadIdx.x * per;
    int32_t end = min(first + per, v.n);
    uint32_t count = 0;
    select_mass mass = 0;
    for (int32_t id = first; id < end; id++) {
        select_token t = token_at(v, id);
        if (t.bucket != bucket || select_key(t.value) != key)
            continue;
        count++;
        mass += token_mass(v, t);
    }
    scan_before(&count, &mass, s);
    count += base_count;
    mass += base_mass;
    for (int32_t id = first; id < end && count < want_count && mass < want_mass; id++) {
        select_token t = token_at(v, id);
        if (t.bucket != bucket || select_key(t.value) != key)
            continue;
        count++;
        mass += token_mass(v, t);
        if (count >= want_count || mass >= want_mass) {
            s->found = id;
            s->found_mass = mass;
        }
    }
    __syncthreads();
    select_place p = {s->found_mass, key, s->found};
    __syncthreads(); // s->found may be written again
    return p;
}

/* The first place in the order where want_count tokens or a mass of want_mass are reached, both at least 1; after
 * everything, with the whole mass, where neither is. select_count() came before, for the same view. */
static __device__ select_place select_find(const select_view &v, uint32_t want_count, select_mass want_mass,
                                           select_shared *s)
{
    find_bin(s->count, s->mass, SELECT_BUCKETS, 0, 0, want_count, want_mass, s);
    int32_t bucket = s->found;
    select_place none = {s->total_mass, 0xffffffffu, -1};
    uint32_t count = s->found_count, key = 0;
    select_mass mass = s->found_mass;
    __syncthreads();
    if (bucket < 0)
        return none;
    for (int level = 0; level < 3; level++) {
        int shift = level == 0 ? 21 : level == 1 ? 10 : 0, bits = level == 2 ? 10 : 11;
        count_digits(v, bucket, key, shift, bits, s);
        find_bin(s->digit_count, s->digit_mass, SELECT_DIGITS, count, mass, want_count, want_mass, s);
        key = key << bits | (uint32_t)s->found;
        count = s->found_count;
        mass = s->found_mass;
        __syncthreads();
    }
    return find_id(v, bucket, key, count, mass, want_count, want_mass, s);
}

/* Whether the token at `id` with this key is one of those up to the place. */
static __device__ __forceinline__ bool select_before(const select_place &p, uint32_t key, int32_t id)
{
    return p.id < 0 || key < p.key || (key == p.key && id <= p.id);
}

#endif
