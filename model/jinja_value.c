/* Values: truth, equality, order, hashing, dicts, and walking over whatever can be walked. */
#include "model/jinja_value.h"

#include "base/check.h"
#include "base/hash.h"
#include "model/jinja_run.h"
#include "model/jinja_str.h"

#include <math.h>

enum { DICT_SMALL = 8 }; // up to here a dict is searched from front to back

const char *jval_type_name(jval v)
{
    static const char *const names[] = {
        [J_MISSING] = "missing", [J_UNDEF] = "Undefined", [J_NONE] = "NoneType", [J_BOOL] = "bool", [J_INT] = "int",
        [J_FLOAT] = "float", [J_STR] = "str", [J_LIST] = "list", [J_TUPLE] = "tuple", [J_DICT] = "dict",
        [J_VIEW] = "dict view", [J_RANGE] = "range", [J_ITER] = "generator", [J_NS] = "Namespace",
        [J_LOOP] = "LoopContext", [J_MACRO] = "Macro", [J_FUNC] = "function", [J_METHOD] = "method",
        [J_CYCLER] = "Cycler", [J_JOINER] = "Joiner", [J_SLICE] = "slice"};
    return names[v.kind];
}

jseq *jseq_new(jrun *r, size_t n)
{
    jseq *s = jrun_alloc(r, 1, sizeof *s);
    if (!s || !(s->v = jrun_alloc(r, n, sizeof *s->v)))
        return NULL;
    s->n = n;
    return s;
}

bool jval_list_of(jrun *r, const jval *items, size_t n, jval *out)
{
    jseq *s = jseq_new(r, n);
    if (!s)
        return false;
    if (n)
        memcpy(s->v, items, n * sizeof *items);
    *out = jval_kind(J_LIST);
    out->seq = s;
    return true;
}

bool jval_true(jrun *r, jval v)
{
    switch ((jkind)v.kind) {
    case J_MISSING:
    case J_UNDEF:
    case J_NONE: return false;
    case J_BOOL: return v.b;
    case J_INT: return v.i != 0;
    case J_FLOAT: return v.f != 0;
    case J_STR: return v.len > 0;
    case J_LIST:
    case J_TUPLE: return v.seq->n > 0;
    case J_DICT:
    case J_VIEW: return v.dict->n > 0;
    case J_RANGE: return v.range->n > 0;
    case J_LOOP: {
        int64_t n;
        return jval_length(r, v, &n) && n > 0;
    }
    default: return true;
    }
}

/* ---- equality and order ---- */

static int num_order(jval a, jval b) // long double holds every int64 and every double exactly
{
    long double x = a.kind == J_FLOAT ? (long double)a.f : (long double)jval_as_int(a);
    long double y = b.kind == J_FLOAT ? (long double)b.f : (long double)jval_as_int(b);
    return (x > y) - (x < y);
}

static bool num_equal(jval a, jval b)
{
    if ((a.kind == J_FLOAT && isnan(a.f)) || (b.kind == J_FLOAT && isnan(b.f)))
        return false;
    return num_order(a, b) == 0;
}

static bool seq_equal(jrun *r, const jval *a, const jval *b, size_t n)
{
    if (!jrun_step(r, 1 + n / 4))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!jval_equal(r, a[i], b[i]))
            return false;
    return true;
}

static bool dict_equal(jrun *r, const jdict *a, const jdict *b)
{
    if (a->n != b->n || !jrun_step(r, 1 + a->n / 4))
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        jval other;
        bool found;
        if (!jdict_find(r, b, a->pair[i].key, &other, &found) || !found || !jval_equal(r, a->pair[i].val, other))
            return false;
    }
    return true;
}

