#include "parallel/comm_self.h"

#include <string.h>

static void self_all_reduce(comm *c, float *x, int32_t tok_count, int32_t cols)
{
    (void)c, (void)x, (void)tok_count, (void)cols;
}

static void self_all_gather(comm *c, const float *in, float *out, int32_t tok_count, int32_t cols)
{
    (void)c;
    memcpy(out, in, (size_t)tok_count * (size_t)cols * sizeof *out);
}

static const comm_ops self_ops = {.name = "self", .all_reduce = self_all_reduce, .all_gather = self_all_gather};
comm comm_self = {.ops = &self_ops, .rank = 0, .size = 1};
