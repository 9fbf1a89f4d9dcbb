/* Lazy filters: each fills a list from its source when the iterator that stands for it is first walked. */
#include "model/jinja_filter.h"

#include "base/check.h"
#include "model/jinja_str.h"

static jcall rest_of(const jcall *c, size_t from)
{
    return (jcall){.pos = c->pos + from, .n = c->n - from, .kw = c->kw, .kn = c->kn};
}

/* The keyword's value, taken out of the call; J_MISSING when it is not there. */
static jval take_keyword(jcall *c, const char *name)
{
    for (size_t i = 0; i < c->kn; i++) {
        if (!jval_is_str(c->kw[i].name, name))
            continue;
        jval v = c->kw[i].val;
        c->kw[i] = c->kw[c->kn - 1];
        c->kn--;
        return v;
    }
    return jval_kind(J_MISSING);
}

static bool copy_keywords(jrun *r, jcall *c)
{
    struct jkwval *kw = jrun_alloc(r, c->kn, sizeof *kw);
    if (kw && c->kn)
        memcpy(kw, c->kw, c->kn * sizeof *kw);
    c->kw = kw;
    return kw != NULL;
}

/* Jinja's map and select look at their source only when it is true, so that none is as good as an empty list. */
static bool walk_true(jrun *r, jval v, jval **item, size_t *n)
{
    *item = NULL;
    *n = 0;
    return jval_true(r, v) ? jval_items(r, v, item, n) : r->rc == TD_OK;
}

bool jfilter_map(jrun *r, jval v, const jcall *c, jval *out)
{
    jval *item, attr = jval_kind(J_MISSING), dflt = attr;
    jcall call = *c;
    size_t n;
    int filter = -1;
    if (!walk_true(r, v, &item, &n))
        return false;
    if (n == 0)
        return jval_list_of(r, NULL, 0, out);
    if (c->n == 0) {
        if (!copy_keywords(r, &call))
            return false;
        attr = take_keyword(&call, "attribute");
        dflt = take_keyword(&call, "default");
        if (attr.kind == J_MISSING || call.kn)
            return jrun_fail(r, "map needs a filter or an attribute");
    } else {
        call = rest_of(c, 1);
        filter = c->pos[0].kind == J_STR ? jfilter_index(c->pos[0]) : -1;
        if (filter < 0)
            return jrun_fail(r, "map: no such filter");
    }
    jseq *s = jseq_new(r, n);
    *out = jval_kind(J_LIST);
    out->seq = s;
    for (size_t i = 0; s && i < n; i++) {
        bool ok = filter >= 0 ? jfilter_call(r, filter, item[i], &call, &s->v[i])
                              : jfilter_getattr(r, item[i], attr, dflt, &s->v[i]);
        if (!ok)
            return false;
    }
    return s != NULL;
}

static bool pick(jrun *r, jval v, const jcall *c, bool by_attr, bool keep, jval *out)
{
    jval *item, x;
    size_t n, kept = 0, off = by_attr;
    if (!walk_true(r, v, &item, &n))
        return false;
    jval *got = jrun_alloc(r, n, sizeof *got);
    if (!got)
        return false;
    if (n && c->n < off)
        return jrun_fail(r, "selectattr and rejectattr need an attribute");
    int test = -1;
    if (n && c->n > off && (c->pos[off].kind != J_STR || (test = jtest_index(c->pos[off])) < 0))
        return jrun_fail(r, "no such test");
    jcall call = test >= 0 ? rest_of(c, off + 1) : (jcall){0};
    for (size_t i = 0; i < n; i++) {
        bool yes;
        if (!jrun_step(r, 1) ||
            !jfilter_getattr(r, item[i], by_attr ? c->pos[0] : jval_kind(J_MISSING), jval_kind(J_MISSING), &x))
            return false;
        if (test < 0)
            yes = jval_true(r, x);
        else if (!jtest_call(r, test, x, &call, &yes))
            return false;
        if (yes == keep)
            got[kept++] = item[i];
    }
    return jval_list_of(r, got, kept, out);
}

bool jfilter_select(jrun *r, jval v, const jcall *c, jval *out) { return pick(r, v, c, false, true, out); }
bool jfilter_reject(jrun *r, jval v, const jcall *c, jval *out) { return pick(r, v, c, false, false, out); }
bool jfilter_selectattr(jrun *r, jval v, const jcall *c, jval *out) { return pick(r, v, c, true, true, out); }
bool jfilter_rejectattr(jrun *r, jval v, const jcall *c, jval *out) { return pick(r, v, c, true, false, out); }

