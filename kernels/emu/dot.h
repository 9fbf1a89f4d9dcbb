/* dot.h - the arithmetic of Hopper's tensor cores, bit for bit.
 *
 * One step is c + sum of n products, fused: each product is exact; it and c are cut, towards zero, to `frac` bits below
 * the largest exponent among them; the cut numbers are added exactly; the sum is cut to the result's precision. The
 * exponent of a product is the sum of its factors' exponents, also where the product of the significands is 2 or more.
 * bf16 and f16, mma.sync and wgmma alike: n = 16, frac = 25, result fp32. fp8 wgmma: n = 32, frac = 13, the result with
 * 13 bits of fraction. Measured on hardware by MMA-Sim (arXiv 2511.10909). A sum of zero is +0, NaN is 0x7fffffff. */
#ifndef TD_KERNELS_EMU_DOT_H
#define TD_KERNELS_EMU_DOT_H

#include <stdint.h>

enum { EMU_DOT_MAX = 32, EMU_FRAC_HALF = 25, EMU_FRAC_FP8 = 13 };
enum { EMU_NUM_INF = 1 << 20, EMU_NUM_NAN = 1 << 21 }; // as exp

/* sig * 2^(exp - 10), |sig| < 2048; denormals have the least exponent and a small sig. */
typedef struct emu_num {
    int32_t sig, exp;
} emu_num;

emu_num emu_num_bf16(uint16_t bits);
emu_num emu_num_f16(uint16_t bits);
emu_num emu_num_e4m3(uint8_t bits);

float emu_dot(const emu_num *a, const emu_num *b, int n, float c, int frac);

#endif
