/* Filters that take a sequence and give a value at once. */
#include "model/jinja_filter.h"

#include "base/check.h"
#include "model/jinja_str.h"

static bool no_args(jrun *r, const jcall *c, const char *name) { return jcall_bind(r, c, name, "/", 0, NULL); }

/* One part of "a.b.0": digits are an index. */
static jval attr_part(const char *s, size_t len)
{
    int64_t i = 0;
    for (size_t k = 0; k < len && len < 10; k++) {
        if (s[k] < '0' || s[k] > '9')
            return jval_str(s, len);
        i = i * 10 + s[k] - '0';
    }
    return len && len < 10 ? jval_int(i) : jval_str(s, len);
}

bool jfilter_getattr(jrun *r, jval item, jval attr, jval dflt, jval *out)
{
    *out = item;
    if (attr.kind == J_MISSING || attr.kind == J_NONE)
        return true;
    if (attr.kind != J_STR) {
        if (!jop_item(r, item, attr, out))
            return false;
        *out = out->kind == J_UNDEF && dflt.kind != J_MISSING && dflt.kind != J_NONE ? dflt : *out;
        return true;
    }
    for (size_t from = 0; from <= attr.len;) {
        const char *dot = memchr(attr.s + from, '.', attr.len - from);
        size_t len = dot ? (size_t)(dot - attr.s) - from : attr.len - from;
        if (!jrun_step(r, 1) || !jop_item(r, *out, attr_part(attr.s + from, len), out))
            return false;
        if (out->kind == J_UNDEF && dflt.kind != J_MISSING && dflt.kind != J_NONE)
            *out = dflt;
        from += len + 1;
    }
    return true;
}

bool jfilter_fold_case(jrun *r, jval v, bool case_sensitive, jval *out)
{
    static const jcall none = {0};
    *out = v;
    return case_sensitive || v.kind != J_STR || jstrm_lower(r, v, &none, out);
}

bool jfilter_attr(jrun *r, jval v, const jcall *c, jval *out)
{
    jval name;
    return jcall_bind(r, c, "attr", "name", 1, &name) && jval_to_str(r, name, &name) &&
           jop_only_attr(r, v, name, out);
}

bool jfilter_default(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[2];
    if (!jcall_bind(r, c, "default", "default_value boolean", 0, a))
        return false;
    bool use = v.kind == J_UNDEF || (jval_true(r, a[1]) && !jval_true(r, v));
    *out = !use ? v : a[0].kind == J_MISSING ? jval_str("", 0) : a[0];
    return r->rc == TD_OK;
}

bool jfilter_length(jrun *r, jval v, const jcall *c, jval *out)
{
    int64_t n;
    if (!no_args(r, c, "length") || !jval_length(r, v, &n))
        return false;
    *out = jval_int(n);
    return true;
}

bool jfilter_list(jrun *r, jval v, const jcall *c, jval *out)
{
    jval *item;
    size_t n;
    return no_args(r, c, "list") && jval_items(r, v, &item, &n) && jrun_step(r, n / 4) &&
           jval_list_of(r, item, n, out);
}

bool jfilter_first(jrun *r, jval v, const jcall *c, jval *out)
{
    jval *item;
    size_t n;
    if (!no_args(r, c, "first"))
        return false;
    if (v.kind == J_STR) { // without splitting the rest
        v.len = (uint32_t)jstr_offset(v.s, v.len, 1);
    } else if (v.kind == J_ITER) {
        if (!jiter_force(r, v.iter))
            return false;
        bool any = v.iter->pos < v.iter->n;
        *out = any ? v.iter->v[v.iter->pos++] : jval_undef_msg("no first item, the sequence is empty");
        return true;
    }
    if (!jval_items(r, v, &item, &n))
        return false;
    *out = n ? item[0] : jval_undef_msg("no first item, the sequence is empty");
    return true;
}

bool jfilter_last(jrun *r, jval v, const jcall *c, jval *out)
{
    jval *item;
    size_t n;
    if (!no_args(r, c, "last"))
        return false;
    if (v.kind == J_ITER || v.kind == J_LOOP)
        return jrun_fail(r, "last: '%s' object is not reversible", jval_type_name(v));
    if (v.kind == J_STR && v.len) {
        size_t from = jstr_prev(v.s, v.len);
        v = jval_str(v.s + from, v.len - from);
    }
    if (!jval_items(r, v, &item, &n))
        return false;
    *out = n ? item[n - 1] : jval_undef_msg("no last item, the sequence is empty");
    return true;
}

