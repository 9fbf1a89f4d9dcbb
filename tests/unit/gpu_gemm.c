/* The two kernels of bf16 products, wgmma and mma.sync, give the same bits: over tiles of every number of tokens, two
 * chunks that meet inside a tile, several parts and GLUs, under the emulator's three orders. */
#include "kernels/cuda/gemm.h"
#include "kernels/emu/emu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

typedef struct shape {
    int32_t rows, cols, toks, steps; // steps of 16 columns in the first chunk, 0: one chunk
    bool glu;
} shape;

static gpu_stream stream;
static uint32_t draw = 1;

/* Random bf16 of either sign, exponents of 2^-8 to 1. */
static void *noise(size_t bytes)
{
    void *host, *dev;
    assert_int_equal(emu_rt_host_alloc(bytes, &host), 0);
    assert_int_equal(emu_rt_malloc(bytes, &dev), 0);
    for (size_t i = 0; i < bytes / 2; i++) {
        draw = draw * 1664525u + 1013904223u;
        ((uint16_t *)host)[i] = (uint16_t)((draw & 0x8000) | (119 + (draw >> 16 & 7)) << 7 | (draw >> 20 & 127));
    }
    assert_int_equal(emu_rt_copy_h2d(dev, host, bytes, stream), 0);
    assert_int_equal(emu_rt_stream_sync(stream), 0);
    emu_rt_host_free(host);
    return dev;
}

static float *run(gemm_call *c, size_t outs, bool wgmma)
{
    void *dev, *host;
    assert_int_equal(emu_rt_malloc(outs * 4, &dev), 0);
    assert_int_equal(emu_rt_host_alloc(outs * 4, &host), 0);
    assert_int_equal(emu_rt_memset(dev, 0, outs * 4, stream), 0);
    for (int i = 0; i < c->part_count; i++)
        c->part[i].end.out = (float *)dev + (c->glu ? 0 : i * c->part[0].rows);
    if (wgmma)
        emu_gemm_wgmma(c, stream);
    else
        emu_gemm_mma(c, stream);
    assert_int_equal(emu_rt_last_error(), 0);
    assert_int_equal(emu_rt_copy_d2h(host, dev, outs * 4, stream), 0);
    assert_int_equal(emu_rt_stream_sync(stream), 0);
    emu_rt_free(dev);
    return host;
}

static void compare(const shape *s)
{
    int parts = s->glu ? 2 : 3;
    void *act = noise((size_t)gemm_tiles(s->cols) * (size_t)s->toks * GEMM_LINE_BYTES), *w[3];
    size_t outs = (size_t)s->toks * (size_t)(3 * s->rows);
    gemm_call c = {.glu = s->glu, .act = act, .tok_count = s->toks, .cols = s->cols, .part_count = parts};
    for (int i = 0; i < parts; i++) {
        w[i] = noise(gemm_weight_bytes(s->rows, s->cols));
        c.part[i] = (gemm_part){.w = w[i], .end = {.kind = s->glu && i == 0 ? GF_SILU_GATE : GF_STORE,
                                                   .out_stride = 3 * s->rows},
                                .rows = s->rows, .panel0 = c.panels, .chunk_steps = s->steps};
        c.panels += s->glu && i ? 0 : gemm_panels(s->rows);
    }
    float *mma = run(&c, outs, false), *wgmma = run(&c, outs, true);
    assert_memory_equal(mma, wgmma, outs * 4);
    emu_rt_host_free(mma);
    emu_rt_host_free(wgmma);
    emu_rt_free(act);
    for (int i = 0; i < parts; i++)
        emu_rt_free(w[i]);
}

static void same_bits(void **state)
{
    static const shape shapes[] = {{64, 64, 1, 0, false},   {70, 96, 9, 3, false},   {33, 576, 20, 18, false},
                                   {100, 160, 40, 5, true}, {65, 2080, 70, 65, true}, {300, 128, 129, 4, false}};
    static const emu_order orders[] = {EMU_FORWARD, EMU_REVERSE, EMU_RANDOM};
    (void)state;
    for (size_t o = 0; o < sizeof orders / sizeof *orders; o++) {
        emu_set_schedule(orders[o], 7);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            compare(&shapes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits)};
    if (emu_rt_open(0) != 0 || emu_rt_stream_create(&stream) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
