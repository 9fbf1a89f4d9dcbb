/* tok_charsmap.h - SentencePiece's precompiled character table: a double array whose values are offsets of
 * replacement texts. The bytes come from a file; every link and offset that can be reached is checked
 * when it is read, because libsentencepiece, which gets the same bytes, checks none. */
#ifndef TD_MODEL_TOK_CHARSMAP_H
#define TD_MODEL_TOK_CHARSMAP_H

#include "base/buf.h"
#include "base/err.h"

typedef struct tok_charsmap tok_charsmap;

td_rc tok_charsmap_new(const uint8_t *bytes, size_t len, tok_charsmap **out, td_err *err);
td_rc tok_charsmap_new_base64(const char *text, tok_charsmap **out, td_err *err);
void tok_charsmap_free(tok_charsmap *c);
/* Only the check of tok_charsmap_new. */
td_rc tok_charsmap_check(const uint8_t *bytes, size_t len, td_err *err);
/* Appends the text with its characters replaced: by grapheme cluster where one is short and known, else by character,
 * the way the reference library does. false: out of memory. */
bool tok_charsmap_run(const tok_charsmap *c, const char *s, size_t len, td_buf *out);

#endif
