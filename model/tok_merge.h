/* tok_merge.h - the merge loop that byte-pair encoding and SentencePiece's BPE share.
 *
 * A word is a chain of symbols; again and again the neighbours with the lowest rank, leftmost first, become one, until
 * no neighbours have a rank. Short words are scanned, long ones (a megabyte of one letter) use a heap, so that time is
 * O(n log n). A heap entry is stale when the two symbols it was made for no longer cover the same bytes: a symbol only
 * grows by taking its right neighbour in, so equal extent means the very same pair. */
#ifndef TD_MODEL_TOK_MERGE_H
#define TD_MODEL_TOK_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MERGE_END UINT32_MAX

typedef struct merge_symbol {
    int32_t id;          // negative: none of its own
    uint32_t begin, len; // bytes of the word; len 0 = taken in by its left neighbour
    uint32_t prev, next; // MERGE_END at the ends
} merge_symbol;

typedef struct merge_entry {
    uint32_t rank, left, len;
    int32_t id;
} merge_entry;

typedef struct merge_work { // zero-initialise; one thread
    merge_symbol *symbol;
    size_t count, cap;
    merge_entry *heap;
    size_t heap_count, heap_cap;
} merge_work;

/* Do these neighbours merge, into which id, and with which rank (lowest first)? */
typedef bool (*merge_lookup)(const void *model, const char *word, const merge_symbol *left, const merge_symbol *right,
                             uint32_t *rank, int32_t *id);

void merge_clear(merge_work *w);
bool merge_add(merge_work *w, int32_t id, uint32_t begin, uint32_t len); // false: out of memory
/* Afterwards the symbols from 0 along `next` are the result. */
bool merge_run(merge_work *w, const char *word, merge_lookup lookup, const void *model);
void merge_free(merge_work *w);

#endif
