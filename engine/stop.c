#include "engine/stop.h"

#include "base/check.h"

#include <string.h>

static bool ends_at(const td_buf *b, size_t end, const char *s, size_t len)
{
    return end >= len && memcmp(b->data + end - len, s, len) == 0;
}

/* Longest proper beginning of s that b ends with. */
static size_t open_tail(const td_buf *b, const char *s, size_t len)
{
    size_t n = TD_MIN(len - 1, b->len);
    while (n > 0 && memcmp(b->data + b->len - n, s, n) != 0)
        n--;
    return n;
}

int32_t stop_scan(const td_buf *held, const char *const *stop, int32_t stop_count, size_t seen, bool include,
                  size_t *out_len)
{
    for (size_t end = seen + 1; end <= held->len; end++) {
        int32_t best = -1;
        for (int32_t i = 0; i < stop_count; i++)
            if (ends_at(held, end, stop[i], strlen(stop[i])) && (best < 0 || strlen(stop[i]) > strlen(stop[best])))
                best = i;
        if (best >= 0) {
            *out_len = include ? end : end - strlen(stop[best]);
            return best;
        }
    }
    size_t keep = 0;
    for (int32_t i = 0; i < stop_count && held->len; i++)
        keep = TD_MAX(keep, open_tail(held, stop[i], strlen(stop[i])));
    *out_len = held->len - keep;
    return -1;
}
