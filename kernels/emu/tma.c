/* tma.c - bulk copies: plain ones, and boxes of a tensor by its map, with swizzle and fill outside the tensor. */
#include "kernels/emu/async.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"

#include <string.h>

enum { BOX_MAX = 256 };
static const uint64_t map_magic = 0x70616d5f756d65ull;

/* The 16-byte column of a row is exchanged by XOR with the row's number in its 8 rows (4 of 64 bytes, 2 of 32): bits of
 * the address itself, so a tile repeats every 1024 (512, 256) bytes. */
uint32_t emu_swizzle(uint32_t off, uint32_t swizzle_bytes)
{
    uint32_t columns = swizzle_bytes / 16;
    return columns ? off ^ ((off >> 7 & (columns - 1)) << 4) : off;
}

int32_t emu_rt_tensor_map(gpu_tensor_map *out, const gpu_tensor_desc *d)
{
    _Static_assert(sizeof(emu_tensor_map) <= sizeof(gpu_tensor_map), "the record fits");
    bool ok = d->rank >= 1 && d->rank <= EMU_DIMS_MAX && (uintptr_t)d->base % 16 == 0 &&
              (d->elem_bytes == 1 || d->elem_bytes == 2 || d->elem_bytes == 4) &&
              (d->swizzle_bytes == 0 || d->swizzle_bytes == 32 || d->swizzle_bytes == 64 || d->swizzle_bytes == 128);
    emu_tensor_map m = {.magic = map_magic, .base = d->base, .rank = (uint8_t)d->rank,
                        .elem_bytes = (uint8_t)d->elem_bytes, .swizzle_bytes = (uint8_t)d->swizzle_bytes};
    for (int i = 0; ok && i < d->rank; i++) {
        m.dim[i] = d->dim[i];
        m.box[i] = (uint16_t)d->box[i];
        ok = d->dim[i] >= 1 && d->box[i] >= 1 && d->box[i] <= BOX_MAX &&
             (i == 0 || (d->stride[i] % 16 == 0 && d->stride[i] > 0 && d->stride[i] < (uint64_t)1 << 40));
        if (i)
            m.stride[i - 1] = d->stride[i];
    }
    uint32_t inner = ok ? d->box[0] * (uint32_t)d->elem_bytes : 0;
    ok = ok && inner % 16 == 0 && (m.swizzle_bytes == 0 || inner <= m.swizzle_bytes);
    if (!ok)
        return GPU_E_INVALID;
    memset(out, 0, sizeof *out);
    memcpy(out, &m, sizeof m);
    return GPU_OK;
}

/* Calls move() for each row of the box: shared bytes at `shared`, `global` NULL where the row is outside. */
typedef void (*move_fn)(uint8_t *shared, uint8_t *global, uint32_t bytes);

static void row(const emu_transfer *t, uint32_t number, move_fn move)
{
    const emu_tensor_map *m = &t->map;
    uint32_t row_bytes = (uint32_t)m->box[0] * m->elem_bytes, rest = number;
    int64_t off = 0;
    bool inside = true;
    for (int d = 1; d < m->rank; d++) {
        int64_t c = t->at[d] + (int64_t)(rest % m->box[d]);
        rest /= m->box[d];
        inside = inside && c >= 0 && c < m->dim[d];
        off += c * (int64_t)m->stride[d - 1];
    }
    const uint8_t *zero = emu_cur->block->smem;
    for (uint32_t b = 0; b < row_bytes; b += 16) {
        uint32_t from = (uint32_t)(t->shared - zero) + number * row_bytes + b;
        uint8_t *shared = emu_cur->block->smem + emu_swizzle(from, m->swizzle_bytes);
        for (uint32_t e = 0; e < 16; e += m->elem_bytes) {
            int64_t x = t->at[0] + (int64_t)((b + e) / m->elem_bytes);
            bool in = inside && x >= 0 && x < m->dim[0];
            move(shared + e, in ? m->base + off + x * m->elem_bytes : NULL, m->elem_bytes);
        }
    }
}

static void load(uint8_t *shared, uint8_t *global, uint32_t bytes)
{
    emu_access(shared, bytes, true, EMU_ACC_BULK, NULL);
    if (!global) {
        memset(shared, 0, bytes);
        return;
    }
    emu_access(global, bytes, false, EMU_ACC_PLAIN, NULL);
    memcpy(shared, global, bytes);
}

static void store(uint8_t *shared, uint8_t *global, uint32_t bytes)
{
    if (!global)
        return;
    emu_access(global, bytes, true, EMU_ACC_PLAIN, NULL);
    memcpy(global, shared, bytes);
}

void emu_transfer_run(emu_transfer *t)
{
    move_fn move = t->store ? store : load;
    if (!t->store)
        emu_in_flight(t->shared, t->bytes, EMU_IN_FLIGHT_NONE);
    if (t->global) {
        for (uint32_t b = 0; b < t->bytes; b += 16)
            move(t->shared + b, t->global + b, 16);
        return;
    }
    uint32_t rows = t->bytes / ((uint32_t)t->map.box[0] * t->map.elem_bytes);
    for (uint32_t r = 0; r < rows; r++)
        row(t, r, move);
    if (!t->store)
        emu_tile_mark(t->shared, t->bytes, t->map.swizzle_bytes);
}

