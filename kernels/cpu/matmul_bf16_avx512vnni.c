/* Products of BF16 weights with vdpbf16ps: per pair the odd column's multiply-add before the even's, flushing
 * denormals, which is the order of all levels. */
#define VEC_BITS 512
#include "kernels/cpu/levels.h"
#include "kernels/cpu/vec.h"

/* `wide` chunks at once: few tokens leave too few chains to fill the pipe. */
MM_INLINE void chunks(const int n, const int wide, const mm_job *job, int32_t tok0, int32_t c, mm_stack stack)
{
    const int32_t steps = job->geom.blocks / job->chunks; // pairs
    const uint8_t *w = job->panel + (size_t)(c * steps) * 64;
    const uint8_t *x = job->act + (size_t)tok0 * job->act_stride + (size_t)(c * steps) * 4;
    const size_t chunk = (size_t)steps;
    VF acc[4][MM_TOK];
#pragma GCC unroll 4
    for (int i = 0; i < wide; i++)
#pragma GCC unroll 16
        for (int t = 0; t < n; t++)
            acc[i][t] = vf_zero();
    for (int32_t k = 0; k < steps; k++, w += 64, x += 4)
#pragma GCC unroll 4
        for (int i = 0; i < wide; i++) {
            __m512bh v = (__m512bh)v_load(w + (size_t)i * chunk * 64);
#pragma GCC unroll 16
            for (int t = 0; t < n; t++)
                acc[i][t] = _mm512_dpbf16_ps(
                    acc[i][t], v, (__m512bh)v_set32(mm_word(x + (size_t)t * job->act_stride + (size_t)i * chunk * 4)));
        }
#pragma GCC unroll 4
    for (int i = 0; i < wide; i++)
        mm_join(n, job, tok0, c + i, 0, acc[i], stack);
}

MM_INLINE void tile(const int n, const mm_job *job, int32_t tok0)
{
    const int wide = n == 1 ? 4 : n <= 4 ? 2 : 1;
    mm_stack stack;
    if (wide > 1 && job->chunks % wide == 0)
        for (int32_t c = 0; c < job->chunks; c += wide)
            chunks(n, wide, job, tok0, c, stack);
    else
        for (int32_t c = 0; c < job->chunks; c++)
            chunks(n, 1, job, tok0, c, stack);
}

MM_TILES(panel, tile, 16)

void mm_panels_avx512bf16(mm_level *l) { l->panel[KT_BF16] = panel; }
