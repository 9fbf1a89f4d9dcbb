#include "kernels/cpu/roof_loops.h"

#include <immintrin.h>

void roof_dpbusd_256(int64_t rounds)
{
    __m256i u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5);
    ROOF_LOOP(__m256i, _mm256_setzero_si256(), _mm256_dpbusd_epi32(acc[i], u, s))
}

void roof_dpbusd_512(int64_t rounds)
{
    __m512i u = _mm512_set1_epi8(3), s = _mm512_set1_epi8(-5);
    ROOF_LOOP(__m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(acc[i], u, s))
}

void roof_dpbf16_512(int64_t rounds)
{
    __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f80), b = (__m512bh)_mm512_set1_epi16(0x3080);
    ROOF_LOOP(__m512, _mm512_setzero_ps(), _mm512_dpbf16_ps(acc[i], a, b))
}
