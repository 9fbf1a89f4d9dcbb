/* Matrix products by every instruction of the tensor cores, against the arithmetic of one step applied along k: on the
 * emulator, and, built for CUDA, on a card, where it says whether dot.h is right. */
#include "kernels/emu/dot.h"
#ifdef TD_EMU
#include "kernels/emu/emu.h"
#endif
#include "emu/tests_emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { K = 256, ROWS_MAX = 256 };

static gpu_stream stream;
static uint64_t seed = 7;

static uint32_t draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static uint16_t draw_bf16(void) { return (uint16_t)((draw() & 1) << 15 | (112 + draw() % 20) << 7 | (draw() & 127)); }
static uint16_t draw_f16(void) { return (uint16_t)((draw() & 1) << 15 | (8 + draw() % 14) << 10 | (draw() & 1023)); }

static void *to_device(const void *from, size_t bytes)
{
    void *dev = NULL, *stage = NULL;
    assert_int_equal(GPU_SYM(rt_malloc)(bytes, &dev) | GPU_SYM(rt_host_alloc)(bytes, &stage), GPU_OK);
    memcpy(stage, from, bytes);
    assert_int_equal(GPU_SYM(rt_copy_h2d)(dev, stage, bytes, stream), GPU_OK);
    assert_int_equal(GPU_SYM(rt_stream_sync)(stream), GPU_OK);
    GPU_SYM(rt_host_free)(stage);
    return dev;
}

static void from_device(void *to, void *dev, size_t bytes)
{
    void *stage = NULL;
    assert_int_equal(GPU_SYM(rt_host_alloc)(bytes, &stage), GPU_OK);
    assert_int_equal(GPU_SYM(rt_copy_d2h)(stage, dev, bytes, stream), GPU_OK);
    assert_int_equal(GPU_SYM(rt_stream_sync)(stream), GPU_OK);
    assert_int_equal(GPU_SYM(rt_last_error)(), GPU_OK);
    memcpy(to, stage, bytes);
    GPU_SYM(rt_host_free)(stage);
    GPU_SYM(rt_free)(dev);
}

static void *device(size_t bytes)
{
    void *dev = NULL;
    assert_int_equal(GPU_SYM(rt_malloc)(bytes, &dev), GPU_OK);
    return dev;
}

/* d[m][n] = sum over k of a[m][k] b[n][k], in steps of 16. */
static void want(bool bf16, const uint16_t *a, const uint16_t *b, float *d, int m, int n, int k_count)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float c = 0;
            for (int k = 0; k < k_count; k += 16) {
                emu_row x = {.special = false}, y = {.special = false};
                for (int e = 0; e < 16; e++) {
                    uint16_t u = a[i * k_count + k + e], v = b[j * k_count + k + e];
                    emu_row_set(&x, e, bf16 ? emu_num_bf16(u) : emu_num_f16(u));
                    emu_row_set(&y, e, bf16 ? emu_num_bf16(v) : emu_num_f16(v));
                }
                c = emu_dot_half(&x, &y, c);
            }
            d[i * n + j] = c;
        }
}

static void each_schedule(void (*test)(void))
{
#ifdef TD_EMU
    static const emu_order order[] = {EMU_FORWARD, EMU_REVERSE, EMU_RANDOM};
#endif
    for (unsigned i = 0; i < 3; i++) {
#ifdef TD_EMU
        emu_set_schedule(order[i], i);
#endif
        assert_int_equal(GPU_SYM(rt_stream_create)(&stream), GPU_OK);
        test();
        assert_int_equal(GPU_SYM(rt_stream_destroy)(stream), GPU_OK);
    }
}

static void mma(void)
{
    static uint16_t a[16 * K], b[8 * K];
    float got[16 * 8], need[16 * 8];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        for (int i = 0; i < 16 * K; i++)
            a[i] = bf16 ? draw_bf16() : draw_f16();
        for (int i = 0; i < 8 * K; i++)
            b[i] = bf16 ? draw_bf16() : draw_f16();
        uint16_t *da = to_device(a, sizeof a), *db = to_device(b, sizeof b);
        float *dd = device(sizeof got);
        emu_test_mma(bf16, da, db, dd, K, stream);
        from_device(got, dd, sizeof got);
        want(bf16, a, b, need, 16, 8, K);
        assert_memory_equal(got, need, sizeof got);
        GPU_SYM(rt_free)(da);
        GPU_SYM(rt_free)(db);
    }
}

/* The tile of 64 rows as wgmma computes it has the bits of the same rows by mma.sync. */
static void wgmma(void)
{
    static const int n[] = {8, 32, 64, 128, 256}, swizzle[] = {128, 64, 32, 128, 128};
    static uint16_t a[64 * K], b[ROWS_MAX * K];
    static float got[64 * ROWS_MAX], need[64 * ROWS_MAX];
    for (int c = 0; c < 5; c++) {
        for (int i = 0; i < 64 * K; i++)
            a[i] = draw_bf16();
        for (int i = 0; i < ROWS_MAX * K; i++)
            b[i] = draw_bf16();
        int k = c < 3 ? K : 64;
        uint16_t *da = to_device(a, sizeof a), *db = to_device(b, sizeof b);
        float *dd = device(sizeof got);
        emu_test_wgmma(n[c], swizzle[c], da, db, dd, k, stream);
        from_device(got, dd, sizeof got);
        want(true, a, b, need, 64, n[c], k);
        assert_memory_equal(got, need, 64 * (size_t)n[c] * 4);
        float part[16 * 8], *dp = device(sizeof part);
        emu_test_mma(true, da + 16 * k, db, dp, k, stream);
        from_device(part, dp, sizeof part);
        for (int i = 0; i < 16 * 8; i++)
            assert_memory_equal(&part[i], &got[(16 + i / 8) * n[c] + i % 8], 4);
        GPU_SYM(rt_free)(da);
        GPU_SYM(rt_free)(db);
    }
}

