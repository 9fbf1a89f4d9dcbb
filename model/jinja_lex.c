/* The lexer cuts a template into data and tags, and tags into tokens.
 *
 * The white-space rules are those of trim_blocks and lstrip_blocks: the newline after a block or comment goes, and so
 * does the blank space before one when nothing else stands on its line; `-` on either side removes all white space,
 * `+` keeps it. White space is what Python's str.isspace() says, so U+00A0 and U+3000 count. */
#include "model/jinja_ast.h"

#include "base/check.h"
#include "base/utf8.h"
#include "model/jinja_str.h"

#include <errno.h>
#include <stdlib.h>

static bool lex_fail(jlex *l, uint32_t line, const char *what)
{
    td_fail(l->err, TD_E_INPUT, "template line %u: %s", line, what);
    return false;
}

static bool at(const jlex *l, size_t pos, const char *s)
{
    size_t n = strlen(s);
    return l->len - TD_MIN(pos, l->len) >= n && !memcmp(l->src + pos, s, n);
}

static size_t skip_space(const jlex *l, size_t pos)
{
    uint32_t cp;
    while (pos < l->len) {
        size_t n = jstr_next(l->src + pos, l->len - pos, &cp);
        if (!jstr_is_space(cp))
            break;
        pos += n;
    }
    return pos;
}

/* Moves to `pos`, counting lines. */
static void move(jlex *l, size_t pos)
{
    for (size_t i = l->at; i < pos; i++)
        l->line += l->src[i] == '\n';
    l->line_start = pos > l->at && l->src[pos - 1] == '\n';
    l->at = pos;
}

/* The end of a tag at pos, with what it takes along: "-%}\s*", "+%}" or "%}\n". 0 = not there. */
static size_t tag_end(const jlex *l, size_t pos, const char *mark, bool plus, bool trim)
{
    if (at(l, pos, "-") && at(l, pos + 1, mark))
        return skip_space(l, pos + 3);
    if (plus && at(l, pos, "+") && at(l, pos + 1, mark))
        return pos + 3;
    if (!at(l, pos, mark))
        return 0;
    return pos + 2 + (trim && at(l, pos + 2, "\n"));
}

static char sign_at(const jlex *l, size_t pos)
{
    return at(l, pos, "-") ? '-' : at(l, pos, "+") ? '+' : 0;
}

/* "{%- raw %}" or "{%- endraw %}": the end of the tag, or 0. */
static size_t raw_tag(const jlex *l, size_t pos, const char *word, bool end)
{
    if (!at(l, pos, "{%"))
        return 0;
    pos += 2;
    pos = skip_space(l, pos + (sign_at(l, pos) != 0));
    if (!at(l, pos, word))
        return 0;
    return tag_end(l, skip_space(l, pos + strlen(word)), "%}", end, end);
}

/* How much of the data [from, to) stays before a tag with this sign. `line_start`: whether `from` begins a line. */
static size_t strip_data(const jlex *l, size_t from, size_t to, char sign, bool variable, bool line_start)
{
    if (sign == '-')
        return from + jstr_rstrip(l->src + from, to - from);
    if (sign == '+' || variable)
        return to;
    size_t line = to;
    while (line > from && l->src[line - 1] != '\n')
        line--;
    if (line == from && !line_start)
        return to;
    return skip_space(l, line) >= to ? line : to;
}

static bool data_token(jlex *l, jtok *t, size_t from, size_t to)
{
    *t = (jtok){.kind = T_DATA, .line = l->line, .s = l->src + from, .len = to - from};
    return true;
}

/* At "{#": skips the comment. */
static bool skip_comment(jlex *l)
{
    uint32_t line = l->line;
    size_t pos = l->at + 2;
    pos += sign_at(l, pos) != 0;
    for (; pos < l->len; pos++) {
        size_t end = tag_end(l, pos, "#}", true, true);
        if (end) {
            move(l, end);
            return true;
        }
    }
    return lex_fail(l, line, "the comment is not closed with #}");
}

/* At "{% raw %}" whose tag ends at `body`: the text up to endraw becomes data. */
static bool lex_raw(jlex *l, jtok *t, size_t body)
{
    uint32_t line = l->line;
    move(l, body);
    for (size_t pos = body; pos < l->len; pos++) {
        size_t end = raw_tag(l, pos, "endraw", true);
        if (!end)
            continue;
        data_token(l, t, body, strip_data(l, body, pos, sign_at(l, pos + 2), false, l->line_start));
        move(l, end);
        return true;
    }
    return lex_fail(l, line, "{% raw %} is not closed with {% endraw %}");
}

