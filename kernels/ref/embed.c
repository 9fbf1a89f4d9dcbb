/* Embedding lookup: a token's row out of the packed table, or a row given by the caller as it stands. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/pack.h"
#include "kernels/ref/ref.h"

#include <string.h>

int64_t cpu_embed_tiles(const kern_embed_args *a) { return a->batch->tok_count; }

void ref_embed(const kern_embed_args *a, int64_t t0, int64_t t1)
{
    const kern_batch *b = a->batch;
    int32_t cols = a->table->cols;
    for (int64_t t = t0; t < t1; t++) {
        float *x = a->x + t * cols;
        int32_t slot = b->tok_slot[t];
        if (slot < 0) {
            memcpy(x, b->embeds + (size_t)(-1 - slot) * (size_t)cols, (size_t)cols * sizeof *x);
            continue;
        }
        pack_row_floats(a->table, b->slots[slot], x);
        for (int32_t k = 0; k < cols; k++)
            x[k] *= a->scale;
    }
}
