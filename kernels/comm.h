/* comm.h - the collectives that a forward pass may call, and which part of the model a rank holds.
 *
 * Implemented in parallel/; a single rank's table does nothing. Exact by contract: partial sums are joined in the fixed
 * binary tree of canonical K chunks, whatever the batch. Called by the engine thread of the rank, on its device's
 * stream; cannot fail within a step (a dead peer is seen by a watchdog outside). */
#ifndef TD_KERNELS_COMM_H
#define TD_KERNELS_COMM_H

#include <stdint.h>

typedef struct comm comm;

typedef struct comm_ops {
    const char *name;
    /* x[tok][cols]: this rank's partial sums become the sums over all ranks. */
    void (*all_reduce)(comm *c, float *x, int32_t tok_count, int32_t cols);
    /* out[tok][size * cols] = every rank's in[tok][cols], ascending in rank. */
    void (*all_gather)(comm *c, const float *in, float *out, int32_t tok_count, int32_t cols);
} comm_ops;

struct comm {
    const comm_ops *ops;
    int32_t rank, size;
};

#endif