/* Outside of tags: data up to the next tag, and the tag itself into l->pending. */
static bool lex_root(jlex *l, jtok *t)
{
    while (l->at < l->len) {
        size_t from = l->at, pos = from;
        while (pos < l->len && !(l->src[pos] == '{' && (at(l, pos, "{%") || at(l, pos, "{{") || at(l, pos, "{#"))))
            pos++;
        if (pos >= l->len) {
            data_token(l, t, from, pos);
            move(l, pos);
            return true;
        }
        bool variable = l->src[pos + 1] == '{', comment = l->src[pos + 1] == '#';
        size_t raw = raw_tag(l, pos, "raw", false);
        size_t keep = strip_data(l, from, pos, sign_at(l, pos + 2), variable, l->line_start);
        data_token(l, t, from, keep);
        move(l, pos);
        bool has_data = keep > from;
        if (comment) {
            if (!skip_comment(l))
                return false;
        } else if (raw) {
            jtok text;
            if (!lex_raw(l, &text, raw))
                return false;
            if (!has_data)
                *t = text, has_data = text.len > 0;
            else
                l->pending = text, l->has_pending = true;
        } else {
            jtok tag = {.kind = variable ? T_VAR_BEGIN : T_BLOCK_BEGIN, .line = l->line};
            move(l, pos + 2 + (sign_at(l, pos + 2) != 0));
            l->mode = variable ? LEX_VAR : LEX_BLOCK;
            if (!has_data)
                *t = tag, has_data = true;
            else
                l->pending = tag, l->has_pending = true;
        }
        if (has_data)
            return true;
    }
    *t = (jtok){.kind = T_EOF, .line = l->line};
    return true;
}

