/* Statements, and a whole render: JSON in, text out. */
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "model/jinja_run.h"

static bool exec_body(jrun *r, jenv *env, const jnode *n)
{
    for (uint32_t i = 0; i < n->n; i++)
        if (!jinja_exec(r, env, n->kid[i]))
            return false;
        else if (r->flow != JFLOW_NONE)
            break;
    return true;
}

static bool exec_print(jrun *r, jenv *env, const jnode *n)
{
    jval v;
    return jinja_eval(r, env, n->kid[0], &v) && jval_put_str(r, v);
}

static bool exec_if(jrun *r, jenv *env, const jnode *n)
{
    jval v;
    for (uint32_t i = 0; i + 1 < n->n; i += 2) {
        if (!jinja_eval(r, env, n->kid[i], &v))
            return false;
        bool yes = jval_true(r, v);
        if (yes || r->rc != TD_OK)
            return r->rc == TD_OK && jinja_exec(r, env, n->kid[i + 1]);
    }
    const jnode *otherwise = n->kid[n->n - 1];
    return !otherwise || jinja_exec(r, env, otherwise);
}

/* ---- assignment ---- */

static bool assign_tuple(jrun *r, jenv *env, const jnode *target, jval v)
{
    jval *item;
    size_t n;
    if (!jval_items(r, v, &item, &n) || !jrun_step(r, 1))
        return false;
    if (n != target->n)
        return jrun_fail(r, "%zu values for %u names", n, target->n);
    for (uint32_t i = 0; i < target->n; i++)
        if (!jinja_assign(r, env, target->kid[i], item[i]))
            return false;
    return true;
}

static bool assign_attribute(jrun *r, jenv *env, const jnode *target, jval v)
{
    jval ns;
    if (!jenv_get(r, env, target->sym, &ns))
        return false;
    if (ns.kind != J_NS)
        return jrun_fail(r, "only a namespace() has attributes that can be assigned");
    if (target->val.len && target->val.s[0] == '_')
        return jrun_fail(r, "a namespace takes no names that begin with '_'");
    return jdict_put(r, ns.dict, target->val, v);
}

bool jinja_assign(jrun *r, jenv *env, const jnode *target, jval v)
{
    if (target->op == N_TUPLE)
        return assign_tuple(r, env, target, v);
    if (target->op == N_NSREF)
        return assign_attribute(r, env, target, v);
    return jenv_set(r, env, target->sym, v);
}

static bool exec_set(jrun *r, jenv *env, const jnode *n)
{
    jval v;
    return jinja_eval(r, env, n->kid[1], &v) && jinja_assign(r, env, n->kid[0], v);
}

/* The text of a block in a scope of its own, put through its filters. */
static bool capture(jrun *r, jenv *env, const jnode *filter, const jnode *body, jval *out)
{
    size_t mark = jrun_mark(r);
    jenv *inner = jenv_new(r, env);
    if (!inner || !jinja_exec(r, inner, body) || !jrun_cut(r, mark, out))
        return false;
    if (!filter)
        return true;
    jval outer = r->block_text;
    r->block_text = *out;
    bool ok = jinja_eval(r, inner, filter, out);
    r->block_text = outer;
    return ok;
}

static bool exec_set_block(jrun *r, jenv *env, const jnode *n)
{
    jval v;
    return capture(r, env, n->kid[1], n->kid[2], &v) && jinja_assign(r, env, n->kid[0], v);
}

static bool exec_filter_block(jrun *r, jenv *env, const jnode *n)
{
    jval v;
    return capture(r, env, n->kid[0], n->kid[1], &v) && jval_put_str(r, v);
}

static bool exec_with(jrun *r, jenv *env, const jnode *n)
{
    jenv *inner = jenv_new(r, env);
    jval v;
    for (uint32_t i = 0; inner && i + 1 < n->n; i += 2)
        if (!jinja_eval(r, env, n->kid[i + 1], &v) || !jinja_assign(r, inner, n->kid[i], v))
            return false;
    return inner && jinja_exec(r, inner, n->kid[n->n - 1]);
}

static bool exec_scope(jrun *r, jenv *env, const jnode *n)
{
    jenv *inner = jenv_new(r, env);
    return inner && jinja_exec(r, inner, n->kid[0]);
}

static bool make_macro(jrun *r, jenv *env, const jnode *n, jval *out)
{
    *out = jval_kind(J_MACRO);
    out->macro = jrun_alloc(r, 1, sizeof *out->macro);
    if (!out->macro)
        return false;
    *out->macro = (jmacro){n, env};
    return true;
}

static bool exec_macro(jrun *r, jenv *env, const jnode *n)
{
    jval m;
    return make_macro(r, env, n, &m) && jenv_set(r, env, n->sym, m);
}

