/* Values as text: Python's str() and repr(), and json.dumps(). */
#include "base/check.h"
#include "model/jinja_run.h"
#include "model/jinja_str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The shortest digits that read back as f, written as Python does: plain between 1e-4 and 1e16. */
size_t jinja_float_repr(double f, char out[40])
{
    if (!isfinite(f))
        return (size_t)snprintf(out, 40, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
    char sci[40];
    for (int digits = 0; digits <= 16; digits++) {
        snprintf(sci, sizeof sci, "%.*e", digits, f);
        if (strtod(sci, NULL) == f)
            break;
    }
    char *e = strchr(sci, 'e');
    int exp = (int)strtol(e + 1, NULL, 10);
    if (exp >= -4 && exp < 16) {
        int digits = (int)(e - sci) - (sci[0] == '-') - 1; // after the first
        digits = digits > 0 ? digits - 1 : 0;              // without the point
        return (size_t)snprintf(out, 40, "%.*f", TD_MAX(digits - exp, 1), f);
    }
    *e = 0;
    return (size_t)snprintf(out, 40, "%se%c%02d", sci, exp < 0 ? '-' : '+', abs(exp));
}

static bool put_float(jrun *r, double f)
{
    char text[40];
    return jrun_put(r, text, jinja_float_repr(f, text));
}

static bool put_escaped(jrun *r, uint32_t cp, char quote)
{
    switch (cp) {
    case '\n': return jrun_puts(r, "\\n");
    case '\r': return jrun_puts(r, "\\r");
    case '\t': return jrun_puts(r, "\\t");
    case '\\': return jrun_puts(r, "\\\\");
    default: break;
    }
    if (cp == (uint32_t)quote)
        return jrun_put_fmt(r, "\\%c", quote);
    return jrun_put_fmt(r, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
}

static bool repr_str(jrun *r, jval v)
{
    char quote = memchr(v.s, '\'', v.len) && !memchr(v.s, '"', v.len) ? '"' : '\'';
    jrun_put(r, &quote, 1);
    uint32_t cp;
    for (size_t i = 0, n; i < v.len && r->rc == TD_OK; i += n) {
        n = jstr_next(v.s + i, v.len - i, &cp);
        bool plain = cp != '\\' && cp != (uint32_t)quote && (cp < 127 ? cp >= 32 : jstr_is_printable(cp));
        if (plain)
            jrun_put(r, v.s + i, n);
        else
            put_escaped(r, cp, quote);
    }
    return jrun_put(r, &quote, 1);
}

static bool repr_seq(jrun *r, const jval *v, size_t n, const char *open, const char *close)
{
    jrun_puts(r, open);
    for (size_t i = 0; i < n && r->rc == TD_OK; i++) {
        if (i)
            jrun_puts(r, ", ");
        jval_put_repr(r, v[i]);
    }
    return jrun_puts(r, close);
}

static bool repr_dict(jrun *r, const jdict *d)
{
    jrun_puts(r, "{");
    for (uint32_t i = 0; i < d->n && r->rc == TD_OK; i++) {
        if (i)
            jrun_puts(r, ", ");
        jval_put_repr(r, d->pair[i].key);
        jrun_puts(r, ": ");
        jval_put_repr(r, d->pair[i].val);
    }
    return jrun_puts(r, "}");
}

static bool repr_view(jrun *r, jval v)
{
    static const char *const names[] = {"dict_items([", "dict_keys([", "dict_values(["};
    jrun_puts(r, names[v.sub]);
    for (uint32_t i = 0; i < v.dict->n && r->rc == TD_OK; i++) {
        if (i)
            jrun_puts(r, ", ");
        jval_put_repr(r, jview_at(r, v, i));
    }
    return jrun_puts(r, "])");
}

static bool repr_range(jrun *r, const jrange *g)
{
    int64_t stop = jrange_at(g, g->n).i;
    if (g->step == 1)
        return jrun_put_fmt(r, "range(%lld, %lld)", (long long)g->start, (long long)stop);
    return jrun_put_fmt(r, "range(%lld, %lld, %lld)", (long long)g->start, (long long)stop, (long long)g->step);
}

static bool repr_object(jrun *r, jval v)
{
    int64_t n;
    switch ((jkind)v.kind) {
    case J_LIST: return repr_seq(r, v.seq->v, v.seq->n, "[", "]");
    case J_TUPLE: return repr_seq(r, v.seq->v, v.seq->n, "(", v.seq->n == 1 ? ",)" : ")");
    case J_DICT: return repr_dict(r, v.dict);
    case J_VIEW: return repr_view(r, v);
    case J_RANGE: return repr_range(r, v.range);
    case J_NS: return jrun_puts(r, "<Namespace ") && repr_dict(r, v.dict) && jrun_puts(r, ">");
    case J_MACRO:
        jrun_puts(r, "<Macro ");
        repr_str(r, v.macro->node->macro->name);
        return jrun_puts(r, ">");
    case J_LOOP:
        return jval_length(r, v, &n) &&
               jrun_put_fmt(r, "<LoopContext %zu/%lld>", v.loop->index0 + 1, (long long)n);
    default: return jrun_put_fmt(r, "<%s object>", jval_type_name(v));
    }
}

bool jval_put_repr(jrun *r, jval v)
{
    switch ((jkind)v.kind) {
    case J_UNDEF: return jrun_puts(r, "Undefined");
    case J_STR:
        if (v.sub == JSTR_SAFE)
            jrun_puts(r, "Markup(");
        return repr_str(r, v) && (v.sub != JSTR_SAFE || jrun_puts(r, ")"));
    case J_MISSING:
    case J_NONE: return jrun_puts(r, "None");
    case J_BOOL: return jrun_puts(r, v.b ? "True" : "False");
    case J_INT: return jrun_put_fmt(r, "%lld", (long long)v.i);
    case J_FLOAT: return put_float(r, v.f);
    default: break;
    }
    if (!jrun_enter(r) || !jrun_step(r, 1))
        return false;
    bool ok = repr_object(r, v);
    jrun_leave(r);
    return ok;
}

bool jval_put_str(jrun *r, jval v)
{
    if (v.kind == J_STR)
        return jrun_put(r, v.s, v.len);
    return v.kind == J_UNDEF || jval_put_repr(r, v);
}

bool jval_to_str(jrun *r, jval v, jval *out)
{
    if (v.kind == J_STR) {
        *out = v;
        return true;
    }
    size_t mark = jrun_mark(r);
    return jval_put_str(r, v) && jrun_cut(r, mark, out);
}

/* ---- json.dumps ---- */

static bool json_escape(jrun *r, uint32_t cp)
{
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *p = cp && cp < 128 ? strchr(from, (int)cp) : NULL;
    if (p)
        return jrun_put_fmt(r, "\\%c", to[p - from]);
    if (cp < 0x10000)
        return jrun_put_fmt(r, "\\u%04x", cp);
    cp -= 0x10000;
    return jrun_put_fmt(r, "\\u%04x\\u%04x", 0xD800 + (cp >> 10), 0xDC00 + (cp & 0x3FF));
}

static bool json_str(jrun *r, jval v, bool ascii)
{
    jrun_puts(r, "\"");
    size_t run = 0;
    uint32_t cp;
    for (size_t i = 0, n; i < v.len && r->rc == TD_OK; i += n) {
        n = jstr_next(v.s + i, v.len - i, &cp);
        if (cp >= 32 && cp != '"' && cp != '\\' && (!ascii || cp < 127 || cp == 127))
            continue;
        jrun_put(r, v.s + run, i - run);
        json_escape(r, cp);
        run = i + n;
    }
    jrun_put(r, v.s + run, v.len - run);
    return jrun_puts(r, "\"");
}

static bool json_newline(jrun *r, const jtojson *opt, int depth)
{
    if (!opt->pretty)
        return true;
    jrun_puts(r, "\n");
    for (int i = 0; i < depth; i++)
        jrun_put(r, opt->indent.s, opt->indent.len);
    return r->rc == TD_OK;
}

static bool json_number(jrun *r, jval v)
{
    if (v.kind == J_FLOAT && !isfinite(v.f))
        return jrun_puts(r, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
    return jval_put_repr(r, v);
}

static bool json_key(jrun *r, jval key, bool ascii)
{
    if (key.kind == J_STR)
        return json_str(r, key, ascii);
    if (key.kind == J_BOOL)
        return jrun_puts(r, key.b ? "\"true\"" : "\"false\"");
    if (key.kind == J_NONE)
        return jrun_puts(r, "\"null\"");
    if (key.kind == J_INT || key.kind == J_FLOAT)
        return jrun_puts(r, "\"") && json_number(r, key) && jrun_puts(r, "\"");
    return jrun_fail(r, "a %s cannot be a key in JSON", jval_type_name(key));
}

static bool json_list(jrun *r, const jseq *s, const jtojson *opt, int depth)
{
    if (s->n == 0)
        return jrun_puts(r, "[]");
    jrun_puts(r, "[");
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            jrun_put(r, opt->comma.s, opt->comma.len);
        if (!json_newline(r, opt, depth + 1) || !jval_put_json(r, s->v[i], opt, depth + 1))
            return false;
    }
    return json_newline(r, opt, depth) && jrun_puts(r, "]");
}

/* Sorted by key as sort_keys does; insertion order otherwise. */
static bool json_pairs(jrun *r, const jdict *d, bool sorted, const jpair ***out)
{
    const jpair **p = *out = jrun_alloc(r, d->n, sizeof *p);
    if (!p)
        return false;
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t at = i;
        for (; sorted && at > 0; at--) {
            int order;
            if (!jrun_step(r, 1) || !jval_compare(r, p[at - 1]->key, d->pair[i].key, &order))
                return false;
            if (order <= 0)
                break;
            p[at] = p[at - 1];
        }
        p[at] = &d->pair[i];
    }
    return true;
}

static bool json_dict(jrun *r, const jdict *d, const jtojson *opt, int depth)
{
    const jpair **p;
    if (d->n == 0)
        return jrun_puts(r, "{}");
    if (!json_pairs(r, d, opt->sort_keys, &p))
        return false;
    jrun_puts(r, "{");
    for (uint32_t i = 0; i < d->n; i++) {
        if (i)
            jrun_put(r, opt->comma.s, opt->comma.len);
        if (!json_newline(r, opt, depth + 1) || !json_key(r, p[i]->key, opt->ensure_ascii))
            return false;
        jrun_put(r, opt->colon.s, opt->colon.len);
        if (!jval_put_json(r, p[i]->val, opt, depth + 1))
            return false;
    }
    return json_newline(r, opt, depth) && jrun_puts(r, "}");
}

bool jval_put_json(jrun *r, jval v, const jtojson *opt, int depth)
{
    if (!jrun_step(r, 1))
        return false;
    switch ((jkind)v.kind) {
    case J_NONE: return jrun_puts(r, "null");
    case J_BOOL: return jrun_puts(r, v.b ? "true" : "false");
    case J_INT:
    case J_FLOAT: return json_number(r, v);
    case J_STR: return json_str(r, v, opt->ensure_ascii);
    default: break;
    }
    if (v.kind != J_LIST && v.kind != J_TUPLE && v.kind != J_DICT)
        return jrun_fail(r, "a value of type %s cannot be written as JSON", jval_type_name(v));
    if (!jrun_enter(r))
        return false;
    bool ok = v.kind == J_DICT ? json_dict(r, v.dict, opt, depth) : json_list(r, v.seq, opt, depth);
    jrun_leave(r);
    return ok;
}
