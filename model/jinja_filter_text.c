/* Filters on text and numbers. */
#include "model/jinja_filter.h"

#include "base/check.h"
#include "base/utf8.h"
#include "model/jinja_str.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool no_args(jrun *r, const jcall *c, const char *name) { return jcall_bind(r, c, name, "/", 0, NULL); }
static const jcall none = {0};

bool jfilter_string(jrun *r, jval v, const jcall *c, jval *out)
{
    return no_args(r, c, "string") && jval_to_str(r, v, out);
}

static bool through(jrun *r, jval v, const jcall *c, const char *name, jmethod_fn *fn, jval *out)
{
    if (!no_args(r, c, name) || !jval_to_str(r, v, &v) || !fn(r, v, &none, out))
        return false;
    out->sub = v.sub;
    return true;
}

bool jfilter_upper(jrun *r, jval v, const jcall *c, jval *out) { return through(r, v, c, "upper", jstrm_upper, out); }
bool jfilter_lower(jrun *r, jval v, const jcall *c, jval *out) { return through(r, v, c, "lower", jstrm_lower, out); }
bool jfilter_capitalize(jrun *r, jval v, const jcall *c, jval *out)
{
    return through(r, v, c, "capitalize", jstrm_capitalize, out);
}

/* Unlike str.title(): words begin after white space and after - ( { [ <, and nowhere else. */
bool jfilter_title(jrun *r, jval v, const jcall *c, jval *out)
{
    if (!no_args(r, c, "title") || !jval_to_str(r, v, &v))
        return false;
    size_t mark = jrun_mark(r), i = 0;
    uint32_t cp;
    while (i < v.len) {
        size_t n = jstr_next(v.s + i, v.len - i, &cp), end = i + n;
        bool gap = jstr_is_space(cp) || (cp < 128 && strchr("-({[<", (int)cp) && cp);
        if (gap) {
            jrun_put(r, v.s + i, n);
            i = end;
            continue;
        }
        jstr_put_case(r->out, v.s + i, n, JCASE_UPPER);
        size_t from = end;
        while (end < v.len) {
            n = jstr_next(v.s + end, v.len - end, &cp);
            if (jstr_is_space(cp) || (cp < 128 && cp && strchr("-({[<", (int)cp)))
                break;
            end += n;
        }
        jstr_put_case(r->out, v.s + from, end - from, JCASE_LOWER);
        i = end;
    }
    return jrun_cut(r, mark, out);
}

bool jfilter_trim(jrun *r, jval v, const jcall *c, jval *out)
{
    jval chars;
    if (!jcall_bind(r, c, "trim", "chars", 0, &chars) || !jval_to_str(r, v, &v))
        return false;
    jcall inner = {.pos = &chars, .n = chars.kind != J_MISSING};
    if (!jstrm_strip(r, v, &inner, out))
        return false;
    out->sub = v.sub;
    return true;
}

bool jfilter_replace(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[3];
    int64_t limit;
    if (!jcall_bind(r, c, "replace", "old new count", 2, a))
        return false;
    a[2] = a[2].kind == J_NONE ? jval_kind(J_MISSING) : a[2];
    return jarg_int(r, "replace", a[2], -1, &limit) && jval_to_str(r, v, &v) && jval_to_str(r, a[0], &a[0]) &&
           jval_to_str(r, a[1], &a[1]) && jstr_replace(r, v, a[0], a[1], limit, out);
}

bool jfilter_center(jrun *r, jval v, const jcall *c, jval *out)
{
    jval width;
    if (!jcall_bind(r, c, "center", "width", 0, &width) || !jval_to_str(r, v, &v))
        return false;
    width = width.kind == J_MISSING ? jval_int(80) : width;
    return jstrm_center(r, v, &(jcall){.pos = &width, .n = 1}, out);
}

bool jfilter_escape(jrun *r, jval v, const jcall *c, jval *out)
{
    return no_args(r, c, "escape") && jop_escape(r, v, out);
}

bool jfilter_forceescape(jrun *r, jval v, const jcall *c, jval *out)
{
    v.sub = v.kind == J_STR ? JSTR_PLAIN : v.sub;
    return no_args(r, c, "forceescape") && jop_escape(r, v, out);
}