bool jfilter_join(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[2], *item, *got;
    size_t n;
    if (!jcall_bind(r, c, "join", "d attribute", 0, a) || !jval_items(r, v, &item, &n))
        return false;
    jval sep = jval_str("", 0);
    if (a[0].kind != J_MISSING && !jval_to_str(r, a[0], &sep))
        return false;
    if (a[1].kind == J_MISSING || a[1].kind == J_NONE)
        return jstr_join(r, sep, item, n, out);
    got = jrun_alloc(r, n, sizeof *got);
    for (size_t i = 0; got && i < n; i++)
        if (!jfilter_getattr(r, item[i], a[1], jval_kind(J_MISSING), &got[i]))
            return false;
    return got && jstr_join(r, sep, got, n, out);
}

/* ---- order ---- */

static bool comes_before(jrun *r, jval a, jval b, bool reverse, bool *yes)
{
    int order;
    if (a.kind == J_UNDEF || b.kind == J_UNDEF)
        return jrun_fail_undef(r, a.kind == J_UNDEF ? a : b);
    if (!jval_compare(r, a, b, &order))
        return false;
    *yes = reverse ? order > 0 : order < 0;
    return jrun_step(r, 1);
}

/* Bottom-up merge sort: stable, also in reverse. */
bool jfilter_sort_by(jrun *r, jval *item, jval *key, size_t n, bool reverse)
{
    jval *item2 = jrun_alloc(r, n, sizeof *item2), *key2 = jrun_alloc(r, n, sizeof *key2);
    if (!item2 || !key2)
        return false;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            size_t mid = TD_MIN(from + width, n), end = TD_MIN(from + 2 * width, n), i = from, j = mid;
            for (size_t k = from; k < end; k++) {
                bool right = i == mid;
                if (!right && j < end && !comes_before(r, key[j], key[i], reverse, &right))
                    return false;
                size_t take = right ? j++ : i++;
                item2[k] = item[take];
                key2[k] = key[take];
            }
        }
        memcpy(item, item2, n * sizeof *item);
        memcpy(key, key2, n * sizeof *key);
    }
    return true;
}

/* "a,b.c": a list with one key per attribute; no attribute: the item itself. Always a list, since lists compare their
 * items for equality first, so that equal keys without an order, like two that are none, are no error. */
static bool multi_key(jrun *r, jval item, jval attr, bool case_sensitive, jval *out)
{
    size_t n = 1;
    for (uint32_t i = 0; attr.kind == J_STR && i < attr.len; i++)
        n += attr.s[i] == ',';
    jseq *s = jseq_new(r, n);
    for (size_t i = 0; s && i < n; i++) {
        jval one, part = attr;
        if (attr.kind == J_STR) {
            const char *comma = memchr(attr.s, ',', attr.len);
            size_t len = comma ? (size_t)(comma - attr.s) : attr.len;
            part = jval_str(attr.s, len);
            attr = comma ? jval_str(comma + 1, attr.len - len - 1) : attr;
        }
        if (!jfilter_getattr(r, item, part, jval_kind(J_MISSING), &one) ||
            !jfilter_fold_case(r, one, case_sensitive, &s->v[i]))
            return false;
    }
    *out = jval_kind(J_LIST);
    out->seq = s;
    return s != NULL;
}

static bool sorted_list(jrun *r, jval v, jval attr, bool case_sensitive, bool reverse, jval *out)
{
    jval *item, *key;
    size_t n;
    if (!jval_items(r, v, &item, &n) || !jval_list_of(r, item, n, out) || !(key = jrun_alloc(r, n, sizeof *key)))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!multi_key(r, item[i], attr, case_sensitive, &key[i]))
            return false;
    return jfilter_sort_by(r, out->seq->v, key, n, reverse);
}

bool jfilter_sort(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[3];
    return jcall_bind(r, c, "sort", "reverse case_sensitive attribute", 0, a) &&
           sorted_list(r, v, a[2], jval_true(r, a[1]), jval_true(r, a[0]), out);
}

