/* copy.c - cp.async: a copy that nobody may look at before its thread waited. At issue the destination becomes NaN
 * bytes and is marked as in flight; the bytes arrive at the wait. */
#include "kernels/emu/int.h"

#include "base/arena.h"
#include "base/err.h"

#include <string.h>

void emu_cp_async(void *shared, const void *global, uint32_t bytes, uint32_t from_src, const char *file, int line)
{
    emu_enter("td_cp_async", file, line);
    emu_fiber *f = emu_cur;
    const uint8_t *at = shared;
    if ((uintptr_t)shared % bytes || (uintptr_t)global % bytes)
        emu_fail("misaligned", "cp.async of %u bytes from an address %% 16 = %u to one %% 16 = %u", bytes,
                 (unsigned)((uintptr_t)global % 16), (unsigned)((uintptr_t)shared % 16));
    if (at < f->block->smem || at + bytes > f->block->smem + f->block->smem_bytes)
        emu_fail("out of bounds", "cp.async to an address that is not in the block's shared memory");
    if (from_src > bytes)
        emu_fail("out of bounds", "cp.async reads %u bytes to write %u", from_src, bytes);
    if (from_src)
        emu_access(global, from_src, false, EMU_ACC_PLAIN, NULL);
    emu_access(shared, bytes, true, EMU_ACC_ISSUE, NULL);
    memset(shared, 0xff, bytes);
    emu_in_flight(shared, bytes, EMU_IN_FLIGHT_CP_ASYNC);
    if (f->copy_count == f->copy_cap) {
        f->copy_cap = f->copy_cap * 2 + 16;
        f->copies = emu_realloc(f->copies, f->copy_cap * sizeof *f->copies);
    }
    f->copies[f->copy_count++] = (emu_copy){.dst = shared, .src = global, .bytes = (uint16_t)bytes,
                                            .from_src = (uint16_t)from_src, .batch = f->copy_batch};
}

void emu_cp_async_commit(const char *file, int line)
{
    emu_enter("td_cp_async_commit", file, line);
    emu_cur->copy_batch++;
}

static void deliver(const emu_copy *c)
{
    emu_in_flight(c->dst, c->bytes, EMU_IN_FLIGHT_NONE);
    emu_access(c->dst, c->bytes, true, EMU_ACC_DELIVER, NULL);
    memcpy(c->dst, c->src, c->from_src);
    memset(c->dst + c->from_src, 0, (size_t)c->bytes - c->from_src);
}

/* Waits until at most `newest` committed groups are in flight. */
void emu_cp_async_wait(uint32_t newest, const char *file, int line)
{
    emu_enter("td_cp_async_wait", file, line);
    emu_fiber *f = emu_cur;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->copy_count; i++)
        if (f->copies[i].batch + newest < f->copy_batch)
            deliver(&f->copies[i]);
        else
            f->copies[kept++] = f->copies[i];
    f->copy_count = kept;
}
