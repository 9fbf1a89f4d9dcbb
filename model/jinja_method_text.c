/* Methods of strings that change case, pad, and classify characters. */
#include "base/check.h"
#include "model/jinja_run.h"
#include "model/jinja_str.h"

static bool no_args(jrun *r, const jcall *c, const char *name) { return jcall_bind(r, c, name, "/", 0, NULL); }

static bool change_case(jrun *r, jval self, const jcall *c, jcase to, jval *out)
{
    size_t mark = jrun_mark(r);
    return no_args(r, c, "a change of case") && (jstr_put_case(r->out, self.s, self.len, to) || jrun_nomem(r)) &&
           jrun_cut(r, mark, out);
}

bool jstrm_upper(jrun *r, jval self, const jcall *c, jval *out) { return change_case(r, self, c, JCASE_UPPER, out); }
bool jstrm_lower(jrun *r, jval self, const jcall *c, jval *out) { return change_case(r, self, c, JCASE_LOWER, out); }
bool jstrm_casefold(jrun *r, jval self, const jcall *c, jval *out) { return change_case(r, self, c, JCASE_FOLD, out); }

bool jstrm_title(jrun *r, jval self, const jcall *c, jval *out)
{
    size_t mark = jrun_mark(r);
    return no_args(r, c, "title") && (jstr_put_title(r->out, self.s, self.len) || jrun_nomem(r)) &&
           jrun_cut(r, mark, out);
}

bool jstrm_capitalize(jrun *r, jval self, const jcall *c, jval *out)
{
    size_t mark = jrun_mark(r);
    return no_args(r, c, "capitalize") && (jstr_put_capital(r->out, self.s, self.len) || jrun_nomem(r)) &&
           jrun_cut(r, mark, out);
}

bool jstrm_swapcase(jrun *r, jval self, const jcall *c, jval *out)
{
    size_t mark = jrun_mark(r);
    return no_args(r, c, "swapcase") && (jstr_put_swapped(r->out, self.s, self.len) || jrun_nomem(r)) &&
           jrun_cut(r, mark, out);
}

/* ---- padding ---- */

static bool pad(jrun *r, jval self, int64_t left, int64_t right, jval fill, jval *out)
{
    size_t mark = jrun_mark(r);
    return jrun_fill(r, fill.s, fill.len, left) && jrun_put(r, self.s, self.len) &&
           jrun_fill(r, fill.s, fill.len, right) && jrun_cut(r, mark, out);
}

enum { LEFT, RIGHT, BOTH };

static bool justify(jrun *r, jval self, const jcall *c, const char *name, int side, jval *out)
{
    jval a[2];
    int64_t width, n;
    if (!jcall_bind(r, c, name, "/width fill", 1, a) || !jarg_int(r, name, a[0], 0, &width) ||
        !jval_length(r, self, &n))
        return false;
    jval fill = a[1].kind == J_MISSING ? jval_cstr(" ") : a[1];
    if (!jarg_str(r, name, fill))
        return false;
    if (jstr_count(fill.s, fill.len) != 1)
        return jrun_fail(r, "%s: the fill must be one character", name);
    int64_t more = width > n ? width - n : 0;
    int64_t left = side == LEFT ? 0 : side == RIGHT ? more : more / 2 + (more & width & 1);
    return pad(r, self, left, more - left, fill, out);
}

bool jstrm_center(jrun *r, jval self, const jcall *c, jval *out) { return justify(r, self, c, "center", BOTH, out); }
bool jstrm_ljust(jrun *r, jval self, const jcall *c, jval *out) { return justify(r, self, c, "ljust", LEFT, out); }
bool jstrm_rjust(jrun *r, jval self, const jcall *c, jval *out) { return justify(r, self, c, "rjust", RIGHT, out); }

bool jstrm_zfill(jrun *r, jval self, const jcall *c, jval *out)
{
    jval a;
    int64_t width, n;
    if (!jcall_bind(r, c, "zfill", "/width", 1, &a) || !jarg_int(r, "zfill", a, 0, &width) || !jval_length(r, self, &n))
        return false;
    size_t sign = self.len && (self.s[0] == '+' || self.s[0] == '-'), mark = jrun_mark(r);
    jrun_put(r, self.s, sign);
    return jrun_fill(r, "0", 1, width > n ? width - n : 0) && jrun_put(r, self.s + sign, self.len - sign) &&
           jrun_cut(r, mark, out);
}

