/* Expressions of a template, loosest binding first:
 *   x if y else z · or · and · not · comparison · + - · ~ · * / // % · ** · unary - + · primary with its tail. */
#include "model/jinja_ast.h"

#include "base/check.h"

static jnode *parse_unary(jparse *p, bool with_filter);
static jnode *parse_postfix(jparse *p, jnode *n);
static jnode *parse_or(jparse *p);

/* An n-ary node over operands of the next level, with the operators between them; `ops` ends with T_EOF. */
static jnode *parse_chain(jparse *p, jnode *(*operand)(jparse *), const jtok_kind *ops, jop op)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    uint8_t *kinds = NULL;
    size_t n = 0, cap = 0;
    jnode *first = operand(p);
    while (first && !p->failed) {
        const jtok_kind *o = ops;
        while (*o != T_EOF && *o != p->cur.kind)
            o++;
        if (*o == T_EOF)
            break;
        if (n == 0)
            jparse_push(p, first);
        if (n == cap) {
            uint8_t *more = jparse_alloc(p, cap = cap ? cap * 2 : 4, 1);
            if (!more)
                return NULL;
            if (n)
                memcpy(more, kinds, n);
            kinds = more;
        }
        kinds[n++] = (uint8_t)*o;
        jparse_advance(p);
        jparse_push(p, operand(p));
    }
    if (n == 0 || p->failed)
        return p->failed ? NULL : first;
    jnode *node = jparse_node(p, op, line, mark);
    if (node)
        node->ops = kinds;
    return node;
}

static jnode *parse_unary_filtered(jparse *p) { return parse_unary(p, true); }

static jnode *parse_pow(jparse *p)
{
    return parse_chain(p, parse_unary_filtered, (const jtok_kind[]){T_POW, T_EOF}, N_ARITH);
}

static jnode *parse_product(jparse *p)
{
    return parse_chain(p, parse_pow, (const jtok_kind[]){T_MUL, T_DIV, T_FLOORDIV, T_MOD, T_EOF}, N_ARITH);
}

static jnode *parse_concat(jparse *p)
{
    return parse_chain(p, parse_product, (const jtok_kind[]){T_TILDE, T_EOF}, N_CONCAT);
}

static jnode *parse_sum(jparse *p)
{
    return parse_chain(p, parse_concat, (const jtok_kind[]){T_ADD, T_SUB, T_EOF}, N_ARITH);
}

/* The comparison operator here, consumed; T_EOF = none. `in` and `not in` are names to the lexer. */
static jtok_kind take_comparison(jparse *p)
{
    jtok_kind kind = p->cur.kind;
    if (kind == T_EQ || kind == T_NE || kind == T_LT || kind == T_LE || kind == T_GT || kind == T_GE)
        return jparse_advance(p) ? kind : T_EOF;
    if (jparse_skip_name(p, "in"))
        return T_IN;
    jtok ahead;
    if (jparse_is_name(p, "not") && jparse_look(p, &ahead) && ahead.kind == T_NAME && ahead.len == 2 &&
        !memcmp(ahead.s, "in", 2))
        return jparse_advance(p) && jparse_advance(p) ? T_NOT_IN : T_EOF;
    return T_EOF;
}

static jnode *parse_compare(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p), n = 0;
    uint8_t ops[TD_JINJA_COMPARES_MAX];
    jnode *first = parse_sum(p);
    jtok_kind kind;
    while (first && !p->failed && (kind = take_comparison(p)) != T_EOF) {
        if (n == TD_JINJA_COMPARES_MAX)
            return jparse_fail(p, line, "more than %d comparisons in a row", TD_JINJA_COMPARES_MAX);
        if (n == 0)
            jparse_push(p, first);
        ops[n++] = (uint8_t)kind;
        jparse_push(p, parse_sum(p));
    }
    if (n == 0 || p->failed)
        return p->failed ? NULL : first;
    jnode *node = jparse_node(p, N_COMPARE, line, mark);
    uint8_t *kept = node ? jparse_alloc(p, n, 1) : NULL;
    if (!kept)
        return NULL;
    memcpy(kept, ops, n);
    node->ops = kept;
    return node;
}