bool jfilter_safe(jrun *r, jval v, const jcall *c, jval *out)
{
    if (!no_args(r, c, "safe") || !jval_to_str(r, v, out))
        return false;
    out->sub = JSTR_SAFE;
    return true;
}

bool jfilter_format(jrun *r, jval v, const jcall *c, jval *out)
{
    jval args = jval_kind(J_DICT);
    if (c->n && c->kn)
        return jrun_fail(r, "format takes arguments by position or by name, not both");
    if (!jval_to_str(r, v, &v))
        return false;
    if (c->kn) {
        args.dict = jdict_new(r, c->kn);
        for (size_t i = 0; args.dict && i < c->kn; i++)
            if (!jdict_put(r, args.dict, c->kw[i].name, c->kw[i].val))
                return false;
        return args.dict && jformat_percent(r, v, args, out);
    }
    if (!jval_list_of(r, c->pos, c->n, &args))
        return false;
    args.kind = J_TUPLE;
    return jformat_percent(r, v, args, out);
}

/* Lines after the first get the indentation; blank lines only with blank=true. */
bool jfilter_indent(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[3], pad, lines;
    int64_t width;
    if (!jcall_bind(r, c, "indent", "width first blank", 0, a) || !jarg_str(r, "indent", v))
        return false;
    if (a[0].kind == J_STR) {
        pad = a[0];
    } else {
        jval one = jval_cstr(" ");
        if (!jarg_int(r, "indent", a[0], 4, &width) || !jop_arith(r, T_MUL, one, jval_int(width), &pad))
            return false;
    }
    size_t mark = jrun_mark(r);
    bool first = jval_true(r, a[1]), blank = jval_true(r, a[2]);
    jval text;
    if (!jop_arith(r, T_ADD, v, jval_cstr("\n"), &text) || !jstr_lines(r, text, false, &lines))
        return false;
    for (size_t i = 0; i < lines.seq->n; i++) {
        jval line = lines.seq->v[i];
        if (i)
            jrun_puts(r, "\n");
        if (i ? blank || line.len : first)
            jrun_put(r, pad.s, pad.len);
        jrun_put(r, line.s, line.len);
    }
    return r->rc == TD_OK && jrun_cut(r, mark, out);
}

bool jfilter_truncate(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[4];
    int64_t length, leeway, n, end_n;
    if (!jcall_bind(r, c, "truncate", "length killwords end leeway", 0, a) ||
        !jarg_int(r, "truncate", a[0], 255, &length) || !jval_length(r, v, &n))
        return false;
    jval end = a[2].kind == J_MISSING ? jval_cstr("...") : a[2];
    a[3] = a[3].kind == J_NONE ? jval_kind(J_MISSING) : a[3];
    if (!jarg_str(r, "truncate", end) || !jarg_int(r, "truncate", a[3], 5, &leeway) || !jval_length(r, end, &end_n))
        return false;
    if (length < end_n || leeway < 0)
        return jrun_fail(r, "truncate: length must be at least that of the end, and leeway not negative");
    if (n <= length || n - length <= leeway) {
        *out = v;
        return true;
    }
    if (!jarg_str(r, "truncate", v))
        return false;
    size_t keep = jstr_offset(v.s, v.len, (size_t)(length - end_n));
    size_t space = jval_true(r, a[1]) ? SIZE_MAX : jstr_rfind(v.s, keep, " ", 1);
    keep = space == SIZE_MAX ? keep : space;
    size_t mark = jrun_mark(r);
    return jrun_put(r, v.s, keep) && jrun_put(r, end.s, end.len) && jrun_cut(r, mark, out);
}

static bool word_char(uint32_t cp) { return cp == '_' || jstr_is_alpha(cp) || jstr_is_numeric(cp); }

bool jfilter_wordcount(jrun *r, jval v, const jcall *c, jval *out)
{
    int64_t words = 0;
    bool inside = false;
    uint32_t cp;
    if (!no_args(r, c, "wordcount") || !jval_to_str(r, v, &v))
        return false;
    for (size_t i = 0; i < v.len;) {
        i += jstr_next(v.s + i, v.len - i, &cp);
        bool word = word_char(cp);
        words += word && !inside;
        inside = word;
    }
    *out = jval_int(words);
    return true;
}

