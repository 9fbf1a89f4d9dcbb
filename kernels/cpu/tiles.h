/* tiles.h - how many rows one tile of the row-wise operations takes: enough work to be worth handing out, a few
 * microseconds. Part of no result. */
#ifndef TD_KERNELS_CPU_TILES_H
#define TD_KERNELS_CPU_TILES_H

#include "base/check.h"
#include "kernels/kernels.h"

enum { TILE_FLOATS = 16384, TILE_ANGLES = 1024 };

static inline int32_t tile_rows(int32_t floats_per_row)
{
    int32_t n = TILE_FLOATS / TD_MAX(floats_per_row, 1);
    return n < 1 ? 1 : n > 64 ? 64 : n;
}

static inline int32_t norm_tile_rows(const kern_norm_args *a) { return tile_rows(a->cols); }
static inline int32_t rope_tile_toks(const kern_rope_args *a)
{
    return TD_MAX(TILE_ANGLES / TD_MAX(a->dims / 2, 1), 1);
}

static inline int32_t kv_store_tile_toks(const kern_kv_store_args *a)
{
    return tile_rows((a->q_heads + 2 * a->kv->heads) * a->kv->head_dim);
}

#endif
