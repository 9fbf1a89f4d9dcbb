/* ref_attn.h - the plain C tile functions of norm, rope, kv_store, attention and sample. */
#ifndef TD_KERNELS_REF_REF_ATTN_H
#define TD_KERNELS_REF_REF_ATTN_H

#include "kernels/kernels.h"

void ref_norm(const kern_norm_args *a, int64_t t0, int64_t t1);
void ref_rope(const kern_rope_args *a, int64_t t0, int64_t t1);
void ref_kv_store(const kern_kv_store_args *a, int64_t t0, int64_t t1);
void ref_attention(const kern_attn_args *a, int64_t t0, int64_t t1);
void ref_attn_merge(const kern_attn_args *a, int64_t t0, int64_t t1);
void ref_sample(const kern_sample_args *a, int64_t t0, int64_t t1);

#endif
