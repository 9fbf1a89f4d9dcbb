/* The table of filters. A lazy filter's call returns an iterator at once and runs when that is first walked, so an
 * unused result costs and raises nothing, as with Python's generators. */
#include "model/jinja_filter.h"

#include "base/check.h"

static const struct {
    const char *name;
    jfilter_fn *fn;
    bool lazy;
} filters[] = { // the names that chat templates use most come first
    {"tojson", jfilter_tojson, false}, {"trim", jfilter_trim, false}, {"length", jfilter_length, false},
    {"default", jfilter_default, false}, {"string", jfilter_string, false}, {"join", jfilter_join, false},
    {"items", jfilter_items, true}, {"upper", jfilter_upper, false}, {"lower", jfilter_lower, false},
    {"list", jfilter_list, false}, {"selectattr", jfilter_selectattr, true}, {"map", jfilter_map, true},
    {"replace", jfilter_replace, false}, {"first", jfilter_first, false}, {"last", jfilter_last, false},
    {"safe", jfilter_safe, false}, {"indent", jfilter_indent, false}, {"int", jfilter_int, false},
    {"float", jfilter_float, false}, {"title", jfilter_title, false}, {"capitalize", jfilter_capitalize, false},
    {"rejectattr", jfilter_rejectattr, true}, {"select", jfilter_select, true}, {"reject", jfilter_reject, true},
    {"dictsort", jfilter_dictsort, false}, {"unique", jfilter_unique, true}, {"sort", jfilter_sort, false},
    {"reverse", jfilter_reverse, true}, {"abs", jfilter_abs, false}, {"min", jfilter_min, false},
    {"max", jfilter_max, false}, {"sum", jfilter_sum, false}, {"round", jfilter_round, false},
    {"batch", jfilter_batch, true}, {"slice", jfilter_slice, true}, {"groupby", jfilter_groupby, false},
    {"wordcount", jfilter_wordcount, false}, {"escape", jfilter_escape, false}, {"e", jfilter_escape, false},
    {"forceescape", jfilter_forceescape, false}, {"format", jfilter_format, false}, {"center", jfilter_center, false},
    {"truncate", jfilter_truncate, false}, {"attr", jfilter_attr, false}, {"count", jfilter_length, false},
    {"d", jfilter_default, false},
};

int jfilter_index(jval name)
{
    for (size_t i = 0; i < TD_COUNT(filters); i++)
        if (jval_is_str(name, filters[i].name))
            return (int)i;
    return -1;
}

bool jfilter_call(jrun *r, int index, jval v, const jcall *c, jval *out)
{
    if (!jrun_step(r, 1) || (v.kind == J_STR && !jrun_bytes(r, v.len)))
        return false;
    if (!filters[index].lazy || (filters[index].fn == jfilter_reverse && v.kind == J_STR))
        return filters[index].fn(r, v, c, out) && r->rc == TD_OK;
    *out = jval_kind(J_ITER);
    out->iter = jrun_alloc(r, 1, sizeof *out->iter);
    if (!out->iter)
        return false;
    *out->iter = (jiter){.filter = index, .line = r->line, .source = v, .call = *c};
    return true;
}

bool jiter_force(jrun *r, jiter *it)
{
    jval list;
    if (it->ready)
        return true;
    if (!jrun_enter(r))
        return false;
    it->ready = true; // an iterator that walks itself sees nothing
    r->line = it->line;
    bool ok = filters[it->filter].fn(r, it->source, &it->call, &list);
    jrun_leave(r);
    if (!ok)
        return false;
    it->v = list.seq->v;
    it->n = list.seq->n;
    return r->rc == TD_OK;
}
