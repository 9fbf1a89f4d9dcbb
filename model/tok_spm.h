/* tok_spm.h - SentencePiece's BPE from a vocabulary with scores, as GGUF files of the Llama and Gemma kind carry it.
 *
 * There are no merges: two neighbours merge when their joined text is an entry, the highest score first, leftmost
 * among equals. What has no entry becomes its bytes (<0x0A>), or the unknown token. Spaces are written as U+2581 here.
 *
 * The text is not cut into words by any rule, but where no entry of this vocabulary holds a byte b followed by U+2581,
 * nothing can ever merge across that place; cutting there gives the same result in a fraction of the time. */
#ifndef TD_MODEL_TOK_SPM_H
#define TD_MODEL_TOK_SPM_H

#include "model/tok_merge.h"
#include "model/tok_vocab.h"

#include <stdatomic.h>

typedef struct tok_spm {
    const tok_vocab *vocab;   // borrowed
    token_id byte[256];       // <0xHH>, -1: none
    token_id unk;             // -1: what is unknown is left out
    bool whole_words;         // a word that is an entry is that entry, whatever merging would give
    bool bridge[256];         // some entry holds this byte followed by U+2581
    _Atomic uint8_t *whole;   // as in tok_bpe.h
} tok_spm;

td_rc tok_spm_init(tok_spm *m, const tok_vocab *v, token_id unk, td_err *err);
void tok_spm_free(tok_spm *m);
/* Appends the ids of a text in which spaces are U+2581 already. false: out of memory. */
bool tok_spm_text(const tok_spm *m, merge_work *w, const char *s, size_t len, token_list *out);

#endif
