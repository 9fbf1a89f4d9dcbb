/* exp and tanh of the vector levels against math.h over 2^24 floats of every exponent, sign and kind. */
#include "checkkern.h"

#include "exp.h"
#include "kernels/math.h"

#include <string.h>

enum { RUN = 4096 };

static void ref_exp(const float *x, float *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = kern_exp(x[i]);
}

static void ref_tanh(const float *x, float *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = kern_tanh(x[i]);
}

static void run(int is_tanh)
{
    bool wide = strncmp(ck.level->name, "avx512", 6) == 0, narrow = strcmp(ck.level->name, "avx2") == 0;
    void (*fn)(const float *x, float *out, int n) = is_tanh ? ref_tanh : ref_exp;
    if (wide)
        fn = is_tanh ? ck_tanh_avx512 : ck_exp_avx512;
    else if (narrow)
        fn = is_tanh ? ck_tanh_avx2 : ck_exp_avx2;
    float *x = ck_alloc(RUN * 4, 64), *want = ck_alloc(RUN * 4, 64), *got = ck_alloc(RUN * 4, 64);
    for (uint32_t i = 0; i < 1u << 24; i += RUN) {
        for (uint32_t j = 0; j < RUN; j++)
            x[j] = kern_from_bits((i + j) << 8 | (ck_rand() & 0xff));
        (is_tanh ? ref_tanh : ref_exp)(x, want, RUN);
        fn(x, got, RUN);
        if (!ck_same_floats("result", want, got, RUN))
            return;
    }
}

const ck_test ck_exp_tests[] = {{"exp", run, NULL, 0}, {"tanh", run, NULL, 1}, {NULL, NULL, NULL, 0}};