/* ---- numbers ---- */

/* A number as int() and float() read it: spaces around, single underscores between digits. NULL = not one. */
static const char *clean_number(jrun *r, jval v)
{
    const char *s = v.s;
    size_t len = v.len, n = 0;
    jstr_strip(&s, &len, NULL, 0, true, true);
    char *out = jrun_alloc(r, len + 1, 1);
    for (size_t i = 0; out && i < len; i++) {
        bool digits = i > 0 && i + 1 < len && s[i - 1] != '_' && strchr("0123456789abcdefABCDEF", s[i + 1]) &&
                      strchr("0123456789abcdefABCDEFxXoObB", s[i - 1]);
        if (s[i] == '_' && digits)
            continue;
        if (s[i] == '_' || s[i] == 0)
            return NULL;
        out[n++] = s[i];
    }
    return out;
}

/* Python's float(text). */
static bool read_float(jrun *r, jval v, double *out)
{
    const char *s = clean_number(r, v);
    if (!s || !*s || strpbrk(s, "xXpP()"))
        return false;
    char *end;
    *out = strtod(s, &end);
    return *end == 0;
}

/* Python's int(text, base). */
static bool read_int(jrun *r, jval v, int64_t base, int64_t *out)
{
    const char *s = clean_number(r, v);
    if (!s)
        return false;
    bool minus = *s == '-';
    s += *s == '-' || *s == '+';
    char mark = s[0] == '0' ? (char)(s[1] | 32) : 0;
    int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked && (base == 0 || base == marked))
        s += 2, base = marked;
    else if (base == 0)
        base = 10;
    if (!*s || strchr("+- \t\n\v\f\r", *s))
        return false;
    char *end;
    errno = 0;
    unsigned long long u = strtoull(s, &end, (int)base);
    if (*end)
        return false;
    if (errno || u > (uint64_t)INT64_MAX + minus)
        return jrun_fail(r, "a whole number beyond 64 bits");
    *out = minus ? (int64_t)(0 - u) : (int64_t)u;
    return true;
}

static bool float_to_int(double f, int64_t *out)
{
    if (!(fabs(f) < 9223372036854775808.0))
        return false;
    *out = (int64_t)f;
    return true;
}

bool jfilter_int(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[2];
    int64_t base, i;
    double f;
    if (!jcall_bind(r, c, "int", "default base", 0, a) || !jarg_int(r, "int", a[1], 10, &base))
        return false;
    if (v.kind == J_UNDEF)
        return jrun_fail_undef(r, v);
    if (base != 0 && (base < 2 || base > 36))
        return jrun_fail(r, "int: base %lld", (long long)base);
    bool ok = jval_is_int(v);
    i = ok ? jval_as_int(v) : 0;
    if (v.kind == J_FLOAT) {
        ok = float_to_int(v.f, &i);
        if (!ok && isfinite(v.f))
            return jrun_fail(r, "a whole number beyond 64 bits");
        if (isinf(v.f))
            return jrun_fail(r, "int: infinity");
    }
    if (v.kind == J_STR)
        ok = read_int(r, v, base, &i) || (r->rc == TD_OK && read_float(r, v, &f) && float_to_int(f, &i));
    *out = ok ? jval_int(i) : a[0].kind == J_MISSING ? jval_int(0) : a[0];
    return r->rc == TD_OK;
}

bool jfilter_float(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a;
    double f = 0;
    if (!jcall_bind(r, c, "float", "default", 0, &a))
        return false;
    if (v.kind == J_UNDEF)
        return jrun_fail_undef(r, v);
    bool ok = jval_is_num(v) || (v.kind == J_STR && read_float(r, v, &f));
    f = jval_is_num(v) ? jval_as_num(v) : f;
    *out = ok ? jval_float(f) : a.kind == J_MISSING ? jval_float(0) : a;
    return r->rc == TD_OK;
}

bool jfilter_abs(jrun *r, jval v, const jcall *c, jval *out)
{
    if (!no_args(r, c, "abs"))
        return false;
    if (!jval_is_num(v))
        return jrun_fail(r, "abs of a value of type '%s'", jval_type_name(v));
    bool minus = v.kind == J_FLOAT ? signbit(v.f) : jval_as_int(v) < 0;
    return jop_negate(r, v, minus, out);
}

