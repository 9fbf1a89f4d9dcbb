/* tok_trie.h - finds the longest of many byte strings that begins at a place in a text.
 *
 * A trie whose edges sit in one hash table keyed by (node, byte): small, quick to build, no limits on fan-out. Serves
 * the tokens that are cut out of the text first, and Unigram's lattice. Built by one thread, then read by any. */
#ifndef TD_MODEL_TOK_TRIE_H
#define TD_MODEL_TOK_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct trie_edge {
    uint64_t key;  // node << 8 | byte, plus one; 0 = empty slot
    uint32_t node; // where it leads
} trie_edge;

typedef struct tok_trie {
    trie_edge *edge;
    size_t cap, count;  // cap: power of two
    int32_t *value;     // [node]: what was put there, -1 none
    uint32_t nodes, node_cap;
    bool first[256];    // some string begins with this byte
} tok_trie;

enum { TRIE_ROOT = 0 };

void tok_trie_free(tok_trie *t);
/* An empty string is ignored; the first value of a string stays. false: out of memory. */
bool tok_trie_put(tok_trie *t, const char *s, size_t len, int32_t value);
/* Follows one byte. false: no string goes on like this. */
bool tok_trie_step(const tok_trie *t, uint32_t *node, uint8_t byte);
/* Length of the longest string that s begins with, 0 when none; *value is its value. */
size_t tok_trie_longest(const tok_trie *t, const char *s, size_t len, int32_t *value);

#endif
