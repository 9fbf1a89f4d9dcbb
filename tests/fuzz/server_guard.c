/* Any bytes as what a client sends: the verdicts must not depend on how the bytes are cut, and what was passed on must
 * hold no NUL, no bare line feed and no second length. */
#include "server/http_guard.h"

#include <stdlib.h>
#include <string.h>

enum { TRACE_MAX = 64 };

typedef struct trace {
    int count, status;
    size_t end[TRACE_MAX]; // where requests ended
} trace;

/* What the library is given says the same as what was judged, and no value has white space around it. */
static void check_trimmed(const http_guard *g, const char *head, size_t len)
{
    char *copy = malloc(len);
    http_guard again;
    size_t n = 0;
    if (!copy)
        abort();
    memcpy(copy, head, len);
    size_t begin = http_guard_trim(g, copy, len);
    http_guard_reset(&again);
    if (begin < g->skip || http_guard_head(&again, copy + begin, len - begin, &n) != HTTP_OK || n != len - begin ||
        again.body != g->body || again.left != g->left || again.headers != g->headers || again.skip ||
        memmem(copy + begin, len - begin, " \r\n", 3) || memmem(copy + begin, len - begin, "\t\r\n", 3))
        abort();
    free(copy);
}

static trace run(const char *p, size_t size, size_t step)
{
    trace t = {0};
    http_guard g;
    size_t at = 0, have = 0, head = 0;
    bool in_body = false;
    http_guard_reset(&g);
    while (t.count < TRACE_MAX) {
        http_verdict v;
        size_t used = 0;
        if (in_body) {
            v = http_guard_body(&g, p + at, have - at, &used);
            if (used > have - at)
                abort();
            at += used;
        } else {
            v = http_guard_head(&g, p + at, have - at, &head);
        }
        if (v == HTTP_BAD) {
            if (g.status < 400 || g.status > 431 || !g.reason)
                abort();
            t.status = g.status;
            break;
        }
        if (v == HTTP_MORE) {
            if (have == size)
                break;
            have = have + step < size ? have + step : size;
        } else if (!in_body) {
            if (head <= g.skip || head > have - at || memchr(p + at, 0, head) || memcmp(p + at + head - 2, "\r\n", 2))
                abort();
            check_trimmed(&g, p + at, head);
            at += head;
            in_body = true;
        } else {
            t.end[t.count++] = at;
            in_body = false;
            http_guard_reset(&g);
        }
    }
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    trace whole = run((const char *)data, size, size ? size : 1), bytes = run((const char *)data, size, 1),
          pieces = run((const char *)data, size, 7);
    if (memcmp(&whole, &bytes, sizeof whole) || memcmp(&whole, &pieces, sizeof whole))
        abort();
    return 0;
}
