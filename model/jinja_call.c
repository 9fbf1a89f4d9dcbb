/* Calls: binding arguments, macros, the loop variable and the global functions. */
#include "base/check.h"
#include "model/jinja_run.h"

#include <time.h>

static bool call_range(jrun *r, const jcall *c, jval *out);
static bool call_dict(jrun *r, const jcall *c, jval *out);
static bool call_namespace(jrun *r, const jcall *c, jval *out);
static bool call_cycler(jrun *r, const jcall *c, jval *out);
static bool call_joiner(jrun *r, const jcall *c, jval *out);
static bool call_raise(jrun *r, const jcall *c, jval *out);
static bool call_strftime(jrun *r, const jcall *c, jval *out);

/* In the order of `functions` in jinja_render.c. */
static bool (*const functions[])(jrun *, const jcall *, jval *) = {
    call_range, call_dict, call_namespace, call_cycler, call_joiner, call_raise, call_strftime};

/* ---- binding ---- */

static bool bind_keyword(jrun *r, const jval name, const char *names, jval val, jval *out, const char *what)
{
    size_t i = 0;
    for (const char *p = names; *p; i++) {
        size_t n = strcspn(p, " ");
        if (n == name.len && !memcmp(p, name.s, n)) {
            if (out[i].kind != J_MISSING)
                return jrun_fail(r, "%s: argument '%.*s' is given twice", what, (int)n, p);
            out[i] = val;
            return true;
        }
        p += n + (p[n] == ' ');
    }
    return jrun_fail(r, "%s: no argument is named '%.*s'", what, (int)TD_MIN(name.len, 60u), name.s);
}

bool jcall_bind(jrun *r, const jcall *c, const char *what, const char *names, size_t need, jval *out)
{
    bool keywords = names[0] != '/';
    names += !keywords;
    size_t count = names[0] != 0;
    for (const char *p = names; *p; p++)
        count += *p == ' ';
    if (c->n > count)
        return jrun_fail(r, "%s takes at most %zu arguments, not %zu", what, count, c->n);
    for (size_t i = 0; i < count; i++)
        out[i] = i < c->n ? c->pos[i] : jval_kind(J_MISSING);
    if (c->kn && !keywords)
        return jrun_fail(r, "%s takes no keyword arguments", what);
    for (size_t i = 0; i < c->kn; i++)
        if (!bind_keyword(r, c->kw[i].name, names, c->kw[i].val, out, what))
            return false;
    for (size_t i = 0; i < need; i++)
        if (out[i].kind == J_MISSING)
            return jrun_fail(r, "%s needs %zu arguments", what, need);
    return true;
}

/* ---- macros ---- */

/* The keyword's index in c, or -1. */
static int keyword_index(const jcall *c, jval name)
{
    for (size_t i = 0; i < c->kn; i++)
        if (c->kw[i].name.len == name.len && !memcmp(c->kw[i].name.s, name.s, name.len))
            return (int)i;
    return -1;
}

/* Parameters by position, then by name; *used marks the keywords taken. */
static bool bind_params(jrun *r, jenv *env, const jmacro_def *d, const jcall *c, bool *used)
{
    for (size_t i = 0; i < d->params; i++) {
        int kw = i < c->n ? -1 : keyword_index(c, d->param_name[i]);
        jval v;
        if (i < c->n) {
            v = c->pos[i];
        } else if (kw >= 0) {
            v = c->kw[kw].val;
            used[kw] = true;
        } else if (d->dflt[i]) {
            if (!jinja_eval(r, env, d->dflt[i], &v))
                return false;
        } else {
            v = jval_undef_msg("a parameter was not provided");
        }
        if (!jenv_set(r, env, d->param[i], v))
            return false;
    }
    return true;
}

static bool bind_caller(jrun *r, jenv *env, const jmacro_def *d, const jcall *c, bool *used)
{
    if (!d->takes_caller || d->explicit_caller)
        return true;
    int kw = keyword_index(c, jval_cstr("caller"));
    if (kw >= 0)
        used[kw] = true;
    jval v = kw >= 0 && c->kw[kw].val.kind != J_NONE ? c->kw[kw].val : jval_undef_msg("no caller is defined");
    return jenv_set(r, env, r->t->sym_caller, v);
}

