/* pretok.h - cuts normalized text into the words that the model's merges never cross.
 *
 * A list of steps, each of which cuts every piece it is given further or rewrites it; pieces run through depth first,
 * so nothing but one buffer per rewriting step is kept. What the steps mean is what the reference library's
 * pre-tokenizers of the same names mean. Built once, then read-only: any thread; a run belongs to one text.
 *
 *     "Hello world" -> split by pattern -> "Hello", " world" -> bytes to letters -> "Hello", "Ġworld" -> word() */
#ifndef TD_MODEL_PRETOK_H
#define TD_MODEL_PRETOK_H

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "model/tok_regex.h"

typedef enum pretok_behavior { // what becomes of the matches
    PRETOK_REMOVED, PRETOK_ISOLATED, PRETOK_MERGED_WITH_PREVIOUS, PRETOK_MERGED_WITH_NEXT, PRETOK_CONTIGUOUS
} pretok_behavior;

typedef enum pretok_prepend { PRETOK_NEVER, PRETOK_FIRST, PRETOK_ALWAYS } pretok_prepend;

typedef enum pretok_step_kind {
    PRETOK_SPLIT,        // by a pattern or a literal text
    PRETOK_PREFIX_SPACE, // a space in front unless there is one
    PRETOK_BYTES,        // each byte becomes the letter that stands for it
    PRETOK_METASPACE     // each space becomes `text`, and one goes in front by `prepend`
} pretok_step_kind;

typedef struct pretok_step {
    pretok_step_kind kind;
    pretok_behavior behavior;
    pretok_prepend prepend;
    bool invert;         // the text between matches counts as the match
    tok_regex *regex;    // owned; NULL: `text` is what to split by
    char *text;          // owned; literal pattern or replacement
    size_t text_len;
} pretok_step;

typedef struct pretok {
    pretok_step step[TD_TOK_STEPS_MAX];
    size_t count;
} pretok;

typedef td_rc (*pretok_word)(void *ctx, const char *s, size_t len, td_err *err);

typedef struct pretok_run { // zero-initialise; pretok_run_free
    td_buf scratch[TD_TOK_STEPS_MAX];
    tok_matcher *matcher; // borrowed, started
    pretok_word word;
    void *ctx;
} pretok_run;

/* Each adds one step: TD_E_UNSUPPORTED when there are too many. */
td_rc pretok_add_split(pretok *p, const char *pattern, size_t len, bool literal, pretok_behavior behavior, bool invert,
                       td_err *err);
td_rc pretok_add_plain(pretok *p, pretok_step_kind kind, td_err *err); // PREFIX_SPACE, BYTES
td_rc pretok_add_metaspace(pretok *p, const char *replacement, pretok_prepend prepend, bool split, td_err *err);
void pretok_free(pretok *p);

/* first: the piece begins at the very beginning of the text. */
td_rc pretok_cut(const pretok *p, pretok_run *run, const char *s, size_t len, bool first, td_err *err);
void pretok_run_free(pretok_run *run);

/* The pre-tokenizer of GPT-2 and of ByteLevel with use_regex. */
extern const char pretok_gpt2[];

/* The byte alphabet of GPT-2: byte to letter (two bytes of UTF-8 at most) and back. */
size_t tok_byte_letter(uint8_t byte, char out[2]);
int tok_letter_byte(uint32_t cp); // -1: not a letter of the alphabet

#endif
