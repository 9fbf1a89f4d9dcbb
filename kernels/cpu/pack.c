/* Packing moves 32-bit words between a row's block and its panel, and unpacking moves them back: one description of a
 * block's words serves both, so that they cannot disagree. A row read back passes through the file form again, which
 * keeps a single definition of dequantisation. */
#include "kernels/cpu/pack.h"

#include "base/err.h"

#include <immintrin.h>
#include <string.h>

typedef struct block_form { // where the parts of a block lie in the file; counts in bytes
    uint8_t d, m;           // offset of f16 d, m; m = 255: none
    uint8_t sub, sub_count; // bytes of sub-block scales
    uint8_t high, high_words;
    uint8_t code, code_words;
    uint8_t halves;         // in which the vectors of a panel's block are: high words, then codes, of each half
} block_form;

enum { NO_M = 255 };

static const block_form forms[KT_COUNT] = {
    [KT_Q8_0] = {0, NO_M, 0, 0, 0, 0, 2, 8, 1},     [KT_Q4_0] = {0, NO_M, 0, 0, 0, 0, 2, 4, 1},
    [KT_Q4_1] = {0, 2, 0, 0, 0, 0, 4, 4, 1},        [KT_Q5_0] = {0, NO_M, 0, 0, 2, 1, 6, 4, 1},
    [KT_Q5_1] = {0, 2, 0, 0, 4, 1, 8, 4, 1},        [KT_Q4_K] = {0, 2, 4, 12, 0, 0, 16, 32, 1},
    [KT_Q5_K] = {0, 2, 4, 12, 16, 8, 48, 32, 1},    [KT_Q6_K] = {208, NO_M, 192, 16, 128, 16, 0, 32, 2},
};

/* Bit 4g + j of Q5's high word belongs to column 4g + j; in a panel it is bit g of byte j. */
static uint32_t high_to_panel(uint32_t h)
{
    uint32_t out = 0;
    for (int j = 0; j < 4; j++)
        out |= _pext_u32(h, 0x11111111u << j) << (8 * j);
    return out;
}

static uint32_t high_to_file(uint32_t p)
{
    uint32_t out = 0;
    for (int j = 0; j < 4; j++)
        out |= _pdep_u32(p >> (8 * j) & 0xff, 0x11111111u << j);
    return out;
}

/* Inlined where the type is a constant, so that the form's fields are: a third of the time of loading otherwise. */
__attribute__((always_inline)) static inline void block_pack(kern_type type, const uint8_t *raw, uint8_t *codes,
                                                             uint8_t *scales, int32_t row)
{
    const block_form *f = &forms[type];
    uint32_t flip = type == KT_Q8_0 ? 0x80808080u : 0, word;
    for (int half = 0; half < f->halves; half++) {
        int highs = f->high_words / f->halves, words = f->code_words / f->halves;
        for (int i = half * highs; i < (half + 1) * highs; i++, codes += PACK_VEC) {
            memcpy(&word, raw + f->high + 4 * i, 4);
            word = f->high_words == 1 ? high_to_panel(word) : word;
            memcpy(codes + 4 * row, &word, 4);
        }
        for (int i = half * words; i < (half + 1) * words; i++, codes += PACK_VEC) {
            memcpy(&word, raw + f->code + 4 * i, 4);
            word ^= flip;
            memcpy(codes + 4 * row, &word, 4);
        }
    }
    memcpy(scales + 2 * row, raw + f->d, 2);
    scales += 2 * PACK_ROWS;
    if (f->m != NO_M) {
        memcpy(scales + 2 * row, raw + f->m, 2);
        scales += 2 * PACK_ROWS;
    }
    for (int i = 0; i < f->sub_count; i++)
        scales[i * PACK_ROWS + row] = raw[f->sub + i];
}

