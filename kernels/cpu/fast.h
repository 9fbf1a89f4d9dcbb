/* fast.h - the vector levels of norm, rope, kv_store, attention and sample. */
#ifndef TD_KERNELS_CPU_FAST_H
#define TD_KERNELS_CPU_FAST_H

#include "kernels/kernels.h"

#define FAST_OPS(X, isa)                                                       \
    X(norm_##isa, kern_norm_args)                                              \
    X(rope_##isa, kern_rope_args)                                              \
    X(kv_store_##isa, kern_kv_store_args)                                      \
    X(attention_##isa, kern_attn_args)                                         \
    X(attn_merge_##isa, kern_attn_args)                                        \
    X(sample_##isa, kern_sample_args)
#define X(fn, args) void fn(const args *a, int64_t t0, int64_t t1);
FAST_OPS(X, avx2)
FAST_OPS(X, avx512)
#undef X

#endif
