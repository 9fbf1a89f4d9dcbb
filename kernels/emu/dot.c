/* dot.c - the tensor cores' fused sum of products. */
#include "kernels/emu/dot.h"

#include <stdbool.h>
#include <string.h>

emu_num emu_num_bf16(uint16_t bits)
{
    int32_t e = bits >> 7 & 255, m = (bits & 127) << 3, sign = bits >> 15 ? -1 : 1;
    if (e == 255)
        return (emu_num){sign, m ? EMU_NUM_NAN : EMU_NUM_INF};
    return (emu_num){sign * (e ? m | 1024 : m), (e ? e : 1) - 127};
}

emu_num emu_num_f16(uint16_t bits)
{
    int32_t e = bits >> 10 & 31, m = bits & 1023, sign = bits >> 15 ? -1 : 1;
    if (e == 31)
        return (emu_num){sign, m ? EMU_NUM_NAN : EMU_NUM_INF};
    return (emu_num){sign * (e ? m | 1024 : m), (e ? e : 1) - 15};
}

emu_num emu_num_e4m3(uint8_t bits)
{
    int32_t e = bits >> 3 & 15, m = (bits & 7) << 7, sign = bits >> 7 ? -1 : 1;
    if ((bits & 0x7f) == 0x7f)
        return (emu_num){sign, EMU_NUM_NAN};
    return (emu_num){sign * (e ? m | 1024 : m), (e ? e : 1) - 7};
}

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* With an infinity or a NaN among the operands: no rounding, only rules. */
static float dot_special(const emu_num *a, const emu_num *b, int n, uint32_t c)
{
    uint32_t magnitude = c & 0x7fffffff;
    bool plus = magnitude == 0x7f800000 && !(c >> 31), minus = magnitude == 0x7f800000 && c >> 31;
    bool nan = magnitude > 0x7f800000;
    for (int i = 0; i < n; i++) {
        bool ai = a[i].exp == EMU_NUM_INF, bi = b[i].exp == EMU_NUM_INF;
        nan = nan || a[i].exp == EMU_NUM_NAN || b[i].exp == EMU_NUM_NAN;
        if (!ai && !bi)
            continue;
        nan = nan || a[i].sig == 0 || b[i].sig == 0;
        if ((a[i].sig < 0) != (b[i].sig < 0))
            minus = true;
        else
            plus = true;
    }
    return from_bits(nan || (plus && minus) ? 0x7fffffff : plus ? 0x7f800000 : 0xff800000);
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

float emu_dot(const emu_num *a, const emu_num *b, int n, float c, int frac)
{
    uint32_t bits;
    memcpy(&bits, &c, 4);
    int32_t ce = (int32_t)(bits >> 23 & 255), sig[EMU_DOT_MAX], exp[EMU_DOT_MAX];
    int32_t special = ce == 255 ? EMU_NUM_INF : 0;
    int64_t cs = (int64_t)((bits & 0x7fffff) | (ce ? 0x800000 : 0));
    ce = (ce ? ce : 1) - 127;
    cs = bits >> 31 ? -cs : cs;
    int32_t most = ce;
    for (int i = 0; i < n; i++) {
        special |= (a[i].exp | b[i].exp) & (a[i].exp >= EMU_NUM_INF || b[i].exp >= EMU_NUM_INF ? -1 : 0);
        sig[i] = a[i].sig * b[i].sig;
        exp[i] = a[i].exp + b[i].exp;
        most = sig[i] && exp[i] > most ? exp[i] : most;
    }
    if (special)
        return dot_special(a, b, n, bits);
    int64_t sum = scaled(cs, ce - most + frac - 23);
    for (int i = 0; i < n; i++)
        sum += scaled(sig[i], exp[i] - most + frac - 20);
    return cut(sum, most - frac, frac == EMU_FRAC_FP8 ? EMU_FRAC_FP8 : 23);
}
