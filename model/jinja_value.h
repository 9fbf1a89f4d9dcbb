/* jinja_value.h - the values a template computes with: Python's data types as far as templates use them.
 *
 * A jval is 16 bytes and passed by value. What it points to lives in the render's arena, in the parsed template or in
 * the caller's JSON and is never freed singly. Everything but a namespace, a cycler, a joiner, an iterator and a loop
 * is immutable, so strings and lists are shared freely: a slice points into its parent. One render, one thread.
 * Operations that can fail return false after recording the error in the jrun. */
#ifndef TD_MODEL_JINJA_VALUE_H
#define TD_MODEL_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct jrun jrun;
typedef struct jval jval;

typedef enum jkind {
    J_MISSING, // no value at all: an argument that was not given
    J_UNDEF,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STR,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_VIEW,   // dict.items(), keys() or values()
    J_RANGE,
    J_ITER,   // what a lazy filter returns: can be walked once
    J_NS,     // namespace()
    J_LOOP,
    J_MACRO,
    J_FUNC,   // a global function
    J_METHOD, // a method bound to its object
    J_CYCLER,
    J_JOINER,
    J_SLICE,  // x[a:b:c] between evaluation and use
} jkind;

/* jval.sub by kind */
enum { JSTR_PLAIN, JSTR_SAFE };                            // J_STR: result of |safe or |escape
enum { JVIEW_ITEMS, JVIEW_KEYS, JVIEW_VALUES };            // J_VIEW
enum { JUNDEF_NAME, JUNDEF_ATTR, JUNDEF_UNSAFE, JUNDEF_MSG }; // J_UNDEF: what s and len say
enum { JTUPLE_PLAIN, JTUPLE_GROUP };                       // J_TUPLE: from groupby, with .grouper and .list

typedef struct jseq jseq;
typedef struct jdict jdict;
typedef struct jrange jrange;
typedef struct jiter jiter;
typedef struct jloop jloop;
typedef struct jmacro jmacro;
typedef struct jmethod jmethod;
typedef struct jcycler jcycler;

struct jval {
    uint8_t kind;
    uint8_t sub;
    uint16_t id;  // J_FUNC: which one
    uint32_t len; // J_STR, J_UNDEF: bytes at s
    union {
        bool b;
        int64_t i;
        double f;
        const char *s; // not NUL terminated
        jseq *seq;
        jdict *dict;   // J_DICT, J_VIEW, J_NS
        jrange *range;
        jiter *iter;
        jloop *loop;
        jmacro *macro;
        jmethod *method;
        jcycler *cycler; // J_CYCLER, J_JOINER
    };
};

struct jseq {
    jval *v; // [n]
    size_t n;
};

typedef struct jpair {
    jval key, val;
    uint64_t hash;
} jpair;

struct jdict { // keeps insertion order; open addressing over `slot` once it is larger than a few pairs
    jpair *pair;       // [n], room for cap
    uint32_t n, cap;
    uint32_t *slot;    // [slots] index + 1 into pair, 0 = empty; NULL while small
    uint32_t slots;    // power of two
};

struct jrange {
    int64_t start, step, n;
};

static inline jval jval_kind(jkind kind) { return (jval){.kind = (uint8_t)kind}; }
static inline jval jval_none(void) { return jval_kind(J_NONE); }
static inline jval jval_bool(bool b) { return (jval){.kind = J_BOOL, .b = b}; }
static inline jval jval_int(int64_t i) { return (jval){.kind = J_INT, .i = i}; }
static inline jval jval_float(double f) { return (jval){.kind = J_FLOAT, .f = f}; }
static inline jval jval_str(const char *s, size_t len)
{
    return (jval){.kind = J_STR, .s = s, .len = (uint32_t)len};
}
static inline jval jval_cstr(const char *s) { return jval_str(s, strlen(s)); }
static inline jval jval_undef(int why, const char *s, size_t len)
{
    return (jval){.kind = J_UNDEF, .sub = (uint8_t)why, .s = s, .len = (uint32_t)len};
}
static inline jval jval_undef_msg(const char *msg) { return jval_undef(JUNDEF_MSG, msg, strlen(msg)); }
static inline bool jval_is_str(jval v, const char *s)
{
    return v.kind == J_STR && v.len == strlen(s) && !memcmp(v.s, s, v.len);
}
/* bool counts as a number, as in Python. */
static inline bool jval_is_int(jval v) { return v.kind == J_INT || v.kind == J_BOOL; }
static inline bool jval_is_num(jval v) { return jval_is_int(v) || v.kind == J_FLOAT; }
static inline int64_t jval_as_int(jval v) { return v.kind == J_BOOL ? v.b : v.i; }
static inline double jval_as_num(jval v) { return v.kind == J_FLOAT ? v.f : (double)jval_as_int(v); }

const char *jval_type_name(jval v); // Python's: "int", "str", "dict", …

/* Lists and dicts. n slots of room; NULL = the render failed. */
jseq *jseq_new(jrun *r, size_t n);
bool jval_list_of(jrun *r, const jval *items, size_t n, jval *out); // copies
jdict *jdict_new(jrun *r, size_t room);
bool jdict_put(jrun *r, jdict *d, jval key, jval val); // refuses an unhashable key
bool jdict_find(jrun *r, const jdict *d, jval key, jval *out, bool *found);
const jval *jdict_find_str(jrun *r, const jdict *d, const char *s, size_t len); // NULL = absent

bool jval_true(jrun *r, jval v);
/* Equality as ==. Deep structures may exhaust the depth: then false, and the render has failed. */
bool jval_equal(jrun *r, jval a, jval b);
/* -1, 0, 1 in *order, or an error where Python has no order between the two. */
bool jval_compare(jrun *r, jval a, jval b, int *order);
bool jval_hash(jrun *r, jval v, uint64_t *out);

/* Everything that can be walked, as an array. An iterator is used up by it. */
bool jval_items(jrun *r, jval v, jval **items, size_t *n);
bool jval_iterable(jval v);
bool jval_length(jrun *r, jval v, int64_t *n); // error where Python has no len()
bool jval_contains(jrun *r, jval needle, jval hay, bool *yes);
jval jrange_at(const jrange *g, int64_t i);
jval jview_at(jrun *r, jval view, size_t i);

/* Text as Python's str() and repr() print it, appended to the render's scratch (jinja_run.h). */
bool jval_put_str(jrun *r, jval v);
bool jval_put_repr(jrun *r, jval v);
/* str(v) as a value; a string is returned as it is. */
bool jval_to_str(jrun *r, jval v, jval *out);
size_t jinja_float_repr(double f, char out[40]); // Python's repr(): shortest digits that read back

typedef struct jtojson {
    bool ensure_ascii, sort_keys, pretty;
    jval indent;        // J_STR while pretty
    jval comma, colon;  // separators
} jtojson;
bool jval_put_json(jrun *r, jval v, const jtojson *opt, int depth);

#endif
