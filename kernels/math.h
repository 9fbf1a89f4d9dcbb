/* math.h - exp, log, tanh and friends of the compute kernels: the same bits on every CPU, in scalar code and in SIMD
 * lanes, because each is one fixed sequence of IEEE operations. libm is not used: it differs between CPUs.
 * Flush-to-zero is assumed. Errors are stated in ulp over the stated range. */
#ifndef TD_KERNELS_MATH_H
#define TD_KERNELS_MATH_H

#include <stdint.h>
#include <string.h>

static inline float kern_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint32_t kern_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* Constants of kern_exp, shared with the SIMD twins. exp(x) = 2^n * p(r), n = round(x / ln 2), r = x - n ln 2 in two
 * parts; p is the degree-6 polynomial of Cephes' expf. Below KERN_EXP_LO the result is 0, above KERN_EXP_HI it is
 * exp(KERN_EXP_HI). At most 1.5 ulp. */
#define KERN_EXP_LO (-87.0f)
#define KERN_EXP_HI 88.0f
#define KERN_EXP_MAGIC 12582912.0f // 1.5 * 2^23: adding it rounds to the nearest whole number
#define KERN_LOG2E 1.44269504088896341f
#define KERN_LN2_HI 0.693359375f
#define KERN_LN2_LO (-2.12194440e-4f)
#define KERN_EXP_P0 1.9875691500e-4f
#define KERN_EXP_P1 1.3981999507e-3f
#define KERN_EXP_P2 8.3334519073e-3f
#define KERN_EXP_P3 4.1665795894e-2f
#define KERN_EXP_P4 1.6666665459e-1f
#define KERN_EXP_P5 5.0000001201e-1f

static inline float kern_exp(float x)
{
    if (!(x >= KERN_EXP_LO))
        return x != x ? x : 0.0f;
    x = x > KERN_EXP_HI ? KERN_EXP_HI : x;
    float m = __builtin_fmaf(x, KERN_LOG2E, KERN_EXP_MAGIC);
    float n = m - KERN_EXP_MAGIC;
    float r = __builtin_fmaf(n, -KERN_LN2_HI, x);
    r = __builtin_fmaf(n, -KERN_LN2_LO, r);
    float p = __builtin_fmaf(KERN_EXP_P0, r, KERN_EXP_P1);
    p = __builtin_fmaf(p, r, KERN_EXP_P2);
    p = __builtin_fmaf(p, r, KERN_EXP_P3);
    p = __builtin_fmaf(p, r, KERN_EXP_P4);
    p = __builtin_fmaf(p, r, KERN_EXP_P5);
    p = __builtin_fmaf(p, r * r, r) + 1.0f;
    // The low bits of m hold n; adding them to the exponent multiplies by 2^n.
    return kern_from_bits(kern_to_bits(p) + (kern_to_bits(m) << 23));
}

static inline float kern_silu(float x) { return x / (1.0f + kern_exp(-x)); }

/* tanh(x) = 1 - 2 / (exp(2x) + 1): absolute error below 2e-7, exact sign and limits. */
static inline float kern_tanh(float x) { return 1.0f - 2.0f / (kern_exp(2.0f * x) + 1.0f); }

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))) */
static inline float kern_gelu_tanh(float x)
{
    float inner = 0.7978845608f * __builtin_fmaf(0.044715f * x * x, x, x);
    return 0.5f * x * (1.0f + kern_tanh(inner));
}

#endif
