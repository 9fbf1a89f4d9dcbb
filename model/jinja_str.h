/* jinja_str.h - text by code points as Python's str sees it. Pure functions over UTF-8, any thread.
 * Bytes that are not UTF-8 count as one character each, so that no input can make a walk run over its end. */
#ifndef TD_MODEL_JINJA_STR_H
#define TD_MODEL_JINJA_STR_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at s (len > 0), its code point in *cp. */
size_t jstr_next(const char *s, size_t len, uint32_t *cp);
size_t jstr_count(const char *s, size_t len);                 // code points
size_t jstr_offset(const char *s, size_t len, size_t index);  // byte offset of code point `index`, at most len
size_t jstr_prev(const char *s, size_t at);                   // start of the character that ends at byte `at` > 0

bool jstr_is_space(uint32_t cp); // str.isspace()
bool jstr_is_ident(uint32_t cp, bool first);
bool jstr_is_alpha(uint32_t cp);
bool jstr_is_decimal(uint32_t cp);
bool jstr_is_digit(uint32_t cp);
bool jstr_is_numeric(uint32_t cp);
bool jstr_is_upper(uint32_t cp);
bool jstr_is_lower(uint32_t cp);
bool jstr_is_cased(uint32_t cp);
bool jstr_is_printable(uint32_t cp);
bool jstr_ends_line(uint32_t cp); // str.splitlines()

/* How many bytes remain when white space (or, with set, the characters in it) is cut from an end. */
size_t jstr_rstrip(const char *s, size_t len);
void jstr_strip(const char **s, size_t *len, const char *set, size_t set_len, bool left, bool right);

/* First or last place of needle in s[0, len), SIZE_MAX = none. */
size_t jstr_find(const char *s, size_t len, const char *needle, size_t needle_len);
size_t jstr_rfind(const char *s, size_t len, const char *needle, size_t needle_len);

typedef enum jcase { JCASE_LOWER, JCASE_UPPER, JCASE_TITLE, JCASE_FOLD } jcase;
/* Up to three code points that one maps to, with Unicode's special casings; the final sigma is the caller's. */
int jstr_map_case(uint32_t cp, jcase to, uint32_t out[3]);
bool jstr_put_case(td_buf *b, const char *s, size_t len, jcase to); // whole string, final sigma included
bool jstr_put_title(td_buf *b, const char *s, size_t len);          // str.title()
bool jstr_put_swapped(td_buf *b, const char *s, size_t len);        // str.swapcase()
bool jstr_put_capital(td_buf *b, const char *s, size_t len);        // str.capitalize()

#endif