static void append(emu_transfer *t)
{
    emu_transfer **end = &emu_cur->block->transfers;
    while (*end)
        end = &(*end)->next;
    *end = t;
}

static void check_shared(const emu_transfer *t, uint32_t align)
{
    const emu_block *b = emu_cur->block;
    if (t->shared < b->smem || t->shared + t->bytes > b->smem + b->smem_bytes)
        emu_fail("out of bounds", "a bulk copy of %u bytes at offset %td of shared memory of %zu bytes", t->bytes,
                 t->shared - b->smem, b->smem_bytes);
    if ((uintptr_t)t->shared % align)
        emu_fail("misaligned", "a bulk copy at offset %td of shared memory: a multiple of %u", t->shared - b->smem,
                 align);
}

static emu_transfer *transfer_new(void *shared, bool is_store, const char *what, const char *file, int line)
{
    emu_enter(what, file, line);
    emu_transfer *t = emu_alloc(sizeof *t);
    t->fiber = emu_cur;
    t->file = file;
    t->line = line;
    t->shared = shared;
    t->store = is_store;
    t->batch = emu_cur->bulk_batch;
    return t;
}

/* From here on the destination is nobody's (load), or the source must stay as it is (store). */
static void issue(emu_transfer *t, void *bar)
{
    if (t->store) {
        emu_access(t->shared, t->bytes, false, EMU_ACC_ASYNC, NULL);
    } else {
        t->mbar = emu_mbar_of(bar);
        emu_access(t->shared, t->bytes, true, EMU_ACC_ISSUE, NULL);
        memset(t->shared, 0xff, t->bytes);
        emu_in_flight(t->shared, t->bytes, EMU_IN_FLIGHT_BULK);
    }
    t->clock = emu_cur->clock++;
    append(t);
}

static void by_map(emu_transfer *t, const void *map, uint32_t rank, const int32_t *at)
{
    memcpy(&t->map, map, sizeof t->map);
    if (t->map.magic != map_magic)
        emu_fail("tensor copy", "the tensor map is not one that rt_tensor_map made");
    if (t->map.rank != rank)
        emu_fail("tensor copy", "a map of %u dimensions in a copy of %u", t->map.rank, rank);
    t->bytes = t->map.elem_bytes;
    for (uint32_t d = 0; d < rank; d++) {
        t->at[d] = at[d];
        t->bytes *= t->map.box[d];
        if (at[d] >= (int64_t)t->map.dim[d] || (int64_t)at[d] + t->map.box[d] <= 0)
            emu_fail("tensor copy", "the box begins at %d of dimension %u, which has %u elements: all of it is outside",
                     at[d], d, t->map.dim[d]);
    }
    check_shared(t, t->map.swizzle_bytes ? t->map.swizzle_bytes * 8u : 128);
}

void emu_tma_load(void *shared, const void *map, void *bar, uint32_t rank, const int32_t *at, const char *file,
                  int line)
{
    emu_transfer *t = transfer_new(shared, false, "td_tma_load", file, line);
    by_map(t, map, rank, at);
    issue(t, bar);
}

void emu_tma_store(const void *map, void *shared, uint32_t rank, const int32_t *at, const char *file, int line)
{
    emu_transfer *t = transfer_new(shared, true, "td_tma_store", file, line);
    by_map(t, map, rank, at);
    issue(t, NULL);
}

static void plain(emu_transfer *t, void *global, uint32_t bytes)
{
    t->global = global;
    t->bytes = bytes;
    if (bytes == 0 || bytes % 16 || (uintptr_t)global % 16)
        emu_fail("misaligned", "a bulk copy of %u bytes, global address %% 16 = %u: both are multiples of 16", bytes,
                 (unsigned)((uintptr_t)global % 16));
    check_shared(t, 16);
}

void emu_bulk_load(void *shared, const void *global, uint32_t bytes, void *bar, const char *file, int line)
{
    emu_transfer *t = transfer_new(shared, false, "td_bulk_load", file, line);
    plain(t, (void *)(uintptr_t)global, bytes);
    issue(t, bar);
}

void emu_bulk_store(void *global, void *shared, uint32_t bytes, const char *file, int line)
{
    emu_transfer *t = transfer_new(shared, true, "td_bulk_store", file, line);
    plain(t, global, bytes);
    issue(t, NULL);
}

void emu_bulk_commit(const char *file, int line)
{
    emu_enter("td_bulk_commit", file, line);
    emu_cur->bulk_batch++;
}

/* Until at most `newest` of the thread's groups of stores are under way. */
void emu_bulk_wait(uint32_t newest, const char *file, int line)
{
    emu_enter("td_bulk_wait", file, line);
    for (emu_transfer **p = &emu_cur->block->transfers; *p;) {
        emu_transfer *t = *p;
        if (!t->store || t->fiber != emu_cur || t->batch + newest >= emu_cur->bulk_batch) {
            p = &t->next;
            continue;
        }
        emu_transfer_run(t);
        emu_access(t->shared, t->bytes, false, EMU_ACC_ASYNC, NULL); // the source may change from now on
        *p = t->next;
        td_free(t);
    }
}
