/* rope.h - rotary position embedding: the frequencies of one set of parameters.
 *
 * A model has one set, or several for layers of different kinds. The formulas are those of the reference library in
 * double precision. No libm: its last bits differ between CPUs and library versions, and frequencies are part of the
 * numerics. Pure functions, any thread. */
#ifndef TD_MODEL_ROPE_H
#define TD_MODEL_ROPE_H

#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum rope_kind {
    ROPE_DEFAULT,
    ROPE_LINEAR, // all frequencies divided by factor
    ROPE_LLAMA3, // long wavelengths divided by factor, short ones kept, a ramp between
    ROPE_YARN,   // the same idea with the ramp over dims, and cos and sin scaled
    ROPE_KINDS
} rope_kind;

typedef struct rope_set {
    rope_kind kind;
    int32_t dims;                // rotated dims of a head, even
    double theta;                // base
    double factor;               // how far the context is stretched, 1 for ROPE_DEFAULT
    double original_ctx;         // tokens before stretching (llama3, yarn)
    double low_freq, high_freq;  // ramp's ends, in turns over original_ctx (llama3)
    double beta_fast, beta_slow; // ramp's ends, in turns over original_ctx (yarn)
    bool truncate;               // yarn: the ramp begins and ends at whole dims
    double attn_factor;          // yarn: multiplies cos and sin; 0 = from factor, mscale and mscale_all
    double mscale, mscale_all;   // yarn: 0 = not given
    int32_t divisor_count;       // 0, or dims / 2: each frequency is divided by its divisor as well
    float divisor[TD_MODEL_HEAD_DIM_MAX / 2];
} rope_set;

extern const char *const rope_kind_names[ROPE_KINDS]; // "default", "linear", "llama3", "yarn"

/* Radians per position of each rotated pair, highest first, and what cos and sin are multiplied by. */
void rope_inv_freq(const rope_set *r, double *inv_freq /* [dims / 2] */, float *mscale);
/* What a yarn set without attn_factor multiplies cos and sin by. */
double rope_yarn_mscale(double factor, double mscale, double mscale_all);

/* base to the power x and natural logarithm, for base and v positive and normal: relative error below 1e-14 as long as
 * |log2(result)| ≤ 64, the same bits everywhere. Exposed for tests. */
double rope_pow(double base, double x);
double rope_log(double v);

#endif
