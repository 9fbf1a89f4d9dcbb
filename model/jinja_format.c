/* Python's two ways of formatting: "%s of %d" % values, and "{} of {n:>4}".format(values). */
#include "base/check.h"
#include "base/utf8.h"
#include "model/jinja_run.h"
#include "model/jinja_str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>


typedef struct spec { // of one field
    const char *fill;  // one character, fill_len bytes
    size_t fill_len;
    char align;        // < > ^ = or 0
    char sign;         // + - space or 0
    bool alt, zero;
    char group;        // , _ or 0
    int64_t width, precision; // -1 = none
    char type;         // 0 = none
} spec;

/* A number as printf writes it, without its sign. */
static bool digits_of(jrun *r, const spec *s, jval v, char *text, size_t cap, bool *minus)
{
    int n, precision = (int)TD_MIN(s->precision, (int64_t)TD_JINJA_PRECISION_MAX);
    char fmt[16];
    if (strchr("eEfFgG%", s->type ? s->type : 'd')) {
        double f = fabs(jval_as_num(v)) * (s->type == '%' ? 100 : 1);
        *minus = v.kind == J_FLOAT ? signbit(v.f) && !isnan(v.f) : jval_as_int(v) < 0;
        snprintf(fmt, sizeof fmt, "%%%s.*%c", s->alt ? "#" : "", s->type == '%' ? 'f' : s->type);
        n = snprintf(text, cap, fmt, precision < 0 ? 6 : precision, f);
        if (n > 0 && (size_t)n < cap - 1 && s->type == '%')
            text[n++] = '%', text[n] = 0;
    } else {
        int64_t i = jval_as_int(v);
        uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        *minus = i < 0;
        if (s->type == 'b') {
            char bits[65];
            n = 0;
            do
                bits[n++] = (char)('0' + (u & 1));
            while (u >>= 1);
            for (int k = 0; k < n; k++)
                text[k] = bits[n - 1 - k];
            text[n] = 0;
        } else {
            snprintf(fmt, sizeof fmt, "%%ll%c", s->type == 'o' || s->type == 'x' || s->type == 'X' ? s->type : 'u');
            n = snprintf(text, cap, fmt, (unsigned long long)u);
        }
    }
    return (n >= 0 && (size_t)n < cap) || jrun_fail(r, "a number too long to format");
}

/* Appends pre (sign and prefix) and text, filled up to the width. */
static bool put_padded(jrun *r, const spec *s, const char *pre, const char *text, size_t len, char dflt_align)
{
    char align = s->align ? s->align : dflt_align;
    size_t have = strlen(pre) + jstr_count(text, len);
    size_t more = s->width > 0 && (uint64_t)s->width > have ? (size_t)s->width - have : 0;
    size_t left = align == '<' ? 0 : align == '^' ? more / 2 : more;
    if (align == '=')
        jrun_puts(r, pre);
    jrun_fill(r, s->fill, s->fill_len, (int64_t)left);
    if (align != '=')
        jrun_puts(r, pre);
    jrun_put(r, text, len);
    return jrun_fill(r, s->fill, s->fill_len, (int64_t)(more - left));
}

/* 1234567 → 1,234,567 (before the point only). */
static size_t group_digits(const char *text, char sep, char *out)
{
    size_t whole = strspn(text, "0123456789"), n = 0;
    for (size_t i = 0; text[i]; i++) {
        if (i && i < whole && (whole - i) % 3 == 0)
            out[n++] = sep;
        out[n++] = text[i];
    }
    out[n] = 0;
    return n;
}

