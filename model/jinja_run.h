/* jinja_run.h - one render: its memory, its limits and the functions a template can call; private to model/jinja_*.c.
 *
 * Text that is being built goes to the end of the output itself: jrun_mark() remembers the end, jrun_cut() takes away
 * what came after it as a string. So captures nest without buffers of their own, and one bound covers both.
 * The first failure is kept in r->err and every function returns false from then on. */
#ifndef TD_MODEL_JINJA_RUN_H
#define TD_MODEL_JINJA_RUN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/jinja_ast.h"
#include "model/jinja_value.h"

typedef struct jenv { // names of one scope; the template's own names are in jrun.global
    struct jenv *up;
    struct jbind {
        uint32_t sym;
        jval val;
    } *v;
    uint32_t n, cap;
} jenv;

struct jrun {
    const jinja *t;
    td_arena arena;
    td_buf *out;
    size_t out_base;    // bytes that were in *out before
    td_err *err;
    td_rc rc;
    int64_t steps;      // left
    int nest;           // nested evaluations
    int macros;         // nested macro calls
    uint32_t line;      // of the statement or call under way
    uint64_t now, seed;
    jval *global;       // [symbol_count]
    jval block_text;    // what a filter or set block's filters work on
    enum { JFLOW_NONE, JFLOW_BREAK, JFLOW_CONTINUE } flow;
};

/* Arguments of a call, evaluated. */
typedef struct jcall {
    jval *pos;          // [n]
    size_t n;
    struct jkwval {
        jval name, val;
    } *kw;              // [kn]
    size_t kn;
} jcall;

struct jmacro {
    const jnode *node;
    jenv *env;          // scope it was defined in
};

struct jmethod {
    jval self;
    int index;
};

struct jcycler { // or joiner
    jval *item;         // joiner: the separator
    size_t n, at;
};

struct jiter { // evaluated at its first use, as Python's generators are
    jval *v;            // [n], from pos on
    size_t n, pos;
    bool ready;
    int filter;         // table index
    uint32_t line;
    jval source;
    jcall call;
};

struct jloop {
    jval *item;         // [n] of the iterable
    size_t n, next;     // next: first item not yet pulled
    jiter *iter;        // advanced along with it, or NULL
    jval *seen;         // [seen_n] items that passed the filter, up to the one after the current
    size_t seen_n, index0;
    const jnode *node;
    jenv *env;          // scope of the for statement
    int depth0;
    bool sized;         // no filter, and the iterable has a length
    jval changed;       // J_TUPLE of the last changed() call, or J_MISSING
};