bool jfilter_dictsort(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[3], *item, *key;
    size_t n;
    if (!jcall_bind(r, c, "dictsort", "case_sensitive by reverse", 0, a))
        return false;
    bool by_value = jval_is_str(a[1], "value");
    if (a[1].kind != J_MISSING && !by_value && !jval_is_str(a[1], "key"))
        return jrun_fail(r, "dictsort: by is 'key' or 'value'");
    if (v.kind != J_DICT)
        return v.kind == J_UNDEF ? jrun_fail_undef(r, v) : jrun_fail(r, "dictsort needs a mapping");
    v.kind = J_VIEW;
    v.sub = JVIEW_ITEMS;
    if (!jval_items(r, v, &item, &n) || !(key = jrun_alloc(r, n, sizeof *key)) || !jval_list_of(r, item, n, out))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!jfilter_fold_case(r, item[i].seq->v[by_value], jval_true(r, a[0]), &key[i]))
            return false;
    return jfilter_sort_by(r, out->seq->v, key, n, jval_true(r, a[2]));
}

static bool extreme(jrun *r, jval v, const jcall *c, const char *name, bool max, jval *out)
{
    jval a[2], *item, best, key;
    size_t n;
    if (!jcall_bind(r, c, name, "case_sensitive attribute", 0, a) || !jval_items(r, v, &item, &n))
        return false;
    *out = jval_undef_msg("no aggregated item, the sequence is empty");
    for (size_t i = 0; i < n; i++) {
        jval one;
        bool better = i == 0;
        if (!jfilter_getattr(r, item[i], a[1], jval_kind(J_MISSING), &one) ||
            !jfilter_fold_case(r, one, jval_true(r, a[0]), &key) ||
            (i && !comes_before(r, key, best, max, &better)))
            return false;
        if (better)
            best = key, *out = item[i];
    }
    return true;
}

bool jfilter_min(jrun *r, jval v, const jcall *c, jval *out) { return extreme(r, v, c, "min", false, out); }
bool jfilter_max(jrun *r, jval v, const jcall *c, jval *out) { return extreme(r, v, c, "max", true, out); }

bool jfilter_sum(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[2], *item, one;
    size_t n;
    if (!jcall_bind(r, c, "sum", "attribute start", 0, a) || !jval_items(r, v, &item, &n))
        return false;
    *out = a[1].kind == J_MISSING ? jval_int(0) : a[1];
    if (out->kind == J_STR)
        return jrun_fail(r, "sum cannot add strings; use join");
    for (size_t i = 0; i < n; i++)
        if (!jrun_step(r, 1) || !jfilter_getattr(r, item[i], a[0], jval_kind(J_MISSING), &one) ||
            !jop_arith(r, T_ADD, *out, one, out))
            return false;
    return true;
}

/* Sorted by the attribute; then runs of equal ones as (value, items). */
bool jfilter_groupby(jrun *r, jval v, const jcall *c, jval *out)
{
    jval a[3], *item, *key, *group;
    size_t n, groups = 0, from = 0;
    if (!jcall_bind(r, c, "groupby", "attribute default case_sensitive", 1, a) || !jval_items(r, v, &item, &n))
        return false;
    jval copy;
    bool exact = jval_true(r, a[2]);
    key = jrun_alloc(r, n, sizeof *key);
    group = jrun_alloc(r, n, sizeof *group);
    if (!key || !group || !jval_list_of(r, item, n, &copy))
        return false;
    for (size_t i = 0; i < n; i++) {
        jval one;
        if (!jfilter_getattr(r, item[i], a[0], a[1], &one) || !jfilter_fold_case(r, one, exact, &key[i]))
            return false;
    }
    if (!jfilter_sort_by(r, copy.seq->v, key, n, false))
        return false;
    for (size_t i = 1; i <= n; i++) {
        if (i < n && jval_equal(r, key[i], key[from]))
            continue;
        jval pair[2], g;
        if (!jfilter_getattr(r, copy.seq->v[from], a[0], a[1], &pair[0]) ||
            !jval_list_of(r, copy.seq->v + from, i - from, &pair[1]) || !jval_list_of(r, pair, 2, &g))
            return false;
        g.kind = J_TUPLE;
        g.sub = JTUPLE_GROUP;
        group[groups++] = g;
        from = i;
    }
    return jval_list_of(r, group, groups, out);
}