static jnode *parse_not(jparse *p)
{
    if (!jparse_is_name(p, "not"))
        return parse_compare(p);
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    if (!jparse_enter(p) || !jparse_advance(p))
        return NULL;
    jparse_push(p, parse_not(p));
    jparse_leave(p);
    return jparse_node(p, N_NOT, line, mark);
}

/* operand (word operand)* as one node. */
static jnode *parse_words(jparse *p, jnode *(*operand)(jparse *), const char *word, jop op)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jnode *first = operand(p);
    if (!first || p->failed || !jparse_is_name(p, word))
        return p->failed ? NULL : first;
    jparse_push(p, first);
    while (!p->failed && jparse_skip_name(p, word))
        jparse_push(p, operand(p));
    return jparse_node(p, op, line, mark);
}

static jnode *parse_and(jparse *p) { return parse_words(p, parse_not, "and", N_AND); }
static jnode *parse_or(jparse *p) { return parse_words(p, parse_and, "or", N_OR); }

jnode *jparse_expression(jparse *p)
{
    uint32_t line = p->cur.line;
    if (!jparse_enter(p))
        return NULL;
    jnode *n = parse_or(p);
    while (n && !p->failed && jparse_is_name(p, "if")) {
        size_t mark = jparse_mark(p);
        jparse_advance(p);
        jparse_push(p, parse_or(p));
        jparse_push(p, n);
        jparse_push(p, !p->failed && jparse_skip_name(p, "else") ? jparse_expression(p) : NULL);
        n = jparse_node(p, N_COND, line, mark);
    }
    jparse_leave(p);
    return p->failed ? NULL : n;
}

static bool tuple_ends(const jparse *p, const char *end)
{
    return jparse_is(p, T_VAR_END) || jparse_is(p, T_BLOCK_END) || jparse_is(p, T_RPAREN) ||
           (end && jparse_is_name(p, end));
}

/* a, b, c without brackets; one expression without a comma is itself. `item` parses one. */
static jnode *parse_tuple_of(jparse *p, jnode *(*item)(jparse *), const char *end, bool empty_ok)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    bool comma = false;
    while (!p->failed && !tuple_ends(p, end)) {
        jparse_push(p, item(p));
        if (p->failed || !jparse_is(p, T_COMMA))
            break;
        comma = true;
        jparse_advance(p);
    }
    if (p->failed)
        return NULL;
    size_t n = jparse_mark(p) - mark;
    if (n == 1 && !comma) {
        p->stack_n = mark;
        return p->stack[mark];
    }
    if (n == 0 && !empty_ok)
        return jparse_fail(p, line, "expected an expression, found %s", jtok_text(p->cur.kind));
    return jparse_node(p, N_TUPLE, line, mark);
}

jnode *jparse_tuple(jparse *p, bool cond, const char *end)
{
    return parse_tuple_of(p, cond ? jparse_expression : parse_or, end, false);
}

static jnode *const_node(jparse *p, uint32_t line, jval v)
{
    jnode *n = jparse_node(p, N_CONST, line, jparse_mark(p));
    if (n)
        n->val = v;
    return n;
}

static jnode *parse_name(jparse *p)
{
    static const struct {
        const char *name;
        jkind kind;
        bool b;
    } words[] = {{"true", J_BOOL, true}, {"True", J_BOOL, true}, {"false", J_BOOL, false},
                 {"False", J_BOOL, false}, {"none", J_NONE, false}, {"None", J_NONE, false}};
    jtok t = p->cur;
    for (size_t i = 0; i < TD_COUNT(words); i++)
        if (jparse_skip_name(p, words[i].name))
            return const_node(p, t.line, words[i].kind == J_NONE ? jval_none() : jval_bool(words[i].b));
    jnode *n = jparse_node(p, N_NAME, t.line, jparse_mark(p));
    if (!n || !jparse_symbol(p, t.s, t.len, &n->sym) || !jparse_advance(p))
        return NULL;
    return n;
}

