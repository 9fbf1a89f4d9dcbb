#include "tools/lines.h"

#include "base/check.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void lines_init(lines *l, int fd, size_t bytes_max)
{
    memset(l, 0, sizeof *l);
    l->fd = fd;
    l->bytes_max = bytes_max;
}

void lines_free(lines *l) { td_buf_free(&l->line); }

static ssize_t read_some(int fd, void *to, size_t len)
{
    ssize_t n;
    do
        n = read(fd, to, len);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Drops CR, and the byte order mark of the first line. */
static void trim(lines *l)
{
    td_buf *b = &l->line;
    if (b->len && b->data[b->len - 1] == '\r')
        b->data[--b->len] = 0;
    if (l->number == 1 && b->len >= 3 && !memcmp(b->data, "\xef\xbb\xbf", 3)) {
        memmove(b->data, b->data + 3, b->len - 2);
        b->len -= 3;
    }
}

lines_result lines_next(lines *l, td_err *err)
{
    bool too_long = false, any = false;
    td_buf_clear(&l->line);
    for (;;) {
        if (l->chunk_at == l->chunk_len) {
            ssize_t n = l->ended ? 0 : read_some(l->fd, l->chunk, sizeof l->chunk);
            if (n < 0) {
                td_fail(err, TD_E_IO, "cannot read line %llu: %s", (unsigned long long)l->number + 1, strerror(errno));
                return LINES_ERROR;
            }
            l->chunk_at = 0;
            l->chunk_len = (size_t)n;
            l->ended = n == 0;
            if (l->ended)
                break;
        }
        const char *from = l->chunk + l->chunk_at, *lf = memchr(from, '\n', l->chunk_len - l->chunk_at);
        size_t n = lf ? (size_t)(lf - from) : l->chunk_len - l->chunk_at;
        any = true;
        too_long |= l->line.len + n > l->bytes_max;
        if (!too_long && !td_buf_add(&l->line, from, n)) {
            td_fail(err, TD_E_NOMEM, "no memory for line %llu", (unsigned long long)l->number + 1);
            return LINES_ERROR;
        }
        l->chunk_at += n + (lf != NULL);
        l->offset += n + (lf != NULL);
        if (lf)
            break;
    }
    if (!any)
        return LINES_END;
    l->unterminated = l->ended;
    l->number++;
    if (too_long)
        return LINES_TOO_LONG;
    trim(l);
    return LINES_OK;
}

td_rc lines_read_all(int fd, size_t bytes_max, td_buf *out, td_err *err)
{
    for (;;) {
        if (!td_buf_reserve(out, 1 << 16))
            return td_fail(err, TD_E_NOMEM, "no memory for the input");
        ssize_t n = read_some(fd, out->data + out->len, TD_MIN((size_t)1 << 16, bytes_max + 1 - out->len));
        if (n < 0)
            return td_fail(err, TD_E_IO, "cannot read: %s", strerror(errno));
        out->len += (size_t)n;
        out->data[out->len] = 0;
        if (!n)
            return TD_OK;
        if (out->len > bytes_max)
            return td_fail(err, TD_E_TOOBIG, "more than %zu bytes of input", bytes_max);
    }
}
