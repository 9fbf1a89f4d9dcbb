/* detok.h - incremental detokenization of one stream of tokens.
 *
 * Feed ids in order; each call appends to *out the bytes that are certain now. A UTF-8 character is never split: bytes
 * that could still become a character wait inside. All output of one stream, detok_end() included, equals
 * tokenizer_decode() of all its ids. One thread at a time; the state is plain data that may be copied (forks). */
#ifndef TD_MODEL_DETOK_H
#define TD_MODEL_DETOK_H

#include "model/tokenizer.h"

typedef struct detok {
    const tokenizer *tok;
    bool skip_special;
    bool started;       // something was seen: the first space of SentencePiece text was dealt with
    uint8_t held_len;
    char held[8];       // the beginning of a character that is not complete
} detok;

void detok_init(detok *d, const tokenizer *t, bool skip_special);
bool detok_add(detok *d, token_id id, td_buf *out); // false: out of memory
bool detok_end(detok *d, td_buf *out);              // what is held back becomes U+FFFD

#endif
