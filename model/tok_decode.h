/* tok_decode.h - what one token's stored text becomes as output.
 *
 * The decoders of the reference library, as a list of steps that each look at one token, and rules for the place where
 * a text begins. Everything that would need to look across tokens is either covered by these rules or refused when the
 * file is read, so that a stream of tokens and the whole list give the same text. */
#ifndef TD_MODEL_TOK_DECODE_H
#define TD_MODEL_TOK_DECODE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

typedef enum decode_kind {
    DECODE_LETTERS, // letters of the byte alphabet become bytes; a token with any other letter stays as it is
    DECODE_REPLACE, // each `from` becomes `to`
    DECODE_BYTE,    // <0x0A> becomes its byte and is done
    DECODE_STRIP    // up to `start` times `from` (one character) off the front, `stop` times off the end
} decode_kind;

typedef struct decode_step {
    decode_kind kind;
    char *from, *to; // owned
    size_t from_len, to_len;
    size_t start, stop;
} decode_step;

typedef enum decode_lead { // at the beginning of a text
    DECODE_LEAD_KEEP,
    DECODE_LEAD_ONE_SPACE,   // one space goes when the text begins with it
    DECODE_LEAD_EACH_SPACE,  // one space of each token goes until there is text
    DECODE_LEAD_FIRST_TOKEN  // all `lead_text` in the first token go, before the steps
} decode_lead;

typedef struct tok_decode {
    decode_step step[TD_TOK_STEPS_MAX];
    size_t count;
    decode_lead lead;
    char lead_text[8];  // with DECODE_LEAD_FIRST_TOKEN
    bool join_space;    // no decoder at all: tokens are joined by spaces
    bool byte_marks;    // each byte that is not UTF-8 gives its own U+FFFD; else one for each broken character
} tok_decode;

/* TD_E_UNSUPPORTED: too many steps. from and to are copied. */
td_rc tok_decode_add(tok_decode *d, decode_kind kind, const char *from, const char *to, size_t start, size_t stop,
                     td_err *err);
void tok_decode_free(tok_decode *d);
/* Appends what `text` becomes inside running text (`first`: at its beginning, as far as tokens count). false: out of
 * memory. */
bool tok_decode_piece(const tok_decode *d, const char *text, size_t len, bool first, td_buf *out);

#endif
