/* pack.h - the one packed weight layout of the CPU back end.
 *
 * Rows stand in panels of 16, so that a row is a lane and no sum ever crosses lanes. A panel holds its blocks,
 * ascending k, each the codes of 16 rows and beside them their scales, in the order in which a product needs them (so
 * the scales of Q4_K, Q5_K and Q6_K come first): one unbroken stream, since anything else costs half the bandwidth.
 * Codes are 64-byte vectors of [16 rows][4 bytes]; the four bytes of a row are one 32-bit word of the file's block, so
 * packing only moves words. With s the 32-column part of a block and g the group of four columns in it, the codes of
 * (s, g) are
 *
 *   type         vectors per block      vector        shift          high bits
 *   Q8_0         8                      g             whole byte     (stored + 128)
 *   Q4_0, Q4_1   4                      g & 3         4 * (g >> 2)
 *   Q5_0, Q5_1   1 high, then 4         g & 3         4 * (g >> 2)   bit g of high vector 0
 *   Q4_K         32                     8(s>>1)+g     4 * (s & 1)
 *   Q5_K         8 high, then 32        8(s>>1)+g     4 * (s & 1)    bit s of high vector g
 *   Q6_K         2 × (8 high, then 16)  8(s&1)+g      4*(s>>1&1)     bits 2(s&3) of high vector g, both of half s >> 2
 *
 * Scales of a block: f16 d[16 rows], then f16 m[16] (Q4_1, Q5_1: minimum; Q4_K, Q5_K: dmin), then bytes [12][16] of
 * 6-bit scales and minima as in the file (Q4_K, Q5_K) or int8 [16][16] (Q6_K). Nothing is widened: a panel is as large
 * as its rows in the file. Float panels: F32 [k][16], F16 [k][16], BF16 [k / 2][16][2], an odd last k padded with 0. */
#ifndef TD_KERNELS_CPU_PACK_H
#define TD_KERNELS_CPU_PACK_H

#include "base/check.h"
#include "kernels/tensor.h"

#include <stdbool.h>

enum { PACK_ROWS = 16, PACK_VEC = 64 };

typedef struct pack_geom {
    int32_t blocks;      // of a row
    size_t block_bytes;  // of 16 rows: from a block to the next
    size_t code_off;     // in a block
    size_t scale_off;
    size_t panel_bytes;  // a multiple of 64
} pack_geom;

static inline pack_geom pack_geom_of(kern_type type, int32_t cols)
{
    static const struct {
        int16_t codes, scales;
    } bytes[KT_COUNT] = {
        [KT_F32] = {64, 0},     [KT_F16] = {32, 0},      [KT_BF16] = {64, 0},     [KT_Q8_0] = {512, 32},
        [KT_Q4_0] = {256, 32},  [KT_Q4_1] = {256, 64},   [KT_Q5_0] = {320, 32},   [KT_Q5_1] = {320, 64},
        [KT_Q4_K] = {2048, 256}, [KT_Q5_K] = {2560, 256}, [KT_Q6_K] = {3072, 288},
    };
    int32_t nb = type == KT_BF16 ? (cols + 1) / 2 : cols / kern_types[type].block;
    size_t codes = (size_t)bytes[type].codes, scales = (size_t)bytes[type].scales;
    bool scales_first = kern_types[type].act == KA_Q8_256;
    pack_geom g = {.blocks = nb, .block_bytes = codes + scales};
    g.code_off = scales_first ? scales : 0;
    g.scale_off = scales_first ? 0 : codes;
    g.panel_bytes = td_align_up((size_t)nb * g.block_bytes, PACK_VEC);
    return g;
}

static inline int32_t pack_panels(int32_t rows) { return (rows + PACK_ROWS - 1) / PACK_ROWS; }
/* Where a packed panel lies; a weight in file form has none. */
static inline const uint8_t *pack_panel(const kern_weight *w, int32_t panel)
{
    return (const uint8_t *)w->data + (size_t)panel * pack_geom_of(w->type, w->cols).panel_bytes;
}
/* A panel of a weight in file form, packed into out[panel_bytes]: the same bytes as in the packed weight. */
void pack_panel_raw(const kern_weight *w, int32_t panel, uint8_t *out);

size_t pack_bytes(kern_type type, int32_t rows, int32_t cols);
/* Rows [row0, row0 + row_count) in file form into w->data, which is zeroed; row0 is a multiple of 16. */
void pack_rows(kern_weight *w, int32_t row0, int32_t row_count, const void *raw);
/* One row back: floats equal to kern_dequant_row() of the file's row. */
void pack_row_floats(const kern_weight *w, int32_t row, float *out);

#endif