static bool exec_call_block(jrun *r, jenv *env, const jnode *n)
{
    jval caller, v;
    return make_macro(r, env, n, &caller) && jinja_eval_call(r, env, n->kid[0], &caller, &v) && jval_put_str(r, v);
}

/* ---- for ---- */

enum { FOR_TARGET, FOR_ITER, FOR_FILTER, FOR_BODY, FOR_ELSE };

/* Pulls items until one passes the filter; *got is false at the end. Lazy, as in Jinja: the filter sees what the body
 * has changed meanwhile. */
static bool loop_pull(jrun *r, jloop *l, bool *got)
{
    const jnode *filter = l->node->kid[FOR_FILTER];
    for (*got = false; !*got && l->next < l->n;) {
        jval item = l->item[l->next++], v;
        if (l->iter)
            l->iter->pos++;
        if (filter) {
            jenv *env = jenv_new(r, l->env);
            if (!env || !jrun_step(r, 1) || !jinja_assign(r, env, l->node->kid[FOR_TARGET], item) ||
                !jinja_eval(r, env, filter, &v))
                return false;
            if (!jval_true(r, v))
                continue;
        }
        l->seen[l->seen_n++] = item;
        *got = true;
    }
    return r->rc == TD_OK;
}

bool jloop_peek(jrun *r, jloop *l, size_t upto, bool *there)
{
    *there = true;
    while (*there && l->seen_n < upto)
        if (!loop_pull(r, l, there))
            return false;
    return true;
}

static bool loop_start(jrun *r, jenv *env, const jnode *n, jval over, int depth0, jloop **out)
{
    jloop *l = *out = jrun_alloc(r, 1, sizeof *l);
    if (!l)
        return false;
    *l = (jloop){.node = n, .env = env, .depth0 = depth0, .changed = jval_kind(J_MISSING)};
    if (over.kind == J_ITER) {
        if (!jiter_force(r, over.iter))
            return false;
        l->iter = over.iter;
        l->item = over.iter->v + over.iter->pos;
        l->n = over.iter->n - over.iter->pos;
    } else if (!jval_items(r, over, &l->item, &l->n)) {
        return false;
    }
    if (!n->kid[FOR_FILTER] && !l->iter) { // nothing can change what is seen
        l->seen = l->item;
        return true;
    }
    l->seen = jrun_alloc(r, l->n, sizeof *l->seen);
    return l->seen != NULL;
}

static bool loop_body(jrun *r, jloop *l, bool *ran)
{
    const jnode *n = l->node;
    jenv *env = jenv_new(r, l->env);
    jval self = jval_kind(J_LOOP);
    self.loop = l;
    bool more;
    *ran = false;
    if (!env)
        return false;
    for (;; l->index0++) {
        if (!jloop_peek(r, l, l->index0 + 1, &more))
            return false;
        if (!more)
            return true;
        env->n = 0; // a fresh scope for each turn
        if (!jrun_step(r, 1) || !jenv_set(r, env, r->t->sym_loop, self) ||
            !jinja_assign(r, env, n->kid[FOR_TARGET], l->seen[l->index0]) || !jinja_exec(r, env, n->kid[FOR_BODY]))
            return false;
        *ran |= r->flow == JFLOW_NONE; // as in Jinja, a turn cut short by break or continue does not count
        bool stop = r->flow == JFLOW_BREAK;
        r->flow = JFLOW_NONE;
        if (stop)
            return true;
    }
}

bool jloop_run(jrun *r, jenv *env, const jnode *n, jval over, int depth0)
{
    jloop *l;
    bool ran;
    if (!loop_start(r, env, n, over, depth0, &l) || !loop_body(r, l, &ran))
        return false;
    if (ran || !n->kid[FOR_ELSE])
        return true;
    jenv *inner = jenv_new(r, env);
    return inner && jinja_exec(r, inner, n->kid[FOR_ELSE]);
}

static bool exec_for(jrun *r, jenv *env, const jnode *n)
{
    jval over;
    return jinja_eval(r, env, n->kid[FOR_ITER], &over) && jloop_run(r, env, n, over, 0);
}

/* ---- dispatch ---- */

