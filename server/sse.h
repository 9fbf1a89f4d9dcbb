/* sse.h - server-sent events: appended to a buffer, nothing allocated per event once the buffer has grown. */
#ifndef TD_SERVER_SSE_H
#define TD_SERVER_SSE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

void sse_int(td_buf *out, int64_t n); // decimal, without printf
#define sse_lit(out, s) td_buf_add((out), (s), sizeof(s) - 1) // a string literal
void sse_end(td_buf *out);            // closes the event: an empty line
void sse_done(td_buf *out);           // data: [DONE]
void sse_comment(td_buf *out, const char *text);
void sse_error(td_buf *out, const td_err *err); // data: {"error":…}

#endif
