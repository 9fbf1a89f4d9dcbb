#include "model/tok_merge.h"

#include "base/arena.h"

#include <string.h>

enum { SCAN_MAX = 48 }; // symbols: up to here a scan is faster than a heap

void merge_clear(merge_work *w) { w->count = w->heap_count = 0; }

void merge_free(merge_work *w)
{
    td_free(w->symbol);
    td_free(w->heap);
    *w = (merge_work){0};
}

bool merge_add(merge_work *w, int32_t id, uint32_t begin, uint32_t len)
{
    if (w->count == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 64;
        merge_symbol *p = td_realloc(w->symbol, cap * sizeof *p);
        if (!p)
            return false;
        w->symbol = p;
        w->cap = cap;
    }
    uint32_t at = (uint32_t)w->count++;
    w->symbol[at] = (merge_symbol){id, begin, len, at ? at - 1 : MERGE_END, MERGE_END};
    if (at)
        w->symbol[at - 1].next = at;
    return true;
}

/* Takes the right neighbour of `left` in. */
static void join(merge_work *w, uint32_t left, int32_t id)
{
    merge_symbol *l = &w->symbol[left], *r = &w->symbol[l->next];
    l->id = id;
    l->len += r->len;
    l->next = r->next;
    r->len = 0;
    if (r->next != MERGE_END)
        w->symbol[r->next].prev = left;
}

static void run_scan(merge_work *w, const char *word, merge_lookup lookup, const void *model)
{
    merge_symbol *sym = w->symbol;
    uint32_t rank[SCAN_MAX];
    int32_t id[SCAN_MAX];
    for (uint32_t i = 0; i + 1 < w->count; i++)
        if (!lookup(model, word, &sym[i], &sym[i + 1], &rank[i], &id[i]))
            rank[i] = UINT32_MAX;
    for (;;) {
        uint32_t best = MERGE_END, low = UINT32_MAX;
        for (uint32_t i = 0; sym[i].next != MERGE_END; i = sym[i].next)
            if (rank[i] < low)
                low = rank[i], best = i;
        if (best == MERGE_END)
            return;
        join(w, best, id[best]);
        uint32_t prev = sym[best].prev, next = sym[best].next;
        if (next == MERGE_END || !lookup(model, word, &sym[best], &sym[next], &rank[best], &id[best]))
            rank[best] = UINT32_MAX;
        if (prev != MERGE_END && !lookup(model, word, &sym[prev], &sym[best], &rank[prev], &id[prev]))
            rank[prev] = UINT32_MAX;
    }
}

static bool before(const merge_entry *a, const merge_entry *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->left < b->left);
}

static bool heap_push(merge_work *w, merge_entry e)
{
    if (w->heap_count == w->heap_cap) {
        size_t cap = w->heap_cap ? w->heap_cap * 2 : 256;
        merge_entry *p = td_realloc(w->heap, cap * sizeof *p);
        if (!p)
            return false;
        w->heap = p;
        w->heap_cap = cap;
    }
    size_t at = w->heap_count++;
    for (; at && before(&e, &w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        w->heap[at] = w->heap[(at - 1) / 2];
    w->heap[at] = e;
    return true;
}

static merge_entry heap_pop(merge_work *w)
{
    merge_entry top = w->heap[0], e = w->heap[--w->heap_count];
    size_t at = 0;
    for (size_t kid; (kid = 2 * at + 1) < w->heap_count; at = kid) {
        if (kid + 1 < w->heap_count && before(&w->heap[kid + 1], &w->heap[kid]))
            kid++;
        if (!before(&w->heap[kid], &e))
            break;
        w->heap[at] = w->heap[kid];
    }
    w->heap[at] = e;
    return top;
}

static bool consider(merge_work *w, const char *word, uint32_t left, merge_lookup lookup, const void *model)
{
    if (left == MERGE_END || w->symbol[left].next == MERGE_END)
        return true;
    const merge_symbol *l = &w->symbol[left], *r = &w->symbol[l->next];
    merge_entry e = {.left = left, .len = l->len + r->len};
    return !lookup(model, word, l, r, &e.rank, &e.id) || heap_push(w, e);
}

static bool run_heap(merge_work *w, const char *word, merge_lookup lookup, const void *model)
{
    for (uint32_t i = 0; i + 1 < w->count; i++)
        if (!consider(w, word, i, lookup, model))
            return false;
    while (w->heap_count) {
        merge_entry e = heap_pop(w);
        const merge_symbol *l = &w->symbol[e.left];
        if (l->len == 0 || l->next == MERGE_END || l->len + w->symbol[l->next].len != e.len)
            continue; // stale
        join(w, e.left, e.id);
        if (!consider(w, word, w->symbol[e.left].prev, lookup, model) || !consider(w, word, e.left, lookup, model))
            return false;
    }
    return true;
}

bool merge_run(merge_work *w, const char *word, merge_lookup lookup, const void *model)
{
    if (w->count > SCAN_MAX)
        return run_heap(w, word, lookup, model);
    if (w->count > 1)
        run_scan(w, word, lookup, model);
    return true;
}
