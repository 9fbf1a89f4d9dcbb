#include "kernels/cpu/sample.h"

#include <string.h>

/* The four arrays of one thread, each on its own cache lines. */
static size_t row_bytes(int32_t vocab) { return td_align_up((size_t)vocab * 4, 64); }

size_t cpu_sample_scratch_bytes(kern_dev *dev, int32_t row_max, int32_t vocab)
{
    (void)row_max;
    return (size_t)dev->thread_count * 4 * row_bytes(vocab);
}

sample_scratch sample_scratch_at(const kern_sample_args *a)
{
    size_t step = row_bytes(a->vocab);
    char *p = (char *)a->scratch + (size_t)cpu_thread_index * 4 * step;
    return (sample_scratch){(float *)(void *)p, (uint32_t *)(void *)(p + step), (uint32_t *)(void *)(p + 2 * step),
                            (float *)(void *)(p + 3 * step)};
}

int64_t cpu_sample_tiles(const kern_sample_args *a) { return a->row_count; }

/* Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011). */
void sample_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53 * c[0], b = (uint64_t)0xCD9E8D57 * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        memcpy(c, next, sizeof c);
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    memcpy(out, c, sizeof c);
}

uint64_t sample_point(const kern_sample_row *r, uint64_t total)
{
    uint32_t counter[4] = {r->position, r->choice, 0, 0}, key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
    uint32_t word[4];
    sample_philox(counter, key, word);
    return (uint64_t)(((unsigned __int128)total * word[0]) >> 32);
}

void sample_bad(const kern_sample_args *a, const kern_sample_row *r, kern_sample_out *out)
{
    *out = (kern_sample_out){.token = -1, .bad = true};
    for (int i = 0; i < TD_LOGPROBS_MAX; i++)
        out->top_ids[i] = -1;
    sample_to_slot(a, r, 0); // a step already planned may read the slot: any id will do
}
