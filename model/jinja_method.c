/* Which methods values have, and those of dicts, lists and cyclers. Nothing here changes a value: the methods that
 * would are refused before they get here (jinja_op.c). */
#include "base/check.h"
#include "model/jinja_run.h"
#include "model/jinja_str.h"

#include <math.h>

bool jarg_int(jrun *r, const char *what, jval v, int64_t dflt, int64_t *out)
{
    if (v.kind == J_MISSING) {
        *out = dflt;
        return true;
    }
    if (!jval_is_int(v))
        return v.kind == J_UNDEF ? jrun_fail_undef(r, v)
                                 : jrun_fail(r, "%s needs a whole number, not %s", what, jval_type_name(v));
    *out = jval_as_int(v);
    return true;
}

bool jarg_str(jrun *r, const char *what, jval v)
{
    if (v.kind == J_STR)
        return true;
    return v.kind == J_UNDEF ? jrun_fail_undef(r, v)
                             : jrun_fail(r, "%s needs a string, not %s", what, jval_type_name(v));
}

/* ---- dict ---- */

static bool dict_get(jrun *r, jval self, const jcall *c, jval *out)
{
    jval a[2];
    bool found;
    if (!jcall_bind(r, c, "get", "/key default", 1, a))
        return false;
    *out = a[1].kind == J_MISSING ? jval_none() : a[1];
    return jdict_find(r, self.dict, a[0], out, &found);
}

static bool dict_view(jrun *r, jval self, const jcall *c, jval *out, const char *name, int which)
{
    if (!jcall_bind(r, c, name, "/", 0, NULL))
        return false;
    *out = self;
    out->kind = J_VIEW;
    out->sub = (uint8_t)which;
    return true;
}

static bool dict_items(jrun *r, jval self, const jcall *c, jval *out)
{
    return dict_view(r, self, c, out, "items", JVIEW_ITEMS);
}

static bool dict_keys(jrun *r, jval self, const jcall *c, jval *out)
{
    return dict_view(r, self, c, out, "keys", JVIEW_KEYS);
}

static bool dict_values(jrun *r, jval self, const jcall *c, jval *out)
{
    return dict_view(r, self, c, out, "values", JVIEW_VALUES);
}

static bool self_copy(jrun *r, jval self, const jcall *c, jval *out) // immutable: a copy is the thing itself
{
    *out = self;
    return jcall_bind(r, c, "copy", "/", 0, NULL);
}

/* ---- list, tuple, range ---- */

static bool list_find(jrun *r, jval self, const jcall *c, const char *name, int64_t *count, int64_t *first)
{
    jval what, *item;
    size_t n;
    *count = 0;
    *first = -1;
    if (!jcall_bind(r, c, name, "/value", 1, &what) || !jval_items(r, self, &item, &n) || !jrun_step(r, n / 4))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!jval_equal(r, item[i], what))
            continue;
        if ((*count)++ == 0)
            *first = (int64_t)i;
    }
    return r->rc == TD_OK;
}

static bool list_count(jrun *r, jval self, const jcall *c, jval *out)
{
    int64_t n, first;
    if (!list_find(r, self, c, "count", &n, &first))
        return false;
    *out = jval_int(n);
    return true;
}

static bool list_index(jrun *r, jval self, const jcall *c, jval *out)
{
    int64_t n, first;
    if (!list_find(r, self, c, "index", &n, &first))
        return false;
    *out = jval_int(first);
    return n > 0 || jrun_fail(r, "index(): the value is not in the list");
}

/* ---- cycler, float ---- */

static bool cycler_next(jrun *r, jval self, const jcall *c, jval *out)
{
    jcycler *y = self.cycler;
    *out = y->item[y->at];
    y->at = (y->at + 1) % y->n;
    return jcall_bind(r, c, "next", "/", 0, NULL);
}

static bool cycler_reset(jrun *r, jval self, const jcall *c, jval *out)
{
    self.cycler->at = 0;
    *out = jval_none();
    return jcall_bind(r, c, "reset", "/", 0, NULL);
}

static bool float_is_integer(jrun *r, jval self, const jcall *c, jval *out)
{
    *out = jval_bool(isfinite(self.f) && self.f == floor(self.f));
    return jcall_bind(r, c, "is_integer", "/", 0, NULL);
}

static bool str_format(jrun *r, jval self, const jcall *c, jval *out) { return jformat_braces(r, self, c, out); }