static bool range_equal(const jrange *a, const jrange *b)
{
    return a->n == b->n && (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

static bool deep_equal(jrun *r, jval a, jval b)
{
    if (a.kind == J_LIST || a.kind == J_TUPLE)
        return a.seq->n == b.seq->n && seq_equal(r, a.seq->v, b.seq->v, a.seq->n);
    if (a.kind == J_DICT)
        return dict_equal(r, a.dict, b.dict);
    if (a.kind == J_VIEW && a.sub == b.sub && a.sub != JVIEW_VALUES)
        return dict_equal(r, a.dict, b.dict);
    if (a.kind == J_RANGE)
        return range_equal(a.range, b.range);
    return a.i == b.i; // the same object
}

bool jval_equal(jrun *r, jval a, jval b)
{
    if (jval_is_num(a) && jval_is_num(b))
        return num_equal(a, b);
    if (a.kind != b.kind)
        return false;
    if (a.kind == J_NONE || a.kind == J_UNDEF)
        return true;
    if (a.kind == J_STR)
        return a.len == b.len && jrun_bytes(r, a.len) && !memcmp(a.s, b.s, a.len);
    if (a.kind == J_FUNC)
        return a.id == b.id;
    if (!jrun_enter(r))
        return false;
    bool equal = deep_equal(r, a, b);
    jrun_leave(r);
    return equal;
}

static bool seq_order(jrun *r, const jseq *a, const jseq *b, int *order)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        if (!jrun_step(r, 1))
            return false;
        if (!jval_equal(r, a->v[i], b->v[i]))
            return r->rc == TD_OK && jval_compare(r, a->v[i], b->v[i], order);
    }
    *order = (a->n > b->n) - (a->n < b->n);
    return true;
}

bool jval_compare(jrun *r, jval a, jval b, int *order)
{
    if (jval_is_num(a) && jval_is_num(b)) {
        *order = num_order(a, b);
        return true;
    }
    if (a.kind == J_STR && b.kind == J_STR) { // the order of UTF-8 bytes is the order of code points
        int d = memcmp(a.s, b.s, TD_MIN(a.len, b.len));
        *order = d ? (d > 0) - (d < 0) : (a.len > b.len) - (a.len < b.len);
        return jrun_bytes(r, TD_MIN(a.len, b.len));
    }
    if (a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE)) {
        if (!jrun_enter(r))
            return false;
        bool ok = seq_order(r, a.seq, b.seq, order);
        jrun_leave(r);
        return ok;
    }
    return jrun_fail(r, "'%s' and '%s' cannot be ordered", jval_type_name(a), jval_type_name(b));
}

/* ---- dicts ---- */

bool jval_hash(jrun *r, jval v, uint64_t *out)
{
    if (jval_is_num(v)) {
        double f = jval_as_num(v);
        bool whole = v.kind != J_FLOAT || (f == floor(f) && fabs(f) < 9e18);
        uint64_t bits = whole ? (uint64_t)(v.kind == J_FLOAT ? (int64_t)f : jval_as_int(v)) : 0;
        if (!whole)
            memcpy(&bits, &f, sizeof bits);
        *out = td_mix64(bits ^ r->seed);
        return true;
    }
    switch ((jkind)v.kind) {
    case J_STR: *out = td_hash64(v.s, v.len, r->seed); return jrun_bytes(r, v.len);
    case J_NONE:
    case J_UNDEF: *out = td_mix64(r->seed + v.kind); return true;
    case J_LIST:
    case J_DICT:
    case J_SLICE: return jrun_fail(r, "a %s cannot be the key of a dict", jval_type_name(v));
    case J_TUPLE: {
        uint64_t h = r->seed + 17, one;
        if (!jrun_enter(r))
            return false;
        for (size_t i = 0; i < v.seq->n; i++) {
            if (!jrun_step(r, 1) || !jval_hash(r, v.seq->v[i], &one))
                return false;
            h = td_mix64(h ^ one) + i;
        }
        jrun_leave(r);
        *out = h;
        return true;
    }
    default: *out = td_mix64((uint64_t)v.i ^ r->seed); return true;
    }
}