static void block_unpack(kern_type type, uint8_t *raw, const uint8_t *codes, const uint8_t *scales, int32_t row)
{
    const block_form *f = &forms[type];
    uint32_t flip = type == KT_Q8_0 ? 0x80808080u : 0, word;
    for (int half = 0; half < f->halves; half++) {
        int highs = f->high_words / f->halves, words = f->code_words / f->halves;
        for (int i = half * highs; i < (half + 1) * highs; i++, codes += PACK_VEC) {
            memcpy(&word, codes + 4 * row, 4);
            word = f->high_words == 1 ? high_to_file(word) : word;
            memcpy(raw + f->high + 4 * i, &word, 4);
        }
        for (int i = half * words; i < (half + 1) * words; i++, codes += PACK_VEC) {
            memcpy(&word, codes + 4 * row, 4);
            word ^= flip;
            memcpy(raw + f->code + 4 * i, &word, 4);
        }
    }
    memcpy(raw + f->d, scales + 2 * row, 2);
    scales += 2 * PACK_ROWS;
    if (f->m != NO_M) {
        memcpy(raw + f->m, scales + 2 * row, 2);
        scales += 2 * PACK_ROWS;
    }
    for (int i = 0; i < f->sub_count; i++)
        raw[f->sub + i] = scales[i * PACK_ROWS + row];
}

/* Byte offset of column k of a row in a float panel. */
static size_t float_at(kern_type type, int32_t k, int32_t row)
{
    if (type == KT_BF16)
        return (size_t)(k / 2) * 64 + (size_t)row * 4 + (size_t)(k & 1) * 2;
    size_t size = type == KT_F32 ? 4 : 2;
    return ((size_t)k * PACK_ROWS + (size_t)row) * size;
}

size_t pack_bytes(kern_type type, int32_t rows, int32_t cols)
{
    td_assert(rows > 0 && cols > 0 && cols % kern_types[type].block == 0);
    return (size_t)pack_panels(rows) * pack_geom_of(type, cols).panel_bytes;
}

__attribute__((always_inline)) static inline void row_pack(kern_weight *w, kern_type type, const pack_geom *g,
                                                           int32_t row, const uint8_t *raw)
{
    uint8_t *panel = (uint8_t *)w->data + (size_t)(row / PACK_ROWS) * g->panel_bytes;
    int32_t lane = row % PACK_ROWS;
    if (kern_types[type].block == 1) {
        size_t size = type == KT_F32 ? 4 : 2;
        for (int32_t k = 0; k < w->cols; k++)
            memcpy(panel + float_at(type, k, lane), raw + (size_t)k * size, size);
        return;
    }
    for (int32_t b = 0; b < g->blocks; b++)
        block_pack(type, raw + (size_t)b * (size_t)kern_types[type].block_bytes,
                   panel + (size_t)b * g->block_bytes + g->code_off, panel + (size_t)b * g->block_bytes + g->scale_off,
                   lane);
}

void pack_rows(kern_weight *w, int32_t row0, int32_t row_count, const void *raw)
{
    td_assert(row0 >= 0 && row0 % PACK_ROWS == 0 && row_count >= 0 && row_count <= w->rows - row0);
    pack_geom g = pack_geom_of(w->type, w->cols);
    size_t bytes = kern_row_bytes(w->type, w->cols);
    for (int32_t r = 0; r < row_count; r++) {
        const uint8_t *from = (const uint8_t *)raw + (size_t)r * bytes;
        switch (w->type) {
#define TYPE(t) case t: row_pack(w, t, &g, row0 + r, from); break;
        TYPE(KT_F32) TYPE(KT_F16) TYPE(KT_BF16) TYPE(KT_Q8_0) TYPE(KT_Q4_0) TYPE(KT_Q4_1)
        TYPE(KT_Q5_0) TYPE(KT_Q5_1) TYPE(KT_Q4_K) TYPE(KT_Q5_K) TYPE(KT_Q6_K)
#undef TYPE
        default: td_assert(!"a type without a panel form");
        }
    }
}

void pack_row_floats(const kern_weight *w, int32_t row, float *out)
{
    td_assert(row >= 0 && row < w->rows);
    pack_geom g = pack_geom_of(w->type, w->cols);
    const uint8_t *panel = pack_panel(w, row / PACK_ROWS);
    int32_t lane = row % PACK_ROWS, block = kern_types[w->type].block;
    if (block == 1) {
        size_t size = w->type == KT_F32 ? 4 : 2;
        uint8_t raw[4];
        for (int32_t k = 0; k < w->cols; k++) {
            memcpy(raw, panel + float_at(w->type, k, lane), size);
            kern_dequant_row(w->type, raw, 1, out + k);
        }
        return;
    }
    uint8_t raw[256];
    for (int32_t b = 0; b < g.blocks; b++) {
        const uint8_t *at = panel + (size_t)b * g.block_bytes;
        block_unpack(w->type, raw, at + g.code_off, at + g.scale_off, lane);
        kern_dequant_row(w->type, raw, block, out + (size_t)b * (size_t)block);
    }
}
