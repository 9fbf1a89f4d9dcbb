/* tok_norm.h - what is done to a text before it is cut into words: Unicode forms, replacements, prefixes.
 *
 * The reference library's normalizers as a list of steps from text to text. Built once, then read-only: any thread.
 * All steps are linear in the text, combining marks included (their reordering is a merge sort, not utf8proc's
 * exchange of neighbours). Output is bounded by TD_TOK_GROWTH_MAX times the input: TD_E_INPUT beyond. */
#ifndef TD_MODEL_TOK_NORM_H
#define TD_MODEL_TOK_NORM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "model/tok_charsmap.h"
#include "model/tok_regex.h"

typedef enum norm_kind {
    NORM_NFC, NORM_NFD, NORM_NFKC, NORM_NFKD,
    NORM_LOWERCASE,
    NORM_PREPEND,       // `text` in front, unless the piece is empty
    NORM_REPLACE,       // each match of regex, or of `from`, by `text`
    NORM_STRIP,         // white space off the left and/or right
    NORM_STRIP_ACCENTS, // combining marks go
    NORM_NMT,           // control characters go, odd spaces become spaces
    NORM_CHARSMAP,      // SentencePiece's precompiled table
    NORM_LETTERS        // bytes become letters of the byte alphabet
} norm_kind;

typedef struct norm_step {
    norm_kind kind;
    bool left, right;      // NORM_STRIP
    char *text, *from;     // owned, NUL terminated
    size_t text_len, from_len;
    tok_regex *regex;      // owned
    tok_charsmap *charsmap; // owned
} norm_step;

typedef struct tok_norm {
    norm_step step[TD_TOK_STEPS_MAX];
    size_t count;
} tok_norm;

/* Adds a step with nothing in it yet; NULL: too many (err is set). */
norm_step *tok_norm_add(tok_norm *n, norm_kind kind, td_err *err);
td_rc tok_norm_add_prepend(tok_norm *n, const char *text, td_err *err);
/* A pattern, or a literal text when `literal`. */
td_rc tok_norm_add_replace(tok_norm *n, const char *from, bool literal, const char *to, td_err *err);
void tok_norm_free(tok_norm *n);

/* The normalized text: *out and *out_len point into `text`, a or b, whichever holds it. */
td_rc tok_norm_run(const tok_norm *n, tok_matcher *m, const char *text, size_t len, td_buf *a, td_buf *b,
                   const char **out, size_t *out_len, td_err *err);

#endif
