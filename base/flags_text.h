/* flags_text.h - inside flags: pieces of text that help, man page and reference share. */
#ifndef TD_BASE_FLAGS_TEXT_H
#define TD_BASE_FLAGS_TEXT_H

#include "base/flags.h"

/* Words of `text` up to column 80; the first line starts at column `at`, later ones at `indent`; ends with a
 * newline. */
void flags_text_wrap(td_buf *out, const char *text, size_t at, size_t indent);
void flags_text_name(td_buf *out, const flags_def *d); // "-n, --count N"
void flags_text_help(td_buf *out, const flags_def *d); // help, choices, default
bool flags_text_shown(const flags_table *t, const flags_def *d, size_t verb, const char *word);

#endif
