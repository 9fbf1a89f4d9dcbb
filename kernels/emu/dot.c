/* dot.c - the tensor cores' fused sum of products. The loops are written for the compiler to make vectors of. */
#include "kernels/emu/dot.h"

#include <string.h>

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* With an infinity or a NaN among the operands: no rounding, only rules. */
static float dot_special(const emu_row *a, const emu_row *b, int n, uint32_t c)
{
    uint32_t magnitude = c & 0x7fffffff;
    bool plus = magnitude == 0x7f800000 && !(c >> 31), minus = magnitude == 0x7f800000 && c >> 31;
    bool nan = magnitude > 0x7f800000;
    for (int i = 0; i < n; i++) {
        nan = nan || a->exp[i] == EMU_NUM_NAN || b->exp[i] == EMU_NUM_NAN;
        if (a->exp[i] != EMU_NUM_INF && b->exp[i] != EMU_NUM_INF)
            continue;
        nan = nan || a->sig[i] == 0 || b->sig[i] == 0;
        if ((a->sig[i] < 0) != (b->sig[i] < 0))
            minus = true;
        else
            plus = true;
    }
    if (nan || (plus && minus))
        return from_bits(0x7fffffff);
    if (plus || minus)
        return from_bits(plus ? 0x7f800000 : 0xff800000);
    return from_bits(c);
}

/* sig * 2^shift, cut towards zero. */
static int64_t scaled(int64_t sig, int32_t shift)
{
    if (shift >= 0)
        return sig * ((int64_t)1 << shift);
    if (shift <= -63)
        return 0;
    return sig < 0 ? -(-sig >> -shift) : sig >> -shift;
}

/* sum * 2^exp as fp32 with `bits` of fraction, cut towards zero; too large is infinite. */
static float cut(int64_t sum, int32_t exp, int32_t bits)
{
    if (sum == 0)
        return 0.0f;
    uint32_t sign = sum < 0 ? 0x80000000u : 0;
    uint64_t mag = sum < 0 ? (uint64_t)-sum : (uint64_t)sum;
    int32_t top = 63 - __builtin_clzll(mag), e = top + exp;
    if (e > 127)
        return from_bits(sign | 0x7f800000);
    int32_t lowest = (e < -126 ? -126 : e) - bits; // exponent of the last bit that stays
    int32_t drop = lowest - exp;
    if (drop > 0)
        mag = drop > 63 ? 0 : mag >> drop << drop;
    int32_t unit = (e < -126 ? -149 : e - 23) - exp; // fp32's last bit in mag's units
    uint32_t man = (uint32_t)(unit >= 0 ? (unit > 63 ? 0 : mag >> unit) : mag << -unit);
    if (e < -126)
        return from_bits(sign | man);
    return from_bits(sign | (uint32_t)(e + 127) << 23 | (man & 0x7fffff));
}

/* A product has 20 bits of fraction and is below 2^22; with 25 bits of fraction one is below 2^27, and 16 fit. */
static inline float dot(const emu_row *a, const emu_row *b, int n, float c, int frac, int bits)
{
    uint32_t cu;
    memcpy(&cu, &c, 4);
    int32_t ce = (int32_t)(cu >> 23 & 255), sig[EMU_DOT_FP8], exp[EMU_DOT_FP8];
    if (a->special || b->special || ce == 255)
        return dot_special(a, b, n, cu);
    int64_t cs = (int64_t)((cu & 0x7fffff) | (ce ? 0x800000 : 0));
    ce = (ce ? ce : 1) - 127;
    int32_t most = ce, sum = 0, left = frac > 20 ? frac - 20 : 0, right = frac > 20 ? 0 : 20 - frac;
    for (int i = 0; i < n; i++) {
        sig[i] = a->sig[i] * b->sig[i];
        exp[i] = sig[i] ? a->exp[i] + b->exp[i] : -1000;
        most = exp[i] > most ? exp[i] : most;
    }
    for (int i = 0; i < n; i++) {
        uint32_t mag = (uint32_t)(sig[i] < 0 ? -sig[i] : sig[i]) << left, by = (uint32_t)(most - exp[i] + right);
        int32_t term = (int32_t)(mag >> (by < 31 ? by : 31));
        sum += sig[i] < 0 ? -term : term;
    }
    return cut(sum + scaled(cu >> 31 ? -cs : cs, ce - most + frac - 23), most - frac, bits);
}

float emu_dot_half(const emu_row *a, const emu_row *b, float c) { return dot(a, b, EMU_DOT_HALF, c, 25, 23); }
float emu_dot_fp8(const emu_row *a, const emu_row *b, float c) { return dot(a, b, EMU_DOT_FP8, c, 13, 13); }
