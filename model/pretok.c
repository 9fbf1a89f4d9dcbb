#include "model/pretok.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/utf8.h"

#include <string.h>

const char pretok_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* Printable Latin-1 stands for itself; the other 68 bytes, in order, are U+0100 and on. */
static bool stands_for_itself(unsigned b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xFF && b != 0xAD); }

static uint32_t letter_of(uint8_t b)
{
    if (stands_for_itself(b))
        return b;
    uint32_t n = b; // how many bytes below b do not stand for themselves
    if (b > 0x20)
        n = b <= 0xA0 ? b - 0x7Fu + 33 : 67;
    return 0x100 + n;
}

size_t tok_byte_letter(uint8_t byte, char out[2])
{
    char four[4];
    size_t n = td_utf8_encode(letter_of(byte), four);
    memcpy(out, four, n);
    return n;
}

int tok_letter_byte(uint32_t cp)
{
    if (cp < 0x100)
        return stands_for_itself(cp) ? (int)cp : -1;
    if (cp > 0x143)
        return -1;
    uint32_t n = cp - 0x100;
    return (int)(n <= 0x20 ? n : n == 67 ? 0xAD : n - 33 + 0x7F);
}

/* NULL: too many, err is set. */
static pretok_step *step_new(pretok *p, pretok_step_kind kind, td_err *err)
{
    if (p->count == TD_TOK_STEPS_MAX) {
        td_fail(err, TD_E_UNSUPPORTED, "a pre-tokenizer of more than %d steps is not supported", TD_TOK_STEPS_MAX);
        return NULL;
    }
    pretok_step *s = &p->step[p->count++];
    *s = (pretok_step){.kind = kind};
    return s;
}

static td_rc step_text(pretok_step *s, const char *text, size_t len, td_err *err)
{
    s->text = td_alloc(len + 1);
    if (!s->text)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a pre-tokenizer");
    memcpy(s->text, text, len);
    s->text_len = len;
    return TD_OK;
}

td_rc pretok_add_split(pretok *p, const char *pattern, size_t len, bool literal, pretok_behavior behavior, bool invert,
                       td_err *err)
{
    pretok_step *s = step_new(p, PRETOK_SPLIT, err);
    if (!s)
        return TD_E_UNSUPPORTED;
    s->behavior = behavior;
    s->invert = invert;
    if (literal && len == 0)
        return td_fail(err, TD_E_MODEL, "a pre-tokenizer splits by an empty text");
    return literal ? step_text(s, pattern, len, err) : tok_regex_new(pattern, len, &s->regex, err);
}

td_rc pretok_add_plain(pretok *p, pretok_step_kind kind, td_err *err)
{
    return step_new(p, kind, err) ? TD_OK : TD_E_UNSUPPORTED;
}

td_rc pretok_add_metaspace(pretok *p, const char *replacement, pretok_prepend prepend, bool split, td_err *err)
{
    size_t len = strlen(replacement);
    pretok_step *s = step_new(p, PRETOK_METASPACE, err);
    if (!s)
        return TD_E_UNSUPPORTED;
    s->prepend = prepend;
    td_rc rc = step_text(s, replacement, len, err);
    return rc == TD_OK && split ? pretok_add_split(p, replacement, len, true, PRETOK_MERGED_WITH_NEXT, false, err) : rc;
}

void pretok_free(pretok *p)
{
    for (size_t i = 0; i < p->count; i++) {
        tok_regex_free(p->step[i].regex);
        td_free(p->step[i].text);
    }
    p->count = 0;
}

void pretok_run_free(pretok_run *run)
{
    for (size_t i = 0; i < TD_TOK_STEPS_MAX; i++)
        td_buf_free(&run->scratch[i]);
}

static td_rc cut(const pretok *p, pretok_run *run, size_t at, const char *s, size_t len, bool first, td_err *err);

/* The segments of one piece, in order, as they are found: one is held back, because the next may join it. */
typedef struct splitter {
    const pretok *p;
    pretok_run *run;
    size_t at;         // index of the split step
    const char *s;
    bool first;
    size_t begin, end; // held segment
    bool held, match;  // `match`: the segment last seen was one
    td_err *err;
} splitter;

static td_rc splitter_flush(splitter *x)
{
    const pretok_step *step = &x->p->step[x->at];
    bool drop = !x->held || x->begin == x->end || (step->behavior == PRETOK_REMOVED && x->match);
    x->held = false;
    if (drop)
        return TD_OK;
    return cut(x->p, x->run, x->at + 1, x->s + x->begin, x->end - x->begin, x->first && x->begin == 0, x->err);
}