/* Adjacent string literals are one. */
static jnode *parse_string(jparse *p)
{
    jtok t = p->cur;
    jparse_advance(p);
    while (!p->failed && jparse_is(p, T_STRING)) {
        char *both = jparse_alloc(p, t.len + p->cur.len + 1, 1);
        if (!both)
            return NULL;
        memcpy(both, t.s, t.len);
        memcpy(both + t.len, p->cur.s, p->cur.len);
        t.s = both;
        t.len += p->cur.len;
        jparse_advance(p);
    }
    return const_node(p, t.line, jval_str(t.s, t.len));
}

static jnode *parse_list(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jparse_advance(p);
    while (!p->failed && !jparse_is(p, T_RBRACKET)) {
        if (jparse_mark(p) > mark && !jparse_expect(p, T_COMMA, NULL))
            return NULL;
        if (jparse_is(p, T_RBRACKET))
            break;
        jparse_push(p, jparse_expression(p));
    }
    jparse_expect(p, T_RBRACKET, NULL);
    return jparse_node(p, N_LIST, line, mark);
}

static jnode *parse_dict(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jparse_advance(p);
    while (!p->failed && !jparse_is(p, T_RBRACE)) {
        if (jparse_mark(p) > mark && !jparse_expect(p, T_COMMA, NULL))
            return NULL;
        if (jparse_is(p, T_RBRACE))
            break;
        jparse_push(p, jparse_expression(p));
        if (!jparse_expect(p, T_COLON, NULL))
            return NULL;
        jparse_push(p, jparse_expression(p));
    }
    jparse_expect(p, T_RBRACE, NULL);
    return jparse_node(p, N_DICT, line, mark);
}

static jnode *parse_primary(jparse *p)
{
    jtok t = p->cur;
    switch (t.kind) {
    case T_NAME: return parse_name(p);
    case T_STRING: return parse_string(p);
    case T_INT: return jparse_advance(p) ? const_node(p, t.line, jval_int(t.i)) : NULL;
    case T_FLOAT: return jparse_advance(p) ? const_node(p, t.line, jval_float(t.f)) : NULL;
    case T_LBRACKET: return parse_list(p);
    case T_LBRACE: return parse_dict(p);
    case T_LPAREN: {
        jparse_advance(p);
        jnode *n = p->failed ? NULL : parse_tuple_of(p, jparse_expression, NULL, true);
        return jparse_expect(p, T_RPAREN, NULL) ? n : NULL;
    }
    default: return jparse_fail(p, t.line, "expected an expression, found %s", jtok_text(t.kind));
    }
}

static jnode *parse_unary(jparse *p, bool with_filter)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jnode *n;
    if (!jparse_enter(p))
        return NULL;
    if (jparse_is(p, T_SUB) || jparse_is(p, T_ADD)) {
        jop op = jparse_is(p, T_SUB) ? N_NEG : N_POS;
        jparse_advance(p);
        jparse_push(p, p->failed ? NULL : parse_unary(p, false));
        n = jparse_node(p, op, line, mark);
    } else {
        n = parse_primary(p);
    }
    n = n ? parse_postfix(p, n) : NULL;
    if (n && with_filter)
        n = jparse_filter(p, n, false);
    jparse_leave(p);
    return n;
}

static jnode *slice_part(jparse *p)
{
    bool none = p->failed || jparse_is(p, T_COLON) || jparse_is(p, T_RBRACKET) || jparse_is(p, T_COMMA);
    return none ? NULL : jparse_expression(p);
}

