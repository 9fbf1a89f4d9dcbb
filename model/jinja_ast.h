/* jinja_ast.h - tokens and the tree of a parsed template; private to model/jinja_*.c.
 *
 * One node type with numbered kids keeps every walk over the tree a short loop. The tree, its names and its strings
 * live in the template's arena and never change after jinja_parse(). */
#ifndef TD_MODEL_JINJA_AST_H
#define TD_MODEL_JINJA_AST_H

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/map.h"
#include "model/jinja.h"
#include "model/jinja_value.h"

typedef enum jtok_kind {
    T_EOF,
    T_DATA,
    T_VAR_BEGIN,
    T_VAR_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_POW,
    T_TILDE,
    T_LBRACKET,
    T_RBRACKET,
    T_LPAREN,
    T_RPAREN,
    T_LBRACE,
    T_RBRACE,
    T_EQ,
    T_NE,
    T_GT,
    T_GE,
    T_LT,
    T_LE,
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON,
    T_IN,     // never from the lexer: operators of a comparison
    T_NOT_IN,
} jtok_kind;

typedef struct jtok {
    jtok_kind kind;
    uint32_t line;
    const char *s; // T_DATA, T_NAME, T_STRING (unescaped): bytes; else NULL
    size_t len;
    int64_t i;
    double f;
} jtok;

/* Tokens on demand; `src` is valid UTF-8 with \n line ends. Errors go to *err with the line. */
typedef struct jlex {
    const char *src;
    size_t len, at;
    uint32_t line;
    enum { LEX_ROOT, LEX_BLOCK, LEX_VAR } mode;
    bool line_start;    // the match before ended with a newline, or this is the beginning
    jtok pending;       // the tag after a piece of data
    bool has_pending;
    char open[TD_JINJA_DEPTH_MAX]; // closing brackets that are due
    int open_count;
    td_arena *arena;    // for unescaped strings
    td_err *err;
} jlex;

bool jlex_next(jlex *l, jtok *t); // false: error recorded
const char *jtok_text(jtok_kind kind); // for messages: "','", "end of statement block", …

typedef enum jop {
    /* expressions                  kids */
    N_CONST,   //                   none; val
    N_NAME,    //                   none; sym
    N_LIST,    //                   items
    N_TUPLE,   //                   items
    N_DICT,    //                   key, value, key, value, …
    N_ATTR,    //                   object; val = name
    N_ITEM,    //                   object, index
    N_SLICE,   //                   start, stop, step; NULL where left out
    N_CALL,    //                   callee; args
    N_FILTER,  //                   value, or NULL for the body of a block; builtin, args
    N_TEST,    //                   value; builtin, args
    N_NEG,
    N_POS,
    N_NOT,
    N_AND,     //                   two or more
    N_OR,      //                   two or more
    N_COMPARE, //                   operands; ops[i] between kid i and i + 1
    N_ARITH,   //                   operands; ops[i] between kid i and i + 1, left to right
    N_CONCAT,  //                   operands of ~
    N_COND,    //                   test, then, else or NULL
    /* statements */
    N_BODY,    //                   statements
    N_TEXT,    //                   none; val
    N_PRINT,   //                   expression
    N_IF,      //                   test, body, test, body, …, else body or NULL
    N_FOR,     //                   target, iterable, filter or NULL, body, else body or NULL; flag = recursive
    N_SET,     //                   target, expression
    N_SET_BLOCK, //                 target, filter or NULL, body
    N_NSREF,   //                   none; sym = namespace, val = attribute (a target only)
    N_MACRO,   //                   body; sym = name, macro
    N_CALL_BLOCK, //                call, body; macro (the caller)
    N_FILTER_BLOCK, //              filter, body
    N_WITH,    //                   target, value, target, value, …, body
    N_SCOPE,   //                   body: names set inside stay inside
    N_BREAK,
    N_CONTINUE,
} jop;

typedef struct jnode jnode;

typedef struct jargs { // of a call, as written
    jnode **pos;
    struct jkwarg {
        jval name;
        jnode *expr;
    } *kw;
    size_t pos_count, kw_count;
    jnode *star, *star2; // *args and **kwargs, or NULL
} jargs;

typedef struct jmacro_def {
    jval name;
    uint32_t *param;    // [params] symbols
    jval *param_name;   // [params]
    jnode **dflt;       // [params] NULL = none
    size_t params;
    bool takes_caller, takes_kwargs, takes_varargs; // the body mentions them
    bool explicit_caller; // `caller` is among the parameters
} jmacro_def;

struct jnode {
    uint8_t op;         // jop
    bool flag;
    uint16_t height;    // of the tree below, bounded
    uint32_t line;
    uint32_t sym;
    uint32_t n;
    jnode **kid;        // [n]
    uint8_t *ops;       // jtok_kind
    int16_t builtin;    // index into the filter or test table; -1 = no such name, an error when it is reached
    jval val;
    jargs *args;
    jmacro_def *macro;
};

struct jinja {
    td_arena arena;
    jnode *root;
    td_map symbols;     // name → number
    jval *symbol_name;  // [symbol_count]
    uint32_t symbol_count, symbol_cap;
    uint32_t sym_loop, sym_caller, sym_kwargs, sym_varargs;
};

/* Parser state shared by the two parser files. */
typedef struct jparse {
    jinja *t;
    jlex lex;
    jtok cur, ahead;
    bool has_ahead, failed;
    int depth;          // nesting of statements and expressions
    int for_depth;      // inside a for, macros included: `loop` may not be assigned
    int loop_depth;     // inside a for of this function: break and continue are allowed
    jnode **stack;      // kids gathered so far, of all open nodes
    size_t stack_n, stack_cap;
    td_err *err;
} jparse;

/* Building blocks (jinja_parse.c). Every function returns NULL or false once something failed. */
bool jparse_advance(jparse *p);
bool jparse_look(jparse *p, jtok *t);
bool jparse_is(const jparse *p, jtok_kind kind);
bool jparse_is_name(const jparse *p, const char *name);
bool jparse_skip(jparse *p, jtok_kind kind);
bool jparse_skip_name(jparse *p, const char *name);
bool jparse_expect(jparse *p, jtok_kind kind, jtok *t);
void *jparse_fail(jparse *p, uint32_t line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void *jparse_alloc(jparse *p, size_t count, size_t size);
bool jparse_symbol(jparse *p, const char *s, size_t len, uint32_t *sym);
bool jparse_enter(jparse *p);
void jparse_leave(jparse *p);
size_t jparse_mark(const jparse *p);
bool jparse_push(jparse *p, jnode *kid); // NULL is a kid left out
jnode *jparse_node(jparse *p, jop op, uint32_t line, size_t mark); // takes what was pushed since mark
bool jparse_check_names(jparse *p, jnode *n, bool soft); // unknown filters and tests, macro flags (jinja_check.c)

/* Expressions (jinja_expr.c). */
jnode *jparse_expression(jparse *p);
/* `end`: a name that ends the tuple besides the usual tokens, or NULL. cond: x if y else z is allowed. */
jnode *jparse_tuple(jparse *p, bool cond, const char *end);
jnode *jparse_call(jparse *p, jnode *callee);
/* value NULL: filters over a block's text; then NULL without a failure means there is none. */
jnode *jparse_filter(jparse *p, jnode *value, bool inline_first);
jnode *jparse_target(jparse *p, const char *end, bool with_namespace);
bool jparse_target_name(jparse *p, uint32_t *sym, jval *name);

#endif