bool jrun_fail(jrun *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool jrun_fail_undef(jrun *r, jval v); // use of an undefined value
bool jrun_nomem(jrun *r);
void *jrun_alloc(jrun *r, size_t count, size_t size); // zeroed; NULL after recording the failure
bool jrun_step(jrun *r, size_t units);
bool jrun_bytes(jrun *r, size_t bytes); // work in proportion to a text
bool jrun_enter(jrun *r);
static inline void jrun_leave(jrun *r) { r->nest--; }

bool jrun_put(jrun *r, const char *s, size_t len);
bool jrun_puts(jrun *r, const char *s);
bool jrun_fill(jrun *r, const char *s, size_t len, int64_t times); // times <= 0: nothing
bool jrun_put_fmt(jrun *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline size_t jrun_mark(const jrun *r) { return r->out->len; }
bool jrun_cut(jrun *r, size_t mark, jval *out);
void jrun_drop(jrun *r, size_t mark);

/* Evaluation (jinja_eval.c) and statements (jinja_render.c). */
bool jinja_eval(jrun *r, jenv *env, const jnode *n, jval *out);
bool jinja_eval_call(jrun *r, jenv *env, const jnode *n, const jval *caller, jval *out); // caller: of a call block
bool jinja_exec(jrun *r, jenv *env, const jnode *n);
jenv *jenv_new(jrun *r, jenv *up);
bool jenv_set(jrun *r, jenv *env, uint32_t sym, jval v); // env NULL: the template's own names
bool jenv_get(jrun *r, const jenv *env, uint32_t sym, jval *out);
bool jinja_assign(jrun *r, jenv *env, const jnode *target, jval v);

/* Operators (jinja_op.c). */
bool jop_arith(jrun *r, jtok_kind op, jval a, jval b, jval *out);
bool jop_negate(jrun *r, jval v, bool minus, jval *out);
bool jop_compare(jrun *r, jtok_kind op, jval a, jval b, bool *yes);
/* a.name and a[index] as the sandbox resolves them: data first, then methods, or the other way round. */
bool jop_attr(jrun *r, jval obj, jval name, jval *out);
bool jop_item(jrun *r, jval obj, jval index, jval *out);
bool jop_only_attr(jrun *r, jval obj, jval name, jval *out); // |attr: never the items of a dict
bool jop_escape(jrun *r, jval v, jval *out); // & < > " ' for HTML; the result is safe
bool jop_slice(jrun *r, jval obj, const jval part[3], jval *out);

/* Calls (jinja_call.c). */
bool jcall_value(jrun *r, jval callee, const jcall *c, jval *out);
/* Names of the parameters, separated by spaces; the first `need` must be given, the others become J_MISSING. A name
 * list that begins with '/' takes no keywords. */
bool jcall_bind(jrun *r, const jcall *c, const char *what, const char *names, size_t need, jval *out);
bool jcall_macro(jrun *r, const jmacro *m, const jcall *c, jval *out);
bool jloop_peek(jrun *r, jloop *l, size_t upto, bool *there); // sees to it that `upto` items were pulled
bool jloop_run(jrun *r, jenv *env, const jnode *n, jval over, int depth0);
bool jloop_attr(jrun *r, jval loop, jval name, jval *out, bool *found);

/* Methods of strings, dicts and lists (jinja_method*.c): -1 = no such method of that value. */
int jmethod_index(jval self, jval name);
bool jmethod_call(jrun *r, int index, jval self, const jcall *c, jval *out);
/* Methods of strings by their place in the table of jinja_method.c (jinja_method_str.c, jinja_method_text.c). */
typedef bool jmethod_fn(jrun *r, jval self, const jcall *c, jval *out);
jmethod_fn jstrm_strip, jstrm_lstrip, jstrm_rstrip, jstrm_split, jstrm_rsplit, jstrm_splitlines, jstrm_partition,
    jstrm_rpartition, jstrm_join, jstrm_replace, jstrm_find, jstrm_rfind, jstrm_index, jstrm_rindex, jstrm_count,
    jstrm_startswith, jstrm_endswith, jstrm_removeprefix, jstrm_removesuffix;
jmethod_fn jstrm_upper, jstrm_lower, jstrm_title, jstrm_capitalize, jstrm_casefold, jstrm_swapcase, jstrm_center,
    jstrm_ljust, jstrm_rjust, jstrm_zfill, jstrm_expandtabs, jstrm_isalnum, jstrm_isalpha, jstrm_isascii,
    jstrm_isdecimal, jstrm_isdigit, jstrm_isidentifier, jstrm_islower, jstrm_isnumeric, jstrm_isprintable,
    jstrm_isspace, jstrm_istitle, jstrm_isupper;
/* s.split(sep, limit); sep J_MISSING or none = runs of white space; limit < 0 = none. */
bool jstr_split_list(jrun *r, jval s, jval sep, int64_t limit, bool from_right, jval *out);
bool jstr_replace(jrun *r, jval s, jval from, jval to, int64_t limit, jval *out);
bool jstr_lines(jrun *r, jval s, bool keep_ends, jval *out);
bool jstr_join(jrun *r, jval sep, const jval *item, size_t n, jval *out); // items are printed with str()
/* A whole number among a call's arguments: `dflt` when it is missing. */
bool jarg_int(jrun *r, const char *what, jval v, int64_t dflt, int64_t *out);
bool jarg_str(jrun *r, const char *what, jval v);

/* Filters and tests (jinja_filter*.c, jinja_test.c). */
int jfilter_index(jval name);
bool jfilter_call(jrun *r, int index, jval v, const jcall *c, jval *out);
int jtest_index(jval name);
bool jtest_call(jrun *r, int index, jval v, const jcall *c, bool *yes);
bool jiter_force(jrun *r, jiter *it);

/* printf-style and str.format formatting (jinja_format.c). */
bool jformat_percent(jrun *r, jval fmt, jval args, jval *out);
bool jformat_braces(jrun *r, jval fmt, const jcall *c, jval *out);

#endif
