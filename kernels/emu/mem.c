/* mem.c - device and pinned memory: allocations with red zones, in one sorted table that every access is looked up in.
 * Device memory begins as NaN bytes, so that what nobody wrote does not pass for a value. Under the lock of rt.c. */
#include "kernels/emu/int.h"

#include "base/check.h"
#include "base/err.h"
#include "base/fault.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { ALIGN = 256, ZONE = 256 };
static const size_t device_bytes_max = (size_t)16 << 30;

static emu_region *regions; // sorted by lo
static size_t region_count, region_cap, device_used;

static size_t index_of(const void *at) // the first region that begins after `at`
{
    size_t lo = 0, hi = region_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((const uint8_t *)at < regions[mid].lo)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

void *emu_alloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    td_assert(p);
    return p;
}

void *emu_realloc(void *old, size_t bytes)
{
    void *p = realloc(old, bytes);
    td_assert(p);
    return p;
}

static emu_cell *shadow_map(size_t bytes)
{
    void *p = mmap(NULL, (bytes + 3) / 4 * sizeof(emu_cell), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void insert(emu_region r)
{
    if (region_count == region_cap) {
        region_cap = region_cap * 2 + 64;
        regions = emu_realloc(regions, region_cap * sizeof *regions);
    }
    size_t at = index_of(r.lo);
    memmove(&regions[at + 1], &regions[at], (region_count - at) * sizeof *regions);
    regions[at] = r;
    region_count++;
}

void *emu_mem_alloc(size_t bytes, bool device)
{
    size_t total;
    bool fits = td_size_add_ok(bytes, ALIGN + 2 * ZONE, &total) && (!device || bytes <= device_bytes_max - device_used);
    if (bytes == 0 || !fits || td_fault_hit(TD_FAULT_ALLOC))
        return NULL;
    uint8_t *block = malloc(total);
    emu_region r = {.device = device, .block = block};
    if (block) {
        r.lo = (uint8_t *)td_align_up((uintptr_t)block + ZONE, ALIGN);
        r.hi = r.lo + bytes;
        ASAN_POISON_MEMORY_REGION(block, (size_t)(r.lo - block));
        ASAN_POISON_MEMORY_REGION(r.hi, (size_t)(block + total - r.hi));
        r.shadow = device && emu_has_checks() ? shadow_map(bytes) : NULL;
        memset(r.lo, 0xff, bytes);
        insert(r);
        device_used += device ? bytes : 0;
    }
    return block ? r.lo : NULL;
}

bool emu_mem_free(void *p, bool device)
{
    size_t at = index_of(p);
    bool found = at > 0 && regions[at - 1].lo == p && regions[at - 1].device == device;
    if (found) {
        emu_region r = regions[at - 1];
        size_t bytes = (size_t)(r.hi - r.lo);
        memmove(&regions[at - 1], &regions[at], (region_count - at) * sizeof *regions);
        region_count--;
        device_used -= device ? bytes : 0;
        if (r.shadow)
            munmap(r.shadow, (bytes + 3) / 4 * sizeof(emu_cell));
        ASAN_UNPOISON_MEMORY_REGION(r.block, bytes + ALIGN + 2 * ZONE);
        free(r.block);
    }
    return found;
}

emu_region *emu_mem_find(const void *at)
{
    static _Thread_local size_t last;
    size_t i = last;
    if (i < region_count && (const uint8_t *)at >= regions[i].lo && (const uint8_t *)at < regions[i].hi)
        return &regions[i];
    i = index_of(at);
    if (i == 0 || (const uint8_t *)at >= regions[i - 1].hi)
        return NULL;
    last = i - 1;
    return &regions[i - 1];
}

size_t emu_mem_used(void) { return device_used; }
