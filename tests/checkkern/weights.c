#include "weights.h"

#include "checkkern.h"
#include "kernels/cpu/pack.h"
#include "kernels/half.h"

/* Offsets of the f16 scales in a block; -1: none. */
static const int16_t half_at[KT_COUNT][2] = {
    [KT_F32] = {-1, -1}, [KT_F16] = {-1, -1}, [KT_BF16] = {-1, -1}, [KT_Q8_0] = {0, -1}, [KT_Q4_0] = {0, -1},
    [KT_Q4_1] = {0, 2},  [KT_Q5_0] = {0, -1}, [KT_Q5_1] = {0, 2},   [KT_Q4_K] = {0, 2},  [KT_Q5_K] = {0, 2},
    [KT_Q6_K] = {208, -1},
};

static uint16_t scale(int kind)
{
    switch (kind) {
    case CKW_ZERO: return 0;
    case CKW_DENORMAL: return (uint16_t)(ck_rand() & 0x83ff);
    case CKW_HUGE: return (uint16_t)((ck_rand() & 0x8000) | 0x7bff);
    default: return kern_f32_to_f16(ck_rand_float() * 0.01f);
    }
}

static void fill_quant(kern_type type, uint8_t *p, int kind)
{
    for (int i = 0; i < kern_types[type].block_bytes; i++)
        p[i] = kind == CKW_ZERO ? 0 : kind == CKW_TOP ? 0xff : kind == CKW_BOTTOM ? 0x80 : (uint8_t)ck_rand();
    for (int i = 0; i < 2; i++) {
        uint16_t h = scale(kind);
        if (half_at[type][i] >= 0)
            memcpy(p + half_at[type][i], &h, 2);
    }
}

static void fill_float(kern_type type, uint8_t *p, int kind)
{
    static const int fills[CKW_KINDS] = {CK_FILL_RANDOM, CK_FILL_ZERO, CK_FILL_MAX, CK_FILL_MAX, CK_FILL_TINY,
                                         CK_FILL_HUGE};
    float f;
    ck_fill(&f, 1, fills[kind]);
    if (type == KT_F16 && kind == CKW_DENORMAL)
        f *= 0x1p110f;
    uint16_t h = type == KT_F16 ? kern_f32_to_f16(f) : (uint16_t)(kern_to_bits(f) >> 16);
    if (type == KT_F16 && (h & 0x7c00) == 0x7c00)
        h = 0x7bff;
    if (type == KT_F32)
        memcpy(p, &f, 4);
    else
        memcpy(p, &h, 2);
}

ck_weight ck_weight_make(kern_type type, int32_t rows, int32_t cols, int kind)
{
    const kern_type_info *t = &kern_types[type];
    size_t row_bytes = kern_row_bytes(type, cols), blocks = (size_t)rows * (size_t)(cols / t->block);
    ck_weight c = {.w = {.type = type, .rows = rows, .cols = cols, .bytes = pack_bytes(type, rows, cols)}};
    c.w.chunks = kern_chunk_count(type, cols, TD_K_CHUNKS_MAX);
    c.raw = ck_alloc(row_bytes * (size_t)rows, 1);
    for (size_t b = 0; b < blocks; b++) {
        if (t->block == 1)
            fill_float(type, c.raw + b * (size_t)t->block_bytes, kind);
        else
            fill_quant(type, c.raw + b * (size_t)t->block_bytes, kind);
    }
    c.w.data = ck_alloc(c.w.bytes, 64);
    int32_t split = rows / 2 / PACK_ROWS * PACK_ROWS; // in two calls, as a loader with several threads does
    pack_rows(&c.w, 0, split, c.raw);
    pack_rows(&c.w, split, rows - split, c.raw + (size_t)split * row_bytes);
    return c;
}
