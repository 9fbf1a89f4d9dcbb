#include "kernels/cpu/mem.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/err.h"
#include "base/fault.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEM_PLAIN 1 // the sanitizer should see every piece
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_PLAIN 1
#endif
#endif
#ifndef MEM_PLAIN
#define MEM_PLAIN 0
#endif

enum { PAGE = 4096 };
static const size_t huge_bytes = 2u << 20, chunk_bytes = 16u << 20;

typedef struct chunk {
    struct chunk *next;
    char *base;
    size_t used, live; // bytes cut off; pieces not yet freed
} chunk;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static chunk *chunks;

/* A mapping aligned to 2 MiB. Its last, partial 2 MiB stays on small pages, so that nothing beyond `bytes` is resident.
 */
static void *map(size_t bytes)
{
    size_t len = td_align_up(bytes, PAGE);
    char *p = mmap(NULL, len + huge_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t head = (huge_bytes - ((size_t)p & (huge_bytes - 1))) & (huge_bytes - 1);
    if (head)
        munmap(p, head);
    munmap(p + head + len, huge_bytes - head);
    size_t whole = len & ~(huge_bytes - 1);
    if (whole)
        madvise(p + head, whole, MADV_HUGEPAGE); // advice: without it everything works, slower
    return p + head;
}

static void *piece_alloc(size_t bytes)
{
    bytes = td_align_up(bytes, 64);
    pthread_mutex_lock(&lock);
    chunk *c = chunks;
    while (c && chunk_bytes - c->used < bytes)
        c = c->next;
    if (!c && (c = td_alloc(sizeof *c)) != NULL) {
        *c = (chunk){.next = chunks, .base = map(chunk_bytes)};
        if (c->base) {
            chunks = c;
        } else {
            td_free(c);
            c = NULL;
        }
    }
    void *p = NULL;
    if (c) {
        p = c->base + c->used;
        c->used += bytes;
        c->live++;
    }
    pthread_mutex_unlock(&lock);
    return p;
}

static void piece_free(char *p)
{
    pthread_mutex_lock(&lock);
    chunk **at = &chunks;
    while (*at && (p < (*at)->base || p >= (*at)->base + chunk_bytes))
        at = &(*at)->next;
    chunk *c = *at;
    td_assert(c && c->live);
    if (--c->live == 0) {
        *at = c->next;
        munmap(c->base, chunk_bytes);
        td_free(c);
    }
    pthread_mutex_unlock(&lock);
}

void *cpu_mem_alloc(size_t bytes)
{
    td_assert(bytes <= SIZE_MAX / 2);
    bytes = TD_MAX(bytes, (size_t)1);
    if (td_fault_hit(TD_FAULT_ALLOC))
        return NULL;
    if (MEM_PLAIN) {
        void *p = aligned_alloc(64, td_align_up(bytes, 64));
        return p ? memset(p, 0, bytes) : NULL;
    }
    return bytes >= huge_bytes ? map(bytes) : piece_alloc(bytes);
}

void cpu_mem_free(void *p, size_t bytes)
{
    if (!p)
        return;
    if (MEM_PLAIN)
        free(p);
    else if (bytes >= huge_bytes)
        munmap(p, td_align_up(bytes, PAGE));
    else
        piece_free(p);
}