/* What is left over goes to kwargs and varargs, or is an error. */
static bool bind_rest(jrun *r, jenv *env, const jmacro_def *d, const jcall *c, const bool *used)
{
    jval rest = jval_kind(J_DICT);
    rest.dict = jdict_new(r, 0);
    for (size_t i = 0; rest.dict && i < c->kn; i++) {
        if (used[i])
            continue;
        if (!d->takes_kwargs)
            return jrun_fail(r, "macro '%.*s' takes no argument '%.*s'", (int)TD_MIN(d->name.len, 60u), d->name.s,
                             (int)TD_MIN(c->kw[i].name.len, 60u), c->kw[i].name.s);
        if (!jdict_put(r, rest.dict, c->kw[i].name, c->kw[i].val))
            return false;
    }
    if (!rest.dict || (d->takes_kwargs && !jenv_set(r, env, r->t->sym_kwargs, rest)))
        return false;
    if (!d->takes_varargs && c->n > d->params)
        return jrun_fail(r, "macro '%.*s' takes at most %zu arguments", (int)TD_MIN(d->name.len, 60u), d->name.s,
                         d->params);
    if (!d->takes_varargs)
        return true;
    size_t from = TD_MIN(c->n, d->params);
    jval more;
    if (!jval_list_of(r, c->n ? c->pos + from : NULL, c->n - from, &more))
        return false;
    more.kind = J_TUPLE;
    return jenv_set(r, env, r->t->sym_varargs, more);
}

bool jcall_macro(jrun *r, const jmacro *m, const jcall *c, jval *out)
{
    const jmacro_def *d = m->node->macro;
    jenv *env = jenv_new(r, m->env);
    bool *used = jrun_alloc(r, c->kn, sizeof *used);
    if (!env || !used)
        return false;
    if (r->macros >= TD_JINJA_DEPTH_MAX)
        return jrun_fail(r, "macros call each other more than %d deep", TD_JINJA_DEPTH_MAX);
    r->macros++;
    size_t mark = jrun_mark(r);
    bool ok = bind_params(r, env, d, c, used) && bind_caller(r, env, d, c, used) && bind_rest(r, env, d, c, used) &&
              jinja_exec(r, env, m->node->kid[m->node->n - 1]) && jrun_cut(r, mark, out);
    r->macros--;
    return ok;
}

/* ---- the loop variable ---- */

static bool loop_length(jrun *r, jloop *l, int64_t *n)
{
    bool there;
    if (!l->node->kid[2] && !l->iter)
        *n = (int64_t)l->n;
    else if (!jloop_peek(r, l, SIZE_MAX, &there))
        return false;
    else
        *n = (int64_t)l->seen_n;
    return true;
}

static bool loop_neighbour(jrun *r, jloop *l, bool next, jval *out)
{
    bool there = l->index0 > 0;
    if (next && !jloop_peek(r, l, l->index0 + 2, &there))
        return false;
    if (there)
        *out = l->seen[next ? l->index0 + 1 : l->index0 - 1];
    else
        *out = jval_undef_msg(next ? "there is no next item" : "there is no previous item");
    return true;
}

bool jloop_attr(jrun *r, jval loop, jval name, jval *out, bool *found)
{
    static const char *const names[] = {"index", "index0", "first", "last", "length", "revindex", "revindex0",
                                        "previtem", "nextitem", "depth", "depth0", "cycle", "changed"};
    jloop *l = loop.loop;
    size_t i = 0;
    int64_t n = 0;
    bool there;
    while (i < TD_COUNT(names) && !jval_is_str(name, names[i]))
        i++;
    *found = i < TD_COUNT(names);
    if (i >= 4 && i <= 6 && !loop_length(r, l, &n))
        return false;
    switch (i) {
    case 0: *out = jval_int((int64_t)l->index0 + 1); return true;
    case 1: *out = jval_int((int64_t)l->index0); return true;
    case 2: *out = jval_bool(l->index0 == 0); return true;
    case 3:
        if (!jloop_peek(r, l, l->index0 + 2, &there))
            return false;
        *out = jval_bool(!there);
        return true;
    case 4: *out = jval_int(n); return true;
    case 5: *out = jval_int(n - (int64_t)l->index0); return true;
    case 6: *out = jval_int(n - (int64_t)l->index0 - 1); return true;
    case 7:
    case 8: return loop_neighbour(r, l, i == 8, out);
    case 9: *out = jval_int(l->depth0 + 1); return true;
    case 10: *out = jval_int(l->depth0); return true;
    case 11:
    case 12: // a bound method; its index is that of the name here, below zero
        *out = jval_kind(J_METHOD);
        out->method = jrun_alloc(r, 1, sizeof *out->method);
        if (!out->method)
            return false;
        *out->method = (jmethod){loop, i == 11 ? -1 : -2};
        return true;
    default: return true;
    }
}

