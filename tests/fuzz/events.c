/* Streams of a server: whatever bytes come, in whatever pieces, each event is handed on once, and in pieces of another
 * size the events are the same. */
#include "base/err.h"
#include "base/hash.h"
#include "tools/events.h"

#include <stdint.h>

typedef struct seen {
    uint64_t hash;
    size_t count;
} seen;

static void note(void *ctx, const char *text, size_t len)
{
    seen *s = ctx;
    s->hash = td_hash64(text, len, s->hash + 1);
    s->count++;
}

static seen feed(const uint8_t *data, size_t len, size_t step, size_t *other)
{
    seen s = {0, 0};
    events e;
    events_init(&e, note, &s);
    bool ok = true;
    for (size_t at = 0; at < len; at += step)
        ok &= events_feed(&e, (const char *)data + at, len - at < step ? len - at : step);
    ok &= events_end(&e);
    td_assert(ok || len > EVENTS_LINE_BYTES_MAX);
    *other = e.other.len + e.done;
    events_free(&e);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t other, other_bytes;
    seen whole = feed(data, len, len ? len : 1, &other), bytes = feed(data, len, 1, &other_bytes);
    td_assert(whole.hash == bytes.hash && whole.count == bytes.count && other == other_bytes);
    return 0;
}
