/* tok_regex.h - the regular expressions of pre-tokenizers and normalizers, on PCRE2 with JIT.
 *
 * Patterns come from model files, so they are hostile, and so is the text. tok_regex_new() rewrites what differs
 * between the language they were written for (Oniguruma's) and PCRE2's: \s is Unicode White_Space, \w and \p{…} know
 * the code points added after PCRE2's Unicode 14, \h is a hexadecimal digit, ^ and $ are line anchors, classes nest.
 * What cannot be rewritten is TD_E_UNSUPPORTED, a pattern that does not compile, or fails on a
 * small text of every kind of character, TD_E_MODEL.
 *
 * Time is bounded three ways: PCRE2's own match and heap limits for one start position, a window of start positions
 * per call, and a budget of CPU time for one text, looked at between calls. Beyond any: TD_E_INPUT.
 * A compiled pattern is read-only: any thread. A tok_matcher belongs to one thread and one text. */
#ifndef TD_MODEL_TOK_REGEX_H
#define TD_MODEL_TOK_REGEX_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tok_regex tok_regex;

/* One text's working state: match data, JIT stack, what is left of the time. Zero-initialised is ready. */
typedef struct tok_matcher {
    void *data, *context, *stack; // PCRE2's, made at first use
    uint64_t deadline_ns;         // of this thread's CPU time; 0 = not set
    uint32_t calls;
} tok_matcher;

td_rc tok_regex_new(const char *pattern, size_t len, tok_regex **out, td_err *err);
void tok_regex_free(tok_regex *r);

/* Gives the matcher its time for a text of len bytes. */
void tok_matcher_start(tok_matcher *m, size_t len);
void tok_matcher_free(tok_matcher *m);

/* The first match at or after `from` in s (valid UTF-8, len bytes): *found and [*begin, *end). */
td_rc tok_regex_find(const tok_regex *r, tok_matcher *m, const char *s, size_t len, size_t from, bool *found,
                     size_t *begin, size_t *end, td_err *err);

#endif