static bool loop_method(jrun *r, jloop *l, int index, const jcall *c, jval *out)
{
    jval given;
    if (c->kn)
        return jrun_fail(r, "cycle and changed take no keyword arguments");
    if (index == -1) {
        if (c->n == 0)
            return jrun_fail(r, "cycle needs items");
        *out = c->pos[l->index0 % c->n];
        return true;
    }
    if (!jval_list_of(r, c->pos, c->n, &given))
        return false;
    given.kind = J_TUPLE;
    bool same = l->changed.kind != J_MISSING && jval_equal(r, l->changed, given);
    l->changed = given;
    *out = jval_bool(!same);
    return r->rc == TD_OK;
}

/* loop(children) of a recursive loop: its text. */
static bool loop_recurse(jrun *r, jloop *l, const jcall *c, jval *out)
{
    if (!l->node->flag || c->n != 1 || c->kn)
        return jrun_fail(r, "loop() belongs in a recursive loop and takes one value");
    if (r->macros >= TD_JINJA_DEPTH_MAX)
        return jrun_fail(r, "loops call each other more than %d deep", TD_JINJA_DEPTH_MAX);
    size_t mark = jrun_mark(r);
    r->macros++;
    bool ok = jloop_run(r, l->env, l->node, c->pos[0], l->depth0 + 1) && jrun_cut(r, mark, out);
    r->macros--;
    return ok;
}

/* ---- functions ---- */

static bool whole(jrun *r, jval v, int64_t dflt, int64_t *out)
{
    if (v.kind != J_MISSING && !jval_is_int(v))
        return v.kind == J_UNDEF ? jrun_fail_undef(r, v)
                                 : jrun_fail(r, "range() needs whole numbers, not %s", jval_type_name(v));
    *out = v.kind == J_MISSING ? dflt : jval_as_int(v);
    return true;
}

static bool call_range(jrun *r, const jcall *c, jval *out)
{
    jval a[3];
    int64_t start, stop, step;
    if (!jcall_bind(r, c, "range", "/start stop step", 1, a))
        return false;
    if (a[1].kind == J_MISSING)
        a[1] = a[0], a[0] = jval_int(0);
    if (!whole(r, a[0], 0, &start) || !whole(r, a[1], 0, &stop) || !whole(r, a[2], 1, &step))
        return false;
    if (step == 0)
        return jrun_fail(r, "range() with step zero");
    uint64_t span = step > 0 ? (stop > start ? (uint64_t)stop - (uint64_t)start : 0)
                             : (start > stop ? (uint64_t)start - (uint64_t)stop : 0);
    uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t n = span ? (span - 1) / by + 1 : 0;
    if (n > TD_JINJA_RANGE_MAX)
        return jrun_fail(r, "range() longer than %d", TD_JINJA_RANGE_MAX);
    *out = jval_kind(J_RANGE);
    out->range = jrun_alloc(r, 1, sizeof *out->range);
    if (!out->range)
        return false;
    *out->range = (jrange){start, step, (int64_t)n};
    return true;
}

/* dict(mapping or pairs, name=value, …) */
static bool fill_dict(jrun *r, jdict *d, const jcall *c)
{
    jval *item, *pair;
    size_t n, two;
    if (c->n > 1)
        return jrun_fail(r, "dict() takes at most one argument by position");
    if (c->n && c->pos[0].kind == J_DICT) {
        for (uint32_t i = 0; i < c->pos[0].dict->n; i++)
            if (!jrun_step(r, 1) || !jdict_put(r, d, c->pos[0].dict->pair[i].key, c->pos[0].dict->pair[i].val))
                return false;
    } else if (c->n) {
        if (!jval_items(r, c->pos[0], &item, &n))
            return false;
        for (size_t i = 0; i < n; i++) {
            if (!jrun_step(r, 1) || !jval_items(r, item[i], &pair, &two))
                return false;
            if (two != 2)
                return jrun_fail(r, "dict() needs pairs");
            if (!jdict_put(r, d, pair[0], pair[1]))
                return false;
        }
    }
    for (size_t i = 0; i < c->kn; i++)
        if (!jdict_put(r, d, c->kw[i].name, c->kw[i].val))
            return false;
    return true;
}

static bool call_dict(jrun *r, const jcall *c, jval *out)
{
    *out = jval_kind(J_DICT);
    out->dict = jdict_new(r, c->kn);
    return out->dict && fill_dict(r, out->dict, c);
}

