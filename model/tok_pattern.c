#include "model/tok_pattern.h"

#include "base/check.h"
#include "base/limits.h"
#include "model/tok_ucd.h"

#include <string.h>

/* Inside a class: Unicode White_Space (PCRE2's \s has U+180E as well), and all that is not. */
#define SPACE "\\x09-\\x0D\\x20\\x85\\xA0\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define NOT_SPACE                                                                                          \
    "\\x00-\\x08\\x0E-\\x1F\\x21-\\x84\\x86-\\x9F\\xA1-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}"     \
    "\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}"
/* What a word is made of beside L, M, Nd, Nl and Pc: circled letters; and, in Oniguruma, where \w stands alone, six
 * Latin-1 fractions and superscripts. */
#define WORD_REST "\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"
#define WORD_ALONE "\\xB2\\xB3\\xB9\\xBC-\\xBE"

typedef struct rewriter {
    const char *s;
    size_t len, at;
    td_buf *out;
    td_err *err;
} rewriter;

static td_rc refuse(const rewriter *r, const char *what)
{
    return td_fail(r->err, TD_E_UNSUPPORTED, "regular expression '%.80s': %s at byte %zu is not supported", r->s, what,
                   r->at);
}

static char peek(const rewriter *r, size_t ahead) { return r->at + ahead < r->len ? r->s[r->at + ahead] : 0; }
static void copy(rewriter *r, size_t n)
{
    td_buf_add(r->out, r->s + r->at, n);
    r->at += n;
}

/* \p{name} and the newer code points of that category. A longer name is a script: PCRE2 takes a bare one for "used in
 * that script", which makes the ideographic full stop Han. */
static void put_property(td_buf *out, const char *name, size_t len)
{
    static const char *const written_out[] = {"Letter", "Number", "Mark", "Punctuation", "Symbol"};
    for (size_t i = 0; i < TD_COUNT(written_out); i++)
        if (len == strlen(written_out[i]) && memcmp(name, written_out[i], len) == 0)
            len = 1;
    if (len > 2) {
        td_buf_fmt(out, "\\p{sc:%.*s}", (int)len, name);
        if (len == 3 && memcmp(name, "Han", 3) == 0) // the one script that patterns name, and that grew
            td_buf_str(out, "\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}");
        return;
    }
    td_buf_fmt(out, "\\p{%.*s}", (int)len, name);
    for (size_t i = 0; i < tok_ucd_new_count; i++) {
        const tok_ucd_range *u = &tok_ucd_new[i];
        if (memcmp(u->category, name, len) == 0)
            td_buf_fmt(out, "\\x{%X}-\\x{%X}", (unsigned)u->first, (unsigned)u->last);
    }
}