static bool exec_op(jrun *r, jenv *env, const jnode *n)
{
    switch ((jop)n->op) {
    case N_BODY: return exec_body(r, env, n);
    case N_PRINT: return exec_print(r, env, n);
    case N_IF: return exec_if(r, env, n);
    case N_FOR: return exec_for(r, env, n);
    case N_SET: return exec_set(r, env, n);
    case N_SET_BLOCK: return exec_set_block(r, env, n);
    case N_MACRO: return exec_macro(r, env, n);
    case N_CALL_BLOCK: return exec_call_block(r, env, n);
    case N_FILTER_BLOCK: return exec_filter_block(r, env, n);
    case N_WITH: return exec_with(r, env, n);
    case N_SCOPE: return exec_scope(r, env, n);
    case N_BREAK: r->flow = JFLOW_BREAK; return true;
    case N_CONTINUE: r->flow = JFLOW_CONTINUE; return true;
    default: td_bug("an expression where a statement should be", __FILE__, __LINE__);
    }
}

bool jinja_exec(jrun *r, jenv *env, const jnode *n)
{
    if (n->op == N_TEXT)
        return jrun_step(r, 1) && jrun_put(r, n->val.s, n->val.len);
    if (!jrun_step(r, 1) || !jrun_enter(r))
        return false;
    r->line = n->line;
    bool ok = exec_op(r, env, n);
    jrun_leave(r);
    return ok && r->rc == TD_OK;
}

/* ---- JSON to values ---- */

static bool from_json(jrun *r, const td_json *j, jval *out);

static bool from_json_list(jrun *r, const td_json *j, jval *out)
{
    size_t n = 0;
    td_json_each(item, j) n++;
    jseq *s = jseq_new(r, n);
    n = 0;
    td_json_each(item, s ? j : NULL) if (!from_json(r, item, &s->v[n++])) return false;
    *out = jval_kind(J_LIST);
    out->seq = s;
    return s != NULL;
}

static bool from_json_dict(jrun *r, const td_json *j, jval *out)
{
    size_t n = 0;
    td_json_each(item, j) n++;
    jdict *d = jdict_new(r, n);
    td_json_each(item, d ? j : NULL)
    {
        jval v;
        if (!from_json(r, item, &v) || !jdict_put(r, d, jval_cstr(item->string), v))
            return false;
    }
    *out = jval_kind(J_DICT);
    out->dict = d;
    return d != NULL;
}

static bool from_json(jrun *r, const td_json *j, jval *out)
{
    int64_t i;
    if (cJSON_IsString(j)) {
        *out = jval_cstr(j->valuestring);
        return true;
    }
    if (cJSON_IsBool(j)) {
        *out = jval_bool(cJSON_IsTrue(j));
        return true;
    }
    if (cJSON_IsNumber(j)) {
        bool whole = !td_json_is_float(j);
        if (whole && !td_json_int(j, &i))
            return jrun_fail(r, "a whole number beyond 64 bits");
        *out = whole ? jval_int(i) : jval_float(j->valuedouble);
        return true;
    }
    *out = jval_none();
    if (!cJSON_IsArray(j) && !cJSON_IsObject(j))
        return true;
    if (!jrun_enter(r))
        return false;
    bool ok = cJSON_IsArray(j) ? from_json_list(r, j, out) : from_json_dict(r, j, out);
    jrun_leave(r);
    return ok;
}

/* ---- a whole render ---- */

static const char *const functions[] = {"range", "dict", "namespace", "cycler", "joiner", "raise_exception",
                                        "strftime_now"};

static bool set_globals(jrun *r, const td_json *vars)
{
    const jinja *t = r->t;
    uint32_t sym;
    for (size_t i = 0; i < TD_COUNT(functions); i++)
        if (td_map_get(&t->symbols, functions[i], strlen(functions[i]), &sym)) {
            r->global[sym] = jval_kind(J_FUNC);
            r->global[sym].id = (uint16_t)i;
        }
    td_json_each(v, vars)
    {
        if (!v->string || !td_map_get(&t->symbols, v->string, strlen(v->string), &sym))
            continue;
        if (!from_json(r, v, &r->global[sym]))
            return false;
    }
    return true;
}

td_rc jinja_render(const jinja *t, const td_json *vars, uint64_t now, td_buf *out, td_err *err)
{
    jrun r = {.t = t, .out = out, .out_base = out->len, .err = err, .steps = INT64_MAX, .line = 1, .now = now};
    r.seed = td_mix64(td_now_ns() ^ (uint64_t)(uintptr_t)&r); // so that nobody can choose keys that collide
    td_arena_init(&r.arena, 0);
    r.global = jrun_alloc(&r, t->symbol_count, sizeof *r.global);
    bool ready = r.global && set_globals(&r, vars);
    r.steps = TD_JINJA_STEPS_MAX; // the request's own size does not count
    if (ready)
        jinja_exec(&r, NULL, t->root);
    if (r.rc != TD_OK)
        jrun_drop(&r, r.out_base);
    out->failed = false;
    td_arena_free(&r.arena);
    return r.rc;
}
