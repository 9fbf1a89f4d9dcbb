/* tensor.c - mma.sync, ldmatrix and stmatrix: fragments gathered from the lanes, and put back. */
#include "kernels/emu/dot.h"
#include "kernels/emu/int.h"

#include <string.h>

typedef struct mma_req {
    float *d;          // [4], also c
    const uint32_t *a; // [4]
    const uint32_t *b; // [2]
    bool bf16;
} mma_req;

static emu_num half_of(uint32_t pair, int odd, bool bf16)
{
    uint16_t bits = (uint16_t)(odd ? pair >> 16 : pair);
    return bf16 ? emu_num_bf16(bits) : emu_num_f16(bits);
}

/* Lane 4g + t holds rows g and g + 8 of A and D, columns 2t, 2t + 1 (and + 8 of A); of B, column g, k = 2t ... */
static void mma_lanes(void **req, uint32_t mask)
{
    emu_row a[16], b[8];
    if (mask != 0xffffffffu)
        emu_fail("missing lane", "mma.sync with mask 0x%08x: it takes the whole warp", mask);
    for (int i = 0; i < 16; i++)
        a[i].special = b[i % 8].special = false;
    for (int l = 0; l < EMU_WARP; l++) {
        const mma_req *r = req[l];
        int g = l / 4, t = l % 4;
        for (int i = 0; i < 4; i++)
            for (int odd = 0; odd < 2; odd++)
                emu_row_set(&a[g + i % 2 * 8], t * 2 + i / 2 * 8 + odd, half_of(r->a[i], odd, r->bf16));
        for (int i = 0; i < 2; i++)
            for (int odd = 0; odd < 2; odd++)
                emu_row_set(&b[g], t * 2 + i * 8 + odd, half_of(r->b[i], odd, r->bf16));
    }
    for (int l = 0; l < EMU_WARP; l++) {
        const mma_req *r = req[l];
        for (int i = 0; i < 4; i++)
            r->d[i] = emu_dot_half(&a[l / 4 + i / 2 * 8], &b[l % 4 * 2 + i % 2], r->d[i]);
    }
}

void emu_mma_16816(float *d, const uint32_t *a, const uint32_t *b, bool bf16, const char *file, int line)
{
    mma_req r = {.d = d, .a = a, .b = b, .bf16 = bf16};
    emu_meet(mma_lanes, 0xffffffffu, &r, bf16 ? "td_mma_bf16_16816" : "td_mma_f16_16816", file, line);
}

typedef struct matrix_req {
    uint32_t *r;
    void *row; // 16 bytes of shared memory
    int32_t count;
    bool trans, store;
} matrix_req;

static void row_access(uint32_t lane, const matrix_req *r)
{
    emu_fiber *me = emu_cur;
    emu_cur = me->block->fibers[me->warp * EMU_WARP + lane];
    const uint8_t *at = r->row;
    if ((uintptr_t)at % 16)
        emu_fail("misaligned", "a matrix row at an address %% 16 = %u", (unsigned)((uintptr_t)at % 16));
    if (at < me->block->smem || at >= me->block->smem + EMU_SMEM_MAX)
        emu_fail("out of bounds", "a matrix row that is not in the block's shared memory");
    emu_access(at, 16, r->store, EMU_ACC_PLAIN, NULL);
    emu_cur = me;
}

/* Matrix i has its eight row addresses in lanes 8i ... 8i + 7; lane 4g + t holds its elements (g, 2t) and (g, 2t + 1),
 * transposed (2t, g) and (2t + 1, g). */
static void matrix_lanes(void **req, uint32_t mask)
{
    const matrix_req *first = req[0];
    if (mask != 0xffffffffu)
        emu_fail("missing lane", "a matrix load or store with mask 0x%08x: it takes the whole warp", mask);
    for (int i = 0; i < first->count; i++) {
        for (int l = 0; l < 8; l++)
            row_access((uint32_t)(8 * i + l), req[8 * i + l]);
        for (int l = 0; l < EMU_WARP; l++)
            for (int odd = 0; odd < 2; odd++) {
                const matrix_req *me = req[l];
                int row = me->trans ? l % 4 * 2 + odd : l / 4, col = me->trans ? l / 4 : l % 4 * 2 + odd;
                uint8_t *at = (uint8_t *)((const matrix_req *)req[8 * i + row])->row + 2 * col;
                uint8_t *reg = (uint8_t *)&me->r[i] + 2 * odd;
                memcpy(me->store ? at : reg, me->store ? reg : at, 2);
            }
    }
}

void emu_matrix(uint32_t *r, void *row, int32_t count, bool trans, bool store, const char *file, int line)
{
    matrix_req q = {.r = r, .row = row, .count = count, .trans = trans, .store = store};
    emu_meet(matrix_lanes, 0xffffffffu, &q, store ? "td_stmatrix" : "td_ldmatrix", file, line);
}
