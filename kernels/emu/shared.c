/* shared.c - shared memory of blocks. Buffers are kept by their worker, with their shadow: epochs never repeat on a
 * worker, so what an earlier block left in the shadow is older than anything and needs no clearing. */
#include "kernels/emu/shared.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"

#include <string.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#endif

typedef struct emu_smem_buf {
    struct emu_smem_buf *next;
    uint8_t *map; // red zone, memory, red zone
    emu_cell *shadow;
} emu_smem_buf;

enum { MAP_BYTES = EMU_SMEM_MAX + 1024 + 2 * EMU_RED_ZONE };

static void *map_zero(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    td_assert(p != MAP_FAILED);
    return p;
}

void emu_smem_open(emu_block *b, size_t bytes)
{
    emu_worker *w = b->group->worker;
    emu_smem_buf *s = w->free_smem;
    if (s) {
        w->free_smem = s->next;
    } else {
        s = emu_alloc(sizeof *s);
        s->map = map_zero(MAP_BYTES);
        s->shadow = map_zero((EMU_SMEM_MAX + 4) / 4 * sizeof(emu_cell));
    }
    b->smem_buf = s;
    b->smem = s->map + EMU_RED_ZONE;
    b->shadow = s->shadow;
    b->smem_bytes = bytes;
#ifdef EMU_ASAN
    ASAN_POISON_MEMORY_REGION(s->map, MAP_BYTES);
    ASAN_UNPOISON_MEMORY_REGION(b->smem, bytes);
#endif
    memset(b->smem, 0xff, bytes);
}

void emu_smem_close(emu_block *b)
{
    b->smem_buf->next = b->group->worker->free_smem;
    b->group->worker->free_smem = b->smem_buf;
}

unsigned emu_float_begin(void)
{
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(0x9fc0);
    return before;
#else
    return 0;
#endif
}

void emu_float_end(unsigned before)
{
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}