/* start:stop:step or an expression, inside [ ]. */
static jnode *parse_subscript(jparse *p)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jnode *first = NULL;
    if (!jparse_is(p, T_COLON)) {
        first = jparse_expression(p);
        if (p->failed || !jparse_is(p, T_COLON))
            return first;
    }
    jparse_push(p, first);
    jparse_advance(p);
    jparse_push(p, slice_part(p));
    bool step = !p->failed && jparse_skip(p, T_COLON);
    jparse_push(p, step ? slice_part(p) : NULL);
    return jparse_node(p, N_SLICE, line, mark);
}

static jnode *parse_item(jparse *p, jnode *object)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jparse_push(p, object);
    jparse_advance(p);
    size_t inner = jparse_mark(p);
    while (!p->failed && !jparse_is(p, T_RBRACKET)) {
        if (jparse_mark(p) > inner && !jparse_expect(p, T_COMMA, NULL))
            return NULL;
        jparse_push(p, parse_subscript(p));
    }
    if (!p->failed && jparse_mark(p) - inner != 1)
        jparse_push(p, jparse_node(p, N_TUPLE, line, inner));
    jparse_expect(p, T_RBRACKET, NULL);
    return jparse_node(p, N_ITEM, line, mark);
}

static jnode *parse_dot(jparse *p, jnode *object)
{
    uint32_t line = p->cur.line;
    size_t mark = jparse_mark(p);
    jparse_push(p, object);
    jparse_advance(p);
    jtok t = p->cur;
    if (p->failed || !jparse_advance(p))
        return NULL;
    if (t.kind == T_INT) {
        jparse_push(p, const_node(p, t.line, jval_int(t.i)));
        return jparse_node(p, N_ITEM, line, mark);
    }
    if (t.kind != T_NAME)
        return jparse_fail(p, t.line, "expected a name or number after '.'");
    jnode *n = jparse_node(p, N_ATTR, line, mark);
    if (n)
        n->val = jval_str(t.s, t.len);
    return n;
}

static jnode *parse_postfix(jparse *p, jnode *n)
{
    while (n && !p->failed) {
        if (jparse_is(p, T_DOT))
            n = parse_dot(p, n);
        else if (jparse_is(p, T_LBRACKET))
            n = parse_item(p, n);
        else if (jparse_is(p, T_LPAREN))
            n = jparse_call(p, n);
        else
            return n;
    }
    return NULL;
}

/* ---- calls, filters, tests ---- */

static bool push_keyword(jparse *p, jargs *a, size_t *cap, jtok name)
{
    for (size_t i = 0; i < a->kw_count; i++)
        if (a->kw[i].name.len == name.len && !memcmp(a->kw[i].name.s, name.s, name.len))
            return jparse_fail(p, name.line, "a keyword argument is given twice");
    if (a->kw_count == *cap) {
        struct jkwarg *kw = jparse_alloc(p, *cap = *cap ? *cap * 2 : 4, sizeof *kw);
        if (!kw)
            return false;
        if (a->kw_count)
            memcpy(kw, a->kw, a->kw_count * sizeof *kw);
        a->kw = kw;
    }
    a->kw[a->kw_count].name = jval_str(name.s, name.len);
    a->kw[a->kw_count++].expr = jparse_expression(p);
    return !p->failed;
}

static bool parse_arg(jparse *p, jargs *a, size_t *kw_cap)
{
    jtok ahead, t = p->cur;
    bool star = jparse_is(p, T_MUL), star2 = jparse_is(p, T_POW);
    bool keyword = t.kind == T_NAME && jparse_look(p, &ahead) && ahead.kind == T_ASSIGN;
    bool late = a->star2 || (a->star && !star2 && !keyword) || (a->kw_count && !star && !star2 && !keyword);
    if (late)
        return jparse_fail(p, t.line, "arguments in the wrong order");
    if (star)
        return jparse_advance(p) && (a->star = jparse_expression(p));
    if (star2)
        return jparse_advance(p) && (a->star2 = jparse_expression(p));
    if (keyword)
        return jparse_advance(p) && jparse_advance(p) && push_keyword(p, a, kw_cap, t);
    return !p->failed && jparse_push(p, jparse_expression(p));
}

