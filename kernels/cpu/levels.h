/* levels.h - what the SIMD files of the CPU back end's core hand to the level tables. */
#ifndef TD_KERNELS_CPU_LEVELS_H
#define TD_KERNELS_CPU_LEVELS_H

#include "kernels/cpu/matmul.h"

/* Each overrides the panel functions that its instructions make faster. */
void mm_panels_avx2(mm_level *l);       // fills all of them
void mm_panels_avx512(mm_level *l);     // F, BW, VL, DQ
void mm_panels_avx512vnni(mm_level *l);
void mm_panels_avx512bf16(mm_level *l);
void mm_finish_avx2(const mm_finish *f);
void mm_finish_avx512(const mm_finish *f);

void avx2_quant(const kern_quant_args *a, int64_t t0, int64_t t1);
void avx512_quant(const kern_quant_args *a, int64_t t0, int64_t t1);

#endif
