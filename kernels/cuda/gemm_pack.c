#include "kernels/cuda/gemm.h"

#include "base/check.h"
#include "kernels/half.h"

#include <string.h>

enum { SEGMENT = 256 }; // columns at a time: a multiple of every type's block

/* Columns [c0, c0 + n) of one row of file form as bf16. */
static void segment(kern_type type, const void *raw, int32_t cols, int32_t row, int32_t c0, int32_t n, uint16_t *out)
{
    const uint8_t *at = (const uint8_t *)raw + (size_t)row * kern_row_bytes(type, cols) + kern_row_bytes(type, c0);
    float f[SEGMENT];
    if (type == KT_BF16) {
        memcpy(out, at, (size_t)n * sizeof *out);
        return;
    }
    kern_dequant_row(type, at, n, f);
    for (int32_t i = 0; i < n; i++)
        out[i] = kern_f32_to_bf16(f[i]);
}

void GPU_SYM(gemm_pack_rows)(kern_type type, int32_t row_count, int32_t cols, const void *raw, uint8_t *out)
{
    uint16_t v[SEGMENT];
    memset(out, 0, gemm_weight_bytes(row_count, cols));
    for (int32_t row = 0; row < row_count; row++) {
        for (int32_t c0 = 0; c0 < cols; c0 += SEGMENT) {
            int32_t n = TD_MIN(cols - c0, (int32_t)SEGMENT);
            segment(type, raw, cols, row, c0, n, v);
            for (int32_t c = 0; c < n; c += 8)
                memcpy(out + gemm_weight_at(cols, row, c0 + c), v + c, (size_t)TD_MIN(n - c, 8) * sizeof *v);
        }
    }
}

void GPU_SYM(gemm_unpack_part)(int32_t row, int32_t n, const uint8_t *part, float *out)
{
    for (int32_t c = 0; c < n; c++) {
        uint16_t v;
        memcpy(&v, part + gemm_weight_at(GEMM_COLS, row % 8, c) - row % 8 * GEMM_COLS * 2, sizeof v);
        out[c] = kern_bf16_to_f32(v);
    }
}
