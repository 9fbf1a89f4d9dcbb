/* Tests: what may stand after `is`, and the names that select() and reject() take. */
#include "base/check.h"
#include "model/jinja_run.h"

#include <math.h>

typedef bool test_fn(jrun *r, jval v, const jval *arg, bool *yes);

#define KIND_TEST(name, expr)                                            \
    static bool is_##name(jrun *r, jval v, const jval *arg, bool *yes)   \
    {                                                                    \
        (void)r, (void)arg;                                              \
        *yes = (expr);                                                   \
        return true;                                                     \
    }

KIND_TEST(defined, v.kind != J_UNDEF)
KIND_TEST(undefined, v.kind == J_UNDEF)
KIND_TEST(none, v.kind == J_NONE)
KIND_TEST(boolean, v.kind == J_BOOL)
KIND_TEST(true, v.kind == J_BOOL && v.b)
KIND_TEST(false, v.kind == J_BOOL && !v.b)
KIND_TEST(integer, v.kind == J_INT)
KIND_TEST(float, v.kind == J_FLOAT)
KIND_TEST(number, jval_is_num(v))
KIND_TEST(string, v.kind == J_STR)
KIND_TEST(mapping, v.kind == J_DICT)
KIND_TEST(iterable, jval_iterable(v))
KIND_TEST(sequence, v.kind == J_UNDEF || v.kind == J_STR || v.kind == J_LIST || v.kind == J_TUPLE ||
                        v.kind == J_DICT || v.kind == J_RANGE)
KIND_TEST(callable, v.kind == J_UNDEF || v.kind == J_MACRO || v.kind == J_FUNC || v.kind == J_METHOD ||
                        v.kind == J_JOINER || v.kind == J_LOOP)
KIND_TEST(escaped, v.kind == J_STR && v.sub == JSTR_SAFE)

static bool is_eq(jrun *r, jval v, const jval *a, bool *yes) { return jop_compare(r, T_EQ, v, a[0], yes); }
static bool is_ne(jrun *r, jval v, const jval *a, bool *yes) { return jop_compare(r, T_NE, v, a[0], yes); }
static bool is_lt(jrun *r, jval v, const jval *a, bool *yes) { return jop_compare(r, T_LT, v, a[0], yes); }
static bool is_le(jrun *r, jval v, const jval *a, bool *yes) { return jop_compare(r, T_LE, v, a[0], yes); }
static bool is_gt(jrun *r, jval v, const jval *a, bool *yes) { return jop_compare(r, T_GT, v, a[0], yes); }
static bool is_ge(jrun *r, jval v, const jval *a, bool *yes) { return jop_compare(r, T_GE, v, a[0], yes); }
static bool is_in(jrun *r, jval v, const jval *a, bool *yes) { return jop_compare(r, T_IN, v, a[0], yes); }

static bool is_sameas(jrun *r, jval v, const jval *a, bool *yes)
{
    bool scalar = v.kind <= J_STR;
    *yes = v.kind == a[0].kind && (scalar ? jval_equal(r, v, a[0]) : v.i == a[0].i);
    return r->rc == TD_OK;
}

static bool remainder_is(jrun *r, jval v, jval by, int64_t want, bool *yes)
{
    jval rest;
    if (!jop_arith(r, T_MOD, v, by, &rest))
        return false;
    *yes = jval_equal(r, rest, jval_int(want));
    return r->rc == TD_OK;
}

static bool is_even(jrun *r, jval v, const jval *a, bool *yes)
{
    (void)a;
    return remainder_is(r, v, jval_int(2), 0, yes);
}

static bool is_odd(jrun *r, jval v, const jval *a, bool *yes)
{
    (void)a;
    return remainder_is(r, v, jval_int(2), 1, yes);
}

static bool is_divisibleby(jrun *r, jval v, const jval *a, bool *yes) { return remainder_is(r, v, a[0], 0, yes); }

static bool case_is(jrun *r, jval v, jmethod_fn *fn, bool *yes)
{
    static const jcall none = {0};
    jval out;
    if (!jval_to_str(r, v, &v) || !fn(r, v, &none, &out))
        return false;
    *yes = out.b;
    return true;
}

static bool is_lower(jrun *r, jval v, const jval *a, bool *yes)
{
    (void)a;
    return case_is(r, v, jstrm_islower, yes);
}

static bool is_upper(jrun *r, jval v, const jval *a, bool *yes)
{
    (void)a;
    return case_is(r, v, jstrm_isupper, yes);
}

static bool is_filter(jrun *r, jval v, const jval *a, bool *yes)
{
    uint64_t ignored;
    (void)a;
    *yes = v.kind == J_STR && jfilter_index(v) >= 0;
    return jval_hash(r, v, &ignored); // names are looked up in a dict
}

static bool is_test(jrun *r, jval v, const jval *a, bool *yes)
{
    uint64_t ignored;
    (void)a;
    *yes = v.kind == J_STR && jtest_index(v) >= 0;
    return jval_hash(r, v, &ignored);
}

static const struct {
    const char *name;
    test_fn *fn;
    size_t args;
} tests[] = {
    {"defined", is_defined, 0}, {"string", is_string, 0}, {"none", is_none, 0}, {"mapping", is_mapping, 0},
    {"iterable", is_iterable, 0}, {"sequence", is_sequence, 0}, {"undefined", is_undefined, 0},
    {"equalto", is_eq, 1}, {"eq", is_eq, 1}, {"==", is_eq, 1}, {"ne", is_ne, 1}, {"!=", is_ne, 1}, {"lt", is_lt, 1},
    {"lessthan", is_lt, 1}, {"<", is_lt, 1}, {"le", is_le, 1}, {"<=", is_le, 1}, {"gt", is_gt, 1},
    {"greaterthan", is_gt, 1}, {">", is_gt, 1}, {"ge", is_ge, 1}, {">=", is_ge, 1}, {"in", is_in, 1},
    {"boolean", is_boolean, 0}, {"true", is_true, 0}, {"false", is_false, 0}, {"integer", is_integer, 0},
    {"float", is_float, 0}, {"number", is_number, 0}, {"callable", is_callable, 0}, {"escaped", is_escaped, 0},
    {"even", is_even, 0}, {"odd", is_odd, 0}, {"divisibleby", is_divisibleby, 1}, {"sameas", is_sameas, 1},
    {"lower", is_lower, 0}, {"upper", is_upper, 0}, {"filter", is_filter, 0}, {"test", is_test, 0},
};

int jtest_index(jval name)
{
    for (size_t i = 0; i < TD_COUNT(tests); i++)
        if (jval_is_str(name, tests[i].name))
            return (int)i;
    return -1;
}

bool jtest_call(jrun *r, int index, jval v, const jcall *c, bool *yes)
{
    jval arg = jval_kind(J_MISSING);
    return jrun_step(r, 1) &&
           jcall_bind(r, c, tests[index].name, tests[index].args ? "/other" : "/", tests[index].args, &arg) &&
           tests[index].fn(r, v, &arg, yes);
}
