/* hooks.c - what the compiler calls before each memory access of a kernel (-fsanitize=thread without its runtime) and
 * where alignment is wrong (-fsanitize=alignment likewise). They look only inside kernels. This file is empty in builds
 * whose sanitizer has these names for itself. */
#include "kernels/emu/int.h"

#include <stdio.h>
#include <string.h>

#ifdef TD_EMU_HOOKS
#define PC __builtin_return_address(0)
#define HOOK(name, bytes, write)                                   \
    void name(void *at);                                           \
    __attribute__((visibility("default"))) void name(void *at)     \
    {                                                              \
        if (emu_checking && emu_cur)                               \
            emu_access(at, bytes, write, EMU_ACC_PLAIN, PC);       \
    }
#define HOOKS(bytes)                              \
    HOOK(__tsan_read##bytes, bytes, false)        \
    HOOK(__tsan_write##bytes, bytes, true)        \
    HOOK(__tsan_volatile_read##bytes, bytes, false) \
    HOOK(__tsan_volatile_write##bytes, bytes, true)
#define HOOKS_UNALIGNED(bytes)                         \
    HOOK(__tsan_unaligned_read##bytes, bytes, false)   \
    HOOK(__tsan_unaligned_write##bytes, bytes, true)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
HOOKS_UNALIGNED(2)
HOOKS_UNALIGNED(4)
HOOKS_UNALIGNED(8)
HOOKS_UNALIGNED(16)

void __tsan_read_range(void *at, size_t bytes);
void __tsan_read_range(void *at, size_t bytes)
{
    if (emu_checking && emu_cur)
        emu_access(at, bytes, false, EMU_ACC_PLAIN, PC);
}

void __tsan_write_range(void *at, size_t bytes);
void __tsan_write_range(void *at, size_t bytes)
{
    if (emu_checking && emu_cur)
        emu_access(at, bytes, true, EMU_ACC_PLAIN, PC);
}

void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_vptr_update(void **at, void *value);
void __tsan_vptr_update(void **at, void *value)
{
    (void)at;
    (void)value;
}

/* What the compiler says of an access through a pointer that is not aligned for its type. */
typedef struct mismatch {
    const char *file;
    uint32_t line, column;
    const void *type;
    uint8_t log_align, kind;
} mismatch;

void __ubsan_handle_type_mismatch_v1(mismatch *m, uintptr_t at);
void __ubsan_handle_type_mismatch_v1(mismatch *m, uintptr_t at)
{
    if (!emu_checking || !emu_cur)
        return;
    emu_cur->file = strrchr(m->file, '/') ? strrchr(m->file, '/') + 1 : m->file;
    emu_cur->line = (int)m->line;
    if (at == 0)
        emu_fail("out of bounds", "an access through a null pointer");
    emu_fail("misaligned", "an access that needs alignment %u at an address %% 16 = %u", 1u << m->log_align,
             (unsigned)(at % 16));
}
#endif