static bool word_char(uint32_t cp, bool first)
{
    if (cp < 128)
        return cp == '_' || (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z') || (!first && cp >= '0' && cp <= '9');
    return jstr_is_ident(cp, first);
}

static bool lex_name(jlex *l, jtok *t)
{
    size_t pos = l->at;
    uint32_t cp;
    while (pos < l->len) {
        size_t n = jstr_next(l->src + pos, l->len - pos, &cp);
        if (!word_char(cp, pos == l->at))
            break;
        pos += n;
    }
    t->kind = T_NAME;
    t->s = l->src + l->at;
    t->len = pos - l->at;
    move(l, pos);
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits with single underscores between them, as far as they go; copies the digits. */
static size_t take_digits(const jlex *l, size_t pos, char *out, size_t *n, size_t cap)
{
    while (pos < l->len && (is_digit(l->src[pos]) ||
                            (l->src[pos] == '_' && pos + 1 < l->len && is_digit(l->src[pos + 1]) && *n))) {
        if (l->src[pos] != '_' && *n < cap)
            out[(*n)++] = l->src[pos];
        pos++;
    }
    return pos;
}

static bool lex_radix(jlex *l, jtok *t, int base)
{
    size_t pos = l->at + 2, n = 0;
    char digits[80];
    for (; pos < l->len && n < sizeof digits - 1; pos++) {
        char c = (char)(l->src[pos] | 32);
        int d = is_digit(l->src[pos]) ? l->src[pos] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
        if (d < base)
            digits[n++] = l->src[pos];
        else if (l->src[pos] != '_')
            break;
    }
    digits[n] = 0;
    errno = 0;
    t->kind = T_INT;
    t->i = strtoll(digits, NULL, base);
    if (errno || n == 0)
        return lex_fail(l, l->line, "bad whole number");
    move(l, pos);
    return true;
}

static bool lex_number(jlex *l, jtok *t)
{
    const char *s = l->src + l->at;
    if (s[0] == '0' && l->at + 2 < l->len) {
        char c = (char)(s[1] | 32);
        int base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
        if (base)
            return lex_radix(l, t, base);
    }
    char text[400];
    size_t n = 0, cap = sizeof text - 8, pos = take_digits(l, l->at, text, &n, cap);
    bool real = false, after_dot = l->at > 0 && l->src[l->at - 1] == '.';
    if (!after_dot && pos + 1 < l->len && l->src[pos] == '.' && is_digit(l->src[pos + 1])) {
        text[n++] = '.';
        pos = take_digits(l, pos + 1, text, &n, cap);
        real = true;
    }
    size_t e = pos + 1;
    if (!after_dot && pos < l->len && (l->src[pos] | 32) == 'e') {
        e += e < l->len && (l->src[e] == '+' || l->src[e] == '-');
        if (e < l->len && is_digit(l->src[e])) {
            text[n++] = 'e';
            if (e > pos + 1)
                text[n++] = l->src[e - 1];
            pos = take_digits(l, e, text, &n, sizeof text - 1);
            real = true;
        }
    }
    text[n] = 0;
    errno = 0;
    t->kind = real ? T_FLOAT : T_INT;
    if (real) {
        t->f = strtod(text, NULL);
    } else {
        if (s[0] == '0' && n > 1) { // 012 is 0 and then 12, as in Jinja's lexer
            size_t zeros = 0;
            while (zeros < n && text[zeros] == '0')
                zeros++;
            text[zeros] = 0;
            pos = l->at + (zeros < n ? zeros : pos - l->at);
        }
        t->i = strtoll(text, NULL, 10);
        if (errno || n >= cap)
            return lex_fail(l, l->line, "whole number beyond 64 bits");
    }
    move(l, pos);
    return true;
}

static int hex_value(const char *s, size_t n, size_t avail)
{
    int v = 0;
    if (avail < n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        char c = (char)(s[i] | 32);
        int d = is_digit(s[i]) ? s[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (d < 0 || v > 0x10FFFF)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* One escape after the backslash at s[0]; returns bytes used beyond the backslash, 0 = malformed. */
static size_t unescape(const char *s, size_t avail, char *out, size_t *n)
{
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    const char *p = s[0] ? strchr(from, s[0]) : NULL;
    if (p) {
        out[(*n)++] = to[p - from];
        return 1;
    }
    if (s[0] == '\n')
        return 1;
    int v = -1;
    size_t used = 0;
    if (s[0] == 'x' || s[0] == 'u' || s[0] == 'U') {
        size_t digits = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : 8;
        v = hex_value(s + 1, digits, avail - 1);
        used = digits + 1;
        if (v < 0 || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000))
            return 0;
    } else if (s[0] >= '0' && s[0] <= '7') {
        for (v = 0; used < 3 && used < avail && s[used] >= '0' && s[used] <= '7'; used++)
            v = v * 8 + s[used] - '0';
    } else if (s[0] == 'N') {
        return 0;
    } else { // unknown escapes keep their backslash
        out[(*n)++] = '\\';
        size_t len = td_utf8_len(s, avail);
        memcpy(out + *n, s, len);
        *n += len;
        return len;
    }
    *n += td_utf8_encode((uint32_t)v, out + *n);
    return used;
}

static bool lex_string(jlex *l, jtok *t)
{
    char quote = l->src[l->at];
    size_t from = l->at + 1, to = from;
    bool plain = true;
    for (; to < l->len && l->src[to] != quote; to++)
        if (l->src[to] == '\\')
            plain = false, to++;
    if (to >= l->len)
        return lex_fail(l, l->line, "the string is not closed");
    t->kind = T_STRING;
    t->s = l->src + from;
    t->len = to - from;
    if (!plain) {
        char *out = td_arena_alloc(l->arena, to - from + 8); // no escape is longer than what it stands for
        if (!out) {
            td_fail(l->err, TD_E_NOMEM, "not enough memory for a chat template");
            return false;
        }
        size_t n = 0;
        for (size_t i = from; i < to;) {
            if (l->src[i] != '\\') {
                out[n++] = l->src[i++];
                continue;
            }
            size_t used = unescape(l->src + i + 1, to - i - 1, out, &n);
            if (!used)
                return lex_fail(l, l->line, "malformed escape in a string");
            i += used + 1;
        }
        t->s = out;
        t->len = n;
    }
    move(l, to + 1);
    return true;
}

static const struct {
    char s[3];
    uint8_t kind;
} operators[] = { // longer ones first
    {"//", T_FLOORDIV}, {"**", T_POW}, {"==", T_EQ}, {"!=", T_NE}, {">=", T_GE}, {"<=", T_LE},
    {"+", T_ADD}, {"-", T_SUB}, {"/", T_DIV}, {"*", T_MUL}, {"%", T_MOD}, {"~", T_TILDE}, {"[", T_LBRACKET},
    {"]", T_RBRACKET}, {"(", T_LPAREN}, {")", T_RPAREN}, {"{", T_LBRACE}, {"}", T_RBRACE}, {">", T_GT}, {"<", T_LT},
    {"=", T_ASSIGN}, {".", T_DOT}, {":", T_COLON}, {"|", T_PIPE}, {",", T_COMMA}, {";", T_SEMICOLON},
};

static const struct {
    uint8_t kind;
    const char *text;
} token_texts[] = {{T_EOF, "the end of the template"}, {T_DATA, "text"}, {T_VAR_BEGIN, "'{{'"}, {T_VAR_END, "'}}'"},
                   {T_BLOCK_BEGIN, "'{%'"}, {T_BLOCK_END, "'%}'"}, {T_NAME, "a name"}, {T_STRING, "a string"},
                   {T_INT, "a number"}, {T_FLOAT, "a number"}, {T_LPAREN, "'('"}, {T_RPAREN, "')'"},
                   {T_LBRACKET, "'['"}, {T_RBRACKET, "']'"}, {T_LBRACE, "'{'"}, {T_RBRACE, "'}'"}, {T_COMMA, "','"},
                   {T_COLON, "':'"}, {T_ASSIGN, "'='"}, {T_DOT, "'.'"}, {T_PIPE, "'|'"}, {T_MOD, "'%'"}};

const char *jtok_text(jtok_kind kind)
{
    for (size_t i = 0; i < TD_COUNT(token_texts); i++)
        if (token_texts[i].kind == kind)
            return token_texts[i].text;
    return "an operator";
}

/* Brackets must pair, so that "}}" inside a dict literal does not end the tag. */
static bool balance(jlex *l, jtok_kind kind)
{
    char due = kind == T_LBRACE ? '}' : kind == T_LPAREN ? ')' : kind == T_LBRACKET ? ']' : 0;
    if (due) {
        if (l->open_count >= (int)sizeof l->open)
            return lex_fail(l, l->line, "brackets are nested too deeply");
        l->open[l->open_count++] = due;
        return true;
    }
    char got = kind == T_RBRACE ? '}' : kind == T_RPAREN ? ')' : kind == T_RBRACKET ? ']' : 0;
    if (got && (l->open_count == 0 || l->open[--l->open_count] != got))
        return lex_fail(l, l->line, "a closing bracket does not match");
    return true;
}

static bool lex_operator(jlex *l, jtok *t)
{
    for (size_t i = 0; i < TD_COUNT(operators); i++) {
        if (!at(l, l->at, operators[i].s))
            continue;
        t->kind = operators[i].kind;
        move(l, l->at + strlen(operators[i].s));
        return balance(l, t->kind);
    }
    return lex_fail(l, l->line, "unexpected character in a tag");
}

static bool lex_tag(jlex *l, jtok *t)
{
    if (l->open_count == 0) {
        bool block = l->mode == LEX_BLOCK;
        size_t end = tag_end(l, l->at, block ? "%}" : "}}", block, block);
        if (end) {
            *t = (jtok){.kind = block ? T_BLOCK_END : T_VAR_END, .line = l->line};
            move(l, end);
            l->mode = LEX_ROOT;
            return true;
        }
    }
    size_t pos = skip_space(l, l->at);
    if (pos > l->at) {
        move(l, pos);
        return lex_tag(l, t); // once: what follows is no space
    }
    *t = (jtok){.kind = T_EOF, .line = l->line};
    if (l->at >= l->len)
        return true;
    char c = l->src[l->at];
    if (is_digit(c))
        return lex_number(l, t);
    if (c == '"' || c == '\'')
        return lex_string(l, t);
    uint32_t cp;
    jstr_next(l->src + l->at, l->len - l->at, &cp);
    return word_char(cp, true) ? lex_name(l, t) : lex_operator(l, t);
}

bool jlex_next(jlex *l, jtok *t)
{
    if (l->has_pending) {
        *t = l->pending;
        l->has_pending = false;
        return true;
    }
    return l->mode == LEX_ROOT ? lex_root(l, t) : lex_tag(l, t);
}
