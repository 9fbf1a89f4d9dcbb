/* gemm.h - how weights and bf16 activations lie in a GPU's memory, and a product of them as its kernels see it.
 *
 * A packed weight is a row of panels of 64 rows; a panel is a row of tiles, 64 rows by 64 columns of bf16, 8 KiB each:
 *
 *   tile [64 rows][8 groups of 8 columns], group g of row r at place g ^ (r & 7)
 *
 * so a tile is one run of memory, and lies in shared memory as the 128-byte swizzle that ldmatrix reads without bank
 * conflicts and wgmma's descriptors name. Rows and columns that pad the last tiles are 0: a product with them adds
 * nothing. Weights of all file types but F32 and F16, which keep their bits in plain rows, are held as bf16 (nearest
 * even).
 *
 * A bf16 activation lies the same way, tile column by tile column: [tiles][tok_count][8 groups], group g of token t at
 * place g ^ (t & 7), so 64 columns of consecutive tokens are one run too. Columns beyond the last are 0. */
#ifndef TD_KERNELS_CUDA_GEMM_H
#define TD_KERNELS_CUDA_GEMM_H

#include "kernels/cuda/gpu_matmul.h"
#include "kernels/math.h"

enum { GEMM_ROWS = 64, GEMM_COLS = 64, GEMM_TILE_BYTES = GEMM_ROWS * GEMM_COLS * 2, GEMM_LINE_BYTES = GEMM_COLS * 2 };
enum { GEMM_STEP = 16 }; // columns that the tensor cores add at once

GPU_FN static inline int32_t gemm_panels(int32_t rows) { return (rows + GEMM_ROWS - 1) / GEMM_ROWS; }
GPU_FN static inline int32_t gemm_tiles(int32_t cols) { return (cols + GEMM_COLS - 1) / GEMM_COLS; }

GPU_FN static inline size_t gemm_weight_bytes(int32_t rows, int32_t cols)
{
    return (size_t)gemm_panels(rows) * (size_t)gemm_tiles(cols) * GEMM_TILE_BYTES;
}

/* Where an element lies, in bytes from the weight's first panel. */
GPU_FN static inline size_t gemm_weight_at(int32_t cols, int32_t row, int32_t col)
{
    size_t tile = (size_t)(row / GEMM_ROWS) * (size_t)gemm_tiles(cols) + (size_t)(col / GEMM_COLS);
    int32_t r = row % GEMM_ROWS, c = col % GEMM_COLS;
    return tile * GEMM_TILE_BYTES + (size_t)(r * 128 + ((c / 8 ^ r % 8) * 16) + c % 8 * 2);
}

/* Where an element of an activation of tok_count tokens lies, in bytes. */
GPU_FN static inline size_t gemm_act_at(int32_t tok_count, int32_t tok, int32_t col)
{
    size_t line = (size_t)(col / GEMM_COLS) * (size_t)tok_count + (size_t)tok;
    return line * 128 + (size_t)(((col % GEMM_COLS / 8) ^ (tok % 8)) * 16 + col % 8 * 2);
}

typedef struct gemm_part {
    const uint8_t *w;     // panels
    gpu_finish end;
    int32_t rows, panel0; // panels of the parts before
    int32_t chunk_steps;  // steps of 16 columns in the first of two chunks; 0: there is one
} gemm_part;

typedef struct gemm_call {
    gemm_part part[KERN_PARTS_MAX]; // of a GLU: gate, up
    int32_t part_count;
    bool glu;             // out = act(gate) * up, act by the gate's GF_SILU_GATE or GF_GELU_GATE
    const uint8_t *act;   // [tiles][tok_count][128 bytes]
    int32_t tok_count, cols;
    int32_t panels;       // of all parts; with GLU of gate
} gemm_call;

enum { GEMM_BLOCKS = 132 }; // multiprocessors of an H200

/* Every card; Hopper. */
GPU_EXTERN void GPU_SYM(gemm_mma)(const gemm_call *c, gpu_stream stream);
GPU_EXTERN void GPU_SYM(gemm_wgmma)(const gemm_call *c, gpu_stream stream);

#ifdef __cplusplus
extern "C" {
#endif

/* Host side: rows in file form to panels at `out`, gemm_weight_bytes(row_count, cols) of them. */
void GPU_SYM(gemm_pack_rows)(kern_type type, int32_t row_count, int32_t cols, const void *raw, uint8_t *out);
/* The first n columns of a tile's row, 128 bytes of host memory, as floats. `row` of the weight tells the swizzle. */
void GPU_SYM(gemm_unpack_part)(int32_t row, int32_t n, const uint8_t *part, float *out);

#ifdef __cplusplus
}
#endif

#endif
