/* lines.h - reads lines of bounded length from a descriptor. A line that is too long is skipped to its end without
 * being held, so a file of one endless line costs nothing. CR before LF and a byte order mark are dropped. A last line
 * without LF counts. One thread; the descriptor stays the caller's. */
#ifndef TD_TOOLS_LINES_H
#define TD_TOOLS_LINES_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

typedef enum lines_result { LINES_OK, LINES_TOO_LONG, LINES_END, LINES_ERROR } lines_result;

typedef struct lines {
    int fd;
    size_t bytes_max;     // of one line
    uint64_t number;      // of the line returned last, from 1
    uint64_t offset;      // bytes of the file up to the end of that line
    bool unterminated;    // that line had no LF
    td_buf line;
    char chunk[1 << 16];
    size_t chunk_at, chunk_len;
    bool ended;
} lines;

void lines_init(lines *l, int fd, size_t bytes_max);
void lines_free(lines *l);
/* LINES_OK: l->line holds the text, NUL terminated, until the next call. */
lines_result lines_next(lines *l, td_err *err);

/* Everything up to the end, at most bytes_max. */
td_rc lines_read_all(int fd, size_t bytes_max, td_buf *out, td_err *err);

#endif
