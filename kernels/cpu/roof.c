#include "kernels/roof.h"

#include "kernels/cpu/roof_loops.h"

#include <immintrin.h>

void roof_fma_256(int64_t rounds)
{
    __m256 a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(1e-9f);
    ROOF_LOOP(__m256, _mm256_setzero_ps(), _mm256_fmadd_ps(a, b, acc[i]))
}

/* Products widened pair by pair: the classic way. */
void roof_maddubs_chain_256(int64_t rounds)
{
    __m256i u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5), one = _mm256_set1_epi16(1);
    __asm__ volatile("" : "+x"(u), "+x"(s));
    ROOF_LOOP(__m256i, _mm256_setzero_si256(),
              _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_maddubs_epi16(u, _mm256_xor_si256(s, acc[i])), one)))
}

/* Products summed in 16 bits: what 4-bit codes allow. */
void roof_maddubs_add16_256(int64_t rounds)
{
    __m256i u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5);
    ROOF_LOOP(__m256i, _mm256_setzero_si256(),
              _mm256_add_epi16(acc[i], _mm256_maddubs_epi16(u, _mm256_xor_si256(s, acc[i]))))
}

uint64_t kern_roof_read(const void *p, size_t bytes)
{
    const char *c = p;
    __m256i a = _mm256_setzero_si256(), b = a, x = a, y = a;
    for (size_t i = 0; i < bytes; i += 256) {
        for (size_t k = 0; k < 256; k += 128) {
            a = _mm256_or_si256(a, _mm256_load_si256((const __m256i *)(const void *)(c + i + k)));
            b = _mm256_or_si256(b, _mm256_load_si256((const __m256i *)(const void *)(c + i + k + 32)));
            x = _mm256_or_si256(x, _mm256_load_si256((const __m256i *)(const void *)(c + i + k + 64)));
            y = _mm256_or_si256(y, _mm256_load_si256((const __m256i *)(const void *)(c + i + k + 96)));
        }
    }
    a = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(x, y));
    return (uint64_t)_mm256_extract_epi64(a, 0) | (uint64_t)_mm256_extract_epi64(a, 3);
}

static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }
static bool has_avx512(void) { return __builtin_cpu_supports("avx512bw"); }
static bool has_vnni(void) { return __builtin_cpu_supports("avx512vnni"); }
static bool has_bf16(void) { return __builtin_cpu_supports("avx512bf16"); }

int kern_roofs(const kern_roof **out)
{
    static const kern_roof loops[] = {
        {"fp32 fma 256", "avx2", has_avx2, roof_fma_256, 8 * ROOF_CHAINS},
        {"int8 maddubs+madd+add 256", "avx2", has_avx2, roof_maddubs_chain_256, 32 * ROOF_CHAINS},
        {"int8 maddubs+add16 256", "avx2", has_avx2, roof_maddubs_add16_256, 32 * ROOF_CHAINS},
        {"fp32 fma 512", "avx512", has_avx512, roof_fma_512, 16 * ROOF_CHAINS},
        {"int8 dpbusd 256", "avx512vnni", has_vnni, roof_dpbusd_256, 32 * ROOF_CHAINS},
        {"int8 dpbusd 512", "avx512vnni", has_vnni, roof_dpbusd_512, 64 * ROOF_CHAINS},
        {"bf16 dpbf16 512", "avx512vnni", has_bf16, roof_dpbf16_512, 32 * ROOF_CHAINS},
    };
    *out = loops;
    return (int)(sizeof loops / sizeof *loops);
}
