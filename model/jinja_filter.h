/* jinja_filter.h - the filters themselves, for the table in jinja_filter.c; private to model/jinja_*.c. */
#ifndef TD_MODEL_JINJA_FILTER_H
#define TD_MODEL_JINJA_FILTER_H

#include "model/jinja_run.h"

typedef bool jfilter_fn(jrun *r, jval v, const jcall *c, jval *out);

/* text and numbers: jinja_filter_text.c */
jfilter_fn jfilter_abs, jfilter_capitalize, jfilter_center, jfilter_escape, jfilter_float, jfilter_forceescape,
    jfilter_format, jfilter_indent, jfilter_int, jfilter_lower, jfilter_replace, jfilter_round, jfilter_safe,
    jfilter_string, jfilter_title, jfilter_tojson, jfilter_trim, jfilter_truncate, jfilter_upper, jfilter_wordcount;
/* whole sequences: jinja_filter_seq.c */
jfilter_fn jfilter_attr, jfilter_default, jfilter_dictsort, jfilter_first, jfilter_groupby, jfilter_join, jfilter_last,
    jfilter_length, jfilter_list, jfilter_max, jfilter_min, jfilter_sort, jfilter_sum;
/* lazy ones, evaluated when their result is first used: jinja_filter_iter.c. *out becomes a list. */
jfilter_fn jfilter_batch, jfilter_items, jfilter_map, jfilter_reject, jfilter_rejectattr, jfilter_reverse,
    jfilter_select, jfilter_selectattr, jfilter_slice, jfilter_unique;

/* item.a.b.0 as the attribute arguments of filters mean it: items before methods. attr J_MISSING or none = the item
 * itself; dflt J_MISSING = none. */
bool jfilter_getattr(jrun *r, jval item, jval attr, jval dflt, jval *out);
/* Lower case unless case matters, for comparing. */
bool jfilter_fold_case(jrun *r, jval v, bool case_sensitive, jval *out);
/* Stable sort of items by keys; both [n]. */
bool jfilter_sort_by(jrun *r, jval *item, jval *key, size_t n, bool reverse);

#endif