static jargs *parse_args(jparse *p)
{
    jargs *a = jparse_alloc(p, 1, sizeof *a);
    size_t mark = jparse_mark(p), kw_cap = 0;
    if (!a || !jparse_expect(p, T_LPAREN, NULL))
        return NULL;
    for (bool first = true; !p->failed && !jparse_is(p, T_RPAREN); first = false) {
        if (!first && !jparse_expect(p, T_COMMA, NULL))
            return NULL;
        if (!first && jparse_is(p, T_RPAREN))
            break;
        if (!parse_arg(p, a, &kw_cap))
            return NULL;
    }
    if (!jparse_expect(p, T_RPAREN, NULL))
        return NULL;
    a->pos_count = jparse_mark(p) - mark;
    a->pos = jparse_alloc(p, a->pos_count, sizeof *a->pos);
    if (!a->pos)
        return NULL;
    for (size_t i = 0; i < a->pos_count; i++)
        a->pos[i] = p->stack[mark + i];
    p->stack_n = mark;
    return a;
}

/* Arguments are not kids; their height counts all the same. */
static jnode *with_args(jparse *p, jnode *n, jargs *a)
{
    if (!n || !a)
        return NULL;
    size_t h = 0;
    for (size_t i = 0; i < a->pos_count; i++)
        h = TD_MAX(h, a->pos[i]->height);
    for (size_t i = 0; i < a->kw_count; i++)
        h = TD_MAX(h, a->kw[i].expr->height);
    h = a->star ? TD_MAX(h, a->star->height) : h;
    h = a->star2 ? TD_MAX(h, a->star2->height) : h;
    n->height = (uint16_t)TD_MAX(h + 1, n->height);
    n->args = a;
    return p->failed ? NULL : n;
}

jnode *jparse_call(jparse *p, jnode *callee)
{
    uint32_t line = p->cur.line;
    jargs *a = parse_args(p);
    size_t mark = jparse_mark(p);
    jparse_push(p, callee);
    return a ? with_args(p, jparse_node(p, N_CALL, line, mark), a) : NULL;
}

/* name(.name)*, as filters and tests are called. */
static bool parse_dotted(jparse *p, jval *name, uint32_t *line)
{
    jtok t, more;
    if (!jparse_expect(p, T_NAME, &t))
        return false;
    *line = t.line;
    while (!p->failed && jparse_skip(p, T_DOT))
        if (jparse_expect(p, T_NAME, &more))
            t.len = (size_t)(more.s + more.len - t.s);
    *name = jval_str(t.s, t.len);
    return !p->failed;
}

static jnode *parse_one_filter(jparse *p, jnode *value)
{
    jval name;
    uint32_t line;
    if (!parse_dotted(p, &name, &line))
        return NULL;
    jargs *a = jparse_is(p, T_LPAREN) ? parse_args(p) : jparse_alloc(p, 1, sizeof *a);
    size_t mark = jparse_mark(p);
    jparse_push(p, value);
    jnode *n = a ? with_args(p, jparse_node(p, N_FILTER, line, mark), a) : NULL;
    if (n)
        n->val = name;
    return n;
}

static jargs *parse_bare_arg(jparse *p)
{
    jargs *a = jparse_alloc(p, 1, sizeof *a);
    jnode **pos = jparse_alloc(p, 1, sizeof *pos);
    jnode *arg = a && pos ? parse_primary(p) : NULL;
    arg = arg ? parse_postfix(p, arg) : NULL;
    if (!arg)
        return NULL;
    pos[0] = arg;
    *a = (jargs){.pos = pos, .pos_count = 1};
    return a;
}

