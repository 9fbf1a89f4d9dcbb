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

static void block_pack(kern_type type, const uint8_t *raw, uint8_t *codes, uint8_t *scales, int32_t row)
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

static void row_pack(const kern_weight *w, const pack_geom *g, uint8_t *panel, int32_t lane, const uint8_t *raw)
{
    if (kern_types[w->type].block == 1) {
        size_t size = w->type == KT_F32 ? 4 : 2;
        for (int32_t k = 0; k < w->cols; k++)
            memcpy(panel + float_at(w->type, k, lane), raw + (size_t)k * size, size);
        return;
    }
    for (int32_t b = 0; b < g->blocks; b++)
        block_pack(w->type, raw + (size_t)b * (size_t)kern_types[w->type].block_bytes,
                   panel + (size_t)b * g->block_bytes + g->code_off, panel + (size_t)b * g->block_bytes + g->scale_off,
                   lane);
}

/* ---- a whole panel at once: 16 words, one of each row, make one vector ---- */

typedef struct rows16 {
    const uint8_t *first;
    size_t bytes;          // of a row
} rows16;

/* The four words at byte `off` of each row: a 4 × 4 transposition for every four rows. */
static void words4_pack(const rows16 *r, size_t off, uint32_t flip, uint8_t *out)
{
    __m128i x = _mm_set1_epi32((int)flip), w[4];
    for (int row = 0; row < PACK_ROWS; row += 4) {
        for (int i = 0; i < 4; i++) {
            const uint8_t *p = r->first + (size_t)(row + i) * r->bytes + off;
            w[i] = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)p), x);
        }
        __m128i a = _mm_unpacklo_epi32(w[0], w[1]), b = _mm_unpacklo_epi32(w[2], w[3]);
        __m128i c = _mm_unpackhi_epi32(w[0], w[1]), d = _mm_unpackhi_epi32(w[2], w[3]);
        __m128i v[4] = {_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b), _mm_unpacklo_epi64(c, d),
                        _mm_unpackhi_epi64(c, d)};
        for (int i = 0; i < 4; i++)
            _mm_storeu_si128((__m128i *)(void *)(out + PACK_VEC * i + 4 * row), v[i]);
    }
}

/* Reading 16 rows side by side is no stream to the hardware; the next panel's rows, one after the other, are. Asks for
 * `bytes` of them from `off` on. */
static void next_panel_fetch(const rows16 *r, size_t off, size_t bytes)
{
    const char *next = (const char *)r->first + PACK_ROWS * r->bytes + off;
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch(next + i, _MM_HINT_T1);
}

static void word_pack(const rows16 *r, size_t off, uint8_t *out)
{
    for (int i = 0; i < PACK_ROWS; i++)
        memcpy(out + 4 * i, r->first + (size_t)i * r->bytes + off, 4);
}

static void high_word_pack(const rows16 *r, size_t off, uint8_t *out)
{
    uint32_t w[PACK_ROWS];
    word_pack(r, off, (uint8_t *)w);
    for (int i = 0; i < PACK_ROWS; i++)
        w[i] = high_to_panel(w[i]);
    memcpy(out, w, sizeof w);
}

/* 16 pairs of 16-bit values: all first ones, then all second ones. */
static void pairs_split(const uint8_t *pairs, uint8_t *out)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)pairs), mask = _mm256_set1_epi32(0xffff);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(pairs + 32));
    __m256i first = _mm256_packus_epi32(_mm256_and_si256(a, mask), _mm256_and_si256(b, mask));
    __m256i second = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permute4x64_epi64(first, 0xd8));
    _mm256_storeu_si256((__m256i *)(void *)(out + 32), _mm256_permute4x64_epi64(second, 0xd8));
}

static void scales_pack(const rows16 *r, size_t off, const block_form *f, uint8_t *out)
{
    uint8_t pairs[4 * PACK_ROWS];
    if (f->m != NO_M) { // d and m are neighbours
        word_pack(r, off + f->d, pairs);
        pairs_split(pairs, out);
    } else {
        for (int i = 0; i < PACK_ROWS; i++)
            memcpy(out + 2 * i, r->first + (size_t)i * r->bytes + off + f->d, 2);
    }
    out += (f->m != NO_M ? 4 : 2) * PACK_ROWS;
    for (int i = 0; i < PACK_ROWS && f->sub_count; i++) {
        const uint8_t *sub = r->first + (size_t)i * r->bytes + off + f->sub;
        for (int s = 0; s < f->sub_count; s++)
            out[s * PACK_ROWS + i] = sub[s];
    }
}

