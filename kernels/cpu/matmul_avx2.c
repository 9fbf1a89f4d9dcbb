/* Products with 256-bit vectors: every weight type. */
#define VEC_BITS 256
#include "kernels/cpu/finish.h"
#include "kernels/cpu/levels.h"
#include "kernels/cpu/matmul_float.h"
#include "kernels/cpu/matmul_madd.h"

#define FLOAT(type, big)                                                                                               \
    MM_INLINE void tile_##type(const int n, const mm_job *job, int32_t tok0) { tile_float(KT_##type, n, job, tok0); }  \
    MM_TILES(panel_##type, tile_##type, big)
FLOAT(F32, 6)
FLOAT(F16, 6)
FLOAT(BF16, 4)
#define MADD(type, family) MADD_TILE(type, family) MM_TILES(panel_##type, tile_##type, 4)
MADD(Q8_0, q32)
MADD(Q4_0, q32)
MADD(Q4_1, q32)
MADD(Q5_0, q32)
MADD(Q5_1, q32)
MADD(Q4_K, k)
MADD(Q5_K, k)
MADD(Q6_K, k)

void mm_panels_avx2(mm_level *l)
{
#define X(type) l->panel[KT_##type] = panel_##type;
    X(F32) X(F16) X(BF16) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q4_K) X(Q5_K) X(Q6_K)
#undef X
}

void mm_finish_avx2(const mm_finish *f) { finish_all(f); }
