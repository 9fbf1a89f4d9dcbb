/* sampling.h - what sampling is made of on every device. docs/internals/sampler.md tells the whole order of operations.
 *
 * Weights are whole numbers: with y = (z - max z) / T, a token weighs floor(exp(y) * 2^40). Their sums are exact, so
 * "cumulative probability" means the same whatever the order of adding and however the tokens are searched. Pure
 * functions; device code as well. */
#ifndef TD_KERNELS_SAMPLING_H
#define TD_KERNELS_SAMPLING_H

#include "kernels/kernels.h"
#include "kernels/math.h"

enum { SAMPLE_SEGMENT = 4096 };       // logits whose exps are summed in float before the sum goes on in double
#define SAMPLE_ONE 1099511627776.0f   // 2^40
#define SAMPLE_Y_MIN (-28.0f)         // below it every weight is 0

/* Adjusted value of one logit: bias, mask, penalties. */
GPU_FN static inline float sample_adjust(const kern_sample_row *r, const kern_sample_adj *adj, float z)
{
    z += adj->bias;
    if (adj->seen)
        z = z > 0.0f ? z / r->repetition : z * r->repetition;
    z -= r->frequency * (float)adj->out_count;
    return adj->out_count > 0 ? z - r->presence : z;
}

GPU_FN static inline bool sample_allowed(const uint32_t *mask, int32_t id)
{
    return !mask || (mask[id / 32] >> (id % 32) & 1);
}

GPU_FN static inline uint64_t sample_weight(float y) { return (uint64_t)(kern_exp(y) * SAMPLE_ONE); }

/* floor(total * fraction), fraction in [0, 1] taken to 32 bits. */
GPU_FN static inline uint64_t sample_share(uint64_t total, float fraction)
{
    return (uint64_t)(((unsigned __int128)total * (uint64_t)(fraction * 4294967296.0f)) >> 32);
}

/* Philox4x32-10. Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011). */
GPU_FN static inline void sample_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < 4; i++)
        out[i] = counter[i];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53 * out[0], b = (uint64_t)0xCD9E8D57 * out[2];
        out[0] = (uint32_t)(b >> 32) ^ out[1] ^ k0;
        out[2] = (uint32_t)(a >> 32) ^ out[3] ^ k1;
        out[1] = (uint32_t)b;
        out[3] = (uint32_t)a;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
}

/* Where the draw falls in [0, total): floor(u * total), u = the first Philox word / 2^32. */
GPU_FN static inline uint64_t sample_point(const kern_sample_row *r, uint64_t total)
{
    uint32_t counter[4] = {r->position, r->choice, 0, 0}, key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
    uint32_t word[4];
    sample_philox(counter, key, word);
    return (uint64_t)(((unsigned __int128)total * word[0]) >> 32);
}

#endif
