/* tok_chars.h - what counts as white space and as part of a word, in valid UTF-8. Pure functions. */
#ifndef TD_MODEL_TOK_CHARS_H
#define TD_MODEL_TOK_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool tok_is_space(uint32_t cp); // Unicode White_Space
bool tok_is_word(uint32_t cp);  // letters, marks, decimal digits, connectors, joiners
/* Bytes of the white-space character at s, or before s + end: 0 when it is another. */
size_t tok_space_at(const char *s, size_t len);
size_t tok_space_before(const char *s, size_t end);
bool tok_word_at(const char *s, size_t len);
bool tok_word_before(const char *s, size_t end);

/* Base64 with or without padding to bytes (at most 3/4 of the text's length). false: another character in it. */
bool tok_base64(const char *text, uint8_t *out, size_t *len);

#endif
