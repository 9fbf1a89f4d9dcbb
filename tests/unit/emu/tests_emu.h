/* tests_emu.h - the launchers of the test kernels, for the tests in C. */
#ifndef TESTS_EMU_H
#define TESTS_EMU_H

#ifndef TD_EMU
#define TD_EMU 1
#endif
#include "kernels/cuda/gpu_rt.h"

#include <stdbool.h>

GPU_EXTERN void emu_test_reduce(const float *x, float *out, int rows, int n, gpu_stream s); // [rows][n] -> [rows]
GPU_EXTERN void emu_test_collectives(uint32_t *out, gpu_stream s);                          // [64][10]
GPU_EXTERN void emu_test_atomics(int *sum, unsigned *most, unsigned long long *wide, float *real, unsigned *ticket,
                                 unsigned *order, gpu_stream s); // order: [192]
GPU_EXTERN void emu_test_index(uint32_t *out, gpu_stream s);     // [12 * 30]
GPU_EXTERN void emu_test_scale(float *x, int n, float by, gpu_stream s); // x *= 2 by

GPU_EXTERN void emu_test_mma(bool bf16, const uint16_t *a, const uint16_t *b, float *d, int k, gpu_stream s);
GPU_EXTERN void emu_test_transpose(const uint16_t *in, uint16_t *out, gpu_stream s); // [16][16]

#endif