static void wgmma_plain(void)
{
    static uint16_t a[64 * 16], b[32 * 16];
    static float got[64 * 32], need[64 * 32];
    for (int kind = 0; kind < 3; kind++) {
        for (int i = 0; i < 64 * 16; i++)
            a[i] = draw_bf16();
        for (int i = 0; i < 32 * 16; i++)
            b[i] = draw_bf16();
        uint16_t *da = to_device(a, sizeof a), *db = to_device(b, sizeof b);
        float *dd = device(sizeof got);
        emu_test_wgmma_plain(kind, da, db, dd, stream);
        from_device(got, dd, sizeof got);
        want(true, a, b, need, 64, 32, 16);
        assert_memory_equal(got, need, sizeof got);
        GPU_SYM(rt_free)(da);
        GPU_SYM(rt_free)(db);
    }
}

static void fp8(void)
{
    static uint8_t a[64 * 128], b[32 * 128];
    static float got[64 * 32];
    for (int i = 0; i < 64 * 128; i++)
        a[i] = (uint8_t)((draw() & 1) << 7 | draw() % 0x7f);
    for (int i = 0; i < 32 * 128; i++)
        b[i] = (uint8_t)((draw() & 1) << 7 | draw() % 0x7f);
    uint8_t *da = to_device(a, sizeof a), *db = to_device(b, sizeof b);
    float *dd = device(sizeof got);
    emu_test_fp8(da, db, dd, stream);
    from_device(got, dd, sizeof got);
    for (int i = 0; i < 64 * 32; i++) {
        float c = 0;
        for (int k = 0; k < 128; k += 32) {
            emu_row x = {.special = false}, y = {.special = false};
            for (int e = 0; e < 32; e++) {
                emu_row_set(&x, e, emu_num_e4m3(a[i / 32 * 128 + k + e]));
                emu_row_set(&y, e, emu_num_e4m3(b[i % 32 * 128 + k + e]));
            }
            c = emu_dot_fp8(&x, &y, c);
        }
        assert_memory_equal(&got[i], &c, 4);
    }
    GPU_SYM(rt_free)(da);
    GPU_SYM(rt_free)(db);
}

static void boxes(void)
{
    static const int32_t at[3][4] = {{0, 0, 0, 0}, {-4, 3, 3, 2}, {8, -1, 1, 1}};
    static float from[3 * 5 * 4 * 12], to[48], raw[96], zero[48];
    for (int i = 0; i < 3 * 5 * 4 * 12; i++)
        from[i] = (float)(i + 1);
    for (int c = 0; c < 3; c++) {
        float *df = to_device(from, sizeof from), *dt = to_device(zero, sizeof zero), *dr = device(sizeof raw);
        emu_test_boxes(df, dt, dr, at[c], stream);
        from_device(raw, dr, sizeof raw);
        from_device(to, dt, sizeof to);
        for (int i = 0; i < 96; i++) {
            int x = at[c][0] + i % 8, y = at[c][1] + i / 8 % 2, z = at[c][2] + i / 16 % 3, w = at[c][3] + i / 48;
            bool in = x >= 0 && x < 12 && y >= 0 && y < 4 && z >= 0 && z < 5 && w >= 0 && w < 3;
            assert_true(raw[i] == (in ? from[((w * 5 + z) * 4 + y) * 12 + x] : 0.0f));
        }
        for (int i = 0; i < 48; i++) { // shifted by one in x and in z
            int x = i % 8 - 1, y = i / 8 % 2, z = i / 16 - 1;
            assert_true(to[i] == (x >= 0 && z >= 0 ? raw[(z * 2 + y) * 8 + x] : 0.0f));
        }
        GPU_SYM(rt_free)(df);
    }
}

static void transpose(void)
{
    uint16_t in[256], out[256];
    for (int i = 0; i < 256; i++)
        in[i] = (uint16_t)i;
    uint16_t *dev = to_device(in, sizeof in), *back = device(sizeof out);
    emu_test_transpose(dev, back, stream);
    from_device(out, back, sizeof out);
    for (int i = 0; i < 256; i++)
        assert_int_equal(out[i], i % 16 * 16 + i / 16);
    GPU_SYM(rt_free)(dev);
}

#define SCHEDULES(name)                     \
    static void test_##name(void **state)   \
    {                                       \
        (void)state;                        \
        each_schedule(name);                \
    }
SCHEDULES(mma)
SCHEDULES(transpose)
SCHEDULES(wgmma)
SCHEDULES(wgmma_plain)
SCHEDULES(fp8)
SCHEDULES(boxes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mma), cmocka_unit_test(test_transpose), cmocka_unit_test(test_wgmma),
        cmocka_unit_test(test_wgmma_plain), cmocka_unit_test(test_fp8), cmocka_unit_test(test_boxes),
    };
    int32_t cards = 0;
    if (GPU_SYM(rt_count)(&cards) != GPU_OK || cards == 0)
        return 77; // skipped: no card
    if (GPU_SYM(rt_open)(0) != GPU_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
