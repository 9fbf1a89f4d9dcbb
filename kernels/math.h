/* math.h - exp, log, tanh and friends of the compute kernels: the same bits on every CPU, in scalar code and in SIMD
 * lanes, because each is one fixed sequence of IEEE operations. libm is not used: it differs between CPUs.
 * Flush-to-zero is assumed. Errors are stated in ulp over the stated range. GPU_FN functions are device code
 * too. */
#ifndef TD_KERNELS_MATH_H
#define TD_KERNELS_MATH_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define GPU_FN __host__ __device__
#else
#define GPU_FN
#endif

GPU_FN static inline float kern_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

GPU_FN static inline uint32_t kern_to_bits(float f)
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

GPU_FN static inline float kern_exp(float x)
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

/* 2^x for softmax on GPUs, where it is shared by all kernels. n = round(x), then the degree-5 minimax polynomial of 2^r
 * on [-1/2, 1/2]: relative error 1.6e-7. Below -126 the result is 0; x is at most 127. */
GPU_FN static inline float kern_exp2(float x)
{
    if (!(x >= -126.0f))
        return x != x ? x : 0.0f;
    float m = x + KERN_EXP_MAGIC, r = x - (m - KERN_EXP_MAGIC);
    float p = __builtin_fmaf(1.326472406e-3f, r, 9.671512865e-3f);
    p = __builtin_fmaf(p, r, 5.550733754e-2f);
    p = __builtin_fmaf(p, r, 2.402224208e-1f);
    p = __builtin_fmaf(p, r, 6.931469776e-1f);
    p = __builtin_fmaf(p, r, 1.0f);
    return kern_from_bits(kern_to_bits(p) + (kern_to_bits(m) << 23));
}

GPU_FN static inline float kern_silu(float x) { return x / (1.0f + kern_exp(-x)); }

/* tanh(x) = 1 - 2 / (exp(2x) + 1): absolute error below 2e-7, exact sign and limits. */
GPU_FN static inline float kern_tanh(float x) { return 1.0f - 2.0f / (kern_exp(2.0f * x) + 1.0f); }

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))) */
GPU_FN static inline float kern_gelu_tanh(float x)
{
    float inner = 0.7978845608f * __builtin_fmaf(0.044715f * x * x, x, x);
    return 0.5f * x * (1.0f + kern_tanh(inner));
}

/* ln(x) in double steps: m in [sqrt(1/2), sqrt(2)) times 2^e, then 2 atanh((m - 1) / (m + 1)) by its series, whose rest
 * is below 1e-18. 0 gives -inf, less or NaN gives NaN. Within 2 ulp of double; kern_log is that, rounded to float. */
GPU_FN static inline double kern_log_wide(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    if (!(x > 0.0) || u >= 0x7ff0000000000000u)
        return x == 0.0 ? -__builtin_inf() : x > 0.0 ? x : __builtin_nan("");
    int32_t e = (int32_t)(u >> 52) - 1023;
    u = (u & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m, sum = 1.0 / 23.0;
    memcpy(&m, &u, 8);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), z = s * s;
    for (int k = 21; k >= 3; k -= 2)
        sum = __builtin_fma(sum, z, 1.0 / k);
    return __builtin_fma(e, 0.69314718055994531, __builtin_fma(2.0 * s * z, sum, 2.0 * s));
}

GPU_FN static inline float kern_log(float x) { return (float)kern_log_wide(x); }

/* Sine and cosine of |x| <= 2^24, to 1e-15. n = round(x / (pi/2)); x - n pi/2 in two parts, where the first difference
 * is exact in a fused step; then Taylor series on [-pi/4, pi/4], whose rest is below 1e-18; then the quadrant. */
#define KERN_2_PI 0.63661977236758134
#define KERN_PI_2_HI 1.5707963267948966
#define KERN_PI_2_LO 6.1232339957367660e-17
#define KERN_SIN_COS_MAGIC 6755399441055744.0 // 1.5 * 2^52
/* X(k): coefficients of z^k, z = r², from the highest; sin = r + r z S, cos = 1 - z / 2 + z² C. */
#define KERN_SIN_SERIES(X) X(1.0 / 355687428096000.0) X(-1.0 / 1307674368000.0) X(1.0 / 6227020800.0) \
    X(-1.0 / 39916800.0) X(1.0 / 362880.0) X(-1.0 / 5040.0) X(1.0 / 120.0) X(-1.0 / 6.0)
#define KERN_COS_SERIES(X) X(-1.0 / 6402373705728000.0) X(1.0 / 20922789888000.0) X(-1.0 / 87178291200.0) \
    X(1.0 / 479001600.0) X(-1.0 / 3628800.0) X(1.0 / 40320.0) X(-1.0 / 720.0) X(1.0 / 24.0)

GPU_FN static inline void kern_sin_cos(double x, double *sin, double *cos)
{
    double t = __builtin_fma(x, KERN_2_PI, KERN_SIN_COS_MAGIC), n = t - KERN_SIN_COS_MAGIC, s = 0.0, c = 0.0;
    uint64_t quadrant;
    memcpy(&quadrant, &t, 8);
    double r = __builtin_fma(-n, KERN_PI_2_LO, __builtin_fma(-n, KERN_PI_2_HI, x)), z = r * r;
#define X(k) s = __builtin_fma(s, z, k);
    KERN_SIN_SERIES(X)
#undef X
#define X(k) c = __builtin_fma(c, z, k);
    KERN_COS_SERIES(X)
#undef X
    s = __builtin_fma(r * z, s, r);
    c = __builtin_fma(z * z, c, __builtin_fma(-0.5, z, 1.0));
    double a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
    *sin = quadrant & 2 ? -a : a;
    *cos = (quadrant + 1) & 2 ? -b : b;
}

#endif
