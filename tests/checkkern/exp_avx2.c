#include "exp.h"

#include "kernels/cpu/vec256.h"

void ck_exp_avx2(const float *x, float *out, int n)
{
    for (int i = 0; i < n; i += 8)
        _mm256_storeu_ps(out + i, exp256(_mm256_loadu_ps(x + i)));
}

void ck_tanh_avx2(const float *x, float *out, int n)
{
    for (int i = 0; i < n; i += 8)
        _mm256_storeu_ps(out + i, tanh256(_mm256_loadu_ps(x + i)));
}
