/* arena.h - memory by lifetime: process, request, step.
 *
 * td_arena grows by chunks and is freed at once; what it hands out is zeroed and aligned to 16 bytes. It belongs to
 * one thread at a time. Allocation fails with NULL only when the system has no memory or the arena's cap is reached.
 *
 * td_carve places arrays in one block whose size was counted by the same code: with base == NULL it only counts, so
 * `run_layout(&counting)` and `run_layout(&binding)` cannot disagree. */
#ifndef TD_BASE_ARENA_H
#define TD_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

typedef struct td_arena_chunk td_arena_chunk;
typedef struct td_arena {
    td_arena_chunk *head;
    size_t used_bytes; // handed out, over all chunks
    size_t cap_bytes;  // refuse beyond this; 0 = no cap
} td_arena;

void td_arena_init(td_arena *a, size_t cap_bytes);
void td_arena_free(td_arena *a); // back to the state after init; harmless twice
void *td_arena_alloc(td_arena *a, size_t bytes);
void *td_arena_calloc(td_arena *a, size_t count, size_t size); // checked product
char *td_arena_strndup(td_arena *a, const char *s, size_t len); // adds a NUL

typedef struct td_carve {
    char *base;      // NULL: count only
    size_t off;      // bytes placed so far
    size_t cap;      // bytes at base; asserted
} td_carve;

/* Next `count` objects of `size` bytes, aligned to 64; NULL while counting. */
void *td_carve_take(td_carve *c, size_t count, size_t size);

/* Memory from the system, through the fault seam. td_alloc zeroes. */
void *td_alloc(size_t bytes);
void *td_realloc(void *p, size_t bytes);
void td_free(void *p);

#endif
