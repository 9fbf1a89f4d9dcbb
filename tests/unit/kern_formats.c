/* File formats: dequantised rows against values made once by another reader of GGUF (the `gguf` package of PyPI), kept
 * as CRC32C over the floats' bits; and 16-bit floats: every value, every tie. */
#include "base/hash.h"
#include "kernels/half.h"
#include "kernels/tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 16 };

/* Bytes of a linear congruential generator; the f16 scales at `half` are replaced by a cycle that has a denormal. */
static void make_raw(uint8_t *raw, int32_t block_bytes, const int16_t half[2])
{
    static const uint16_t scales[] = {0x2e66, 0xa8f6, 0x0001, 0x3c00, 0x83ff};
    uint32_t x = 12345, next = 0;
    for (int32_t i = 0; i < BLOCKS * block_bytes; i++) {
        x = x * 1664525u + 1013904223u;
        raw[i] = (uint8_t)(x >> 24);
    }
    for (int32_t b = 0; b < BLOCKS; b++)
        for (int h = 0; h < 2 && half[h] >= 0; h++)
            memcpy(raw + b * block_bytes + half[h], &scales[next++ % 5], 2);
}

static void test_rows(void **state)
{
    (void)state;
    static const struct {
        kern_type type;
        int16_t half[2];
        uint32_t crc;
    } cases[] = {
        {KT_Q8_0, {0, -1}, 0x80cf6d72}, {KT_Q4_0, {0, -1}, 0xb7330567},
        {KT_Q4_1, {0, 2}, 0x3eb3b2f4}, {KT_Q5_0, {0, -1}, 0xc7da20f0},
        {KT_Q5_1, {0, 2}, 0xa8d40b37}, {KT_Q4_K, {0, 2}, 0x913baa7a},
        {KT_Q5_K, {0, 2}, 0x33a4c488}, {KT_Q6_K, {208, -1}, 0x4d3d79a1},
    };
    static uint8_t raw[BLOCKS * 256];
    static float out[BLOCKS * 256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const kern_type_info *t = &kern_types[cases[i].type];
        make_raw(raw, t->block_bytes, cases[i].half);
        kern_dequant_row(cases[i].type, raw, BLOCKS * t->block, out);
        for (int32_t k = 0; k < BLOCKS * t->block; k++)
            out[k] += 0.0f; // -0 as 0: readers differ in it
        if (td_crc32c(0, out, (size_t)(BLOCKS * t->block) * sizeof *out) != cases[i].crc)
            fail_msg("%s differs", t->name);
    }
}

static void test_float_rows(void **state)
{
    (void)state;
    const float f32[2] = {1.5f, -1e-40f};
    const uint16_t f16[4] = {0x3c00, 0xc100, 0x7bff, 0x8001}, bf16[2] = {0x3f80, 0xc2f7};
    float out[4];
    kern_dequant_row(KT_F32, f32, 2, out);
    assert_memory_equal(out, f32, sizeof f32);
    kern_dequant_row(KT_F16, f16, 4, out);
    assert_true(out[0] == 1.0f && out[1] == -2.5f && out[2] == 65504.0f && out[3] == -0x1p-24f);
    kern_dequant_row(KT_BF16, bf16, 2, out);
    assert_true(out[0] == 1.0f && out[1] == -123.5f);
}

/* Every f16 there and back, and every rounding between two neighbours. */
static void test_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float low = kern_f16_to_f32((uint16_t)h), high = kern_f16_to_f32((uint16_t)(h + 1));
        assert_int_equal(kern_f32_to_f16(low), h);
        assert_int_equal(kern_f32_to_f16(-low), h | 0x8000);
        if (h == 0x7bff)
            break; // what comes next is infinite
        float middle = low + (high - low) / 2;
        assert_int_equal(kern_f32_to_f16(middle), h + (h & 1)); // ties to even
        assert_int_equal(kern_f32_to_f16(kern_from_bits(kern_to_bits(middle) + 1)), h + 1);
        assert_int_equal(kern_f32_to_f16(kern_from_bits(kern_to_bits(middle) - 1)), h);
    }
    assert_int_equal(kern_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(kern_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(kern_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(kern_f32_to_f16(1e-30f), 0);
    float inf = kern_f16_to_f32(0x7c00), nan = kern_f16_to_f32(0x7c01);
    assert_true(inf > 3e38f && nan != nan);
    assert_int_equal(kern_f32_to_f16(nan) & 0x7c00, 0x7c00);
    assert_true((kern_f32_to_f16(nan) & 0x3ff) != 0);
}

static void test_bf16(void **state)
{
    (void)state;
    static const struct {
        uint32_t bits;
        uint16_t want;
    } cases[] = {{0x3f800000, 0x3f80}, {0x3f807fff, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81},
                 {0x3f818000, 0x3f82}, {0x7f7fffff, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0},
                 {0x00000001, 0},      {0x807fffff, 0x8000}, {0x00800000, 0x0080}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(kern_f32_to_bf16(kern_from_bits(cases[i].bits)), cases[i].want);
}

/* Chunks depend on the weight's shape alone. */
static void test_chunks(void **state)
{
    (void)state;
    assert_int_equal(kern_chunk_count(KT_Q4_0, 576, 8), 2);   // 18 blocks
    assert_int_equal(kern_chunk_count(KT_Q4_0, 4096, 8), 8);
    assert_int_equal(kern_chunk_count(KT_Q4_0, 4096, 2), 2);
    assert_int_equal(kern_chunk_count(KT_Q4_K, 768, 8), 1);   // 3 blocks
    assert_int_equal(kern_chunk_count(KT_Q4_K, 2048, 8), 8);
    assert_int_equal(kern_chunk_count(KT_F32, 48, 8), 1);
    assert_int_equal(kern_chunk_count(KT_BF16, 64, 8), 4);
    assert_int_equal(kern_row_bytes(KT_Q6_K, 512), 420);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows), cmocka_unit_test(test_float_rows), cmocka_unit_test(test_half),
        cmocka_unit_test(test_bf16), cmocka_unit_test(test_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