/* Index of the pair, or -1. */
static int64_t dict_index(jrun *r, const jdict *d, jval key, uint64_t h)
{
    if (!d->slot) {
        for (uint32_t i = 0; i < d->n; i++)
            if (d->pair[i].hash == h && jval_equal(r, d->pair[i].key, key))
                return i;
        return -1;
    }
    for (uint32_t at = (uint32_t)h & (d->slots - 1);; at = (at + 1) & (d->slots - 1)) {
        uint32_t i = d->slot[at];
        if (i == 0)
            return -1;
        if (d->pair[i - 1].hash == h && jval_equal(r, d->pair[i - 1].key, key))
            return i - 1;
    }
}

static void dict_link(jdict *d, uint32_t i)
{
    uint32_t at = (uint32_t)d->pair[i].hash & (d->slots - 1);
    while (d->slot[at])
        at = (at + 1) & (d->slots - 1);
    d->slot[at] = i + 1;
}

static bool dict_grow(jrun *r, jdict *d, uint32_t cap)
{
    jpair *pair = jrun_alloc(r, cap, sizeof *pair);
    if (!pair)
        return false;
    if (d->n)
        memcpy(pair, d->pair, d->n * sizeof *pair);
    d->pair = pair;
    d->cap = cap;
    if (cap <= DICT_SMALL)
        return true;
    d->slots = 1;
    while (d->slots < cap * 2)
        d->slots *= 2;
    d->slot = jrun_alloc(r, d->slots, sizeof *d->slot);
    if (!d->slot)
        return false;
    for (uint32_t i = 0; i < d->n; i++)
        dict_link(d, i);
    return true;
}

jdict *jdict_new(jrun *r, size_t room)
{
    jdict *d = jrun_alloc(r, 1, sizeof *d);
    if (!d || room > UINT32_MAX / 4 || (room && !dict_grow(r, d, (uint32_t)room)))
        return NULL;
    return d;
}

bool jdict_put(jrun *r, jdict *d, jval key, jval val)
{
    uint64_t h;
    if (!jrun_step(r, 1) || !jval_hash(r, key, &h))
        return false;
    int64_t i = dict_index(r, d, key, h);
    if (i >= 0) {
        d->pair[i].val = val;
        return true;
    }
    if (r->rc != TD_OK || (d->n == d->cap && !dict_grow(r, d, d->cap ? d->cap * 2 : 4)))
        return false;
    d->pair[d->n] = (jpair){key, val, h};
    d->n++;
    if (d->slot)
        dict_link(d, d->n - 1);
    return true;
}

bool jdict_find(jrun *r, const jdict *d, jval key, jval *out, bool *found)
{
    uint64_t h;
    *found = false;
    if (!jval_hash(r, key, &h))
        return false;
    int64_t i = dict_index(r, d, key, h);
    if (i >= 0) {
        *out = d->pair[i].val;
        *found = true;
    }
    return r->rc == TD_OK;
}

const jval *jdict_find_str(jrun *r, const jdict *d, const char *s, size_t len)
{
    uint64_t h;
    jval key = jval_str(s, len);
    if (!jval_hash(r, key, &h))
        return NULL;
    int64_t i = dict_index(r, d, key, h);
    return i >= 0 ? &d->pair[i].val : NULL;
}

/* ---- walking ---- */

/* Wraps only for the place after the last item, which nobody reads. */
jval jrange_at(const jrange *g, int64_t i)
{
    return jval_int((int64_t)((uint64_t)g->start + (uint64_t)i * (uint64_t)g->step));
}

jval jview_at(jrun *r, jval view, size_t i)
{
    const jpair *p = &view.dict->pair[i];
    if (view.sub == JVIEW_KEYS)
        return p->key;
    if (view.sub == JVIEW_VALUES)
        return p->val;
    jval pair = jval_kind(J_TUPLE);
    jseq *s = jseq_new(r, 2);
    if (!s)
        return jval_none();
    s->v[0] = p->key;
    s->v[1] = p->val;
    pair.seq = s;
    return pair;
}

