#include "kernels/cpu/tiles.h"
#include "kernels/math.h"
#include "kernels/ref/ref_attn.h"

void ref_rope(const kern_rope_args *a, int64_t t0, int64_t t1)
{
    int32_t toks = rope_tile_toks(a), half = a->dims / 2;
    for (int64_t t = t0 * toks; t < TD_MIN(t1 * toks, a->batch->tok_count); t++)
        for (int32_t i = 0; i < half; i++) {
            double s, c;
            kern_sin_cos((double)a->batch->pos[t] * a->inv_freq[i], &s, &c);
            float *out = a->table + (t * half + i) * 2;
            out[0] = (float)(c * (double)a->mscale);
            out[1] = (float)(s * (double)a->mscale);
        }
}
