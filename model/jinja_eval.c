/* Evaluation of expressions, and a render's own bookkeeping: failures, fuel, memory, scratch text. */
#include "base/check.h"
#include "base/utf8.h"
#include "model/jinja_run.h"

#include <stdarg.h>
#include <stdio.h>

bool jrun_fail(jrun *r, const char *fmt, ...)
{
    if (r->rc != TD_OK)
        return false;
    char what[TD_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    for (char *p = what; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127)
            *p = ' ';
    size_t len = strlen(what);
    what[len - td_utf8_partial_tail(what, len)] = 0;
    r->rc = TD_E_INPUT;
    td_fail(r->err, TD_E_INPUT, "template line %u: %s", r->line, what);
    return false;
}

bool jrun_fail_undef(jrun *r, jval v)
{
    int len = (int)TD_MIN(v.len, 100u);
    switch (v.sub) {
    case JUNDEF_NAME: return jrun_fail(r, "'%.*s' is undefined", len, v.s);
    case JUNDEF_ATTR: return jrun_fail(r, "the value has no attribute '%.*s'", len, v.s);
    case JUNDEF_UNSAFE: return jrun_fail(r, "templates may not use '%.*s' of this value", len, v.s);
    default: return jrun_fail(r, "%.*s", len, v.s);
    }
}

bool jrun_nomem(jrun *r)
{
    if (r->rc == TD_OK) {
        r->rc = TD_E_NOMEM;
        td_fail(r->err, TD_E_NOMEM, "not enough memory to render the chat template");
    }
    return false;
}

void *jrun_alloc(jrun *r, size_t count, size_t size)
{
    size_t bytes;
    if (r->rc != TD_OK)
        return NULL;
    if (!td_size_mul_ok(count, size, &bytes) || bytes > TD_JINJA_MEMORY_BYTES_MAX ||
        r->arena.used_bytes + bytes > TD_JINJA_MEMORY_BYTES_MAX) {
        jrun_fail(r, "rendering needs more than %d bytes of memory", TD_JINJA_MEMORY_BYTES_MAX);
        return NULL;
    }
    void *p = td_arena_alloc(&r->arena, bytes);
    if (!p)
        jrun_nomem(r);
    return p;
}

bool jrun_step(jrun *r, size_t units)
{
    if (r->rc != TD_OK)
        return false;
    if ((uint64_t)r->steps < units)
        return jrun_fail(r, "rendering takes more than %d steps", TD_JINJA_STEPS_MAX);
    r->steps -= (int64_t)units;
    return true;
}

bool jrun_bytes(jrun *r, size_t bytes) { return jrun_step(r, bytes / TD_JINJA_BYTES_PER_STEP); }

bool jrun_enter(jrun *r)
{
    if (r->nest >= TD_JINJA_NEST_MAX)
        return jrun_fail(r, "evaluation is nested more than %d deep", TD_JINJA_NEST_MAX);
    r->nest++;
    return r->rc == TD_OK;
}

bool jrun_put(jrun *r, const char *s, size_t len)
{
    if (r->rc != TD_OK)
        return false;
    if (r->out->len - r->out_base + len > TD_JINJA_OUT_BYTES_MAX)
        return jrun_fail(r, "the text is longer than %u bytes", TD_JINJA_OUT_BYTES_MAX);
    return td_buf_add(r->out, s, len) || jrun_nomem(r);
}

bool jrun_puts(jrun *r, const char *s) { return jrun_put(r, s, strlen(s)); }

bool jrun_fill(jrun *r, const char *s, size_t len, int64_t times)
{
    size_t total = 0;
    if (times <= 0 || len == 0)
        return r->rc == TD_OK;
    if (!td_size_mul_ok(len, (size_t)times, &total) || total > TD_JINJA_OUT_BYTES_MAX)
        return jrun_fail(r, "the text is longer than %u bytes", TD_JINJA_OUT_BYTES_MAX);
    if (!jrun_bytes(r, total))
        return false;
    size_t mark = r->out->len;
    for (size_t done = 0; done < total;) { // what is there already is copied, twice as much each time
        size_t n = done ? TD_MIN(done, total - done) : len;
        if (!td_buf_reserve(r->out, total - done))
            return jrun_nomem(r);
        if (!jrun_put(r, done ? r->out->data + mark : s, n))
            return false;
        done += n;
    }
    return true;
}

bool jrun_put_fmt(jrun *r, const char *fmt, ...)
{
    char text[128];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    td_assert(n >= 0 && (size_t)n < sizeof text);
    return jrun_put(r, text, (size_t)n);
}

bool jrun_cut(jrun *r, size_t mark, jval *out)
{
    if (r->rc == TD_OK && r->out->failed)
        return jrun_nomem(r); // a helper that wrote to the buffer itself
    size_t len = r->out->len - mark;
    char *s = jrun_bytes(r, len) ? jrun_alloc(r, len + 1, 1) : NULL;
    if (!s)
        return false;
    if (len)
        memcpy(s, r->out->data + mark, len);
    jrun_drop(r, mark);
    *out = jval_str(s, len);
    return true;
}

void jrun_drop(jrun *r, size_t mark)
{
    r->out->len = mark;
    if (r->out->data)
        r->out->data[mark] = 0;
}

/* ---- scopes ---- */

jenv *jenv_new(jrun *r, jenv *up)
{
    jenv *e = jrun_alloc(r, 1, sizeof *e);
    if (e)
        e->up = up;
    return e;
}

bool jenv_set(jrun *r, jenv *env, uint32_t sym, jval v)
{
    if (!env) {
        r->global[sym] = v;
        return true;
    }
    for (uint32_t i = 0; i < env->n; i++)
        if (env->v[i].sym == sym) {
            env->v[i].val = v;
            return jrun_step(r, i / 16);
        }
    if (env->n == env->cap) {
        uint32_t cap = env->cap ? env->cap * 2 : 4;
        struct jbind *bind = jrun_alloc(r, cap, sizeof *bind);
        if (!bind)
            return false;
        if (env->n)
            memcpy(bind, env->v, env->n * sizeof *bind);
        env->v = bind;
        env->cap = cap;
    }
    env->v[env->n].sym = sym;
    env->v[env->n++].val = v;
    return jrun_step(r, env->n / 16);
}

bool jenv_get(jrun *r, const jenv *env, uint32_t sym, jval *out)
{
    size_t looked = 0;
    for (; env; env = env->up) {
        for (uint32_t i = 0; i < env->n; i++)
            if (env->v[i].sym == sym) {
                *out = env->v[i].val;
                return jrun_step(r, looked / 16);
            }
        looked += env->n + 1;
    }
    *out = r->global[sym];
    if (out->kind == J_MISSING)
        *out = jval_undef(JUNDEF_NAME, r->t->symbol_name[sym].s, r->t->symbol_name[sym].len);
    return jrun_step(r, looked / 16);
}

/* ---- expressions ---- */

static bool eval_seq(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jseq *s = jseq_new(r, n->n);
    if (!s)
        return false;
    for (uint32_t i = 0; i < n->n; i++)
        if (!jinja_eval(r, env, n->kid[i], &s->v[i]))
            return false;
    *out = jval_kind(n->op == N_LIST ? J_LIST : J_TUPLE);
    out->seq = s;
    return true;
}

static bool eval_dict(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jdict *d = jdict_new(r, n->n / 2);
    for (uint32_t i = 0; d && i + 1 < n->n; i += 2) {
        jval k, v;
        if (!jinja_eval(r, env, n->kid[i], &k) || !jinja_eval(r, env, n->kid[i + 1], &v) || !jdict_put(r, d, k, v))
            return false;
    }
    *out = jval_kind(J_DICT);
    out->dict = d;
    return d != NULL;
}

static bool eval_slice_parts(jrun *r, jenv *env, const jnode *n, jval part[3])
{
    for (int i = 0; i < 3; i++) {
        part[i] = jval_none();
        if (n->kid[i] && !jinja_eval(r, env, n->kid[i], &part[i]))
            return false;
    }
    return true;
}

static bool eval_item(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval obj, index, part[3];
    if (!jinja_eval(r, env, n->kid[0], &obj))
        return false;
    if (n->kid[1]->op == N_SLICE)
        return eval_slice_parts(r, env, n->kid[1], part) && jop_slice(r, obj, part, out);
    return jinja_eval(r, env, n->kid[1], &index) && jop_item(r, obj, index, out);
}

static bool eval_attr(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval obj;
    return jinja_eval(r, env, n->kid[0], &obj) && jop_attr(r, obj, n->val, out);
}

/* and, or: the value that decided. */
static bool eval_logic(jrun *r, jenv *env, const jnode *n, jval *out)
{
    for (uint32_t i = 0; i < n->n; i++) {
        if (!jinja_eval(r, env, n->kid[i], out))
            return false;
        if (jval_true(r, *out) == (n->op == N_OR))
            break;
    }
    return r->rc == TD_OK;
}

static bool eval_compare(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval left, right;
    bool yes = true;
    if (!jinja_eval(r, env, n->kid[0], &left))
        return false;
    for (uint32_t i = 1; i < n->n && yes; i++) {
        if (!jinja_eval(r, env, n->kid[i], &right) || !jop_compare(r, n->ops[i - 1], left, right, &yes))
            return false;
        left = right;
    }
    *out = jval_bool(yes);
    return true;
}

static bool eval_arith(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval acc, right;
    if (!jinja_eval(r, env, n->kid[0], &acc))
        return false;
    for (uint32_t i = 1; i < n->n; i++) {
        if (!jinja_eval(r, env, n->kid[i], &right) || !jop_arith(r, n->ops[i - 1], acc, right, &acc))
            return false;
    }
    *out = acc;
    return true;
}

/* All operands are evaluated before the text is put together: a macro among them uses the same scratch. */
static bool eval_concat(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval *v = jrun_alloc(r, n->n, sizeof *v);
    for (uint32_t i = 0; v && i < n->n; i++)
        if (!jinja_eval(r, env, n->kid[i], &v[i]))
            return false;
    size_t mark = jrun_mark(r);
    for (uint32_t i = 0; v && i < n->n; i++)
        if (!jval_put_str(r, v[i]))
            return false;
    return v && jrun_cut(r, mark, out);
}

static bool eval_cond(jrun *r, jenv *env, const jnode *n, jval *out)
{
    if (!jinja_eval(r, env, n->kid[0], out))
        return false;
    bool yes = jval_true(r, *out);
    if (r->rc != TD_OK)
        return false;
    if (yes || n->kid[2])
        return jinja_eval(r, env, n->kid[yes ? 1 : 2], out);
    *out = jval_undef_msg("the inline if was false and has no else");
    return true;
}

static bool add_keyword(jrun *r, jcall *c, jval name, jval v)
{
    for (size_t i = 0; i < c->kn; i++)
        if (c->kw[i].name.len == name.len && !memcmp(c->kw[i].name.s, name.s, name.len))
            return jrun_fail(r, "keyword argument '%.*s' is given twice", (int)TD_MIN(name.len, 60u), name.s);
    c->kw[c->kn].name = name;
    c->kw[c->kn++].val = v;
    return jrun_step(r, c->kn / 8);
}

static bool spread_keywords(jrun *r, jcall *c, jval from)
{
    if (from.kind != J_DICT)
        return jrun_fail(r, "the argument after ** must be a mapping, not %s", jval_type_name(from));
    for (uint32_t i = 0; i < from.dict->n; i++) {
        const jpair *p = &from.dict->pair[i];
        if (p->key.kind != J_STR)
            return jrun_fail(r, "keywords must be strings");
        if (!add_keyword(r, c, p->key, p->val))
            return false;
    }
    return true;
}

/* extra: a caller for a call block, or NULL. */
static bool eval_args(jrun *r, jenv *env, const jargs *a, const jval *extra, jcall *c)
{
    jval star = jval_kind(J_MISSING), star2 = star, *more = NULL;
    size_t more_n = 0;
    *c = (jcall){0};
    if (!a->star && !a->star2 && !a->kw_count && !a->pos_count && !extra)
        return true;
    jval *pos = jrun_alloc(r, a->pos_count, sizeof *pos);
    for (size_t i = 0; pos && i < a->pos_count; i++)
        if (!jinja_eval(r, env, a->pos[i], &pos[i]))
            return false;
    if (a->star && (!jinja_eval(r, env, a->star, &star) || !jval_items(r, star, &more, &more_n)))
        return false;
    jval *kw = jrun_alloc(r, a->kw_count, sizeof *kw);
    for (size_t i = 0; kw && i < a->kw_count; i++)
        if (!jinja_eval(r, env, a->kw[i].expr, &kw[i]))
            return false;
    if (a->star2 && !jinja_eval(r, env, a->star2, &star2))
        return false;
    size_t room = a->kw_count + (extra != NULL) + (star2.kind == J_DICT ? star2.dict->n : 0);
    *c = (jcall){.pos = jrun_alloc(r, a->pos_count + more_n, sizeof *c->pos), .n = a->pos_count + more_n,
                 .kw = jrun_alloc(r, room, sizeof *c->kw)};
    if (!c->pos || !c->kw)
        return false;
    if (a->pos_count)
        memcpy(c->pos, pos, a->pos_count * sizeof *pos);
    if (more_n)
        memcpy(c->pos + a->pos_count, more, more_n * sizeof *more);
    for (size_t i = 0; i < a->kw_count; i++)
        if (!add_keyword(r, c, a->kw[i].name, kw[i]))
            return false;
    if (extra && !add_keyword(r, c, jval_cstr("caller"), *extra))
        return false;
    return star2.kind == J_MISSING || spread_keywords(r, c, star2);
}

bool jinja_eval_call(jrun *r, jenv *env, const jnode *n, const jval *caller, jval *out)
{
    jval callee;
    jcall c;
    if (!jinja_eval(r, env, n->kid[0], &callee) || !eval_args(r, env, n->args, caller, &c))
        return false;
    r->line = n->line;
    return jcall_value(r, callee, &c, out);
}

static bool eval_filter(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval v;
    jcall c;
    if (!n->kid[0])
        v = r->block_text;
    else if (!jinja_eval(r, env, n->kid[0], &v))
        return false;
    if (n->builtin < 0)
        return jrun_fail(r, "no filter named '%.*s'", (int)TD_MIN(n->val.len, 60u), n->val.s);
    if (!eval_args(r, env, n->args, NULL, &c))
        return false;
    r->line = n->line;
    return jfilter_call(r, n->builtin, v, &c, out);
}

static bool eval_test(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval v;
    jcall c;
    bool yes = false;
    if (!jinja_eval(r, env, n->kid[0], &v))
        return false;
    if (n->builtin < 0)
        return jrun_fail(r, "no test named '%.*s'", (int)TD_MIN(n->val.len, 60u), n->val.s);
    if (!eval_args(r, env, n->args, NULL, &c) || !jtest_call(r, n->builtin, v, &c, &yes))
        return false;
    *out = jval_bool(yes);
    return true;
}

static bool eval_sign(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval v;
    return jinja_eval(r, env, n->kid[0], &v) && jop_negate(r, v, n->op == N_NEG, out);
}

static bool eval_not(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval v;
    if (!jinja_eval(r, env, n->kid[0], &v))
        return false;
    *out = jval_bool(!jval_true(r, v));
    return r->rc == TD_OK;
}

static bool eval_loose_slice(jrun *r, jenv *env, const jnode *n, jval *out)
{
    jval part[3];
    *out = jval_kind(J_SLICE);
    return eval_slice_parts(r, env, n, part);
}

static bool eval_op(jrun *r, jenv *env, const jnode *n, jval *out)
{
    switch ((jop)n->op) {
    case N_LIST:
    case N_TUPLE: return eval_seq(r, env, n, out);
    case N_DICT: return eval_dict(r, env, n, out);
    case N_ATTR: return eval_attr(r, env, n, out);
    case N_ITEM: return eval_item(r, env, n, out);
    case N_SLICE: return eval_loose_slice(r, env, n, out);
    case N_CALL: return jinja_eval_call(r, env, n, NULL, out);
    case N_FILTER: return eval_filter(r, env, n, out);
    case N_TEST: return eval_test(r, env, n, out);
    case N_NEG:
    case N_POS: return eval_sign(r, env, n, out);
    case N_NOT: return eval_not(r, env, n, out);
    case N_AND:
    case N_OR: return eval_logic(r, env, n, out);
    case N_COMPARE: return eval_compare(r, env, n, out);
    case N_ARITH: return eval_arith(r, env, n, out);
    case N_CONCAT: return eval_concat(r, env, n, out);
    case N_COND: return eval_cond(r, env, n, out);
    default: td_bug("a statement where an expression should be", __FILE__, __LINE__);
    }
}

bool jinja_eval(jrun *r, jenv *env, const jnode *n, jval *out)
{
    if (n->op == N_CONST) {
        *out = n->val;
        return true;
    }
    if (n->op == N_NAME)
        return jenv_get(r, env, n->sym, out);
    if (!jrun_step(r, 1 + n->n / 4) || !jrun_enter(r))
        return false;
    r->line = n->line;
    bool ok = eval_op(r, env, n, out);
    jrun_leave(r);
    return ok && r->rc == TD_OK;
}
