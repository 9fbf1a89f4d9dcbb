#include "base/buf.h"

#include "base/arena.h"
#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void td_buf_free(td_buf *b)
{
    td_free(b->data);
    *b = (td_buf){.max_bytes = b->max_bytes};
}

void td_buf_clear(td_buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = 0;
}

static bool buf_fail(td_buf *b)
{
    b->failed = true;
    return false;
}

bool td_buf_reserve(td_buf *b, size_t extra)
{
    if (extra > SIZE_MAX / 4 || b->len > SIZE_MAX / 4)
        return buf_fail(b);
    size_t need = b->len + extra + 1;
    if (b->max_bytes && need - 1 > b->max_bytes)
        return buf_fail(b);
    if (need <= b->cap)
        return true;
    size_t cap = b->cap * 2 > need ? b->cap * 2 : need;
    cap = cap < 64 ? 64 : cap;
    char *p = td_realloc(b->data, cap);
    if (!p)
        return buf_fail(b);
    b->data = p;
    b->cap = cap;
    b->data[b->len] = 0;
    return true;
}

bool td_buf_add(td_buf *b, const void *p, size_t len)
{
    if (b->failed || !td_buf_reserve(b, len))
        return false;
    if (len)
        memcpy(b->data + b->len, p, len);
    b->len += len;
    b->data[b->len] = 0;
    return true;
}

bool td_buf_str(td_buf *b, const char *s) { return td_buf_add(b, s, strlen(s)); }
bool td_buf_char(td_buf *b, char c) { return td_buf_add(b, &c, 1); }

bool td_buf_fmt(td_buf *b, const char *fmt, ...)
{
    if (b->failed)
        return false;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !td_buf_reserve(b, (size_t)n))
        return buf_fail(b);
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return true;
}

const char *td_buf_cstr(const td_buf *b) { return b->data ? b->data : ""; }

char *td_buf_take(td_buf *b, size_t *len)
{
    char *p = b->data;
    if (len)
        *len = b->len;
    *b = (td_buf){.max_bytes = b->max_bytes};
    return p;
}

static bool json_escape(td_buf *b, unsigned char c)
{
    switch (c) {
    case '"': return td_buf_add(b, "\\\"", 2);
    case '\\': return td_buf_add(b, "\\\\", 2);
    case '\n': return td_buf_add(b, "\\n", 2);
    case '\r': return td_buf_add(b, "\\r", 2);
    case '\t': return td_buf_add(b, "\\t", 2);
    default: return td_buf_fmt(b, "\\u%04x", c);
    }
}

bool td_buf_json_str(td_buf *b, const char *s, size_t len)
{
    td_buf_char(b, '"');
    size_t run = 0; // start of the bytes not yet copied
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)s[i];
        size_t n = c < 0x80 ? 1 : td_utf8_len(s + i, len - i);
        bool plain = n > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
        if (plain) {
            i += n;
            continue;
        }
        td_buf_add(b, s + run, i - run);
        if (n == 0)
            td_buf_add(b, "\xEF\xBF\xBD", 3);
        else
            json_escape(b, c);
        run = ++i;
    }
    td_buf_add(b, s + run, len - run);
    return td_buf_char(b, '"');
}

bool td_buf_json_num(td_buf *b, double v, int digits)
{
    if (!isfinite(v))
        return td_buf_add(b, "null", 4);
    return td_buf_fmt(b, "%.*g", digits, v);
}
