/* buf.h - a growing byte string that is always NUL terminated.
 *
 * Owned by whoever initialised it; one thread at a time. A failed append sets `failed` and keeps what was there, so a
 * writer may append many times and check once at the end. `max_bytes` (0 = none) makes growth beyond it a failure. */
#ifndef TD_BASE_BUF_H
#define TD_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct td_buf {
    char *data; // NUL terminated once anything was appended; NULL before
    size_t len, cap, max_bytes;
    bool failed;
} td_buf;

#define TD_BUF_INIT {.data = NULL}

void td_buf_free(td_buf *b);
void td_buf_clear(td_buf *b); // keeps the memory, forgets `failed`
bool td_buf_reserve(td_buf *b, size_t extra);
bool td_buf_add(td_buf *b, const void *p, size_t len);
bool td_buf_str(td_buf *b, const char *s);
bool td_buf_char(td_buf *b, char c);
bool td_buf_fmt(td_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *td_buf_cstr(const td_buf *b); // "" when empty
/* Hands the bytes over (td_free them) and leaves the buffer empty. */
char *td_buf_take(td_buf *b, size_t *len);

/* Appends s as a JSON string with quotes. Bytes that are not UTF-8 become U+FFFD. */
bool td_buf_json_str(td_buf *b, const char *s, size_t len);
/* Appends a double as JSON: shortest form with at most `digits` significant digits; non-finite becomes null. */
bool td_buf_json_num(td_buf *b, double v, int digits);

#endif
