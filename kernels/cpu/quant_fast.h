/* quant_fast.h - what the vector levels of activation rows share. The including file defines the three functions
 * declared at the top. */
#ifndef TD_KERNELS_CPU_QUANT_FAST_H
#define TD_KERNELS_CPU_QUANT_FAST_H

#include "kernels/cpu/act.h"

#include <immintrin.h>
#include <string.h>

enum { QUANT_BLOCKS = 16 }; // blocks whose scales are divided together

/* Largest |x| of n values as bits, n a multiple of 32. */
static inline int32_t top_of(const float *x, int32_t n);
/* QUANT_BLOCKS largest magnitudes to scales and factors, by the rules of act.h. All arrays aligned to 64. */
static inline void scales(const int32_t *top, float *d, float *inv);
/* 32 values to codes; returns the sums of each four. A factor of 0 gives codes 0 whatever the values are. */
static inline __m256i codes32(const float *x, float factor, uint8_t *q);

static inline int32_t hsum4(__m128i v)
{
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}

static inline int32_t hsum8(__m256i v)
{
    return hsum4(_mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

static void block_q256(const float *x, float inv, uint8_t *q, int16_t *s32, int16_t *s16)
{
    for (int s = 0; s < 8; s++) {
        __m256i v = codes32(x + 32 * s, inv, q + 32 * s);
        int32_t s0 = hsum4(_mm256_castsi256_si128(v)), s1 = hsum4(_mm256_extracti128_si256(v, 1));
        s16[2 * s] = (int16_t)s0;
        s16[2 * s + 1] = (int16_t)s1;
        s32[s] = (int16_t)(s0 + s1);
    }
}

static void row_q256(const float *x, int32_t cols, uint8_t *row)
{
    const size_t nb = (size_t)cols / 256;
    uint8_t *meta = row + cols;
    for (size_t b0 = 0; b0 < nb; b0 += QUANT_BLOCKS) {
        _Alignas(64) int32_t top[QUANT_BLOCKS] = {0};
        _Alignas(64) float d[QUANT_BLOCKS], inv[QUANT_BLOCKS];
        size_t n = TD_MIN(nb - b0, (size_t)QUANT_BLOCKS);
        for (size_t i = 0; i < n; i++)
            top[i] = top_of(x + 256 * (b0 + i), 256);
        scales(top, d, inv);
        memcpy(meta + 4 * b0, d, 4 * n);
        for (size_t i = b0; i < b0 + n; i++)
            block_q256(x + 256 * i, inv[i - b0], row + 256 * i, (int16_t *)(void *)(meta + 4 * nb + 16 * i),
                       (int16_t *)(void *)(meta + 20 * nb + 32 * i));
    }
}

#endif
