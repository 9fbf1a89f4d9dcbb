/* tok_unigram.h - Unigram: of all ways to write a word as vocabulary entries, the one with the highest sum of scores.
 *
 * Viterbi over byte positions; the entries that begin at a place come from a trie. Sums are doubles and ties go to the
 * earlier start, as in the reference library. Built once, then read-only: any thread. */
#ifndef TD_MODEL_TOK_UNIGRAM_H
#define TD_MODEL_TOK_UNIGRAM_H

#include "model/tok_trie.h"
#include "model/tok_vocab.h"

typedef struct tok_unigram {
    const tok_vocab *vocab; // borrowed
    tok_trie trie;          // text to id
    double *score;          // [vocab->count]
    double unk_score;       // lowest score minus 10
    token_id unk;           // -1: none
    token_id byte[256];     // <0xHH>, -1: none
    bool byte_fallback;
    bool fuse_unk;
} tok_unigram;

typedef struct unigram_node {
    double score;   // best sum that ends here
    uint32_t begin; // of its last piece; UINT32_MAX: nothing ends here
    token_id id;
} unigram_node;

typedef struct unigram_work { // zero-initialise; one thread
    unigram_node *node;
    uint32_t *end;            // pieces of the best way, from the last to the first
    size_t cap;
} unigram_work;

/* scores: [vocab->count], taken over (td_free). Control entries are not written for plain text. */
td_rc tok_unigram_init(tok_unigram *u, const tok_vocab *v, double *scores_take, token_id unk, td_err *err);
void tok_unigram_free(tok_unigram *u);
td_rc tok_unigram_word(const tok_unigram *u, unigram_work *w, const char *s, size_t len, token_list *out, td_err *err);
void unigram_work_free(unigram_work *w);

#endif