bool jval_iterable(jval v)
{
    return v.kind == J_UNDEF || v.kind == J_STR || v.kind == J_LIST || v.kind == J_TUPLE || v.kind == J_DICT ||
           v.kind == J_VIEW || v.kind == J_RANGE || v.kind == J_ITER || v.kind == J_LOOP;
}

static bool string_items(jrun *r, jval v, jval *item)
{
    uint32_t cp;
    size_t n = 0;
    for (size_t at = 0; at < v.len;) {
        size_t step = jstr_next(v.s + at, v.len - at, &cp);
        item[n++] = jval_str(v.s + at, step);
        at += step;
    }
    return jrun_step(r, n / 4);
}

static bool make_items(jrun *r, jval v, jval **items, size_t n)
{
    jval *item = *items = jrun_alloc(r, n, sizeof *item);
    if (!item || !jrun_step(r, n / 4))
        return false;
    if (v.kind == J_STR)
        return string_items(r, v, item);
    for (size_t i = 0; i < n; i++)
        item[i] = v.kind == J_RANGE ? jrange_at(v.range, (int64_t)i)
                  : v.kind == J_DICT ? v.dict->pair[i].key
                                     : jview_at(r, v, i);
    return r->rc == TD_OK;
}

bool jval_items(jrun *r, jval v, jval **items, size_t *n)
{
    *items = NULL;
    *n = 0;
    switch ((jkind)v.kind) {
    case J_UNDEF: return true;
    case J_LIST:
    case J_TUPLE:
        *items = v.seq->v;
        *n = v.seq->n;
        return true;
    case J_ITER:
        if (!jiter_force(r, v.iter))
            return false;
        *items = v.iter->v + v.iter->pos;
        *n = v.iter->n - v.iter->pos;
        v.iter->pos = v.iter->n;
        return true;
    case J_STR: return make_items(r, v, items, *n = jstr_count(v.s, v.len));
    case J_DICT:
    case J_VIEW: return make_items(r, v, items, *n = v.dict->n);
    case J_RANGE: return make_items(r, v, items, *n = (size_t)v.range->n);
    case J_LOOP: return jrun_fail(r, "a loop cannot be walked by another loop");
    default: return jrun_fail(r, "'%s' object is not iterable", jval_type_name(v));
    }
}

bool jval_length(jrun *r, jval v, int64_t *n)
{
    switch ((jkind)v.kind) {
    case J_UNDEF: *n = 0; return true;
    case J_STR: *n = (int64_t)jstr_count(v.s, v.len); return jrun_bytes(r, v.len);
    case J_LIST:
    case J_TUPLE: *n = (int64_t)v.seq->n; return true;
    case J_DICT:
    case J_VIEW: *n = v.dict->n; return true;
    case J_RANGE: *n = v.range->n; return true;
    case J_LOOP: {
        jval len;
        bool found;
        if (!jloop_attr(r, v, jval_cstr("length"), &len, &found))
            return false;
        *n = len.i;
        return true;
    }
    default: return jrun_fail(r, "object of type '%s' has no length", jval_type_name(v));
    }
}

bool jval_contains(jrun *r, jval needle, jval hay, bool *yes)
{
    jval ignored, *item;
    size_t n;
    *yes = false;
    if (hay.kind == J_STR) {
        if (needle.kind != J_STR)
            return jrun_fail(r, "'in <string>' needs a string on its left, not %s", jval_type_name(needle));
        *yes = jstr_find(hay.s, hay.len, needle.s, needle.len) != SIZE_MAX;
        return jrun_bytes(r, hay.len);
    }
    if (hay.kind == J_DICT || (hay.kind == J_VIEW && hay.sub == JVIEW_KEYS))
        return jdict_find(r, hay.dict, needle, &ignored, yes);
    if (!jval_items(r, hay, &item, &n))
        return false;
    for (size_t i = 0; i < n && !*yes; i++) {
        if ((i & 3) == 0 && !jrun_step(r, 1))
            return false;
        *yes = jval_equal(r, item[i], needle);
    }
    return r->rc == TD_OK;
}
