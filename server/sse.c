#include "server/sse.h"

#include "server/http.h"

#include <string.h>

void sse_int(td_buf *out, int64_t n)
{
    char digits[24];
    char *end = digits + sizeof digits, *p = end;
    uint64_t u = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do
        *--p = (char)('0' + u % 10);
    while (u /= 10);
    if (n < 0)
        *--p = '-';
    td_buf_add(out, p, (size_t)(end - p));
}

void sse_end(td_buf *out) { sse_lit(out, "\n\n"); }
void sse_done(td_buf *out) { sse_lit(out, "data: [DONE]\n\n"); }

void sse_comment(td_buf *out, const char *text)
{
    sse_lit(out, ": ");
    td_buf_add(out, text, strlen(text));
    sse_end(out);
}

void sse_error(td_buf *out, const td_err *err)
{
    sse_lit(out, "data: ");
    http_error_json(out, td_rc_http(err->rc), err->msg, err->param, NULL);
    sse_end(out);
}
