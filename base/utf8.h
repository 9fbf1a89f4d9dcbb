/* utf8.h - strict UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). Pure functions, any thread. */
#ifndef TD_BASE_UTF8_H
#define TD_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length (1..4) of the well-formed character at s, or 0 when the bytes are not one. */
size_t td_utf8_len(const char *s, size_t len);
/* The same, and the code point in *cp. */
size_t td_utf8_decode(const char *s, size_t len, uint32_t *cp);
/* Writes cp (not a surrogate, ≤ U+10FFFF) to out[4]; returns its length. */
size_t td_utf8_encode(uint32_t cp, char out[4]);
bool td_utf8_valid(const char *s, size_t len);
/* How many bytes at the end of s are the beginning of a character that more bytes could complete (0..3). */
size_t td_utf8_partial_tail(const char *s, size_t len);

#endif
