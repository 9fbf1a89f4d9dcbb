/* ref.h - the plain C tile functions that the lowest level is made of. */
#ifndef TD_KERNELS_REF_REF_H
#define TD_KERNELS_REF_REF_H

#include "kernels/kernels.h"

void ref_embed(const kern_embed_args *a, int64_t t0, int64_t t1);
void ref_quant(const kern_quant_args *a, int64_t t0, int64_t t1);
void ref_matmul(const kern_matmul_args *a, int64_t t0, int64_t t1);

#endif
