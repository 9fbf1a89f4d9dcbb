/* atomic.c - atomic operations and what else one thread does alone. They are real host atomics, since blocks may run on
 * several OS threads; the detector is told that they are. */
#include "kernels/emu/int.h"

#include "base/err.h"

#include <string.h>

static const emu_launch_op *op_now(void) { return emu_cur->block->group->op; }
static emu_uint3 triple(const uint32_t *v) { return (emu_uint3){v[0], v[1], v[2]}; }

static void in_kernel(void)
{
    if (!emu_cur)
        td_bug("a device function was called outside a kernel", __FILE__, __LINE__);
}

emu_uint3 emu_thread_idx(void) { return in_kernel(), triple(emu_cur->idx); }
emu_uint3 emu_block_idx(void) { return in_kernel(), triple(emu_cur->block->idx); }
emu_uint3 emu_block_dim(void) { return in_kernel(), triple(op_now()->block); }
emu_uint3 emu_grid_dim(void) { return in_kernel(), triple(op_now()->grid); }
void *emu_smem_base(void) { return in_kernel(), emu_cur->block->smem; }

static uint32_t next32(int32_t op, uint32_t old, uint32_t v)
{
    float a, b;
    switch (op) {
    case EMU_ADD: return old + v;
    case EMU_MAX_S: return (int32_t)old > (int32_t)v ? old : v;
    case EMU_MIN_S: return (int32_t)old < (int32_t)v ? old : v;
    case EMU_MAX_U: return old > v ? old : v;
    case EMU_MIN_U: return old < v ? old : v;
    case EMU_OR: return old | v;
    case EMU_AND: return old & v;
    case EMU_XOR: return old ^ v;
    case EMU_LOAD: return old;
    case EMU_ADD_F32:
        memcpy(&a, &old, 4);
        memcpy(&b, &v, 4);
        a += b;
        memcpy(&old, &a, 4);
        return old;
    default: return v;
    }
}

static uint64_t next64(int32_t op, uint64_t old, uint64_t v)
{
    switch (op) {
    case EMU_ADD: return old + v;
    case EMU_MAX_U: return old > v ? old : v;
    case EMU_MIN_U: return old < v ? old : v;
    case EMU_OR: return old | v;
    case EMU_AND: return old & v;
    case EMU_XOR: return old ^ v;
    case EMU_LOAD: return old;
    default: return v;
    }
}

static void check(const void *at, size_t bytes, int32_t op, const char *file, int line)
{
    emu_enter("an atomic operation", file, line);
    if ((uintptr_t)at % bytes)
        emu_fail("misaligned", "an atomic operation of %zu bytes at an address %% %zu = %zu", bytes, bytes,
                 (size_t)((uintptr_t)at % bytes));
    emu_access(at, bytes, op != EMU_LOAD, EMU_ACC_ATOMIC, NULL);
    emu_release_fenced(emu_cur, at, op != EMU_LOAD);
}

static void polled(uint64_t value)
{
    emu_poll(value == emu_cur->polled);
    emu_cur->polled = value;
}

uint32_t emu_atomic32(int32_t op, void *at, uint32_t value, uint32_t compare, const char *file, int line)
{
    check(at, 4, op, file, line);
    uint32_t *p = at, old = __atomic_load_n(p, __ATOMIC_RELAXED), new;
    do {
        if (op == EMU_CAS && old != compare)
            break;
        new = next32(op, old, value);
    } while (!__atomic_compare_exchange_n(p, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    if (op == EMU_LOAD || (op == EMU_CAS && old != compare))
        polled(old);
    return old;
}

uint64_t emu_atomic64(int32_t op, void *at, uint64_t value, uint64_t compare, const char *file, int line)
{
    check(at, 8, op, file, line);
    uint64_t *p = at, old = __atomic_load_n(p, __ATOMIC_RELAXED), new;
    do {
        if (op == EMU_CAS && old != compare)
            break;
        new = next64(op, old, value);
    } while (!__atomic_compare_exchange_n(p, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    if (op == EMU_LOAD || (op == EMU_CAS && old != compare))
        polled(old);
    return old;
}

void emu_threadfence(const char *file, int line)
{
    emu_enter("__threadfence", file, line);
    emu_cur->fenced = true;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void emu_threadfence_block(const char *file, int line) { emu_enter("__threadfence_block", file, line); }