bool jstrm_expandtabs(jrun *r, jval self, const jcall *c, jval *out)
{
    jval a;
    int64_t size, column = 0;
    size_t mark = jrun_mark(r);
    uint32_t cp;
    if (!jcall_bind(r, c, "expandtabs", "tabsize", 0, &a) || !jarg_int(r, "expandtabs", a, 8, &size))
        return false;
    for (size_t i = 0, n; i < self.len; i += n) {
        n = jstr_next(self.s + i, self.len - i, &cp);
        if (cp == '\t') {
            int64_t gap = size > 0 ? size - column % size : 0;
            if (!jrun_fill(r, " ", 1, gap))
                return false;
            column += gap;
        } else {
            jrun_put(r, self.s + i, n);
            column = cp == '\n' || cp == '\r' ? 0 : column + 1;
        }
    }
    return r->rc == TD_OK && jrun_cut(r, mark, out);
}

/* ---- classes of characters ---- */

/* All characters pass and there is at least one; the empty string is `empty`. */
static bool all_are(jrun *r, jval self, const jcall *c, bool (*is)(uint32_t), bool empty, jval *out)
{
    bool yes = self.len ? true : empty;
    uint32_t cp;
    for (size_t i = 0; i < self.len && yes;) {
        i += jstr_next(self.s + i, self.len - i, &cp);
        yes = is(cp);
    }
    *out = jval_bool(yes);
    return no_args(r, c, "a question about characters");
}

static bool is_alnum(uint32_t cp) { return jstr_is_alpha(cp) || jstr_is_numeric(cp); }
static bool is_ascii(uint32_t cp) { return cp < 128; }

bool jstrm_isalnum(jrun *r, jval s, const jcall *c, jval *out) { return all_are(r, s, c, is_alnum, false, out); }
bool jstrm_isalpha(jrun *r, jval s, const jcall *c, jval *out) { return all_are(r, s, c, jstr_is_alpha, false, out); }
bool jstrm_isascii(jrun *r, jval s, const jcall *c, jval *out) { return all_are(r, s, c, is_ascii, true, out); }
bool jstrm_isdecimal(jrun *r, jval s, const jcall *c, jval *out)
{
    return all_are(r, s, c, jstr_is_decimal, false, out);
}
bool jstrm_isdigit(jrun *r, jval s, const jcall *c, jval *out) { return all_are(r, s, c, jstr_is_digit, false, out); }
bool jstrm_isnumeric(jrun *r, jval s, const jcall *c, jval *out)
{
    return all_are(r, s, c, jstr_is_numeric, false, out);
}
bool jstrm_isprintable(jrun *r, jval s, const jcall *c, jval *out)
{
    return all_are(r, s, c, jstr_is_printable, true, out);
}
bool jstrm_isspace(jrun *r, jval s, const jcall *c, jval *out) { return all_are(r, s, c, jstr_is_space, false, out); }

bool jstrm_isidentifier(jrun *r, jval self, const jcall *c, jval *out)
{
    bool yes = self.len > 0;
    uint32_t cp;
    for (size_t i = 0, n; i < self.len && yes; i += n) {
        n = jstr_next(self.s + i, self.len - i, &cp);
        yes = jstr_is_ident(cp, i == 0);
    }
    *out = jval_bool(yes);
    return no_args(r, c, "isidentifier");
}

/* Every cased character is of this case, and there is one. */
static bool cased_as(jrun *r, jval self, const jcall *c, bool (*is)(uint32_t), jval *out)
{
    bool any = false, all = true;
    uint32_t cp;
    for (size_t i = 0; i < self.len && all;) {
        i += jstr_next(self.s + i, self.len - i, &cp);
        bool cased = jstr_is_cased(cp);
        any |= cased;
        all = !cased || is(cp);
    }
    *out = jval_bool(any && all);
    return no_args(r, c, "a question about case");
}

bool jstrm_isupper(jrun *r, jval s, const jcall *c, jval *out) { return cased_as(r, s, c, jstr_is_upper, out); }
bool jstrm_islower(jrun *r, jval s, const jcall *c, jval *out) { return cased_as(r, s, c, jstr_is_lower, out); }

bool jstrm_istitle(jrun *r, jval self, const jcall *c, jval *out)
{
    bool any = false, ok = true, inside = false;
    uint32_t cp;
    for (size_t i = 0; i < self.len && ok;) {
        i += jstr_next(self.s + i, self.len - i, &cp);
        bool lower = jstr_is_lower(cp), cased = jstr_is_cased(cp);
        ok = !cased || lower == inside;
        any |= cased;
        inside = cased;
    }
    *out = jval_bool(any && ok);
    return no_args(r, c, "istitle");
}
