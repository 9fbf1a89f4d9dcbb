#include "exp.h"

#include "kernels/cpu/vec512.h"

void ck_exp_avx512(const float *x, float *out, int n)
{
    for (int i = 0; i < n; i += 16)
        _mm512_storeu_ps(out + i, exp512(_mm512_loadu_ps(x + i)));
}

void ck_tanh_avx512(const float *x, float *out, int n)
{
    for (int i = 0; i < n; i += 16)
        _mm512_storeu_ps(out + i, tanh512(_mm512_loadu_ps(x + i)));
}
