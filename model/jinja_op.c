/* Operators with Python's meaning. Whole numbers are 64 bits wide; leaving them is an error, never a wrong number. */
#include "base/check.h"
#include "model/jinja_run.h"
#include "model/jinja_str.h"

#include <math.h>

static bool overflow(jrun *r) { return jrun_fail(r, "a whole number beyond 64 bits"); }

static bool fail_types(jrun *r, const char *op, jval a, jval b)
{
    if (a.kind == J_UNDEF || b.kind == J_UNDEF)
        return jrun_fail_undef(r, a.kind == J_UNDEF ? a : b);
    return jrun_fail(r, "'%s' is not defined for '%s' and '%s'", op, jval_type_name(a), jval_type_name(b));
}

/* ---- numbers ---- */

static bool int_pow(jrun *r, int64_t base, int64_t exp, jval *out)
{
    int64_t v = 1;
    while (exp > 0) {
        if ((exp & 1) && __builtin_mul_overflow(v, base, &v))
            return overflow(r);
        exp >>= 1;
        if (exp && __builtin_mul_overflow(base, base, &base))
            return overflow(r);
    }
    *out = jval_int(v);
    return true;
}

static bool int_arith(jrun *r, jtok_kind op, int64_t a, int64_t b, jval *out)
{
    int64_t v = 0;
    bool over = false;
    switch (op) {
    case T_ADD: over = __builtin_add_overflow(a, b, &v); break;
    case T_SUB: over = __builtin_sub_overflow(a, b, &v); break;
    case T_MUL: over = __builtin_mul_overflow(a, b, &v); break;
    case T_POW: return int_pow(r, a, b, out);
    case T_FLOORDIV:
        if (a == INT64_MIN && b == -1)
            return overflow(r);
        v = a / b - ((a % b != 0) & ((a % b < 0) != (b < 0)));
        break;
    default: // T_MOD: the sign of the divisor
        v = b == -1 ? 0 : a % b;
        v += v && (v < 0) != (b < 0) ? b : 0;
        break;
    }
    *out = jval_int(v);
    return over ? overflow(r) : true;
}

static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m == 0)
        return copysign(0, b);
    return (m < 0) != (b < 0) ? m + b : m;
}

static double float_floordiv(double a, double b)
{
    double q = (a - float_mod(a, b)) / b;
    if (q == 0)
        return copysign(0, a / b);
    double f = floor(q);
    return q - f > 0.5 ? f + 1 : f;
}

static bool float_pow(jrun *r, double a, double b, jval *out)
{
    if (a == 0 && b < 0)
        return jrun_fail(r, "zero to a negative power");
    if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b))
        return jrun_fail(r, "a fractional power of a negative number");
    double v = pow(a, b);
    if (isinf(v) && isfinite(a) && isfinite(b))
        return jrun_fail(r, "the result is too large for a number");
    *out = jval_float(v);
    return true;
}

static bool num_arith(jrun *r, jtok_kind op, jval a, jval b, jval *out)
{
    bool ints = jval_is_int(a) && jval_is_int(b);
    double x = jval_as_num(a), y = jval_as_num(b);
    if ((op == T_DIV || op == T_FLOORDIV || op == T_MOD) && y == 0)
        return jrun_fail(r, "division by zero");
    if (ints && op != T_DIV && !(op == T_POW && jval_as_int(b) < 0))
        return int_arith(r, op, jval_as_int(a), jval_as_int(b), out);
    switch (op) {
    case T_ADD: *out = jval_float(x + y); return true;
    case T_SUB: *out = jval_float(x - y); return true;
    case T_MUL: *out = jval_float(x * y); return true;
    case T_DIV: *out = jval_float(x / y); return true;
    case T_FLOORDIV: *out = jval_float(float_floordiv(x, y)); return true;
    case T_MOD: *out = jval_float(float_mod(x, y)); return true;
    default: return float_pow(r, x, y, out);
    }
}

/* ---- sequences ---- */