static bool call_namespace(jrun *r, const jcall *c, jval *out)
{
    if (!call_dict(r, c, out))
        return false;
    for (uint32_t i = 0; i < out->dict->n; i++) {
        jval k = out->dict->pair[i].key;
        if (k.kind == J_STR && k.len && k.s[0] == '_')
            return jrun_fail(r, "a namespace takes no names that begin with '_'");
    }
    out->kind = J_NS;
    return true;
}

static bool make_cycler(jrun *r, jkind kind, const jval *item, size_t n, jval *out)
{
    *out = jval_kind(kind);
    out->cycler = jrun_alloc(r, 1, sizeof *out->cycler);
    jseq *copy = jseq_new(r, n);
    if (!out->cycler || !copy)
        return false;
    if (n)
        memcpy(copy->v, item, n * sizeof *item);
    *out->cycler = (jcycler){copy->v, n, 0};
    return true;
}

static bool call_cycler(jrun *r, const jcall *c, jval *out)
{
    if (c->n == 0 || c->kn)
        return jrun_fail(r, "cycler() needs items");
    return make_cycler(r, J_CYCLER, c->pos, c->n, out);
}

static bool call_joiner(jrun *r, const jcall *c, jval *out)
{
    jval sep;
    if (!jcall_bind(r, c, "joiner", "sep", 0, &sep))
        return false;
    sep = sep.kind == J_MISSING ? jval_cstr(", ") : sep;
    return make_cycler(r, J_JOINER, &sep, 1, out);
}

static bool call_raise(jrun *r, const jcall *c, jval *out)
{
    jval msg;
    (void)out;
    if (!jcall_bind(r, c, "raise_exception", "message", 1, &msg) || !jval_to_str(r, msg, &msg))
        return false;
    return jrun_fail(r, "%.*s", (int)TD_MIN(msg.len, (uint32_t)TD_ERR_MSG_MAX), msg.s);
}

static bool call_strftime(jrun *r, const jcall *c, jval *out)
{
    jval f;
    char fmt[TD_JINJA_STRFTIME_BYTES_MAX * 4], text[TD_JINJA_STRFTIME_BYTES_MAX * 16];
    if (!jcall_bind(r, c, "strftime_now", "format", 1, &f))
        return false;
    if (f.kind != J_STR || f.len > TD_JINJA_STRFTIME_BYTES_MAX || memchr(f.s, 0, f.len))
        return jrun_fail(r, "strftime_now() needs a format of at most %d bytes", TD_JINJA_STRFTIME_BYTES_MAX);
    size_t n = 0;
    for (uint32_t i = 0; i < f.len; i++) { // local time without a zone: %z and %Z are empty, %f is zero
        if (f.s[i] != '%' || i + 1 == f.len) {
            fmt[n++] = f.s[i];
            continue;
        }
        char what = f.s[++i];
        if (what == 'f')
            memcpy(fmt + n, "000000", 6), n += 6;
        else if (what != 'z' && what != 'Z')
            fmt[n++] = '%', fmt[n++] = what;
    }
    fmt[n] = 0;
    time_t now = (time_t)r->now;
    struct tm tm;
    if (!localtime_r(&now, &tm))
        return jrun_fail(r, "the time is out of range");
    size_t mark = jrun_mark(r);
    n = n ? strftime(text, sizeof text, fmt, &tm) : 0;
    return jrun_put(r, text, n) && jrun_cut(r, mark, out);
}

bool jcall_value(jrun *r, jval callee, const jcall *c, jval *out)
{
    switch ((jkind)callee.kind) {
    case J_MACRO: return jcall_macro(r, callee.macro, c, out);
    case J_FUNC: return functions[callee.id](r, c, out);
    case J_METHOD:
        if (callee.method->index < 0)
            return loop_method(r, callee.method->self.loop, callee.method->index, c, out);
        return jmethod_call(r, callee.method->index, callee.method->self, c, out);
    case J_LOOP: return loop_recurse(r, callee.loop, c, out);
    case J_JOINER:
        if (c->n || c->kn)
            return jrun_fail(r, "a joiner takes no arguments");
        *out = callee.cycler->at++ ? callee.cycler->item[0] : jval_str("", 0);
        return true;
    case J_UNDEF: return jrun_fail_undef(r, callee);
    default: return jrun_fail(r, "'%s' object is not callable", jval_type_name(callee));
    }
}
