/* tok_pattern.h - rewrites a pattern from Oniguruma's dialect to PCRE2's; private to tok_regex and its tests. */
#ifndef TD_MODEL_TOK_PATTERN_H
#define TD_MODEL_TOK_PATTERN_H

#include "base/buf.h"
#include "base/err.h"

td_rc tok_pattern_rewrite(const char *pattern, size_t len, td_buf *out, td_err *err);

#endif
