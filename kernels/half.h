/* half.h - 16-bit floats in plain integer arithmetic: exact, and free of flush-to-zero and rounding modes. */
#ifndef TD_KERNELS_HALF_H
#define TD_KERNELS_HALF_H

#include "kernels/math.h"

GPU_FN static inline float kern_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff;
    if (exp == 31)
        return kern_from_bits(sign | 0x7f800000 | man << 13 | (man ? 0x400000u : 0u)); // NaN becomes quiet
    if (exp)
        return kern_from_bits(sign | (exp + 112) << 23 | man << 13);
    if (!man)
        return kern_from_bits(sign);
    uint32_t shift = (uint32_t)__builtin_clz(man) - 21; // brings the leading one to bit 10
    return kern_from_bits(sign | (113 - shift) << 23 | (man << shift & 0x3ff) << 13);
}

GPU_FN static inline uint16_t kern_f32_to_f16(float f) // to nearest even
{
    uint32_t u = kern_to_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a >= 0x7f800000)
        return (uint16_t)(sign | 0x7c00 | (a > 0x7f800000 ? 0x200 | (a >> 13 & 0x3ff) : 0));
    if (a >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00);
    if (a >= 0x38800000) {
        a += 0xfff + (a >> 13 & 1);
        return (uint16_t)(sign | (a - 0x38000000) >> 13);
    }
    if (a < 0x33000000)
        return (uint16_t)sign;
    uint32_t man = (a & 0x7fffff) | 0x800000, shift = 126 - (a >> 23), half = 1u << (shift - 1);
    uint32_t r = man >> shift, rest = man & ((1u << shift) - 1);
    return (uint16_t)(sign | (r + (rest > half || (rest == half && (r & 1)))));
}

GPU_FN static inline float kern_bf16_to_f32(uint16_t h) { return kern_from_bits((uint32_t)h << 16); }

GPU_FN static inline uint16_t kern_f32_to_bf16(float f) // to nearest even; NaN stays NaN, denormals become signed zeros
{
    uint32_t u = kern_to_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    if (!(u & 0x7f800000))
        return (uint16_t)(u >> 16 & 0x8000);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

#endif
