#include "kernels/cpu/roof_loops.h"

#include <immintrin.h>

void roof_fma_512(int64_t rounds)
{
    __m512 a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(1e-9f);
    ROOF_LOOP(__m512, _mm512_setzero_ps(), _mm512_fmadd_ps(a, b, acc[i]))
}
