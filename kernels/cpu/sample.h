/* sample.h - what sampling is made of at every level. docs/internals/sampler.md tells the whole order of operations.
 *
 * Weights are whole numbers: with y = (z - max z) / T, a token weighs floor(exp(y) * 2^40). Their sums are exact, so
 * "cumulative probability" means the same whatever the order of adding and however the tokens are searched. */
#ifndef TD_KERNELS_CPU_SAMPLE_H
#define TD_KERNELS_CPU_SAMPLE_H

#include "base/check.h"
#include "kernels/cpu/cpu.h"
#include "kernels/math.h"

enum { SAMPLE_SEGMENT = 4096 };       // logits whose exps are summed in float before the sum goes on in double
#define SAMPLE_ONE 1099511627776.0f   // 2^40
#define SAMPLE_Y_MIN (-28.0f)         // below it every weight is 0

/* Memory of one compute thread. */
typedef struct sample_scratch {
    float *z;          // [V] adjusted logits, -INFINITY = excluded
    uint32_t *ids;     // [V]
    uint32_t *tmp;     // [V]
    float *key;        // [V]
} sample_scratch;

sample_scratch sample_scratch_at(const kern_sample_args *a);

/* Adjusted value of one logit: bias, mask, penalties. */
static inline float sample_adjust(const kern_sample_row *r, const kern_sample_adj *adj, float z)
{
    z += adj->bias;
    if (adj->seen)
        z = z > 0.0f ? z / r->repetition : z * r->repetition;
    z -= r->frequency * (float)adj->out_count;
    return adj->out_count > 0 ? z - r->presence : z;
}

static inline bool sample_allowed(const uint32_t *mask, int32_t id)
{
    return !mask || (mask[id / 32] >> (id % 32) & 1);
}

static inline uint64_t sample_weight(float y) { return (uint64_t)(kern_exp(y) * SAMPLE_ONE); }

/* floor(total * fraction), fraction in [0, 1] taken to 32 bits. */
static inline uint64_t sample_share(uint64_t total, float fraction)
{
    return (uint64_t)(((unsigned __int128)total * (uint64_t)(fraction * 4294967296.0f)) >> 32);
}

/* First of the four words of Philox4x32-10. */
void sample_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Where the draw falls in [0, total): floor(u * total), u = the first Philox word / 2^32. */
uint64_t sample_point(const kern_sample_row *r, uint64_t total);

/* The answer for a row that cannot be sampled. */
void sample_bad(const kern_sample_args *a, const kern_sample_row *r, kern_sample_out *out);

static inline void sample_to_slot(const kern_sample_args *a, const kern_sample_row *r, int32_t token)
{
    if (r->out_slot >= 0)
        a->slots[r->out_slot] = token;
}

#endif
