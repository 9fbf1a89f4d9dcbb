/* Statements of a template, and the parser's small tools. Grammar and errors follow Jinja2's own parser: recursive
 * descent with one token of look-ahead. Depth is counted on the way down, so no input exhausts the C stack. */
#include "model/jinja_ast.h"

#include "base/check.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>


void *jparse_fail(jparse *p, uint32_t line, const char *fmt, ...)
{
    char what[TD_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    p->failed = true;
    td_fail(p->err, TD_E_INPUT, "template line %u: %s", line, what);
    return NULL;
}

void *jparse_alloc(jparse *p, size_t count, size_t size)
{
    void *m = td_arena_calloc(&p->t->arena, count, size);
    if (!m) {
        p->failed = true;
        td_fail(p->err, TD_E_NOMEM, "not enough memory for a chat template");
    }
    return m;
}

bool jparse_advance(jparse *p)
{
    if (p->failed)
        return false;
    if (p->has_ahead) {
        p->cur = p->ahead;
        p->has_ahead = false;
    } else if (!jlex_next(&p->lex, &p->cur)) {
        p->failed = true;
    }
    return !p->failed;
}

bool jparse_look(jparse *p, jtok *t)
{
    if (!p->has_ahead) {
        if (p->failed || !jlex_next(&p->lex, &p->ahead)) {
            p->failed = true;
            return false;
        }
        p->has_ahead = true;
    }
    *t = p->ahead;
    return true;
}

bool jparse_is(const jparse *p, jtok_kind kind) { return p->cur.kind == kind; }

static bool tok_is_name(const jtok *t, const char *name)
{
    return t->kind == T_NAME && t->len == strlen(name) && !memcmp(t->s, name, t->len);
}

bool jparse_is_name(const jparse *p, const char *name) { return tok_is_name(&p->cur, name); }
bool jparse_skip(jparse *p, jtok_kind kind) { return jparse_is(p, kind) && jparse_advance(p); }
bool jparse_skip_name(jparse *p, const char *name) { return jparse_is_name(p, name) && jparse_advance(p); }

bool jparse_expect(jparse *p, jtok_kind kind, jtok *t)
{
    if (p->failed)
        return false;
    if (p->cur.kind != kind)
        return jparse_fail(p, p->cur.line, "expected %s, found %s", jtok_text(kind), jtok_text(p->cur.kind));
    if (t)
        *t = p->cur;
    return jparse_advance(p);
}

bool jparse_symbol(jparse *p, const char *s, size_t len, uint32_t *sym)
{
    jinja *t = p->t;
    if (td_map_get(&t->symbols, s, len, sym))
        return true;
    if (t->symbol_count == t->symbol_cap) {
        uint32_t cap = t->symbol_cap ? t->symbol_cap * 2 : 64;
        jval *names = jparse_alloc(p, cap, sizeof *names);
        if (!names)
            return false;
        if (t->symbol_count)
            memcpy(names, t->symbol_name, t->symbol_count * sizeof *names);
        t->symbol_name = names;
        t->symbol_cap = cap;
    }
    bool oom = false;
    td_map_put(&t->symbols, s, len, t->symbol_count, &oom);
    if (oom) {
        p->failed = true;
        td_fail(p->err, TD_E_NOMEM, "not enough memory for a chat template");
        return false;
    }
    *sym = t->symbol_count;
    t->symbol_name[t->symbol_count++] = jval_str(s, len);
    return true;
}

bool jparse_enter(jparse *p)
{
    if (p->depth >= TD_JINJA_DEPTH_MAX)
        return jparse_fail(p, p->cur.line, "nested more than %d deep", TD_JINJA_DEPTH_MAX);
    p->depth++;
    return !p->failed;
}

void jparse_leave(jparse *p) { p->depth--; }

size_t jparse_mark(const jparse *p) { return p->stack_n; }

bool jparse_push(jparse *p, jnode *kid)
{
    if (p->failed)
        return false;
    if (p->stack_n == p->stack_cap) {
        size_t cap = p->stack_cap ? p->stack_cap * 2 : 256;
        jnode **stack = td_realloc(p->stack, cap * sizeof *stack);
        if (!stack) {
            p->failed = true;
            td_fail(p->err, TD_E_NOMEM, "not enough memory for a chat template");
            return false;
        }
        p->stack = stack;
        p->stack_cap = cap;
    }
    p->stack[p->stack_n++] = kid;
    return true;
}

jnode *jparse_node(jparse *p, jop op, uint32_t line, size_t mark)
{
    if (p->failed)
        return NULL;
    size_t n = p->stack_n - mark, height = 0;
    jnode *node = jparse_alloc(p, 1, sizeof *node);
    jnode **kid = n ? jparse_alloc(p, n, sizeof(jnode *)) : NULL;
    if (!node || (n && !kid))
        return NULL;
    for (size_t i = 0; i < n; i++) {
        kid[i] = p->stack[mark + i];
        height = kid[i] ? TD_MAX(height, kid[i]->height) : height;
    }
    p->stack_n = mark;
    if (height + 1 > TD_JINJA_HEIGHT_MAX)
        return jparse_fail(p, line, "an expression with more than %d steps in a row", TD_JINJA_HEIGHT_MAX);
    *node = (jnode){.op = (uint8_t)op, .height = (uint16_t)(height + 1), .line = line, .n = (uint32_t)n, .kid = kid,
                    .builtin = -1};
    return node;
}

/* ---- statements ---- */

static jnode *parse_body(jparse *p, const char *const *ends);

/* ":"? "%}" body; the current token is then the name of the end tag that was found. */
static jnode *parse_block(jparse *p, const char *const *ends)
{
    jparse_skip(p, T_COLON);
    if (!jparse_expect(p, T_BLOCK_END, NULL) || !jparse_enter(p))
        return NULL;
    jnode *body = parse_body(p, ends);
    jparse_leave(p);
    return body;
}

static jnode *parse_block_to(jparse *p, const char *end)
{
    jnode *body = parse_block(p, (const char *const[]){end, NULL});
    return body && jparse_advance(p) ? body : NULL;
}

static jnode *parse_if(jparse *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    bool more = true;
    while (more && jparse_advance(p)) {
        jparse_push(p, jparse_tuple(p, false, NULL));
        jparse_push(p, parse_block(p, ends));
        more = !p->failed && jparse_is_name(p, "elif");
    }
    jnode *otherwise = NULL;
    if (!p->failed && jparse_skip_name(p, "else"))
        otherwise = parse_block_to(p, "endif");
    else
        jparse_advance(p);
    jparse_push(p, otherwise);
    return jparse_node(p, N_IF, line, mark);
}

static jnode *parse_for(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    p->for_depth++;
    if (!jparse_advance(p) || !jparse_push(p, jparse_target(p, "in", false)))
        return NULL;
    if (!jparse_skip_name(p, "in"))
        return jparse_fail(p, p->cur.line, "expected 'in'");
    jparse_push(p, jparse_tuple(p, false, "recursive"));
    jparse_push(p, !p->failed && jparse_skip_name(p, "if") ? jparse_expression(p) : NULL);
    bool recursive = !p->failed && jparse_skip_name(p, "recursive");
    p->loop_depth++;
    jparse_push(p, parse_block(p, (const char *const[]){"endfor", "else", NULL}));
    p->loop_depth--;
    bool has_else = !p->failed && jparse_is_name(p, "else");
    jparse_advance(p);
    jparse_push(p, has_else ? parse_block_to(p, "endfor") : NULL);
    p->for_depth--;
    jnode *n = jparse_node(p, N_FOR, line, mark);
    if (n)
        n->flag = recursive;
    return n;
}

static jnode *parse_set(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    if (!jparse_advance(p) || !jparse_push(p, jparse_target(p, NULL, true)))
        return NULL;
    if (jparse_skip(p, T_ASSIGN)) {
        jparse_push(p, jparse_tuple(p, true, NULL));
        return jparse_node(p, N_SET, line, mark);
    }
    jparse_push(p, p->failed ? NULL : jparse_filter(p, NULL, false));
    jparse_push(p, p->failed ? NULL : parse_block_to(p, "endset"));
    return jparse_node(p, N_SET_BLOCK, line, mark);
}

typedef struct signature {
    uint32_t sym[64];
    jval name[64];
    jnode *dflt[64];
    size_t n;
} signature;

static bool parse_signature(jparse *p, signature *s)
{
    bool optional = false;
    if (!jparse_expect(p, T_LPAREN, NULL))
        return false;
    while (!p->failed && !jparse_is(p, T_RPAREN)) {
        if (s->n && !jparse_expect(p, T_COMMA, NULL))
            return false;
        if (s->n == TD_COUNT(s->sym))
            return jparse_fail(p, p->cur.line, "a macro with more than %zu parameters", TD_COUNT(s->sym));
        if (!jparse_target_name(p, &s->sym[s->n], &s->name[s->n]))
            return false;
        for (size_t i = 0; i < s->n; i++)
            if (s->sym[i] == s->sym[s->n])
                return jparse_fail(p, p->cur.line, "a macro names a parameter twice");
        if (jparse_skip(p, T_ASSIGN)) {
            s->dflt[s->n] = jparse_expression(p);
            optional = true;
        } else if (optional) {
            return jparse_fail(p, p->cur.line, "a parameter without a default follows one with a default");
        }
        s->n++;
    }
    return jparse_expect(p, T_RPAREN, NULL);
}

/* Body and parameters of a macro or call block; kids pushed before become the node's first ones. */
static jnode *macro_node(jparse *p, jop op, uint32_t line, size_t mark, const signature *s, jval name, const char *end)
{
    int outer = p->loop_depth;
    p->loop_depth = 0;
    jparse_push(p, parse_block_to(p, end));
    p->loop_depth = outer;
    jnode *n = jparse_node(p, op, line, mark);
    jmacro_def *d = n ? jparse_alloc(p, 1, sizeof *d) : NULL;
    if (!d)
        return NULL;
    *d = (jmacro_def){.name = name, .params = s->n};
    d->param = jparse_alloc(p, s->n, sizeof *d->param);
    d->param_name = jparse_alloc(p, s->n, sizeof *d->param_name);
    d->dflt = jparse_alloc(p, s->n, sizeof(jnode *));
    if (p->failed)
        return NULL;
    for (size_t i = 0; i < s->n; i++) {
        d->param[i] = s->sym[i];
        d->param_name[i] = s->name[i];
        d->dflt[i] = s->dflt[i];
        d->explicit_caller |= s->sym[i] == p->t->sym_caller;
    }
    n->macro = d;
    return n;
}

/* The signature is large, so it lives in the arena and not on the recursive stack. */
static jnode *parse_macro(jparse *p)
{
    uint32_t line = p->cur.line, sym;
    jval name;
    size_t mark = jparse_mark(p);
    signature *s = jparse_alloc(p, 1, sizeof *s);
    if (!s || !jparse_advance(p) || !jparse_target_name(p, &sym, &name) || !parse_signature(p, s))
        return NULL;
    jnode *n = macro_node(p, N_MACRO, line, mark, s, name, "endmacro");
    if (n)
        n->sym = sym;
    return n;
}

static jnode *parse_call_block(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    signature *s = jparse_alloc(p, 1, sizeof *s);
    if (!s || !jparse_advance(p) || (jparse_is(p, T_LPAREN) && !parse_signature(p, s)))
        return NULL;
    jnode *call = jparse_expression(p);
    if (call && call->op != N_CALL)
        return jparse_fail(p, line, "{%% call %%} needs a call");
    jparse_push(p, call);
    return macro_node(p, N_CALL_BLOCK, line, mark, s, jval_cstr("caller"), "endcall");
}

static jnode *parse_filter_block(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    if (!jparse_advance(p))
        return NULL;
    jparse_push(p, jparse_filter(p, NULL, true));
    jparse_push(p, p->failed ? NULL : parse_block_to(p, "endfilter"));
    return jparse_node(p, N_FILTER_BLOCK, line, mark);
}

static jnode *parse_with(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jparse_advance(p);
    while (!p->failed && !jparse_is(p, T_BLOCK_END)) {
        if (jparse_mark(p) > mark && !jparse_expect(p, T_COMMA, NULL))
            return NULL;
        jparse_push(p, jparse_target(p, NULL, false));
        if (!jparse_expect(p, T_ASSIGN, NULL))
            return NULL;
        jparse_push(p, jparse_expression(p));
    }
    jparse_push(p, p->failed ? NULL : parse_block_to(p, "endwith"));
    return jparse_node(p, N_WITH, line, mark);
}

/* {% generation %} marks what the assistant said, for training. Its body is a function of its own in Hugging Face's
 * renderer, so names set inside stay inside and loop controls do not reach out of it. */
static jnode *parse_generation(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    int outer = p->loop_depth;
    p->loop_depth = 0;
    jparse_advance(p);
    jparse_push(p, parse_block_to(p, "endgeneration"));
    p->loop_depth = outer;
    return jparse_node(p, N_SCOPE, line, mark);
}

static jnode *parse_print(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jparse_advance(p);
    while (!p->failed && !jparse_is(p, T_BLOCK_END)) {
        if (jparse_mark(p) > mark && !jparse_expect(p, T_COMMA, NULL))
            return NULL;
        size_t one = jparse_mark(p);
        jparse_push(p, jparse_expression(p));
        jparse_push(p, jparse_node(p, N_PRINT, line, one));
    }
    return jparse_node(p, N_BODY, line, mark);
}

static jnode *parse_jump(jparse *p)
{
    uint32_t line = p->cur.line;
    jop op = jparse_is_name(p, "break") ? N_BREAK : N_CONTINUE;
    if (p->loop_depth == 0)
        return jparse_fail(p, line, "break and continue belong inside a for loop");
    jparse_advance(p);
    return jparse_node(p, op, line, jparse_mark(p));
}

static const struct {
    const char *tag;
    jnode *(*parse)(jparse *p);
} statements[] = {{"if", parse_if}, {"for", parse_for}, {"set", parse_set}, {"macro", parse_macro},
                  {"call", parse_call_block}, {"filter", parse_filter_block}, {"with", parse_with},
                  {"generation", parse_generation}, {"break", parse_jump}, {"continue", parse_jump},
                  {"print", parse_print}};

static jnode *parse_statement(jparse *p)
{
    if (!jparse_is(p, T_NAME))
        return jparse_fail(p, p->cur.line, "a tag must begin with a name");
    for (size_t i = 0; i < TD_COUNT(statements); i++)
        if (jparse_is_name(p, statements[i].tag))
            return statements[i].parse(p);
    return jparse_fail(p, p->cur.line, "unknown or unsupported tag '%.*s'", (int)TD_MIN(p->cur.len, (size_t)60),
                       p->cur.s);
}

static bool ends_here(const jparse *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (jparse_is_name(p, *ends))
            return true;
    return false;
}

static bool push_text(jparse *p)
{
    jnode *n = p->cur.len ? jparse_node(p, N_TEXT, p->cur.line, jparse_mark(p)) : NULL;
    if (n) {
        n->val = jval_str(p->cur.s, p->cur.len);
        jparse_push(p, n);
    }
    return jparse_advance(p);
}

static bool push_print(jparse *p)
{
    size_t mark = jparse_mark(p);
    uint32_t line = p->cur.line;
    jparse_advance(p);
    jparse_push(p, p->failed ? NULL : jparse_tuple(p, true, NULL));
    jnode *n = jparse_node(p, N_PRINT, line, mark);
    return jparse_push(p, n) && jparse_expect(p, T_VAR_END, NULL);
}

/* Statements and text up to one of the end tags (ends != NULL), whose name is then the current token. */
static jnode *parse_body(jparse *p, const char *const *ends)
{
    size_t mark = jparse_mark(p);
    uint32_t line = p->cur.line;
    while (!p->failed) {
        if (jparse_is(p, T_DATA)) {
            push_text(p);
        } else if (jparse_is(p, T_VAR_BEGIN)) {
            push_print(p);
        } else if (jparse_is(p, T_BLOCK_BEGIN)) {
            jparse_advance(p);
            if (ends_here(p, ends))
                return jparse_node(p, N_BODY, line, mark);
            jparse_push(p, p->failed ? NULL : parse_statement(p));
            jparse_expect(p, T_BLOCK_END, NULL);
        } else if (ends) {
            return jparse_fail(p, p->cur.line, "the template ends where '%s' should be", ends[0]);
        } else {
            return jparse_node(p, N_BODY, line, mark);
        }
    }
    return NULL;
}

/* ---- whole templates ---- */

/* \r\n and \r become \n; one newline at the end goes. */
static size_t normalise(const char *source, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = source[i];
        if (c == '\r') {
            c = '\n';
            i += i + 1 < len && source[i + 1] == '\n';
        }
        out[n++] = c;
    }
    return n && out[n - 1] == '\n' ? n - 1 : n;
}