static bool joins(pretok_behavior b, bool before, bool now)
{
    switch (b) {
    case PRETOK_CONTIGUOUS: return before == now;
    case PRETOK_MERGED_WITH_PREVIOUS: return now && !before;
    case PRETOK_MERGED_WITH_NEXT: return before && !now;
    default: return false;
    }
}

static td_rc splitter_add(splitter *x, size_t begin, size_t end, bool match)
{
    td_rc rc = TD_OK;
    match = match != x->p->step[x->at].invert;
    if (x->held && joins(x->p->step[x->at].behavior, x->match, match)) {
        x->end = end;
    } else {
        rc = splitter_flush(x);
        x->begin = begin, x->end = end, x->held = true;
    }
    x->match = match;
    return rc;
}

static td_rc find(const pretok_step *step, pretok_run *run, const char *s, size_t len, size_t from, bool *found,
                  size_t *begin, size_t *end, td_err *err)
{
    if (step->regex)
        return tok_regex_find(step->regex, run->matcher, s, len, from, found, begin, end, err);
    const char *hit = from < len ? memmem(s + from, len - from, step->text, step->text_len) : NULL;
    *found = hit != NULL;
    if (hit) {
        *begin = (size_t)(hit - s);
        *end = *begin + step->text_len;
    }
    return TD_OK;
}

static td_rc split(const pretok *p, pretok_run *run, size_t at, const char *s, size_t len, bool first, td_err *err)
{
    splitter x = {.p = p, .run = run, .at = at, .s = s, .first = first, .err = err};
    size_t done = 0, from = 0;
    while (from <= len) {
        bool found;
        size_t begin = 0, end = 0;
        td_rc rc = find(&p->step[at], run, s, len, from, &found, &begin, &end, err);
        if (rc != TD_OK)
            return rc;
        if (!found)
            break;
        if (begin > done && (rc = splitter_add(&x, done, begin, false)) != TD_OK)
            return rc;
        if ((rc = splitter_add(&x, begin, end, true)) != TD_OK)
            return rc;
        done = end;
        from = end > begin ? end : end + TD_MAX(td_utf8_len(s + end, len - end), (size_t)1);
    }
    td_rc rc = done < len ? splitter_add(&x, done, len, false) : TD_OK;
    return rc == TD_OK ? splitter_flush(&x) : rc;
}

static bool put_bytes(td_buf *out, const char *s, size_t len)
{
    if (!td_buf_reserve(out, 2 * len))
        return false;
    for (size_t i = 0; i < len; i++)
        out->len += tok_byte_letter((uint8_t)s[i], out->data + out->len);
    out->data[out->len] = 0;
    return true;
}

static bool starts_with(const char *s, size_t len, const char *with, size_t with_len)
{
    return len >= with_len && memcmp(s, with, with_len) == 0;
}

static bool put_metaspace(const pretok_step *step, td_buf *out, const char *s, size_t len, bool first)
{
    bool there = starts_with(s, len, " ", 1) || starts_with(s, len, step->text, step->text_len);
    if (!there && (step->prepend == PRETOK_ALWAYS || (step->prepend == PRETOK_FIRST && first)))
        td_buf_add(out, step->text, step->text_len);
    for (size_t i = 0; i < len;) {
        const char *space = memchr(s + i, ' ', len - i);
        size_t end = space ? (size_t)(space - s) : len;
        td_buf_add(out, s + i, end - i);
        if (space)
            td_buf_add(out, step->text, step->text_len);
        i = end + 1;
    }
    return !out->failed;
}

static td_rc cut(const pretok *p, pretok_run *run, size_t at, const char *s, size_t len, bool first, td_err *err)
{
    if (at == p->count)
        return run->word(run->ctx, s, len, err);
    const pretok_step *step = &p->step[at];
    if (step->kind == PRETOK_SPLIT)
        return split(p, run, at, s, len, first, err);
    if (step->kind == PRETOK_PREFIX_SPACE && s[0] == ' ')
        return cut(p, run, at + 1, s, len, first, err);
    td_buf *out = &run->scratch[at];
    td_buf_clear(out);
    bool ok;
    if (step->kind == PRETOK_BYTES)
        ok = put_bytes(out, s, len);
    else if (step->kind == PRETOK_METASPACE)
        ok = put_metaspace(step, out, s, len, first);
    else
        ok = td_buf_char(out, ' ') && td_buf_add(out, s, len);
    if (!ok)
        return td_fail(err, TD_E_NOMEM, "not enough memory to cut a text of %zu bytes into words", len);
    return cut(p, run, at + 1, out->data, out->len, first, err);
}

td_rc pretok_cut(const pretok *p, pretok_run *run, const char *s, size_t len, bool first, td_err *err)
{
    return len ? cut(p, run, 0, s, len, first, err) : TD_OK;
}