static const char *html_escape(char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&#34;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

static bool put_html(jrun *r, jval v)
{
    if (v.sub == JSTR_SAFE)
        return jrun_put(r, v.s, v.len);
    for (uint32_t i = 0; i < v.len && r->rc == TD_OK; i++) {
        const char *e = html_escape(v.s[i]);
        if (e)
            jrun_puts(r, e);
        else
            jrun_put(r, v.s + i, 1);
    }
    return r->rc == TD_OK;
}

bool jop_escape(jrun *r, jval v, jval *out)
{
    size_t mark = jrun_mark(r);
    if (!jval_to_str(r, v, &v) || !put_html(r, v) || !jrun_cut(r, mark, out))
        return false;
    out->sub = JSTR_SAFE;
    return true;
}

static bool str_add(jrun *r, jval a, jval b, jval *out)
{
    bool safe = a.sub == JSTR_SAFE || b.sub == JSTR_SAFE;
    size_t mark = jrun_mark(r);
    if (safe)
        put_html(r, a), put_html(r, b);
    else
        jrun_put(r, a.s, a.len), jrun_put(r, b.s, b.len);
    if (!jrun_cut(r, mark, out))
        return false;
    out->sub = safe ? JSTR_SAFE : JSTR_PLAIN;
    return true;
}

static bool seq_add(jrun *r, jval a, jval b, jval *out)
{
    jseq *s = jseq_new(r, a.seq->n + b.seq->n);
    if (!s || !jrun_step(r, s->n / 4))
        return false;
    if (a.seq->n)
        memcpy(s->v, a.seq->v, a.seq->n * sizeof *s->v);
    if (b.seq->n)
        memcpy(s->v + a.seq->n, b.seq->v, b.seq->n * sizeof *s->v);
    *out = jval_kind((jkind)a.kind);
    out->seq = s;
    return true;
}

static bool repeat(jrun *r, jval v, int64_t times, jval *out)
{
    size_t n = v.kind == J_STR ? v.len : v.seq->n, total;
    times = times < 0 ? 0 : times;
    if (!td_size_mul_ok(n, (size_t)times, &total) || total > TD_JINJA_OUT_BYTES_MAX)
        return jrun_fail(r, "a repetition longer than %u", TD_JINJA_OUT_BYTES_MAX);
    if (v.kind == J_STR) {
        size_t mark = jrun_mark(r);
        bool ok = jrun_fill(r, v.s, n, times) && jrun_cut(r, mark, out);
        out->sub = v.sub;
        return ok;
    }
    jseq *s = jseq_new(r, total);
    if (!s || !jrun_step(r, total / 4))
        return false;
    for (size_t i = 0; i < total; i++)
        s->v[i] = v.seq->v[i % n];
    *out = jval_kind((jkind)v.kind);
    out->seq = s;
    return true;
}

bool jop_arith(jrun *r, jtok_kind op, jval a, jval b, jval *out)
{
    static const char *const names[] = {[T_ADD] = "+", [T_SUB] = "-", [T_MUL] = "*", [T_DIV] = "/",
                                        [T_FLOORDIV] = "//", [T_MOD] = "%", [T_POW] = "**"};
    if (jval_is_num(a) && jval_is_num(b))
        return num_arith(r, op, a, b, out);
    if (op == T_MOD && a.kind == J_STR)
        return jformat_percent(r, a, b, out);
    if (op == T_ADD && a.kind == b.kind && a.kind == J_STR)
        return str_add(r, a, b, out);
    if (op == T_ADD && a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE))
        return seq_add(r, a, b, out);
    bool left = a.kind == J_STR || a.kind == J_LIST || a.kind == J_TUPLE;
    bool right = b.kind == J_STR || b.kind == J_LIST || b.kind == J_TUPLE;
    if (op == T_MUL && left && jval_is_int(b))
        return repeat(r, a, jval_as_int(b), out);
    if (op == T_MUL && right && jval_is_int(a))
        return repeat(r, b, jval_as_int(a), out);
    return fail_types(r, names[op], a, b);
}

bool jop_negate(jrun *r, jval v, bool minus, jval *out)
{
    if (v.kind == J_UNDEF)
        return jrun_fail_undef(r, v);
    if (!jval_is_num(v))
        return jrun_fail(r, "bad operand of type '%s' for a sign", jval_type_name(v));
    if (v.kind == J_FLOAT) {
        *out = jval_float(minus ? -v.f : v.f);
        return true;
    }
    int64_t i = jval_as_int(v);
    if (minus && i == INT64_MIN)
        return overflow(r);
    *out = jval_int(minus ? -i : i);
    return true;
}

bool jop_compare(jrun *r, jtok_kind op, jval a, jval b, bool *yes)
{
    if (op == T_EQ || op == T_NE) {
        *yes = jval_equal(r, a, b) == (op == T_EQ);
        return r->rc == TD_OK;
    }
    if (op == T_IN || op == T_NOT_IN) {
        if (!jval_contains(r, a, b, yes))
            return false;
        *yes ^= op == T_NOT_IN;
        return true;
    }
    if (a.kind == J_UNDEF || b.kind == J_UNDEF)
        return jrun_fail_undef(r, a.kind == J_UNDEF ? a : b);
    bool nan = (a.kind == J_FLOAT && isnan(a.f)) || (b.kind == J_FLOAT && isnan(b.f));
    int order;
    if (!jval_compare(r, a, b, &order))
        return false;
    *yes = !nan && (op == T_LT ? order < 0 : op == T_LE ? order <= 0 : op == T_GT ? order > 0 : order >= 0);
    return true;
}

/* ---- attributes and items ---- */

