#include "model/tok_norm.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/utf8.h"
#include "model/pretok.h"
#include "model/tok_chars.h"
#include "model/tok_forms.h"

#include <string.h>
#include <utf8proc.h>

norm_step *tok_norm_add(tok_norm *n, norm_kind kind, td_err *err)
{
    if (n->count == TD_TOK_STEPS_MAX) {
        td_fail(err, TD_E_UNSUPPORTED, "a normalizer of more than %d steps is not supported", TD_TOK_STEPS_MAX);
        return NULL;
    }
    norm_step *s = &n->step[n->count++];
    *s = (norm_step){.kind = kind};
    return s;
}

static bool keep(const char *text, char **copy, size_t *len)
{
    *len = strlen(text);
    *copy = td_alloc(*len + 1);
    if (*copy)
        memcpy(*copy, text, *len);
    return *copy != NULL;
}

td_rc tok_norm_add_prepend(tok_norm *n, const char *text, td_err *err)
{
    norm_step *s = tok_norm_add(n, NORM_PREPEND, err);
    if (!s)
        return TD_E_UNSUPPORTED;
    return keep(text, &s->text, &s->text_len) ? TD_OK
                                              : td_fail(err, TD_E_NOMEM, "not enough memory for a normalizer");
}

td_rc tok_norm_add_replace(tok_norm *n, const char *from, bool literal, const char *to, td_err *err)
{
    norm_step *s = tok_norm_add(n, NORM_REPLACE, err);
    if (!s)
        return TD_E_UNSUPPORTED;
    if (literal && !*from)
        return td_fail(err, TD_E_MODEL, "a normalizer replaces an empty text");
    if (!keep(to, &s->text, &s->text_len) || (literal && !keep(from, &s->from, &s->from_len)))
        return td_fail(err, TD_E_NOMEM, "not enough memory for a normalizer");
    return literal ? TD_OK : tok_regex_new(from, strlen(from), &s->regex, err);
}

void tok_norm_free(tok_norm *n)
{
    for (size_t i = 0; i < n->count; i++) {
        td_free(n->step[i].text);
        td_free(n->step[i].from);
        tok_regex_free(n->step[i].regex);
        tok_charsmap_free(n->step[i].charsmap);
    }
    n->count = 0;
}

static td_rc replace_matches(const norm_step *step, tok_matcher *m, const char *s, size_t len, td_buf *out, td_err *err)
{
    size_t done = 0, from = 0;
    while (from <= len) {
        bool found = false;
        size_t begin = 0, end = 0;
        td_rc rc = tok_regex_find(step->regex, m, s, len, from, &found, &begin, &end, err);
        if (rc != TD_OK)
            return rc;
        if (!found)
            break;
        td_buf_add(out, s + done, begin - done);
        td_buf_add(out, step->text, step->text_len);
        done = end;
        from = end > begin ? end : end + TD_MAX(td_utf8_len(s + end, len - end), (size_t)1);
    }
    td_buf_add(out, s + done, len - done);
    return TD_OK;
}

static void replace_text(const norm_step *step, const char *s, size_t len, td_buf *out)
{
    size_t at = 0;
    for (const char *hit; at < len && (hit = memmem(s + at, len - at, step->from, step->from_len)) != NULL;) {
        td_buf_add(out, s + at, (size_t)(hit - (s + at)));
        td_buf_add(out, step->text, step->text_len);
        at = (size_t)(hit - s) + step->from_len;
    }
    td_buf_add(out, s + at, len - at);
}

static void strip(const norm_step *step, const char *s, size_t len, td_buf *out)
{
    for (size_t n; step->left && (n = tok_space_at(s, len)) != 0; s += n, len -= n)
        ;
    for (size_t n; step->right && (n = tok_space_before(s, len)) != 0; len -= n)
        ;
    td_buf_add(out, s, len);
}

static bool is_mark(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
}