static td_rc parse_into(jinja *t, const char *source, size_t len, td_err *err)
{
    char *text = td_arena_alloc(&t->arena, len + 1);
    if (!text || !td_map_init(&t->symbols, 64))
        return td_fail(err, TD_E_NOMEM, "not enough memory for a chat template");
    td_err local = TD_ERR_INIT;
    jparse *p = td_alloc(sizeof *p);
    if (!p)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a chat template");
    p->t = t;
    p->err = &local;
    p->lex = (jlex){.src = text, .len = normalise(source, len, text), .line = 1, .line_start = true,
                    .arena = &t->arena, .err = &local};
    bool ok = jparse_symbol(p, "loop", 4, &t->sym_loop) && jparse_symbol(p, "caller", 6, &t->sym_caller) &&
              jparse_symbol(p, "kwargs", 6, &t->sym_kwargs) && jparse_symbol(p, "varargs", 7, &t->sym_varargs) &&
              jparse_advance(p);
    t->root = ok ? parse_body(p, NULL) : NULL;
    ok = t->root && jparse_check_names(p, t->root, false);
    td_free(p->stack);
    td_free(p);
    return ok ? TD_OK : td_fail(err, local.rc, "%s", local.msg);
}

td_rc jinja_parse(const char *source, size_t len, jinja **out, td_err *err)
{
    if (len > TD_JINJA_SOURCE_BYTES_MAX)
        return td_fail(err, TD_E_INPUT, "a chat template of %zu bytes; at most %u are accepted", len,
                       TD_JINJA_SOURCE_BYTES_MAX);
    if (!td_utf8_valid(source, len))
        return td_fail(err, TD_E_INPUT, "the chat template is not UTF-8");
    jinja *t = td_alloc(sizeof *t);
    if (!t)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a chat template");
    td_rc rc = parse_into(t, source, len, err);
    if (rc == TD_OK)
        *out = t;
    else
        jinja_free(t);
    return rc;
}

void jinja_free(jinja *t)
{
    if (!t)
        return;
    td_map_free(&t->symbols);
    td_arena_free(&t->arena);
    td_free(t);
}
