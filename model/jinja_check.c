/* What Jinja checks when it compiles a template: names of filters and tests, and which special names a macro uses. */
#include "model/jinja_ast.h"

#include "base/check.h"
#include "model/jinja_run.h"

typedef struct uses { // of the special names in a macro's body
    bool caller, kwargs, varargs;
} uses;

/* Calls visit for every node below n, arguments and defaults too. */
static void each_below(const jnode *n, void (*visit)(const jnode *, void *), void *ctx)
{
    for (uint32_t i = 0; i < n->n; i++)
        if (n->kid[i])
            visit(n->kid[i], ctx);
    const jargs *a = n->args;
    for (size_t i = 0; a && i < a->pos_count; i++)
        visit(a->pos[i], ctx);
    for (size_t i = 0; a && i < a->kw_count; i++)
        visit(a->kw[i].expr, ctx);
    if (a && a->star)
        visit(a->star, ctx);
    if (a && a->star2)
        visit(a->star2, ctx);
    for (size_t i = 0; n->macro && i < n->macro->params; i++)
        if (n->macro->dflt[i])
            visit(n->macro->dflt[i], ctx);
}

typedef struct use_walk {
    const jinja *t;
    uses *u;
} use_walk;

static void find_uses(const jnode *n, void *ctx)
{
    use_walk *w = ctx;
    if (n->op == N_NAME) {
        w->u->caller |= n->sym == w->t->sym_caller;
        w->u->kwargs |= n->sym == w->t->sym_kwargs;
        w->u->varargs |= n->sym == w->t->sym_varargs;
    }
    each_below(n, find_uses, ctx);
}

static bool set_macro_flags(jparse *p, jnode *n)
{
    jmacro_def *d = n->macro;
    uses u = {0};
    find_uses(n->kid[n->n - 1], &(use_walk){p->t, &u});
    bool named_kwargs = false, named_varargs = false;
    for (size_t i = 0; i < d->params; i++) {
        named_kwargs |= d->param[i] == p->t->sym_kwargs;
        named_varargs |= d->param[i] == p->t->sym_varargs;
        if (u.caller && d->param[i] == p->t->sym_caller && !d->dflt[i])
            return jparse_fail(p, n->line, "the parameter 'caller' needs a default");
    }
    d->takes_caller = u.caller;
    d->takes_kwargs = u.kwargs && !named_kwargs;
    d->takes_varargs = u.varargs && !named_varargs;
    return true;
}

typedef struct check_walk {
    jparse *p;
    bool soft, ok; // soft: inside an if or a conditional, where an unknown name matters only once it is reached
} check_walk;

static void check_node(const jnode *node, void *ctx);

static void check_below(check_walk *w, const jnode *n, bool soft)
{
    check_walk inner = {w->p, soft, true};
    each_below(n, check_node, &inner);
    w->ok = w->ok && inner.ok;
}

/* The tree is ours to complete while it is being parsed; the walker's const is for its other user. */
static void check_node(const jnode *node, void *ctx)
{
    check_walk *w = ctx;
    jnode *n = (jnode *)(uintptr_t)node;
    if (!w->ok)
        return;
    if (n->op == N_FILTER || n->op == N_TEST) {
        n->builtin = (int16_t)(n->op == N_FILTER ? jfilter_index(n->val) : jtest_index(n->val));
        if (n->builtin < 0 && !w->soft) {
            jparse_fail(w->p, n->line, "no %s named '%.*s'", n->op == N_FILTER ? "filter" : "test",
                        (int)TD_MIN(n->val.len, 60u), n->val.s);
            w->ok = false;
            return;
        }
    }
    if (n->macro && !set_macro_flags(w->p, n)) {
        w->ok = false;
        return;
    }
    bool scope = n->op == N_FOR || n->op == N_MACRO || n->op == N_CALL_BLOCK || n->op == N_SET_BLOCK ||
                 n->op == N_FILTER_BLOCK || n->op == N_WITH || n->op == N_SCOPE;
    check_below(w, n, n->op == N_IF || n->op == N_COND || (w->soft && !scope));
}

bool jparse_check_names(jparse *p, jnode *n, bool soft)
{
    check_walk w = {p, soft, true};
    check_node(n, &w);
    return w.ok;
}
