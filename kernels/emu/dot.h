/* dot.h - the arithmetic of Hopper's tensor cores, bit for bit.
 *
 * One step is c + sum of n products, fused: each product is exact; it and c are cut, towards zero, to `frac` bits below
 * the largest exponent among them; the cut numbers are added exactly; the sum is cut to the result's precision. The
 * exponent of a product is the sum of its factors' exponents, also where the product of the significands is 2 or more.
 * bf16 and f16, mma.sync and wgmma alike: n = 16, frac = 25, result fp32. fp8 wgmma: n = 32, frac = 13, the result with
 * 13 bits of fraction. Measured on hardware by MMA-Sim (arXiv 2511.10909). A sum of zero is +0, NaN is 0x7fffffff. */
#ifndef TD_KERNELS_EMU_DOT_H
#define TD_KERNELS_EMU_DOT_H

#include <stdbool.h>
#include <stdint.h>

enum { EMU_DOT_HALF = 16, EMU_DOT_FP8 = 32 };          // terms of a step
enum { EMU_NUM_INF = 1 << 20, EMU_NUM_NAN = 1 << 21 }; // as exp

/* sig * 2^(exp - 10), |sig| < 2048; denormals have the least exponent and a small sig. */
typedef struct emu_num {
    int32_t sig, exp;
} emu_num;

/* The k of one step, as the arithmetic wants them. Terms that are not set are zeros. */
typedef struct emu_row {
    int32_t sig[EMU_DOT_FP8], exp[EMU_DOT_FP8];
    bool special; // an infinity or a NaN is among them
} emu_row;

static inline emu_num emu_num_bf16(uint16_t bits)
{
    int32_t e = bits >> 7 & 255, m = (bits & 127) << 3, sign = bits >> 15 ? -1 : 1;
    if (e == 255)
        return (emu_num){sign, m ? EMU_NUM_NAN : EMU_NUM_INF};
    return (emu_num){sign * (e ? m | 1024 : m), (e ? e : 1) - 127};
}

static inline emu_num emu_num_f16(uint16_t bits)
{
    int32_t e = bits >> 10 & 31, m = bits & 1023, sign = bits >> 15 ? -1 : 1;
    if (e == 31)
        return (emu_num){sign, m ? EMU_NUM_NAN : EMU_NUM_INF};
    return (emu_num){sign * (e ? m | 1024 : m), (e ? e : 1) - 15};
}

static inline emu_num emu_num_e4m3(uint8_t bits)
{
    int32_t e = bits >> 3 & 15, m = (bits & 7) << 7, sign = bits >> 7 ? -1 : 1;
    if ((bits & 0x7f) == 0x7f)
        return (emu_num){sign, EMU_NUM_NAN};
    return (emu_num){sign * (e ? m | 1024 : m), (e ? e : 1) - 7};
}

static inline void emu_row_set(emu_row *r, int k, emu_num x)
{
    r->sig[k] = x.sig;
    r->exp[k] = x.exp;
    r->special = r->special || x.exp >= EMU_NUM_INF;
}

float emu_dot_half(const emu_row *a, const emu_row *b, float c); // 16 terms of bf16 or f16
float emu_dot_fp8(const emu_row *a, const emu_row *b, float c);  // 32 of e4m3

#endif