static bool str_format_map(jrun *r, jval self, const jcall *c, jval *out)
{
    jval map;
    if (!jcall_bind(r, c, "format_map", "/mapping", 1, &map))
        return false;
    if (map.kind != J_DICT)
        return jrun_fail(r, "format_map needs a mapping, not %s", jval_type_name(map));
    jcall named = {.kw = jrun_alloc(r, map.dict->n, sizeof *named.kw)};
    for (uint32_t i = 0; named.kw && i < map.dict->n; i++)
        if (map.dict->pair[i].key.kind == J_STR)
            named.kw[named.kn++] = (struct jkwval){map.dict->pair[i].key, map.dict->pair[i].val};
    return named.kw && jformat_braces(r, self, &named, out);
}

static const struct {
    uint8_t kind;
    const char *name;
    jmethod_fn *fn;
} methods[] = {
    {J_DICT, "get", dict_get}, {J_DICT, "items", dict_items}, {J_DICT, "keys", dict_keys},
    {J_DICT, "values", dict_values}, {J_DICT, "copy", self_copy},
    {J_LIST, "copy", self_copy}, {J_LIST, "count", list_count}, {J_LIST, "index", list_index},
    {J_TUPLE, "count", list_count}, {J_TUPLE, "index", list_index},
    {J_RANGE, "count", list_count}, {J_RANGE, "index", list_index},
    {J_CYCLER, "next", cycler_next}, {J_CYCLER, "reset", cycler_reset}, {J_FLOAT, "is_integer", float_is_integer},
    {J_STR, "strip", jstrm_strip}, {J_STR, "lstrip", jstrm_lstrip}, {J_STR, "rstrip", jstrm_rstrip},
    {J_STR, "split", jstrm_split}, {J_STR, "rsplit", jstrm_rsplit}, {J_STR, "splitlines", jstrm_splitlines},
    {J_STR, "startswith", jstrm_startswith}, {J_STR, "endswith", jstrm_endswith}, {J_STR, "replace", jstrm_replace},
    {J_STR, "format", str_format}, {J_STR, "format_map", str_format_map}, {J_STR, "join", jstrm_join},
    {J_STR, "upper", jstrm_upper}, {J_STR, "lower", jstrm_lower}, {J_STR, "title", jstrm_title},
    {J_STR, "capitalize", jstrm_capitalize}, {J_STR, "casefold", jstrm_casefold},
    {J_STR, "swapcase", jstrm_swapcase}, {J_STR, "find", jstrm_find}, {J_STR, "rfind", jstrm_rfind},
    {J_STR, "index", jstrm_index}, {J_STR, "rindex", jstrm_rindex}, {J_STR, "count", jstrm_count},
    {J_STR, "partition", jstrm_partition}, {J_STR, "rpartition", jstrm_rpartition},
    {J_STR, "removeprefix", jstrm_removeprefix}, {J_STR, "removesuffix", jstrm_removesuffix},
    {J_STR, "center", jstrm_center}, {J_STR, "ljust", jstrm_ljust}, {J_STR, "rjust", jstrm_rjust},
    {J_STR, "zfill", jstrm_zfill}, {J_STR, "expandtabs", jstrm_expandtabs}, {J_STR, "isalnum", jstrm_isalnum},
    {J_STR, "isalpha", jstrm_isalpha}, {J_STR, "isascii", jstrm_isascii}, {J_STR, "isdecimal", jstrm_isdecimal},
    {J_STR, "isdigit", jstrm_isdigit}, {J_STR, "isidentifier", jstrm_isidentifier}, {J_STR, "islower", jstrm_islower},
    {J_STR, "isnumeric", jstrm_isnumeric}, {J_STR, "isprintable", jstrm_isprintable}, {J_STR, "isspace", jstrm_isspace},
    {J_STR, "istitle", jstrm_istitle}, {J_STR, "isupper", jstrm_isupper},
};

int jmethod_index(jval self, jval name)
{
    for (size_t i = 0; i < TD_COUNT(methods); i++)
        if (methods[i].kind == self.kind && jval_is_str(name, methods[i].name))
            return (int)i;
    return -1;
}

/* Text cut out of safe text stays safe. */
static void keep_safe(jval self, jval *out)
{
    if (self.kind != J_STR || self.sub != JSTR_SAFE)
        return;
    if (out->kind == J_STR)
        out->sub = JSTR_SAFE;
    for (size_t i = 0; (out->kind == J_LIST || out->kind == J_TUPLE) && i < out->seq->n; i++)
        if (out->seq->v[i].kind == J_STR)
            out->seq->v[i].sub = JSTR_SAFE;
}

bool jmethod_call(jrun *r, int index, jval self, const jcall *c, jval *out)
{
    if (!jrun_step(r, 1) || (self.kind == J_STR && !jrun_bytes(r, self.len)) || !methods[index].fn(r, self, c, out))
        return false;
    keep_safe(self, out);
    return r->rc == TD_OK;
}
