/* tok_bpe.h - byte-pair encoding of one word by a table of ranked merges.
 *
 * Vocabulary and words are in the form the files have: for byte-level models each byte is a letter (pretok.h), for
 * others the text itself. Built once, then any thread; the one thing written later is a note per vocabulary entry
 * whether merging its own text gives just that entry, which makes a frequent word a single look-up. */
#ifndef TD_MODEL_TOK_BPE_H
#define TD_MODEL_TOK_BPE_H

#include "model/tok_merge.h"
#include "model/tok_vocab.h"

#include <stdatomic.h>

enum { BPE_LETTERS = 0x180 }; // code points with a direct table: ASCII, Latin-1, the byte alphabet

typedef struct bpe_merge {
    uint32_t left, right; // ids; left UINT32_MAX = empty slot
    uint32_t rank;
    token_id id;
} bpe_merge;

typedef struct tok_bpe {
    const tok_vocab *vocab;       // borrowed
    bpe_merge *merge;
    size_t cap, count;            // cap: power of two
    token_id letter[BPE_LETTERS]; // -1: not in the vocabulary
    token_id byte[256];           // <0xHH>, -1: none
    _Atomic uint8_t *whole;       // [vocab->count]: 0 not known yet, 1 the text of this id merges to it alone, 2 not so
    bool ignore_merges;           // a word that is an entry is that entry, whatever the merges say
    bool byte_fallback;           // a character without entry becomes its bytes
    bool fuse_unk;                // neighbouring unknown characters become one unknown token
    bool newline_words;           // a word of newlines only that is an entry is that entry
    bool spaces;                  // U+2581 is an entry, and `bridge` (tok_vocab.h) was filled in
    bool bridge[256];
    token_id unk;                 // -1: what is unknown is left out
    char *prefix, *suffix;        // owned; of every symbol but the first, of the last one; NULL: none
} tok_bpe;

/* `merges`: room for that many. Options are set by the caller before and after; unk is -1 at first. */
td_rc tok_bpe_init(tok_bpe *b, const tok_vocab *v, size_t merges, td_err *err);
/* The next merge in order of rank. false: one of the three texts is not in the vocabulary; the merge is left out. */
bool tok_bpe_merge(tok_bpe *b, const char *left, size_t left_len, const char *right, size_t right_len, uint32_t rank);
void tok_bpe_free(tok_bpe *b);

/* Appends the ids of one word (up to 4 GB). false: out of memory. */
bool tok_bpe_word(const tok_bpe *b, merge_work *w, const char *s, size_t len, token_list *out);

#endif
