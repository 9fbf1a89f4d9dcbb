#include "model/tok_charsmap.h"

#include "base/arena.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "model/tok_chars.h"

#include <string.h>
#include <utf8proc.h>

/* Layout: u32 bytes of the array, the array of u32 units, then NUL-terminated replacements. A unit of the double array
 * (Darts): bits 0-7 and 31 label, bit 8 "has a value", bits 10-30 offset, bit 9 widens the offset; a leaf's bits 0-30
 * are its value. */
struct tok_charsmap {
    uint32_t *unit;
    size_t units;
    char *text;
    size_t text_len; // ends with a NUL
};

enum { CLUSTER_BYTES_MAX = 6, NESTED_MAX = 31 }; // SentencePiece keeps the values on one way in an array of 32

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

typedef struct walk { // what was reached so far, over all ways from the root
    const uint8_t *unit; // u32 little endian
    size_t units, text_len;
    uint8_t *depth;      // [units]: values on the way here, plus one; 0 = not reached
    uint32_t *todo;      // [units]
    size_t todo_count;
    uint8_t *queued;     // [units]
} walk;

/* Reaches the node whose children begin at `base`; false: the table is bad. */
static bool reach(walk *w, uint32_t base, unsigned depth)
{
    // Readers look at base ^ byte for any byte before they know whether there is such a child.
    if ((base | 0xFF) >= w->units || depth > NESTED_MAX)
        return false;
    if (w->depth[base] > depth)
        return true;
    w->depth[base] = (uint8_t)(depth + 1);
    if (!w->queued[base]) {
        w->queued[base] = 1;
        w->todo[w->todo_count++] = base;
    }
    return true;
}

/* Visits every state again whenever a way with more values leads there; a circle with a value in it gets too deep. */
static bool walk_all(walk *w)
{
    if (!reach(w, offset_of(read_u32(w->unit)), 0))
        return false;
    while (w->todo_count > 0) {
        uint32_t base = w->todo[--w->todo_count];
        w->queued[base] = 0;
        unsigned depth = w->depth[base] - 1u;
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t at = base ^ byte, unit = read_u32(w->unit + 4 * (size_t)at);
            if ((unit & (1u << 31 | 0xFF)) != byte)
                continue;
            uint32_t to = at ^ offset_of(unit);
            bool leaf = unit >> 8 & 1;
            if (leaf && (to >= w->units || (read_u32(w->unit + 4 * (size_t)to) & 0x7FFFFFFFu) >= w->text_len))
                return false;
            if (!reach(w, to, depth + leaf))
                return false;
        }
    }
    return true;
}

td_rc tok_charsmap_check(const uint8_t *bytes, size_t len, td_err *err)
{
    if (len < 8 || len > TD_TOK_CHARSMAP_BYTES_MAX)
        return td_fail(err, TD_E_MODEL, "character table has %zu bytes; 8 to %u are accepted", len,
                       TD_TOK_CHARSMAP_BYTES_MAX);
    size_t size = read_u32(bytes);
    if (size < 4 || size % 4 || size > len - 4)
        return td_fail(err, TD_E_MODEL, "character table says its array has %zu bytes, of %zu", size, len);
    walk w = {.unit = bytes + 4, .units = size / 4, .text_len = len - 4 - size};
    if (w.text_len == 0 || bytes[len - 1] != 0)
        return td_fail(err, TD_E_MODEL, "character table does not end in a zero byte");
    w.depth = td_alloc(w.units);
    w.queued = td_alloc(w.units);
    w.todo = td_alloc(w.units * sizeof *w.todo);
    td_rc rc = TD_OK;
    if (!w.depth || !w.queued || !w.todo)
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for a character table of %zu bytes", len);
    else if (!walk_all(&w))
        rc = td_fail(err, TD_E_MODEL, "character table has links or texts outside itself");
    td_free(w.depth);
    td_free(w.queued);
    td_free(w.todo);
    return rc;
}

td_rc tok_charsmap_new(const uint8_t *bytes, size_t len, tok_charsmap **out, td_err *err)
{
    td_rc rc = tok_charsmap_check(bytes, len, err);
    if (rc != TD_OK)
        return rc;
    tok_charsmap *c = td_alloc(sizeof *c);
    size_t size = read_u32(bytes);
    if (c) {
        c->units = size / 4;
        c->text_len = len - 4 - size;
        c->unit = td_alloc(size);
        c->text = td_alloc(c->text_len);
    }
    if (!c || !c->unit || !c->text) {
        tok_charsmap_free(c);
        return td_fail(err, TD_E_NOMEM, "not enough memory for a character table of %zu bytes", len);
    }
    for (size_t i = 0; i < c->units; i++)
        c->unit[i] = read_u32(bytes + 4 + 4 * i);
    memcpy(c->text, bytes + 4 + size, c->text_len);
    *out = c;
    return TD_OK;
}

td_rc tok_charsmap_new_base64(const char *text, tok_charsmap **out, td_err *err)
{
    size_t n = 0;
    uint8_t *bytes = td_alloc(strlen(text));
    if (!bytes)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a character table");
    td_rc rc = tok_base64(text, bytes, &n) ? tok_charsmap_new(bytes, n, out, err)
                                           : td_fail(err, TD_E_MODEL, "character table is not base64");
    td_free(bytes);
    return rc;
}

void tok_charsmap_free(tok_charsmap *c)
{
    if (!c)
        return;
    td_free(c->unit);
    td_free(c->text);
    td_free(c);
}

/* The value of the shortest key that s begins with. The reference takes the first it finds, not the longest. */
static const char *shortest(const tok_charsmap *c, const char *s, size_t len)
{
    uint32_t at = offset_of(c->unit[0]);
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)s[i];
        at ^= byte;
        if (byte == 0 || at >= c->units)
            return NULL;
        uint32_t unit = c->unit[at];
        if ((unit & (1u << 31 | 0xFF)) != byte)
            return NULL;
        at ^= offset_of(unit);
        if (unit >> 8 & 1) {
            uint32_t value = at < c->units ? c->unit[at] & 0x7FFFFFFFu : UINT32_MAX;
            return value < c->text_len ? c->text + value : NULL;
        }
    }
    return NULL;
}

/* Bytes of the grapheme cluster at s. */
static size_t cluster_len(const char *s, size_t len)
{
    uint32_t cp, next;
    utf8proc_int32_t state = 0;
    size_t n = td_utf8_decode(s, len, &cp), step;
    for (; n < len && (step = td_utf8_decode(s + n, len - n, &next)) != 0; n += step, cp = next)
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)cp, (utf8proc_int32_t)next, &state))
            break;
    return n;
}

bool tok_charsmap_run(const tok_charsmap *c, const char *s, size_t len, td_buf *out)
{
    for (size_t i = 0; i < len;) {
        size_t n = cluster_len(s + i, len - i);
        n = n ? n : 1;
        const char *whole = n < CLUSTER_BYTES_MAX ? shortest(c, s + i, n) : NULL;
        if (whole) {
            td_buf_str(out, whole);
            i += n;
            continue;
        }
        for (size_t end = i + n, one; i < end; i += one) {
            one = td_utf8_len(s + i, end - i);
            one = one ? one : 1;
            const char *to = shortest(c, s + i, one);
            to ? td_buf_str(out, to) : td_buf_add(out, s + i, one);
        }
        if (out->failed)
            return false;
    }
    return !out->failed;
}
