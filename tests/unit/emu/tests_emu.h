/* tests_emu.h - the launchers of the test kernels, for the tests in C. */
#ifndef TESTS_EMU_H
#define TESTS_EMU_H

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

// d[64][n] = a[64][k] b[n][k]^T; n with swizzle: 8 128, 32 64, 64 32, 128 128, 256 128
GPU_EXTERN void emu_test_wgmma(int n, int swizzle, const uint16_t *a, const uint16_t *b, float *d, int k, gpu_stream s);
// d[64][32], k = 16, no swizzle. 0: from shared memory, 1: A from registers, 2: and B with k as rows
GPU_EXTERN void emu_test_wgmma_plain(int kind, const uint16_t *a, const uint16_t *b, float *d, gpu_stream s);

GPU_EXTERN void emu_test_fp8(const uint8_t *a, const uint8_t *b, float *d, gpu_stream s); // [64][128], [32][128]
// from: [3][5][4][12]; to: [3][2][8], written from (1, 0, 1) on; raw: the box, [2][3][2][8], that begins at at[4]
GPU_EXTERN void emu_test_boxes(const float *from, float *to, float *raw, const int32_t *at, gpu_stream s);

#endif
