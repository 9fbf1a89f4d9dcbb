/* sample.h - what the CPU's samplers share: their memory, and the answer for a broken row. */
#ifndef TD_KERNELS_CPU_SAMPLE_H
#define TD_KERNELS_CPU_SAMPLE_H

#include "base/check.h"
#include "kernels/cpu/cpu.h"
#include "kernels/sampling.h"

/* Memory of one compute thread. */
typedef struct sample_scratch {
    float *z;          // [V] adjusted logits, -INFINITY = excluded
    uint32_t *ids;     // [V]
    uint32_t *tmp;     // [V]
    float *key;        // [V]
} sample_scratch;

sample_scratch sample_scratch_at(const kern_sample_args *a);

/* The answer for a row that cannot be sampled. */
void sample_bad(const kern_sample_args *a, const kern_sample_row *r, kern_sample_out *out);

static inline void sample_to_slot(const kern_sample_args *a, const kern_sample_row *r, int32_t token)
{
    if (r->out_slot >= 0)
        a->slots[r->out_slot] = token;
}

#endif
