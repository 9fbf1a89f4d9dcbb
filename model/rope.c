/* Frequencies of rotary embeddings, with a logarithm and a power made of additions, multiplications and divisions only,
 * so that IEEE 754 alone fixes every bit. */
#include "model/rope.h"

#include "base/check.h"
#include "base/err.h"

#include <string.h>

const char *const rope_kind_names[ROPE_KINDS] = {"default", "linear", "llama3", "yarn"};

static const double two_pi = 6.28318530717958647692;
static const double ln2 = 0.693147180559945309417;

static double from_bits(uint64_t u)
{
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}

/* v = m 2^e with m in [sqrt(1/2), sqrt(2)). Returns ln m and leaves e. */
static double split_log(double v, int *e)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    *e = (int)(u >> 52) - 1023;
    double m = from_bits((u & 0xfffffffffffffu) | 1023ull << 52);
    if (m > 1.41421356237309504880) {
        m *= 0.5;
        (*e)++;
    }
    // ln m = 2 atanh(s) = 2 (s + s³/3 + s⁵/5 …) with |s| ≤ 0.172: 12 terms are exact to below 2^-60.
    double s = (m - 1.0) / (m + 1.0), s2 = s * s, sum = 0;
    for (int k = 23; k >= 3; k -= 2)
        sum = (sum + 1.0 / k) * s2;
    return 2.0 * (s + s * sum);
}

double rope_log(double v)
{
    int e;
    double ln_m = split_log(v, &e);
    return e * ln2 + ln_m;
}

/* 2^y for |y| ≤ 1000. */
static double exp_two(double y)
{
    int n = (int)(y < 0 ? y - 0.5 : y + 0.5);
    double x = (y - n) * ln2; // |x| ≤ 0.3466: Taylor up to x^14 is exact to below 2^-60
    double sum = 1.0;
    for (int k = 14; k >= 1; k--)
        sum = 1.0 + sum * x / k;
    return sum * from_bits((uint64_t)(n + 1023) << 52);
}

double rope_pow(double base, double x)
{
    int e;
    double ln_m = split_log(base, &e);
    return exp_two(x * (e + ln_m / ln2));
}

double rope_yarn_mscale(double factor, double mscale, double mscale_all)
{
    if (factor <= 1.0)
        return 1.0;
    double ln_factor = rope_log(factor);
    if (mscale > 0 && mscale_all > 0)
        return (0.1 * mscale * ln_factor + 1.0) / (0.1 * mscale_all * ln_factor + 1.0);
    return 0.1 * ln_factor + 1.0;
}

static double whole_below(double v)
{
    double w = (double)(int64_t)v;
    return w > v ? w - 1.0 : w;
}

/* The (fractional) pair that turns `turns` times within the original context. */
static double yarn_dim(const rope_set *r, double turns)
{
    return r->dims * rope_log(r->original_ctx / (turns * two_pi)) / (2.0 * rope_log(r->theta));
}

/* Below pair `low` frequencies stay, above `high` they are divided by factor. */
static void scale_yarn(const rope_set *r, double *inv_freq)
{
    double low = yarn_dim(r, r->beta_fast), high = yarn_dim(r, r->beta_slow);
    if (r->truncate) {
        low = whole_below(low);
        high = -whole_below(-high);
    }
    low = TD_MAX(low, 0.0);
    high = TD_MIN(high, r->dims - 1.0);
    if (low == high)
        high += 0.001;
    for (int32_t i = 0; i < r->dims / 2; i++) {
        double ramp = (i - low) / (high - low);
        ramp = TD_MIN(TD_MAX(ramp, 0.0), 1.0);
        inv_freq[i] = inv_freq[i] / r->factor * ramp + inv_freq[i] * (1.0 - ramp);
    }
}

static void scale_llama3(const rope_set *r, double *inv_freq)
{
    for (int32_t i = 0; i < r->dims / 2; i++) {
        double turns = r->original_ctx * inv_freq[i] / two_pi;
        if (turns > r->high_freq)
            continue;
        if (turns < r->low_freq) {
            inv_freq[i] /= r->factor;
            continue;
        }
        double keep = (turns - r->low_freq) / (r->high_freq - r->low_freq);
        inv_freq[i] = (1.0 - keep) * inv_freq[i] / r->factor + keep * inv_freq[i];
    }
}

void rope_inv_freq(const rope_set *r, double *inv_freq, float *mscale)
{
    td_assert(r->dims > 0 && r->dims % 2 == 0 && r->dims <= TD_MODEL_HEAD_DIM_MAX);
    int32_t pairs = r->dims / 2;
    for (int32_t i = 0; i < pairs; i++)
        inv_freq[i] = 1.0 / rope_pow(r->theta, 2.0 * i / r->dims);
    double scale = 1.0;
    switch (r->kind) {
    case ROPE_LINEAR:
        for (int32_t i = 0; i < pairs; i++)
            inv_freq[i] /= r->factor;
        break;
    case ROPE_LLAMA3:
        scale_llama3(r, inv_freq);
        break;
    case ROPE_YARN:
        scale_yarn(r, inv_freq);
        scale = r->attn_factor > 0 ? r->attn_factor : rope_yarn_mscale(r->factor, r->mscale, r->mscale_all);
        break;
    case ROPE_DEFAULT:
    case ROPE_KINDS:
        break;
    }
    td_assert(r->divisor_count == 0 || r->divisor_count == pairs);
    for (int32_t i = 0; i < r->divisor_count; i++)
        inv_freq[i] /= r->divisor[i];
    *mscale = (float)scale;
}
