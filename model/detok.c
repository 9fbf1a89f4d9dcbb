/* Bytes come token by token; what may still become a character waits. Bytes that cannot become one give U+FFFD: one for
 * each broken character, or one for each byte where the vocabulary has byte tokens (tok_decode.h). */
#include "model/detok.h"

#include "base/utf8.h"
#include "model/tok_int.h"

#include <string.h>

#define MARK "\xEF\xBF\xBD" // U+FFFD

void detok_init(detok *d, const tokenizer *t, bool skip_special)
{
    *d = (detok){.tok = t, .skip_special = skip_special};
}

/* Bytes at the front of s, not the beginning of a whole character, that one U+FFFD stands for. */
static size_t broken_len(const char *s, size_t len, bool byte_marks)
{
    if (byte_marks)
        return 1;
    size_t n = len < 3 ? len : 3;
    while (n > 1 && td_utf8_partial_tail(s, n) != n)
        n--;
    return n;
}

/* Makes the bytes of *out from `from` on UTF-8: the unfinished end goes back into d, or is broken too when `last`. */
static bool settle(detok *d, td_buf *out, size_t from, bool last)
{
    size_t len = out->len - from;
    const char *s = out->data + from;
    size_t tail = last ? 0 : td_utf8_partial_tail(s, len);
    memcpy(d->held, s + len - tail, tail);
    d->held_len = (uint8_t)tail;
    len -= tail;
    out->len -= tail;
    out->data[out->len] = 0;
    if (td_utf8_valid(s, len))
        return true;
    td_buf raw = TD_BUF_INIT;
    bool ok = td_buf_add(&raw, s, len);
    out->len = from;
    for (size_t i = 0, n; ok && i < raw.len; i += n) {
        n = td_utf8_len(raw.data + i, raw.len - i);
        if (n) {
            ok = td_buf_add(out, raw.data + i, n);
        } else {
            n = broken_len(raw.data + i, raw.len - i, d->tok->decode.byte_marks);
            ok = td_buf_add(out, MARK, 3);
        }
    }
    td_buf_free(&raw);
    return ok;
}

/* The beginning of a text: what the vocabulary's rule takes off the bytes from `from` on. */
static void lead(detok *d, td_buf *out, size_t from)
{
    decode_lead rule = d->tok->decode.lead;
    size_t len = out->len - from;
    bool space = len > 0 && out->data[from] == ' ';
    if (space && (rule == DECODE_LEAD_ONE_SPACE || rule == DECODE_LEAD_EACH_SPACE)) {
        memmove(out->data + from, out->data + from + 1, len); // with the NUL
        out->len--;
    }
    bool counts_tokens = rule == DECODE_LEAD_FIRST_TOKEN || d->tok->decode.join_space || rule == DECODE_LEAD_KEEP;
    d->started = counts_tokens || out->len > from || (space && rule == DECODE_LEAD_ONE_SPACE);
}

bool detok_add(detok *d, token_id id, td_buf *out)
{
    const tokenizer *t = d->tok;
    if (!tok_vocab_has(&t->vocab, id) || (d->skip_special && tokenizer_is_special(t, id)))
        return true;
    const tok_entry *e = &t->vocab.entry[id];
    size_t from = out->len;
    detok before = *d;
    bool ok = td_buf_add(out, d->held, d->held_len);
    size_t own = out->len;
    ok = ok && tok_decode_piece(&t->decode, e->text, e->len, !d->started, out);
    if (ok && !d->started)
        lead(d, out, own);
    ok = ok && settle(d, out, from, false);
    if (!ok) { // as if this token had not come
        *d = before;
        out->len = from;
        if (out->data)
            out->data[from] = 0;
    }
    return ok;
}

bool detok_end(detok *d, td_buf *out)
{
    size_t from = out->len;
    uint8_t held = d->held_len;
    d->held_len = 0;
    return held == 0 || (td_buf_add(out, d->held, held) && settle(d, out, from, true));
}

td_rc tokenizer_decode(const tokenizer *t, const token_id *ids, size_t count, bool skip_special, td_buf *out,
                       td_err *err)
{
    detok d;
    detok_init(&d, t, skip_special);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        if (ids[i] < 0 || ids[i] >= t->vocab.count)
            return td_fail(err, TD_E_INPUT, "token %d at position %zu is outside the vocabulary of %d", ids[i], i,
                           t->vocab.count);
        ok = detok_add(&d, ids[i], out);
    }
    ok = ok && detok_end(&d, out);
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory to decode %zu tokens", count);
}
