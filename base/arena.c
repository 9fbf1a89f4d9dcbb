#include "base/arena.h"

#include "base/check.h"
#include "base/err.h"
#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_MIN = 16 << 10, ALIGN = 16, CARVE_ALIGN = 64 };

struct td_arena_chunk {
    td_arena_chunk *next;
    size_t used, cap;
    _Alignas(ALIGN) char data[];
};

void *td_alloc(size_t bytes)
{
    return td_fault_hit(TD_FAULT_ALLOC) ? NULL : calloc(1, bytes ? bytes : 1);
}

void *td_realloc(void *p, size_t bytes)
{
    return td_fault_hit(TD_FAULT_ALLOC) ? NULL : realloc(p, bytes ? bytes : 1);
}

void td_free(void *p) { free(p); }

void td_arena_init(td_arena *a, size_t cap_bytes) { *a = (td_arena){.cap_bytes = cap_bytes}; }

void td_arena_free(td_arena *a)
{
    while (a->head) {
        td_arena_chunk *next = a->head->next;
        td_free(a->head);
        a->head = next;
    }
    a->used_bytes = 0;
}

void *td_arena_alloc(td_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = td_align_up(bytes ? bytes : 1, ALIGN);
    if (a->cap_bytes && bytes > a->cap_bytes - TD_MIN(a->used_bytes, a->cap_bytes))
        return NULL;
    td_arena_chunk *c = a->head;
    if (!c || c->cap - c->used < bytes) {
        // Doubling keeps the number of chunks logarithmic in what a request needs.
        size_t cap = TD_MAX(bytes, TD_MAX((size_t)CHUNK_MIN, TD_MIN(a->used_bytes, (size_t)4 << 20)));
        c = td_alloc(sizeof *c + cap);
        if (!c)
            return NULL;
        c->cap = cap;
        c->next = a->head;
        a->head = c;
    }
    void *p = c->data + c->used;
    c->used += bytes;
    a->used_bytes += bytes;
    return p;
}

void *td_arena_calloc(td_arena *a, size_t count, size_t size)
{
    size_t bytes;
    return td_size_mul_ok(count, size, &bytes) ? td_arena_alloc(a, bytes) : NULL;
}

char *td_arena_strndup(td_arena *a, const char *s, size_t len)
{
    char *p = td_arena_alloc(a, len + 1);
    if (p && len)
        memcpy(p, s, len);
    return p;
}

void *td_carve_take(td_carve *c, size_t count, size_t size)
{
    size_t bytes;
    td_assert(td_size_mul_ok(count, size, &bytes));
    size_t off = td_align_up(c->off, CARVE_ALIGN);
    c->off = off + bytes;
    if (!c->base)
        return NULL;
    td_assert(c->off <= c->cap);
    return c->base + off;
}
