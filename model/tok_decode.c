#include "model/tok_decode.h"

#include "base/arena.h"
#include "base/utf8.h"
#include "model/pretok.h"
#include "model/tok_vocab.h"

#include <string.h>

static char *copy_of(const char *s)
{
    size_t len = strlen(s);
    char *p = td_alloc(len + 1);
    if (p)
        memcpy(p, s, len);
    return p;
}

td_rc tok_decode_add(tok_decode *d, decode_kind kind, const char *from, const char *to, size_t start, size_t stop,
                     td_err *err)
{
    if (d->count == TD_TOK_STEPS_MAX)
        return td_fail(err, TD_E_UNSUPPORTED, "a decoder of more than %d steps is not supported", TD_TOK_STEPS_MAX);
    decode_step *s = &d->step[d->count++];
    *s = (decode_step){.kind = kind, .from = copy_of(from), .to = copy_of(to), .start = start, .stop = stop};
    if (!s->from || !s->to)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a decoder");
    s->from_len = strlen(from);
    s->to_len = strlen(to);
    return TD_OK;
}

void tok_decode_free(tok_decode *d)
{
    for (size_t i = 0; i < d->count; i++) {
        td_free(d->step[i].from);
        td_free(d->step[i].to);
    }
    *d = (tok_decode){.count = 0};
}

/* Letters to bytes; the whole text as it is when one is no letter of the alphabet. */
static bool put_letters(const char *s, size_t len, td_buf *out)
{
    size_t from = out->len;
    if (!td_buf_reserve(out, len))
        return false;
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp = 0;
        n = td_utf8_decode(s + i, len - i, &cp);
        int byte = n ? tok_letter_byte(cp) : -1;
        if (byte < 0) {
            out->len = from;
            return td_buf_add(out, s, len);
        }
        out->data[out->len++] = (char)byte;
    }
    out->data[out->len] = 0;
    return true;
}

static bool put_replaced(const char *from, size_t from_len, const char *to, size_t to_len, const char *s, size_t len,
                         td_buf *out)
{
    size_t at = 0;
    while (at < len && from_len) {
        const char *hit = memmem(s + at, len - at, from, from_len);
        if (!hit)
            break;
        td_buf_add(out, s + at, (size_t)(hit - (s + at)));
        td_buf_add(out, to, to_len);
        at = (size_t)(hit - s) + from_len;
    }
    return td_buf_add(out, s + at, len - at);
}

static bool put_stripped(const decode_step *d, const char *s, size_t len, td_buf *out)
{
    for (size_t i = 0; i < d->start && len >= d->from_len && memcmp(s, d->from, d->from_len) == 0; i++)
        s += d->from_len, len -= d->from_len;
    size_t n = d->from_len;
    for (size_t i = 0; i < d->stop && len >= n && memcmp(s + len - n, d->from, n) == 0; i++)
        len -= n;
    return td_buf_add(out, s, len);
}

static bool put_step(const decode_step *d, const char *s, size_t len, td_buf *out)
{
    switch (d->kind) {
    case DECODE_LETTERS: return put_letters(s, len, out);
    case DECODE_REPLACE: return put_replaced(d->from, d->from_len, d->to, d->to_len, s, len, out);
    case DECODE_STRIP: return put_stripped(d, s, len, out);
    default: return td_buf_add(out, s, len);
    }
}

/* Steps from `at` on. All but the last write into a buffer of their own that the next one reads. */
static bool put_steps(const tok_decode *d, size_t at, const char *s, size_t len, td_buf *out)
{
    td_buf a = TD_BUF_INIT, b = TD_BUF_INIT; // `a` holds the text so far once a step has run
    bool ok = true, done = false;
    for (; ok && !done && at < d->count; at++) {
        const decode_step *step = &d->step[at];
        int byte = step->kind == DECODE_BYTE ? tok_byte_value(s, len) : -1;
        if (byte >= 0) {
            ok = td_buf_char(out, (char)byte);
            done = true;
        } else if (at + 1 == d->count) {
            ok = put_step(step, s, len, out);
            done = true;
        } else if (step->kind != DECODE_BYTE) {
            td_buf_clear(&b);
            ok = put_step(step, s, len, &b);
            td_buf swap = a;
            a = b, b = swap;
            s = td_buf_cstr(&a), len = a.len;
        }
    }
    ok = ok && (done || td_buf_add(out, s, len));
    td_buf_free(&a);
    td_buf_free(&b);
    return ok;
}

bool tok_decode_piece(const tok_decode *d, const char *text, size_t len, bool first, td_buf *out)
{
    if (d->join_space && !first && !td_buf_char(out, ' '))
        return false;
    if (!first || d->lead != DECODE_LEAD_FIRST_TOKEN)
        return put_steps(d, 0, text, len, out);
    td_buf cut = TD_BUF_INIT;
    bool ok = put_replaced(d->lead_text, strlen(d->lead_text), "", 0, text, len, &cut) &&
              put_steps(d, 0, td_buf_cstr(&cut), cut.len, out);
    td_buf_free(&cut);
    return ok;
}