/* What Google's NMT rules do with a character: 0 goes, U+0020 a space, else itself. */
static uint32_t nmt(uint32_t cp)
{
    if ((cp >= 1 && cp <= 8) || cp == 0x0B || (cp >= 0x0E && cp <= 0x1F) || cp == 0x7F || cp == 0x8F || cp == 0x9F)
        return 0;
    bool space = cp == 9 || cp == 0x0A || cp == 0x0C || cp == 0x0D || cp == 0x1680 || (cp >= 0x200B && cp <= 0x200F) ||
                 cp == 0x2028 || cp == 0x2029 || cp == 0x2581 || cp == 0xFEFF || cp == 0xFFFD;
    return space ? 0x20 : cp;
}

static void put_char(td_buf *out, uint32_t cp)
{
    char four[4];
    td_buf_add(out, four, td_utf8_encode(cp, four));
}

/* Steps that look at one character at a time. */
static void each_char(norm_kind kind, const char *s, size_t len, td_buf *out)
{
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp = 0;
        n = td_utf8_decode(s + i, len - i, &cp);
        if (n == 0)
            return; // the caller checked the text
        if (kind == NORM_STRIP_ACCENTS) {
            if (!is_mark(cp))
                td_buf_add(out, s + i, n);
        } else if (kind == NORM_NMT) {
            uint32_t to = nmt(cp);
            if (to)
                put_char(out, to);
        } else if (cp == 0x130) { // the one letter whose lower case is two characters
            td_buf_add(out, "i\xCC\x87", 3);
        } else {
            put_char(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
        }
    }
}

static void put_letters(const char *s, size_t len, td_buf *out)
{
    for (size_t i = 0; i < len; i++) {
        char two[2];
        size_t n = tok_byte_letter((uint8_t)s[i], two);
        td_buf_add(out, two, n);
    }
}

static td_rc run_step(const norm_step *step, tok_matcher *m, const char *s, size_t len, td_buf *out, td_err *err)
{
    switch (step->kind) {
    case NORM_NFC: tok_form(s, len, TOK_COMPOSE, out); break;
    case NORM_NFD: tok_form(s, len, 0, out); break;
    case NORM_NFKC: tok_form(s, len, TOK_COMPOSE | TOK_COMPATIBLE, out); break;
    case NORM_NFKD: tok_form(s, len, TOK_COMPATIBLE, out); break;
    case NORM_PREPEND:
        if (len)
            td_buf_add(out, step->text, step->text_len);
        td_buf_add(out, s, len);
        break;
    case NORM_REPLACE:
        if (step->regex)
            return replace_matches(step, m, s, len, out, err);
        replace_text(step, s, len, out);
        break;
    case NORM_STRIP: strip(step, s, len, out); break;
    case NORM_CHARSMAP: tok_charsmap_run(step->charsmap, s, len, out); break;
    case NORM_LETTERS: put_letters(s, len, out); break;
    default: each_char(step->kind, s, len, out); break;
    }
    return TD_OK;
}

td_rc tok_norm_run(const tok_norm *n, tok_matcher *m, const char *text, size_t len, td_buf *a, td_buf *b,
                   const char **out, size_t *out_len, td_err *err)
{
    size_t max = len * TD_TOK_GROWTH_MAX + 4096;
    for (size_t i = 0; i < n->count; i++) {
        td_buf *to = i % 2 ? b : a;
        td_buf_clear(to);
        to->max_bytes = max;
        td_rc rc = td_buf_reserve(to, len) ? run_step(&n->step[i], m, text, len, to, err) : TD_OK;
        if (rc != TD_OK)
            return rc;
        if (to->failed && to->len > max / 2)
            return td_fail(err, TD_E_INPUT, "the tokenizer's normalizer makes this text more than %d times longer",
                           TD_TOK_GROWTH_MAX);
        if (to->failed)
            return td_fail(err, TD_E_NOMEM, "not enough memory to normalize a text of %zu bytes", len);
        text = td_buf_cstr(to);
        len = to->len;
    }
    *out = text;
    *out_len = len;
    return TD_OK;
}