static bool round_float(jrun *r, double f, int64_t precision, jval *out)
{
    char text[400 + 40];
    if (precision > 300 || !isfinite(f)) {
        *out = jval_float(f);
        return true;
    }
    if (precision < 0) { // ties to even on the scaled value
        double scale = pow(10, (double)TD_MIN(-precision, (int64_t)400));
        *out = jval_float(isinf(scale) ? copysign(0, f) : nearbyint(f / scale) * scale);
        return true;
    }
    int n = snprintf(text, sizeof text, "%.*f", (int)TD_MIN(precision, (int64_t)100), f);
    if (n < 0 || (size_t)n >= sizeof text)
        return jrun_fail(r, "round: a number too long");
    *out = jval_float(strtod(text, NULL));
    return true;
}

static bool round_int(jrun *r, int64_t i, int64_t precision, jval *out)
{
    int64_t unit = 1;
    for (int64_t k = precision; k < 0; k++)
        if (__builtin_mul_overflow(unit, 10, &unit)) {
            *out = jval_int(0);
            return true;
        }
    int64_t rest = i % unit, down = i - rest, up;
    if (rest < 0 ? __builtin_sub_overflow(down, unit, &up) : __builtin_add_overflow(down, unit, &up))
        return jrun_fail(r, "a whole number beyond 64 bits");
    uint64_t twice = 2 * (uint64_t)(rest < 0 ? -rest : rest);
    bool odd = (down / unit) % 2 != 0;
    *out = jval_int(rest && (twice > (uint64_t)unit || (twice == (uint64_t)unit && odd)) ? up : down);
    return true;
}

bool jfilter_round(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[2];
    int64_t precision;
    if (!jcall_bind(r, c, "round", "precision method", 0, a) || !jarg_int(r, "round", a[0], 0, &precision))
        return false;
    jval method = a[1].kind == J_MISSING ? jval_cstr("common") : a[1];
    bool up = jval_is_str(method, "ceil");
    if (!up && !jval_is_str(method, "floor") && !jval_is_str(method, "common"))
        return jrun_fail(r, "round: the method is common, ceil or floor");
    if (!jval_is_num(v))
        return jrun_fail(r, "round of a value of type '%s'", jval_type_name(v));
    if (jval_is_str(method, "common"))
        return v.kind == J_FLOAT ? round_float(r, v.f, precision, out) : round_int(r, jval_as_int(v), precision, out);
    double scale = pow(10, (double)precision), f = jval_as_num(v) * scale;
    if (!isfinite(f) || scale == 0)
        return jrun_fail(r, "round: out of range");
    *out = jval_float((up ? ceil(f) : floor(f)) / scale);
    return true;
}

/* ---- tojson ---- */

static bool json_separators(jrun *r, jval v, jtojson *opt)
{
    jval *item;
    size_t n;
    if (v.kind == J_MISSING || v.kind == J_NONE)
        return true;
    if (!jval_items(r, v, &item, &n))
        return false;
    if (n != 2 || item[0].kind != J_STR || item[1].kind != J_STR)
        return jrun_fail(r, "tojson: separators are two strings");
    opt->comma = item[0];
    opt->colon = item[1];
    return true;
}

bool jfilter_tojson(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[4];
    int64_t indent;
    if (!jcall_bind(r, c, "tojson", "ensure_ascii indent separators sort_keys", 0, a))
        return false;
    jtojson opt = {.ensure_ascii = jval_true(r, a[0]), .sort_keys = jval_true(r, a[3]),
                   .pretty = a[1].kind != J_MISSING && a[1].kind != J_NONE};
    opt.comma = jval_cstr(opt.pretty ? "," : ", ");
    opt.colon = jval_cstr(": ");
    opt.indent = a[1];
    if (opt.pretty && a[1].kind != J_STR) {
        if (!jarg_int(r, "tojson", a[1], 0, &indent) ||
            !jop_arith(r, T_MUL, jval_cstr(" "), jval_int(indent), &opt.indent))
            return false;
    }
    size_t mark = jrun_mark(r);
    return json_separators(r, a[2], &opt) && jval_put_json(r, v, &opt, 0) && jrun_cut(r, mark, out);
}