static void put_word(td_buf *out, bool in_class)
{
    static const char *const parts[] = {"L", "M", "Nd", "Nl", "Pc"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        put_property(out, parts[i], strlen(parts[i]));
    td_buf_str(out, in_class ? WORD_REST : WORD_REST WORD_ALONE);
}

/* At \p or \P. Outside a class it becomes a class of its own. A negated property inside a class keeps PCRE2's meaning,
 * which differs for newer code points only. */
static td_rc property(rewriter *r, bool in_class)
{
    bool negated = peek(r, 1) == 'P';
    const char *name = r->s + r->at + 2;
    size_t len = 1, skip = 3;
    if (peek(r, 2) == '{') {
        name++;
        if (peek(r, 3) == '^')
            negated = !negated, name++;
        const char *close = memchr(name, '}', (size_t)(r->s + r->len - name));
        if (!close)
            return refuse(r, "an open property name");
        len = (size_t)(close - name);
        skip = (size_t)(close + 1 - (r->s + r->at));
    }
    if (len == 0 || len > 40 || name + len > r->s + r->len)
        return refuse(r, "a property name of this length");
    if (in_class && negated) {
        td_buf_fmt(r->out, len > 2 ? "\\P{sc:%.*s}" : "\\P{%.*s}", (int)len, name);
    } else {
        if (!in_class)
            td_buf_str(r->out, negated ? "[^" : "[");
        put_property(r->out, name, len);
        if (!in_class)
            td_buf_char(r->out, ']');
    }
    r->at += skip;
    return TD_OK;
}

/* At \uHHHH. */
static td_rc code_point(rewriter *r)
{
    for (size_t i = 2; i < 6; i++)
        if (!peek(r, i) || !strchr("0123456789abcdefABCDEF", peek(r, i)))
            return refuse(r, "\\u without four digits");
    td_buf_fmt(r->out, "\\x{%.4s}", r->s + r->at + 2);
    r->at += 6;
    return TD_OK;
}

/* At a backslash. */
static td_rc escape(rewriter *r, bool in_class)
{
    char c = peek(r, 1);
    const char *open = in_class ? "" : "[", *close = in_class ? "" : "]";
    switch (c) {
    case 's': td_buf_fmt(r->out, "%s%s%s", open, SPACE, close); break;
    case 'S': td_buf_fmt(r->out, "%s%s%s", open, NOT_SPACE, close); break;
    case 'h': td_buf_fmt(r->out, "%s0-9A-Fa-f%s", open, close); break;
    case 'd':
        td_buf_str(r->out, open);
        put_property(r->out, "Nd", 2);
        td_buf_str(r->out, close);
        break;
    case 'w':
        td_buf_str(r->out, open);
        put_word(r->out, in_class);
        td_buf_str(r->out, close);
        break;
    case 'W':
    case 'H':
    case 'D':
        if (in_class)
            return refuse(r, "a negated shorthand inside a class");
        td_buf_str(r->out, "[^");
        c == 'W'   ? put_word(r->out, false)
        : c == 'D' ? put_property(r->out, "Nd", 2)
                   : (void)td_buf_str(r->out, "0-9A-Fa-f");
        td_buf_char(r->out, ']');
        break;
    case 'p':
    case 'P': return property(r, in_class);
    case 'u': return code_point(r);
    case 0: return td_fail(r->err, TD_E_MODEL, "regular expression '%.80s' ends in a backslash", r->s);
    default: copy(r, 2); return TD_OK;
    }
    r->at += 2;
    return TD_OK;
}

/* At "[:" inside a class. The others mean different sets in the two languages. */
static td_rc posix_class(rewriter *r)
{
    static const char *const names[] = {"[:digit:]", "[:space:]", "[:xdigit:]"};
    for (size_t i = 0; i < TD_COUNT(names); i++) {
        size_t len = strlen(names[i]);
        if (r->len - r->at < len || memcmp(r->s + r->at, names[i], len) != 0)
            continue;
        i == 0 ? put_property(r->out, "Nd", 2) : (void)td_buf_str(r->out, i == 1 ? SPACE : "0-9A-Fa-f");
        r->at += len;
        return TD_OK;
    }
    return refuse(r, "this named class");
}

static td_rc class_items(rewriter *r, int depth, bool *subtract);

/* After "A&&" of the class that began at out->len == from: "[^B]]" follows, and the two become one group that looks
 * ahead. Other intersections are not seen in tokenizers. */
static td_rc class_minus(rewriter *r, size_t from)
{
    if (peek(r, 0) != '[' || peek(r, 1) != '^')
        return refuse(r, "an intersection of classes");
    td_buf left = TD_BUF_INIT;
    td_buf_add(&left, r->out->data + from, r->out->len - from); // "[A"
    r->out->len = from;
    td_buf_str(r->out, "(?:(?![");
    r->at += 2;
    bool again = false;
    td_rc rc = class_items(r, 2, &again);
    if (rc == TD_OK && (again || peek(r, 0) != ']'))
        rc = refuse(r, "an intersection of classes");
    r->at++;
    td_buf_str(r->out, "])");
    td_buf_add(r->out, left.data, left.len);
    td_buf_str(r->out, "])");
    bool oom = left.failed || r->out->failed;
    td_buf_free(&left);
    return rc == TD_OK && oom ? td_fail(r->err, TD_E_NOMEM, "not enough memory for a regular expression") : rc;
}

/* Items up to and with the closing bracket, which is not written; *subtract: stopped behind "&&" instead. */
static td_rc class_items(rewriter *r, int depth, bool *subtract)
{
    for (bool first = true; r->at < r->len; first = false) {
        char c = peek(r, 0);
        td_rc rc = TD_OK;
        if (c == ']' && !first) {
            r->at++;
            return TD_OK;
        }
        if (c == '\\') {
            rc = escape(r, true);
        } else if (c == '&' && peek(r, 1) == '&') {
            r->at += 2;
            *subtract = true;
            return TD_OK;
        } else if (c == '[' && peek(r, 1) == ':') {
            rc = posix_class(r);
        } else if (c == '[') {
            if (depth > 8 || peek(r, 1) == '^')
                return refuse(r, "a class inside a class");
            r->at++;
            rc = class_items(r, depth + 1, subtract);
            if (rc == TD_OK && *subtract)
                rc = refuse(r, "an intersection of classes");
        } else {
            copy(r, 1);
        }
        if (rc != TD_OK)
            return rc;
    }
    return td_fail(r->err, TD_E_MODEL, "regular expression '%.80s': a class is not closed", r->s);
}

static td_rc class_whole(rewriter *r)
{
    size_t from = r->out->len;
    bool negated = peek(r, 1) == '^', subtract = false;
    copy(r, negated ? 2 : 1);
    td_rc rc = class_items(r, 1, &subtract);
    if (rc != TD_OK)
        return rc;
    if (subtract)
        return negated || r->out->failed ? refuse(r, "an intersection of classes") : class_minus(r, from);
    td_buf_char(r->out, ']');
    return TD_OK;
}

/* At "(?": options differ in one letter, m here is s there. */
static void group_options(rewriter *r)
{
    size_t n = 2;
    while (peek(r, n) && strchr("imx-", peek(r, n)))
        n++;
    if (n == 2 || (peek(r, n) != ':' && peek(r, n) != ')')) {
        copy(r, 2);
        return;
    }
    for (size_t i = 0; i < n; i++)
        td_buf_char(r->out, peek(r, i) == 'm' ? 's' : peek(r, i));
    r->at += n;
}

td_rc tok_pattern_rewrite(const char *pattern, size_t len, td_buf *out, td_err *err)
{
    if (len == 0 || len > TD_TOK_REGEX_BYTES_MAX)
        return td_fail(err, TD_E_MODEL, "a regular expression of %zu bytes; 1 to %u are accepted", len,
                       TD_TOK_REGEX_BYTES_MAX);
    rewriter r = {.s = pattern, .len = len, .out = out, .err = err};
    // As written this is quadratic in a run of spaces inside a line; a run need only be tried from its beginning.
    if (len == 4 && memcmp(pattern, "\\s+$", 4) == 0)
        td_buf_str(out, "(?<![" SPACE "])");
    while (r.at < len) {
        char c = pattern[r.at];
        td_rc rc = TD_OK;
        if (c == '\\')
            rc = escape(&r, false);
        else if (c == '[')
            rc = class_whole(&r);
        else if (c == '(' && peek(&r, 1) == '*')
            rc = refuse(&r, "a verb");
        else if (c == '(' && peek(&r, 1) == '?')
            group_options(&r);
        else
            copy(&r, 1);
        if (rc != TD_OK)
            return rc;
    }
    return out->failed ? td_fail(err, TD_E_NOMEM, "not enough memory for a regular expression") : TD_OK;
}