static void panel_blocks_pack(const kern_weight *w, const pack_geom *g, const rows16 *r, uint8_t *out)
{
    const block_form *f = &forms[w->type];
    uint32_t flip = w->type == KT_Q8_0 ? 0x80808080u : 0;
    size_t highs = f->high_words / f->halves, words = f->code_words / f->halves;
    for (int32_t b = 0; b < g->blocks; b++, out += g->block_bytes) {
        size_t bytes = (size_t)kern_types[w->type].block_bytes, off = (size_t)b * bytes;
        uint8_t *codes = out + g->code_off;
        next_panel_fetch(r, PACK_ROWS * off, PACK_ROWS * bytes);
        if (f->high_words == 1) {
            high_word_pack(r, off + f->high, codes);
            codes += PACK_VEC;
        }
        for (size_t half = 0; half < f->halves; half++) {
            for (size_t i = 0; i + 4 <= highs; i += 4, codes += 4 * PACK_VEC)
                words4_pack(r, off + f->high + 4 * (half * highs + i), 0, codes);
            for (size_t i = 0; i < words; i += 4, codes += 4 * PACK_VEC)
                words4_pack(r, off + f->code + 4 * (half * words + i), flip, codes);
        }
        scales_pack(r, off, f, out + g->scale_off);
    }
}

/* Words of four bytes: one F32, or two columns of BF16 or F16; F16 keeps each column's rows together. */
static void panel_floats_pack(const kern_weight *w, const rows16 *r, uint8_t *out)
{
    uint8_t vec[4 * PACK_VEC];
    int32_t words = w->type == KT_F32 ? w->cols : w->cols / 2, k = 0;
    for (int32_t n; k < words; k += n, out += n * PACK_VEC) {
        n = words - k >= 4 ? 4 : 1;
        next_panel_fetch(r, PACK_ROWS * 4 * (size_t)k, PACK_ROWS * 4 * (size_t)n);
        uint8_t *to = w->type == KT_F16 ? vec : out;
        if (n == 4)
            words4_pack(r, 4 * (size_t)k, 0, to);
        else
            word_pack(r, 4 * (size_t)k, to);
        for (int32_t i = 0; w->type == KT_F16 && i < n; i++)
            pairs_split(vec + i * PACK_VEC, out + i * PACK_VEC);
    }
    if (w->type == KT_F32 || w->cols % 2 == 0)
        return;
    if (w->type == KT_BF16) // its last pair is half empty
        memset(out, 0, PACK_VEC);
    for (int i = 0; i < PACK_ROWS; i++)
        memcpy(out + (size_t)i * (w->type == KT_BF16 ? 4 : 2), r->first + (size_t)i * r->bytes + 4 * (size_t)words, 2);
}

/* Up to 16 rows into a panel; one that is not whole must be 0 before. */
static void panel_pack(const kern_weight *w, const pack_geom *g, const uint8_t *raw, int32_t rows, uint8_t *out)
{
    rows16 r = {raw, kern_row_bytes(w->type, w->cols)};
    if (rows < PACK_ROWS)
        for (int32_t i = 0; i < rows; i++)
            row_pack(w, g, out, i, raw + (size_t)i * r.bytes);
    else if (kern_types[w->type].block == 1)
        panel_floats_pack(w, &r, out);
    else
        panel_blocks_pack(w, g, &r, out);
}

void pack_rows(kern_weight *w, int32_t row0, int32_t row_count, const void *raw)
{
    td_assert(row0 >= 0 && row0 % PACK_ROWS == 0 && row_count >= 0 && row_count <= w->rows - row0);
    pack_geom g = pack_geom_of(w->type, w->cols);
    size_t bytes = kern_row_bytes(w->type, w->cols);
    uint8_t *out = (uint8_t *)w->data + (size_t)(row0 / PACK_ROWS) * g.panel_bytes;
    for (int32_t r = 0; r < row_count; r += PACK_ROWS, out += g.panel_bytes)
        panel_pack(w, &g, (const uint8_t *)raw + (size_t)r * bytes, TD_MIN(PACK_ROWS, row_count - r), out);
}

void pack_panel_raw(const kern_weight *w, int32_t panel, uint8_t *out)
{
    pack_geom g = pack_geom_of(w->type, w->cols);
    int32_t row0 = panel * PACK_ROWS, rows = TD_MIN(PACK_ROWS, w->rows - row0);
    if (rows < PACK_ROWS)
        memset(out, 0, g.panel_bytes); // lanes without a row
    panel_pack(w, &g, (const uint8_t *)w->raw + (size_t)row0 * kern_row_bytes(w->type, w->cols), rows, out);
}

void pack_row_floats(const kern_weight *w, int32_t row, float *out)
{
    td_assert(row >= 0 && row < w->rows);
    if (w->raw) {
        const uint8_t *raw = w->raw;
        kern_dequant_row(w->type, raw + (size_t)row * kern_row_bytes(w->type, w->cols), w->cols, out);
        return;
    }
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