static bool put_number(jrun *r, const spec *s, jval v)
{
    char text[1024], grouped[1400], pre[4] = {0};
    bool minus;
    if (!digits_of(r, s, v, text, 512, &minus))
        return false;
    size_t n = 0;
    if (minus || s->sign == '+' || s->sign == ' ')
        pre[n++] = minus ? '-' : s->sign;
    if (s->alt && (s->type == 'x' || s->type == 'X' || s->type == 'o' || s->type == 'b'))
        pre[n++] = '0', pre[n++] = s->type;
    size_t len = s->group ? group_digits(text, s->group, grouped) : strlen(text);
    return put_padded(r, s, pre, s->group ? grouped : text, len, '>');
}

static bool put_text(jrun *r, const spec *s, jval v)
{
    size_t len = s->precision >= 0 ? jstr_offset(v.s, v.len, (size_t)s->precision) : v.len;
    return put_padded(r, s, "", v.s, len, '<');
}

static bool to_repr(jrun *r, jval v, jval *out)
{
    size_t mark = jrun_mark(r);
    return jval_put_repr(r, v) && jrun_cut(r, mark, out);
}

static bool put_char(jrun *r, const spec *s, jval v)
{
    char utf8[4];
    int64_t cp = jval_is_int(v) ? jval_as_int(v) : 0;
    if (v.kind == J_STR && jstr_count(v.s, v.len) == 1)
        return put_text(r, s, v);
    if (!jval_is_int(v) || cp < 0 || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return jrun_fail(r, "%%c needs one character");
    return put_text(r, s, jval_str(utf8, td_utf8_encode((uint32_t)cp, utf8)));
}

/* Reads digits at *i; -1 when there are none. Large values are cut, they fail later by size. */
static int64_t read_count(jval f, size_t *i)
{
    int64_t n = -1;
    for (; *i < f.len && f.s[*i] >= '0' && f.s[*i] <= '9'; (*i)++)
        n = TD_MIN((n < 0 ? 0 : n) * 10 + f.s[*i] - '0', (int64_t)1 << 40);
    return n;
}

/* ---- % ---- */

typedef struct percent {
    jrun *r;
    jval args;
    size_t used;
    bool named; // a mapping was asked by name
} percent;

static bool next_arg(percent *p, jval *out)
{
    bool tuple = p->args.kind == J_TUPLE;
    if (p->used >= (tuple ? p->args.seq->n : 1))
        return jrun_fail(p->r, "not enough arguments for the format string");
    *out = tuple ? p->args.seq->v[p->used] : p->args;
    p->used++;
    return true;
}

static bool named_arg(percent *p, jval f, size_t *i, jval *out)
{
    int depth = 1;
    size_t from = ++*i;
    bool found;
    for (; *i < f.len && depth; (*i)++)
        depth += f.s[*i] == '(' ? 1 : f.s[*i] == ')' ? -1 : 0;
    if (depth)
        return jrun_fail(p->r, "incomplete key in the format string");
    if (p->args.kind != J_DICT)
        return jrun_fail(p->r, "a format with names needs a mapping");
    p->named = true;
    if (!jdict_find(p->r, p->args.dict, jval_str(f.s + from, *i - 1 - from), out, &found))
        return false;
    return found || jrun_fail(p->r, "the format's key is missing");
}

static bool star_or_count(percent *p, jval f, size_t *i, int64_t *out)
{
    jval v;
    if (*i >= f.len || f.s[*i] != '*') {
        *out = read_count(f, i);
        return true;
    }
    ++*i;
    return next_arg(p, &v) && jarg_int(p->r, "* in a format", v, 0, out);
}

static bool put_percent(percent *p, spec *s, jval v)
{
    jrun *r = p->r;
    switch (s->type) {
    case 's':
        if (!jval_to_str(r, v, &v))
            return false;
        s->align = s->align ? s->align : '>';
        return put_text(r, s, v);
    case 'r':
    case 'a':
        s->align = s->align ? s->align : '>';
        return to_repr(r, v, &v) && put_text(r, s, v);
    case 'c': s->align = s->align ? s->align : '>'; return put_char(r, s, v);
    case 'd':
    case 'i':
    case 'u':
        if (v.kind == J_FLOAT) {
            if (!(fabs(v.f) < 9.2e18))
                return jrun_fail(r, "a whole number beyond 64 bits");
            v = jval_int((int64_t)v.f);
        }
        s->type = 'd';
        break;
    case 'o':
    case 'x':
    case 'X':
        if (!jval_is_int(v))
            return jrun_fail(r, "%%%c needs a whole number, not %s", s->type, jval_type_name(v));
        break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': break;
    default: return jrun_fail(r, "unsupported format character '%c'", s->type);
    }
    if (!jval_is_num(v))
        return jrun_fail(r, "%%%c needs a number, not %s", s->type, jval_type_name(v));
    s->align = s->align ? s->align : s->zero ? '=' : '>';
    return put_number(r, s, v);
}

static bool percent_field(percent *p, jval f, size_t *i)
{
    spec s = {.fill = " ", .fill_len = 1, .precision = -1};
    jval v = jval_kind(J_MISSING);
    if (*i < f.len && f.s[*i] == '(' && !named_arg(p, f, i, &v))
        return false;
    for (; *i < f.len && f.s[*i] && strchr("-+ #0", f.s[*i]); ++*i) {
        char c = f.s[*i];
        if (c == '-')
            s.align = '<';
        else if (c == '#')
            s.alt = true;
        else if (c == '0')
            s.zero = true;
        else if (s.sign != '+')
            s.sign = c;
    }
    if (!star_or_count(p, f, i, &s.width))
        return false;
    if (s.width < -1) {
        s.align = '<';
        s.width = s.width < -((int64_t)1 << 40) ? (int64_t)1 << 40 : -s.width;
    }
    if (*i < f.len && f.s[*i] == '.') {
        ++*i;
        if (!star_or_count(p, f, i, &s.precision))
            return false;
        s.precision = TD_MAX(s.precision, 0);
    }
    while (*i < f.len && (f.s[*i] == 'h' || f.s[*i] == 'l' || f.s[*i] == 'L'))
        ++*i;
    if (*i >= f.len)
        return jrun_fail(p->r, "incomplete format");
    s.type = f.s[(*i)++];
    if (s.type == '%')
        return jrun_put(p->r, "%", 1);
    if (v.kind == J_MISSING && !next_arg(p, &v))
        return false;
    if (s.zero && s.align != '<' && strchr("diuoxXeEfFgG", s.type))
        s.fill = "0";
    return put_percent(p, &s, v);
}

bool jformat_percent(jrun *r, jval f, jval args, jval *out)
{
    percent p = {.r = r, .args = args};
    size_t mark = jrun_mark(r);
    for (size_t i = 0; i < f.len;) {
        const char *next = memchr(f.s + i, '%', f.len - i);
        size_t upto = next ? (size_t)(next - f.s) : f.len;
        if (!jrun_put(r, f.s + i, upto - i) || !jrun_step(r, 1))
            return false;
        i = upto + 1;
        if (next && !percent_field(&p, f, &i))
            return false;
    }
    bool spare = args.kind == J_TUPLE ? p.used < args.seq->n
                                      : p.used == 0 && args.kind != J_DICT && args.kind != J_LIST && !p.named &&
                                            args.kind != J_UNDEF && args.kind != J_RANGE;
    if (spare)
        return jrun_fail(r, "not all arguments were used by the format string");
    if (!jrun_cut(r, mark, out))
        return false;
    out->sub = f.sub;
    return true;
}

/* ---- str.format ---- */

static bool parse_spec(jrun *r, jval f, spec *s)
{
    size_t i = 0;
    uint32_t cp;
    *s = (spec){.fill = " ", .fill_len = 1, .width = -1, .precision = -1};
    size_t first = f.len ? jstr_next(f.s, f.len, &cp) : 0;
    if (first && first < f.len && strchr("<>^=", f.s[first]) && f.s[first]) {
        s->fill = f.s;
        s->fill_len = first;
        s->align = f.s[first];
        i = first + 1;
    } else if (first && f.s[0] && strchr("<>^=", f.s[0])) {
        s->align = f.s[i++];
    }
    if (i < f.len && f.s[i] && strchr("+- ", f.s[i]))
        s->sign = f.s[i++];
    if (i < f.len && f.s[i] == '#')
        s->alt = true, i++;
    if (i < f.len && f.s[i] == '0') {
        s->zero = true, i++;
        if (!s->align)
            s->fill = "0", s->align = '=';
    }
    s->width = read_count(f, &i);
    if (i < f.len && (f.s[i] == ',' || f.s[i] == '_'))
        s->group = f.s[i++];
    if (i < f.len && f.s[i] == '.') {
        i++;
        s->precision = read_count(f, &i);
        if (s->precision < 0)
            return jrun_fail(r, "the format specifier lacks a precision");
    }
    if (i < f.len)
        s->type = f.s[i++];
    return i == f.len || jrun_fail(r, "invalid format specifier");
}

static bool format_float(jrun *r, spec *s, jval v)
{
    if (s->type == 0 && s->precision < 0) { // as repr, padded
        char text[40];
        jinja_float_repr(fabs(v.f), text);
        bool minus = signbit(v.f) && !isnan(v.f);
        char pre[2] = {minus ? '-' : s->sign == '+' || s->sign == ' ' ? s->sign : 0, 0}, grouped[64];
        size_t len = s->group ? group_digits(text, s->group, grouped) : strlen(text);
        return put_padded(r, s, pre, s->group ? grouped : text, len, '>');
    }
    s->type = s->type ? s->type : 'g';
    if (!strchr("eEfFgG%", s->type))
        return jrun_fail(r, "unknown format code '%c' for a float", s->type);
    return put_number(r, s, v);
}

static bool format_value(jrun *r, jval v, jval text)
{
    spec s;
    if (text.len == 0)
        return jval_put_str(r, v);
    if (!parse_spec(r, text, &s))
        return false;
    if (v.kind == J_STR) {
        if ((s.type && s.type != 's') || s.align == '=' || s.sign || s.group)
            return jrun_fail(r, "invalid format specifier for a string");
        return put_text(r, &s, v);
    }
    if (v.kind == J_FLOAT)
        return format_float(r, &s, v);
    if (!jval_is_int(v))
        return jrun_fail(r, "a value of type '%s' takes no format specifier", jval_type_name(v));
    if (s.type && strchr("eEfFgG%", s.type))
        return put_number(r, &s, v);
    if (s.type == 'c')
        return put_char(r, &s, v);
    s.type = s.type ? s.type : 'd';
    if (!strchr("dboxXn", s.type) || s.precision >= 0)
        return jrun_fail(r, "invalid format specifier for a whole number");
    return put_number(r, &s, v);
}

typedef struct braces {
    jrun *r;
    const jcall *c;
    size_t next;          // automatic number
    bool numbered, automatic;
} braces;

/* "0", "name", "" and what follows: .attr and [item]. */
static bool field_value(braces *b, jval name, jval *out)
{
    jrun *r = b->r;
    size_t head = 0, i;
    while (head < name.len && name.s[head] != '.' && name.s[head] != '[')
        head++;
    size_t at = 0;
    int64_t index = read_count(jval_str(name.s, head), &at);
    bool number = head > 0 && at == head;
    if (head == 0 || number) {
        b->automatic |= head == 0;
        b->numbered |= number;
        if (b->automatic && b->numbered)
            return jrun_fail(r, "format: numbered and unnumbered fields cannot be mixed");
        size_t n = number ? (size_t)index : b->next++;
        if (n >= b->c->n)
            return jrun_fail(r, "format: not enough arguments");
        *out = b->c->pos[n];
    } else {
        size_t k = 0;
        while (k < b->c->kn && !(b->c->kw[k].name.len == head && !memcmp(b->c->kw[k].name.s, name.s, head)))
            k++;
        if (k == b->c->kn)
            return jrun_fail(r, "format: no argument is named '%.*s'", (int)TD_MIN(head, (size_t)60), name.s);
        *out = b->c->kw[k].val;
    }
    for (i = head; i < name.len;) {
        bool attr = name.s[i] == '.';
        size_t from = ++i;
        while (i < name.len && (attr ? name.s[i] != '.' && name.s[i] != '[' : name.s[i] != ']'))
            i++;
        jval part = jval_str(name.s + from, i - from);
        if (part.len == 0 || (!attr && i >= name.len))
            return jrun_fail(r, "format: malformed field name");
        at = 0;
        index = read_count(part, &at);
        if (!attr && at == part.len)
            part = jval_int(index);
        if (!(attr ? jop_attr : jop_item)(r, *out, part, out))
            return false;
        i += !attr;
        if (i < name.len && name.s[i] != '.' && name.s[i] != '[')
            return jrun_fail(r, "format: malformed field name");
    }
    return true;
}

static bool expand(braces *b, jval f, int depth);

/* name[!conversion][:spec], without the outer braces. */
static bool brace_field(braces *b, jval f, int depth)
{
    jrun *r = b->r;
    size_t name = 0, inside = 0;
    for (; name < f.len && (inside || (f.s[name] != ':' && f.s[name] != '!')); name++)
        inside = f.s[name] == '[' ? 1 : f.s[name] == ']' ? 0 : inside;
    char conversion = 0;
    size_t i = name;
    jval v, text = jval_str("", 0);
    if (i < f.len && f.s[i] == '!') {
        conversion = i + 1 < f.len ? f.s[i + 1] : 0;
        i += 2;
        if (!conversion || !strchr("sra", conversion) || (i < f.len && f.s[i] != ':'))
            return jrun_fail(r, "format: malformed conversion");
    }
    if (!field_value(b, jval_str(f.s, name), &v))
        return false;
    if (conversion && !(conversion == 's' ? jval_to_str(r, v, &v) : to_repr(r, v, &v)))
        return false;
    if (i < f.len) {
        size_t mark = jrun_mark(r);
        if (!expand(b, jval_str(f.s + i + 1, f.len - i - 1), depth + 1) || !jrun_cut(r, mark, &text))
            return false;
    }
    return format_value(r, v, text);
}

static bool expand(braces *b, jval f, int depth)
{
    jrun *r = b->r;
    if (depth > 2)
        return jrun_fail(r, "format: fields are nested too deeply");
    for (size_t i = 0; i < f.len; i++) {
        char c = f.s[i];
        if (c != '{' && c != '}') {
            size_t run = i;
            while (run < f.len && f.s[run] != '{' && f.s[run] != '}')
                run++;
            if (!jrun_put(r, f.s + i, run - i))
                return false;
            i = run - 1;
            continue;
        }
        if (i + 1 < f.len && f.s[i + 1] == c) {
            if (!jrun_put(r, &c, 1))
                return false;
            i++;
            continue;
        }
        size_t end = i + 1;
        int open = 1;
        for (; end < f.len && open; end++)
            open += f.s[end] == '{' ? 1 : f.s[end] == '}' ? -1 : 0;
        if (c == '}' || open)
            return jrun_fail(r, "format: a single brace");
        if (!jrun_step(r, 1 + (end - i) / 64) || !brace_field(b, jval_str(f.s + i + 1, end - i - 2), depth))
            return false;
        i = end - 1;
    }
    return true;
}

bool jformat_braces(jrun *r, jval fmt, const jcall *c, jval *out)
{
    braces b = {.r = r, .c = c};
    size_t mark = jrun_mark(r);
    return expand(&b, fmt, 0) && jrun_cut(r, mark, out);
}
