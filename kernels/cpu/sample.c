#include "kernels/cpu/sample.h"

/* The four arrays of one thread, each on its own cache lines. */
static size_t row_bytes(int32_t vocab) { return td_align_up((size_t)vocab * 4, 64); }

size_t cpu_sample_scratch_bytes(kern_dev *dev, int32_t row_max, int32_t vocab)
{
    (void)row_max;
    return (size_t)dev->thread_count * 4 * row_bytes(vocab);
}

size_t cpu_sample_io_bytes(kern_dev *dev, int32_t row_max, int32_t vocab)
{
    (void)dev, (void)vocab;
    return (size_t)row_max * sizeof(kern_sample_out);
}

sample_scratch sample_scratch_at(const kern_sample_args *a)
{
    size_t step = row_bytes(a->vocab);
    char *p = (char *)a->scratch + (size_t)cpu_thread_index * 4 * step;
    return (sample_scratch){(float *)(void *)p, (uint32_t *)(void *)(p + step), (uint32_t *)(void *)(p + 2 * step),
                            (float *)(void *)(p + 3 * step)};
}

int64_t cpu_sample_tiles(const kern_sample_args *a) { return a->row_count; }

void sample_bad(const kern_sample_args *a, const kern_sample_row *r, kern_sample_out *out)
{
    *out = (kern_sample_out){.token = -1, .bad = true};
    for (int i = 0; i < TD_LOGPROBS_MAX; i++)
        out->top_ids[i] = -1;
    sample_to_slot(a, r, 0); // a step already planned may read the slot: any id will do
}
