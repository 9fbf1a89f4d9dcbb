/* Products of BF16 weights with vdpbf16ps: per pair the odd column's multiply-add before the even's, flushing
 * denormals, which is the order of all levels. */
#define VEC_BITS 512
#include "kernels/cpu/levels.h"
#include "kernels/cpu/vec.h"

MM_INLINE void tile(const int n, const mm_job *job, int32_t tok0)
{
    const int32_t steps = job->geom.blocks / job->chunks; // pairs
    const uint8_t *w = job->panel, *x = job->act + (size_t)tok0 * job->act_stride;
    mm_stack stack;
    for (int32_t c = 0; c < job->chunks; c++) {
        VF acc[MM_TOK];
#pragma GCC unroll 16
        for (int t = 0; t < n; t++)
            acc[t] = vf_zero();
        for (int32_t k = 0; k < steps; k++, w += 64, x += 4) {
            __m512bh v = (__m512bh)v_load(w);
            next_panel(n, job, w);
#pragma GCC unroll 16
            for (int t = 0; t < n; t++)
                acc[t] = _mm512_dpbf16_ps(acc[t], v, (__m512bh)v_set32(mm_word(x + (size_t)t * job->act_stride)));
        }
        mm_join(n, job, tok0, c, 0, acc, stack);
    }
}

MM_TILES(panel, tile, 16)

void mm_panels_avx512bf16(mm_level *l) { l->panel[KT_BF16] = panel; }