/* After `is`: the test and its argument, which needs no brackets when it is a literal or a name. */
static jnode *parse_test(jparse *p, jnode *value)
{
    uint32_t line = p->cur.line, name_line;
    jval name;
    jparse_advance(p);
    bool negated = !p->failed && jparse_skip_name(p, "not");
    if (p->failed || !parse_dotted(p, &name, &name_line))
        return NULL;
    bool bare = jparse_is(p, T_NAME) || jparse_is(p, T_STRING) || jparse_is(p, T_INT) || jparse_is(p, T_FLOAT) ||
                jparse_is(p, T_LBRACKET) || jparse_is(p, T_LBRACE);
    bare = bare && !jparse_is_name(p, "else") && !jparse_is_name(p, "or") && !jparse_is_name(p, "and");
    if (bare && jparse_is_name(p, "is"))
        return jparse_fail(p, line, "tests cannot be chained with 'is'");
    jargs *a = bare ? parse_bare_arg(p) : jparse_is(p, T_LPAREN) ? parse_args(p) : jparse_alloc(p, 1, sizeof *a);
    size_t mark = jparse_mark(p);
    jparse_push(p, value);
    jnode *n = a ? with_args(p, jparse_node(p, N_TEST, line, mark), a) : NULL;
    if (n)
        n->val = name;
    if (n && negated) {
        jparse_push(p, n);
        n = jparse_node(p, N_NOT, line, mark);
    }
    return n;
}

jnode *jparse_filter(jparse *p, jnode *value, bool inline_first)
{
    jnode *n = inline_first ? parse_one_filter(p, value) : value;
    while (!p->failed && (n || !value)) {
        if (jparse_skip(p, T_PIPE))
            n = parse_one_filter(p, n);
        else if (n && value && jparse_is_name(p, "is"))
            n = parse_test(p, n);
        else if (n && value && jparse_is(p, T_LPAREN))
            n = jparse_call(p, n);
        else
            return n;
    }
    return NULL;
}

/* ---- targets of an assignment ---- */

static bool no_loop_name(jparse *p, uint32_t sym, uint32_t line)
{
    if (p->for_depth == 0 || sym != p->t->sym_loop)
        return true;
    return jparse_fail(p, line, "'loop' cannot be assigned inside a for loop");
}

bool jparse_target_name(jparse *p, uint32_t *sym, jval *name)
{
    jtok t;
    if (!jparse_expect(p, T_NAME, &t) || !jparse_symbol(p, t.s, t.len, sym))
        return false;
    *name = jval_str(t.s, t.len);
    return true;
}

static jnode *parse_target_item(jparse *p)
{
    jtok ahead, t = p->cur;
    if (t.kind != T_NAME)
        return parse_primary(p);
    if (!jparse_look(p, &ahead) || ahead.kind != T_DOT)
        return parse_name(p);
    jnode *n = jparse_node(p, N_NSREF, t.line, jparse_mark(p));
    jtok attr;
    if (!n || !jparse_symbol(p, t.s, t.len, &n->sym) || !jparse_advance(p) || !jparse_advance(p) ||
        !jparse_expect(p, T_NAME, &attr))
        return NULL;
    n->val = jval_str(attr.s, attr.len);
    return n;
}

static bool can_assign(jparse *p, const jnode *n, bool top)
{
    if (n->op == N_NAME)
        return no_loop_name(p, n->sym, n->line);
    if (n->op == N_NSREF)
        return true;
    if (n->op != N_TUPLE)
        return jparse_fail(p, n->line, "cannot assign to this expression");
    for (uint32_t i = 0; i < n->n; i++)
        if (!can_assign(p, n->kid[i], false))
            return false;
    return top || n->n > 0;
}

jnode *jparse_target(jparse *p, const char *end, bool with_namespace)
{
    jnode *n = parse_tuple_of(p, with_namespace ? parse_target_item : parse_primary, end, false);
    return n && can_assign(p, n, true) ? n : NULL;
}