bool jfilter_items(jrun *r, jval v, const jcall *c, jval *out)
{
    jval *item;
    size_t n;
    if (!jcall_bind(r, c, "items", "/", 0, NULL))
        return false;
    if (v.kind == J_UNDEF)
        return jval_list_of(r, NULL, 0, out);
    if (v.kind != J_DICT)
        return jrun_fail(r, "items needs a mapping, not %s", jval_type_name(v));
    v.kind = J_VIEW;
    v.sub = JVIEW_ITEMS;
    return jval_items(r, v, &item, &n) && jval_list_of(r, item, n, out);
}

bool jfilter_reverse(jrun *r, jval v, const jcall *c, jval *out)
{
    jval *item;
    size_t n, mark = jrun_mark(r);
    if (!jcall_bind(r, c, "reverse", "/", 0, NULL) || !jval_items(r, v, &item, &n))
        return false;
    if (v.kind == J_STR) {
        for (size_t i = n; i-- > 0;)
            jrun_put(r, item[i].s, item[i].len);
        return jrun_cut(r, mark, out);
    }
    if (!jval_list_of(r, item, n, out))
        return false;
    for (size_t i = 0; i < n; i++)
        out->seq->v[i] = item[n - 1 - i];
    return true;
}

bool jfilter_unique(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[2], *item, *got, key, one, old;
    size_t n, kept = 0;
    if (!jcall_bind(r, c, "unique", "case_sensitive attribute", 0, a) || !jval_items(r, v, &item, &n))
        return false;
    jdict *seen = jdict_new(r, 0);
    got = jrun_alloc(r, n, sizeof *got);
    for (size_t i = 0; seen && got && i < n; i++) {
        bool found;
        if (!jrun_step(r, 1) || !jfilter_getattr(r, item[i], a[1], jval_kind(J_MISSING), &one) ||
            !jfilter_fold_case(r, one, jval_true(r, a[0]), &key) || !jdict_find(r, seen, key, &old, &found))
            return false;
        if (found)
            continue;
        got[kept++] = item[i];
        if (!jdict_put(r, seen, key, jval_none()))
            return false;
    }
    return seen && got && jval_list_of(r, got, kept, out);
}

/* Rows of `size`; the last one is filled up when a fill is given. */
bool jfilter_batch(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[2], *item;
    size_t n, rows;
    int64_t size;
    if (!jcall_bind(r, c, "batch", "linecount fill_with", 1, a) || !jarg_int(r, "batch", a[0], 1, &size) ||
        !jval_items(r, v, &item, &n))
        return false;
    if (size < 1)
        return jrun_fail(r, "batch needs a positive number");
    bool fill = a[1].kind != J_MISSING && a[1].kind != J_NONE;
    if (fill && size > TD_JINJA_RANGE_MAX)
        return jrun_fail(r, "batch: rows longer than %d", TD_JINJA_RANGE_MAX);
    rows = n ? (n - 1) / (size_t)size + 1 : 0;
    jseq *s = jseq_new(r, rows);
    *out = jval_kind(J_LIST);
    out->seq = s;
    for (size_t i = 0; s && i < rows; i++) {
        size_t from = i * (size_t)size, have = TD_MIN(n - from, (size_t)size), len = fill ? (size_t)size : have;
        jseq *row = jseq_new(r, len);
        if (!row || !jrun_step(r, 1 + len / 4))
            return false;
        for (size_t k = 0; k < len; k++)
            row->v[k] = k < have ? item[from + k] : a[1];
        s->v[i] = jval_kind(J_LIST);
        s->v[i].seq = row;
    }
    return s != NULL;
}

/* `count` columns, the first ones longer by one where it does not divide. */
bool jfilter_slice(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[2], *item;
    size_t n, at = 0;
    int64_t count;
    if (!jcall_bind(r, c, "slice", "slices fill_with", 1, a) || !jarg_int(r, "slice", a[0], 1, &count) ||
        !jval_items(r, v, &item, &n))
        return false;
    if (count < 1 || count > TD_JINJA_RANGE_MAX)
        return jrun_fail(r, "slice needs a number from 1 to %d", TD_JINJA_RANGE_MAX);
    bool fill = a[1].kind != J_MISSING && a[1].kind != J_NONE;
    size_t per = n / (size_t)count, more = n % (size_t)count;
    jseq *s = jseq_new(r, (size_t)count);
    *out = jval_kind(J_LIST);
    out->seq = s;
    for (size_t i = 0; s && i < (size_t)count; i++) {
        size_t have = per + (i < more), len = have + (fill && i >= more);
        jseq *row = jseq_new(r, len);
        if (!row || !jrun_step(r, 1 + len / 4))
            return false;
        for (size_t k = 0; k < len; k++)
            row->v[k] = k < have ? item[at + k] : a[1];
        at += have;
        s->v[i] = jval_kind(J_LIST);
        s->v[i].seq = row;
    }
    return s != NULL;
}