static bool is_one_of(jval name, const char *const *names)
{
    for (; *names; names++)
        if (jval_is_str(name, *names))
            return true;
    return false;
}

/* What the sandbox keeps from templates: private names and methods that would change a list or dict. */
static bool is_unsafe(jval obj, jval name)
{
    static const char *const list[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove", NULL};
    static const char *const dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    return (obj.kind == J_LIST && is_one_of(name, list)) || (obj.kind == J_DICT && is_one_of(name, dict));
}

/* getattr(): *found tells whether the object has it. */
static bool get_attribute(jrun *r, jval obj, jval name, jval *out, bool *found)
{
    *found = true;
    if (obj.kind == J_NS) {
        const jval *v = jdict_find_str(r, obj.dict, name.s, name.len);
        *found = v != NULL;
        *out = v ? *v : *out;
        return r->rc == TD_OK;
    }
    if (obj.kind == J_LOOP)
        return jloop_attr(r, obj, name, out, found);
    if (obj.kind == J_TUPLE && obj.sub == JTUPLE_GROUP && (jval_is_str(name, "grouper") || jval_is_str(name, "list"))) {
        *out = obj.seq->v[jval_is_str(name, "list")];
        return true;
    }
    if (obj.kind == J_MACRO && jval_is_str(name, "name")) {
        *out = obj.macro->node->macro->name;
        return true;
    }
    if (obj.kind == J_CYCLER && jval_is_str(name, "current")) {
        *out = obj.cycler->item[obj.cycler->at];
        return true;
    }
    if (is_unsafe(obj, name)) {
        *out = jval_undef(JUNDEF_UNSAFE, name.s, name.len);
        return true;
    }
    int index = jmethod_index(obj, name);
    *found = index >= 0;
    if (!*found)
        return true;
    *out = jval_kind(J_METHOD);
    out->method = jrun_alloc(r, 1, sizeof *out->method);
    if (!out->method)
        return false;
    *out->method = (jmethod){obj, index};
    return true;
}

static jval no_attribute(jval name) { return jval_undef(JUNDEF_ATTR, name.s, name.len); }

bool jop_attr(jrun *r, jval obj, jval name, jval *out)
{
    bool found;
    if (obj.kind == J_UNDEF)
        return jrun_fail_undef(r, obj);
    if (!get_attribute(r, obj, name, out, &found))
        return false;
    if (found) {
        if (name.len && name.s[0] == '_')
            *out = jval_undef(JUNDEF_UNSAFE, name.s, name.len);
        return true;
    }
    const jval *v = obj.kind == J_DICT ? jdict_find_str(r, obj.dict, name.s, name.len) : NULL;
    *out = v ? *v : no_attribute(name);
    return r->rc == TD_OK;
}

bool jop_only_attr(jrun *r, jval obj, jval name, jval *out)
{
    bool found;
    if (obj.kind == J_UNDEF)
        return jrun_fail_undef(r, obj);
    if (!get_attribute(r, obj, name, out, &found))
        return false;
    if (!found)
        *out = no_attribute(name);
    return true;
}

static bool hashable(jval v)
{
    if (v.kind == J_LIST || v.kind == J_DICT || v.kind == J_SLICE)
        return false;
    for (size_t i = 0; v.kind == J_TUPLE && i < v.seq->n; i++)
        if (!hashable(v.seq->v[i]))
            return false;
    return true;
}

/* Indexing by position. *found is false where Python raises IndexError or TypeError. */
static bool item_at(jrun *r, jval obj, jval index, jval *out, bool *found)
{
    int64_t n = 0;
    *found = false;
    if (!jval_is_int(index) || !(obj.kind == J_STR || obj.kind == J_LIST || obj.kind == J_TUPLE || obj.kind == J_RANGE))
        return true;
    if (!jval_length(r, obj, &n))
        return false;
    int64_t i = jval_as_int(index);
    i += i < 0 ? n : 0;
    *found = i >= 0 && i < n;
    if (!*found)
        return true;
    if (obj.kind == J_STR) {
        uint32_t cp;
        size_t at = jstr_offset(obj.s, obj.len, (size_t)i);
        *out = jval_str(obj.s + at, jstr_next(obj.s + at, obj.len - at, &cp));
        out->sub = obj.sub;
    } else {
        *out = obj.kind == J_RANGE ? jrange_at(obj.range, i) : obj.seq->v[i];
    }
    return true;
}

bool jop_item(jrun *r, jval obj, jval index, jval *out)
{
    bool found = false;
    if (obj.kind == J_UNDEF)
        return jrun_fail_undef(r, obj);
    if (obj.kind == J_DICT && hashable(index)) {
        if (!jdict_find(r, obj.dict, index, out, &found))
            return false;
    } else if (!item_at(r, obj, index, out, &found)) {
        return false;
    }
    if (found)
        return true;
    if (index.kind != J_STR) {
        *out = jval_undef_msg("there is no such item");
        return true;
    }
    if (!get_attribute(r, obj, index, out, &found))
        return false;
    if (!found)
        *out = no_attribute(index);
    else if (index.len && index.s[0] == '_')
        *out = jval_undef(JUNDEF_UNSAFE, index.s, index.len);
    return true;
}

/* ---- slices ---- */

typedef struct span {
    int64_t start, step, n;
} span;

static bool slice_part(jrun *r, jval v, int64_t dflt, int64_t *out)
{
    if (v.kind == J_NONE || v.kind == J_MISSING) {
        *out = dflt;
        return true;
    }
    if (!jval_is_int(v))
        return jrun_fail(r, "slice indices must be whole numbers or none");
    *out = jval_as_int(v);
    return true;
}

static bool slice_span(jrun *r, const jval part[3], int64_t len, span *s)
{
    int64_t start, stop;
    if (!slice_part(r, part[2], 1, &s->step))
        return false;
    if (s->step == 0)
        return jrun_fail(r, "a slice with step zero");
    bool down = s->step < 0;
    if (s->step < -INT64_MAX)
        s->step = -INT64_MAX;
    int64_t low = down ? -1 : 0, high = down ? len - 1 : len;
    if (!slice_part(r, part[0], down ? INT64_MAX : 0, &start) ||
        !slice_part(r, part[1], down ? INT64_MIN : INT64_MAX, &stop))
        return false;
    // A negative bound counts from the end; but the default "before the beginning" of a downward slice does not.
    bool open_stop = down && (part[1].kind == J_NONE || part[1].kind == J_MISSING);
    start = start < 0 ? start + len : start;
    stop = open_stop ? -1 : stop < 0 ? stop + len : stop;
    start = TD_MIN(TD_MAX(start, low), high);
    stop = TD_MIN(TD_MAX(stop, low), high);
    s->start = start;
    if (down)
        s->n = start > stop ? (start - stop - 1) / -s->step + 1 : 0;
    else
        s->n = stop > start ? (stop - start - 1) / s->step + 1 : 0;
    return true;
}

static bool slice_str(jrun *r, jval obj, const span *s, jval *out)
{
    if (s->step == 1) {
        size_t from = jstr_offset(obj.s, obj.len, (size_t)s->start);
        *out = jval_str(obj.s + from, jstr_offset(obj.s + from, obj.len - from, (size_t)s->n));
        out->sub = obj.sub;
        return true;
    }
    jval *item;
    size_t n, mark = jrun_mark(r);
    if (!jval_items(r, obj, &item, &n))
        return false;
    for (int64_t i = 0; i < s->n; i++) {
        const jval *c = &item[s->start + i * s->step];
        jrun_put(r, c->s, c->len);
    }
    bool ok = jrun_cut(r, mark, out);
    out->sub = obj.sub;
    return ok;
}

static bool slice_range(jrun *r, const jrange *g, const span *s, jval *out)
{
    *out = jval_kind(J_RANGE);
    out->range = jrun_alloc(r, 1, sizeof *out->range);
    int64_t step;
    if (!out->range)
        return false;
    if (__builtin_mul_overflow(g->step, s->step, &step))
        return overflow(r);
    *out->range = (jrange){jrange_at(g, s->start).i, step, s->n};
    return true;
}

bool jop_slice(jrun *r, jval obj, const jval part[3], jval *out)
{
    span s;
    int64_t len;
    if (obj.kind == J_UNDEF)
        return jrun_fail_undef(r, obj);
    if (!(obj.kind == J_STR || obj.kind == J_LIST || obj.kind == J_TUPLE || obj.kind == J_RANGE))
        return jrun_fail(r, "a value of type '%s' cannot be sliced", jval_type_name(obj));
    if (!jval_length(r, obj, &len) || !slice_span(r, part, len, &s))
        return false;
    if (obj.kind == J_STR)
        return slice_str(r, obj, &s, out);
    if (obj.kind == J_RANGE)
        return slice_range(r, obj.range, &s, out);
    *out = jval_kind((jkind)obj.kind);
    out->seq = jrun_alloc(r, 1, sizeof *out->seq);
    if (!out->seq)
        return false;
    if (s.step == 1) {
        *out->seq = (jseq){obj.seq->v + s.start, (size_t)s.n};
        return true;
    }
    jval *v = jrun_alloc(r, (size_t)s.n, sizeof *v);
    if (!v || !jrun_step(r, (size_t)s.n / 4))
        return false;
    for (int64_t i = 0; i < s.n; i++)
        v[i] = obj.seq->v[s.start + i * s.step];
    *out->seq = (jseq){v, (size_t)s.n};
    return true;
}
