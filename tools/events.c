#include "tools/events.h"

#include <string.h>

void events_init(events *s, void (*on_data)(void *ctx, const char *text, size_t len), void *ctx)
{
    *s = (events){.on_data = on_data, .ctx = ctx, .line = {.max_bytes = EVENTS_LINE_BYTES_MAX},
               .other = {.max_bytes = EVENTS_OTHER_BYTES_MAX}};
}

void events_free(events *s)
{
    td_buf_free(&s->line);
    td_buf_free(&s->other);
}

static bool take_line(events *s)
{
    static const char *const fields[] = {":", "event:", "id:", "retry:"};
    const char *p = td_buf_cstr(&s->line);
    size_t n = s->line.len;
    n -= n && p[n - 1] == '\r';
    bool ok = true, known = n == 0;
    if (n >= 5 && !memcmp(p, "data:", 5)) {
        size_t skip = 5 + (n > 5 && p[5] == ' ');
        if (n - skip == 6 && !memcmp(p + skip, "[DONE]", 6))
            s->done = true;
        else
            s->on_data(s->ctx, p + skip, n - skip);
        known = true;
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        known = known || !strncmp(p, fields[i], strlen(fields[i]));
    if (!known)
        ok = td_buf_add(&s->other, p, n) && td_buf_char(&s->other, '\n');
    td_buf_clear(&s->line);
    return ok;
}

bool events_feed(events *s, const char *p, size_t len)
{
    while (len) {
        const char *lf = memchr(p, '\n', len);
        size_t n = lf ? (size_t)(lf - p) : len;
        if (!td_buf_add(&s->line, p, n) || (lf && !take_line(s)))
            return false;
        n += lf != NULL;
        p += n;
        len -= n;
    }
    return true;
}

bool events_end(events *s) { return !s->line.len || take_line(s); }
