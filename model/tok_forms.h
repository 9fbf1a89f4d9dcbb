/* tok_forms.h - Unicode normalization forms in linear time: utf8proc's data, our own reordering. */
#ifndef TD_MODEL_TOK_FORMS_H
#define TD_MODEL_TOK_FORMS_H

#include "base/buf.h"

enum { TOK_COMPOSE = 1, TOK_COMPATIBLE = 2 }; // NFD is 0, NFC 1, NFKD 2, NFKC 3

/* Appends the text (valid UTF-8) in that form; out->failed when memory ran out. */
void tok_form(const char *s, size_t len, int form, td_buf *out);

#endif
