/* matmul_tile.h - how a panel's tokens are cut into register tiles, and the join of chunk sums: for the SIMD levels.
 *
 * MM_TILES(NAME, TILE, BIG) defines the panel function NAME, which covers up to MM_TOK tokens with instances of the
 * always-inlined TILE(token count, job, first token) of BIG, 8, 4 … 1 tokens. Every instance keeps each output's own
 * chain, so the cut never shows in the bits; sanitizer builds, which take a minute for all of them, have two. */
#ifndef TD_KERNELS_CPU_MATMUL_TILE_H
#define TD_KERNELS_CPU_MATMUL_TILE_H

#include "kernels/cpu/matmul.h"

#include <immintrin.h>
#include <string.h>

#define MM_INLINE static inline __attribute__((always_inline))

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MM_SANITIZED 1
#endif
#endif

#ifdef MM_SANITIZED
#define MM_TILES(NAME, TILE, BIG)                                                                                      \
    static void NAME(const mm_job *job)                                                                                \
    {                                                                                                                  \
        int32_t t = 0;                                                                                                 \
        for (; job->toks - t >= 2; t += 2)                                                                             \
            TILE(2, job, t);                                                                                           \
        if (job->toks - t)                                                                                             \
            TILE(1, job, t);                                                                                           \
    }
#else
#define MM_TILES(NAME, TILE, BIG)                                                                                      \
    static void NAME(const mm_job *job)                                                                                \
    {                                                                                                                  \
        int32_t t = 0;                                                                                                 \
        for (; job->toks - t >= (BIG); t += (BIG))                                                                     \
            TILE((BIG), job, t);                                                                                       \
        if ((BIG) > 8 && job->toks - t >= 8)                                                                           \
            TILE(8, job, t), t += 8;                                                                                   \
        for (; job->toks - t >= 4; t += 4)                                                                             \
            TILE(4, job, t);                                                                                           \
        if (job->toks - t == 3)                                                                                        \
            TILE(3, job, t), t += 3;                                                                                   \
        if (job->toks - t >= 2)                                                                                        \
            TILE(2, job, t), t += 2;                                                                                   \
        if (job->toks - t)                                                                                             \
            TILE(1, job, t);                                                                                           \
    }
#endif

/* Four bytes of a row at p, for a broadcast. */
MM_INLINE int32_t mm_word(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

MM_INLINE float mm_float(const uint8_t *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}

#endif
