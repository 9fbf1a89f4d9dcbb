/* Templates: lexing, values, errors with their lines, limits in time, failing allocations. What templates print is
 * compared with jinja2 in tests/e2e/template_oracle.py; here is what that cannot see. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/limits.h"
#include "model/jinja.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static td_err err;

/* Renders source against vars (JSON text); the text or the error's message is in `got`. */
static td_rc run(const char *source, const char *vars, td_buf *got)
{
    jinja *t = NULL;
    td_json *j = NULL;
    err = (td_err)TD_ERR_INIT;
    td_buf_clear(got);
    assert_int_equal(td_json_parse(vars, strlen(vars), &td_json_request_limits, &j, &err), TD_OK);
    td_rc rc = jinja_parse(source, strlen(source), &t, &err);
    if (rc == TD_OK)
        rc = jinja_render(t, j, 0, got, &err);
    jinja_free(t);
    td_json_free(j);
    return rc;
}

static void prints(const char *source, const char *vars, const char *want)
{
    td_buf got = TD_BUF_INIT;
    if (run(source, vars, &got) != TD_OK)
        fail_msg("%s: %s", source, err.msg);
    assert_string_equal(td_buf_cstr(&got), want);
    td_buf_free(&got);
}

static void fails(const char *source, const char *word)
{
    td_buf got = TD_BUF_INIT;
    assert_int_equal(run(source, "{\"x\": [1, 2]}", &got), TD_E_INPUT);
    if (!strstr(err.msg, word))
        fail_msg("%s: '%s' lacks '%s'", source, err.msg, word);
    assert_int_equal(got.len, 0);
    td_buf_free(&got);
}

static void white_space(void **state)
{
    (void)state;
    prints("a\n  {% if true %}\n b\n  {% endif %}\nc\n", "{}", "a\n b\nc");
    prints("{{ 1 }}\r\n{%- if true -%}\r\n x {% endif %}\r\n", "{}", "1x ");
    prints("{% raw %}{{ x }}{% endraw %}{# c #}\n{{- '' -}}  y", "{}", "{{ x }}y");
    prints("{{ {'a': {'b': 1}}['a'] }}", "{}", "{'b': 1}");
    prints("", "{}", "");
    prints("\n", "{}", "");
    prints("\n\n", "{}", "\n");
}

static void numbers_from_json(void **state)
{
    (void)state;
    prints("{{ x }}", "{\"x\": [1, 1.0, 1e3, -0.0, 9007199254740993, 9223372036854775807, 0.1]}",
           "[1, 1.0, 1000.0, -0.0, 9007199254740993, 9223372036854775807, 0.1]");
    prints("{{ x|tojson }}", "{\"x\": {\"a\": 2.0, \"b\": 2}}", "{\"a\": 2.0, \"b\": 2}");
}

static void errors_name_the_line(void **state)
{
    (void)state;
    fails("a\n{{ x.foo.bar }}", "line 2");
    fails("\n\n{% if %}{% endif %}", "line 3");
    fails("{% for a in x %}\n{{ 1 + 'a' }}{% endfor %}", "line 2");
    fails("{{ raise_exception('no\nsystem') }}", "line 1: no system");
    fails("{% if true %}\n\n", "'elif'");
    fails("{{ 'abc", "string is not closed");
    fails("{# abc", "comment");
    fails("{% raw %}", "endraw");
    fails("{% include 'x' %}", "include");
    fails("{{ x|nope }}", "nope");
    fails("{% break %}", "loop");
    fails("{{ 9223372036854775807 + 1 }}", "64 bits");
    fails("{{ 9223372036854775808 }}", "64 bits");
    fails("{{ (-9223372036854775807 - 1) // -1 }}", "64 bits");
    fails("{{ x.append(3) }}", "append");
    fails("{% for loop in x %}{% endfor %}", "loop");
    fails("{{ [1, 2}}", "bracket");
    fails("{{ '\\ud800' }}", "escape");
    prints("{% if false %}{{ x|nope }}{% endif %}ok", "{}", "ok"); // only reached filters must exist there
}

static void not_utf8(void **state)
{
    (void)state;
    jinja *t = NULL;
    err = (td_err)TD_ERR_INIT;
    assert_int_equal(jinja_parse("a\xff", 2, &t, &err), TD_E_INPUT);
    err = (td_err)TD_ERR_INIT;
    char *big = calloc(1, TD_JINJA_SOURCE_BYTES_MAX + 1);
    assert_int_equal(jinja_parse(big, TD_JINJA_SOURCE_BYTES_MAX + 1, &t, &err), TD_E_INPUT);
    free(big);
}

/* Hostile templates end with an error, soon: 100 ms without instrumentation. */
static void limits(void **state)
{
    (void)state;
    static const struct {
        const char *source, *word;
    } bad[] = {
        {"{% for i in range(10**9) %}{% endfor %}", "range"},
        {"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "steps"},
        {"{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", "deep"},
        {"{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}", "deep"},
        {"{{ 'x' * 10**9 }}", "repetition"},
        {"{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(64) %}"
         "{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "than"},
        {"{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}", "than"},
        {"{{ [0] * 10**9 }}", "repetition"},
        {"{{ '%1000000000d' % 1 }}", "than"},
        {"{{ '%.1000000000f' % 1.5 ~ ('{:>999999999}'.format(1)) }}", "than"},
        {"{{ 'x'|center(10**12) }}", "than"},
        {"{{ 'x'|indent(10**12) }}", "repetition"},
        {"{{ 10**100 }}", "64 bits"},
        {"{% set ns = namespace(l=[]) %}{% for i in range(2000) %}{% set ns.l = [ns.l] %}{% endfor %}"
         "{{ ns.l }}", "deep"},
        {"{% set ns = namespace(l=[]) %}{% for i in range(2000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l|tojson }}",
         "deep"},
        {"{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "deep"},
        {"{% set ns = namespace(d={}) %}{% for i in range(100000) %}"
         "{% set ns.d = dict(ns.d, **{i ~ '': i}) %}{% endfor %}", "than"},
        {"{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% if s == s ~ 'b' %}{% endif %}{% endfor %}", "than"},
        {"{% set s = 'ab' * 1000000 %}{% for i in range(1000) %}{{ s.rfind('ab' * 1000 ~ 'c') }}{% endfor %}", "than"},
        {"{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}", "deep"},
        {"{{ range(100000)|sort|list|join(range(100000)|list|join) }}", "than"},
    };
    td_buf got = TD_BUF_INIT;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(run(bad[i].source, "{}", &got), TD_E_INPUT);
        if (!strstr(err.msg, bad[i].word))
            fail_msg("%s: '%s' lacks '%s'", bad[i].source, err.msg, bad[i].word);
    }
    td_buf_free(&got);
}

/* open^n + inside + close^n */
static td_rc nested(const char *open, const char *inside, const char *close, size_t n)
{
    td_buf source = TD_BUF_INIT, got = TD_BUF_INIT;
    for (size_t i = 0; i < n; i++)
        td_buf_str(&source, open);
    td_buf_str(&source, inside);
    for (size_t i = 0; i < n; i++)
        td_buf_str(&source, close);
    td_rc rc = run(td_buf_cstr(&source), "{}", &got);
    td_buf_free(&source);
    td_buf_free(&got);
    return rc;
}

static void nesting(void **state)
{
    (void)state;
    assert_int_equal(nested("{% if 1 %}", "", "{% endif %}", 20), TD_OK);
    assert_int_equal(nested("{% if 1 %}", "", "{% endif %}", 20000), TD_E_INPUT);
    assert_int_equal(nested("{{ ((((", "1", ")))) }}", 1), TD_OK);
    td_buf deep = TD_BUF_INIT, got = TD_BUF_INIT;
    static const char *const pairs[][2] = {{"(", ")"}, {"[", "]"}, {"{1:", "}"}, {"not ", ""}, {"-", ""},
                                           {"1 if ", " else 2"}, {"x[", "]"}, {"f(", ")"}};
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        td_buf_clear(&deep);
        td_buf_str(&deep, "{{ ");
        for (int i = 0; i < 5000; i++)
            td_buf_str(&deep, pairs[k][0]);
        td_buf_str(&deep, "1");
        for (int i = 0; i < 5000; i++)
            td_buf_str(&deep, pairs[k][1]);
        td_buf_str(&deep, " }}");
        assert_int_equal(run(td_buf_cstr(&deep), "{}", &got), TD_E_INPUT);
    }
    static const char *const chains[] = {".a", "|upper", "[0]", "()", " is defined"};
    for (size_t k = 0; k < sizeof chains / sizeof *chains; k++) {
        td_buf_clear(&deep);
        td_buf_str(&deep, "{{ x");
        for (int i = 0; i < 5000; i++)
            td_buf_str(&deep, chains[k]);
        td_buf_str(&deep, " }}");
        assert_int_equal(run(td_buf_cstr(&deep), "{}", &got), TD_E_INPUT);
    }
    td_buf_clear(&deep); // long, but flat
    td_buf_str(&deep, "{{ 1");
    for (int i = 0; i < 5000; i++)
        td_buf_str(&deep, " + 1");
    td_buf_str(&deep, " }}");
    assert_int_equal(run(td_buf_cstr(&deep), "{}", &got), TD_OK);
    assert_string_equal(td_buf_cstr(&got), "5001");
    td_buf_free(&deep);
    td_buf_free(&got);
}

static void output_is_appended(void **state)
{
    (void)state;
    td_buf out = TD_BUF_INIT;
    jinja *t = NULL;
    td_json *j = NULL;
    err = (td_err)TD_ERR_INIT;
    assert_int_equal(td_json_parse("{}", 2, &td_json_request_limits, &j, &err), TD_OK);
    td_buf_str(&out, "before:");
    assert_int_equal(jinja_parse("x{{ y.z }}", 10, &t, &err), TD_OK);
    assert_int_equal(jinja_render(t, j, 0, &out, &err), TD_E_INPUT);
    assert_string_equal(td_buf_cstr(&out), "before:");
    jinja_free(t);
    assert_int_equal(jinja_parse("x{{ 1 }}", 8, &t, &err), TD_OK);
    assert_int_equal(jinja_render(t, j, 0, &out, &err), TD_OK);
    assert_string_equal(td_buf_cstr(&out), "before:x1");
    jinja_free(t);
    td_json_free(j);
    td_buf_free(&out);
}

static const char busy[] =
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{% set ns = namespace(n=0) %}"
    "{% for k, v in d|items if v is not none %}{% set ns.n = ns.n + 1 %}{{ k }}={{ v|tojson(indent=1) }}{{ loop.last }}"
    "{% endfor %}{% call m(1) %}{{ 'x'.upper() ~ [1, 2][::-1] }}{% endcall %}{{ '%s-%d' % ('a', 2) }}"
    "{{ '{:>4}'.format(3) }}{{ 'a,b'.split(',')|map('upper')|join('+') }}{{ xs|sort|unique|list }}"
    "{{ xs|groupby('0')|list|length if false else dict(a=1) }}{% set t %}block{% endset %}{{ t|title|indent }}"
    "{{ range(9)|batch(4)|list }}{{ 1.5|round }}{{ ns.n }}{{ cycler(1, 2).next() }}";
static const char busy_vars[] = "{\"d\": {\"a\": [1, {\"b\": null}], \"c\": 1.0}, \"xs\": [3, 1, 2, 1]}";

/* The n-th allocation fails, n = 1, 2, … until none does. */
static void torture(void **state)
{
    (void)state;
    td_json *j = NULL;
    err = (td_err)TD_ERR_INIT;
    assert_int_equal(td_json_parse(busy_vars, sizeof busy_vars - 1, &td_json_request_limits, &j, &err), TD_OK);
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        jinja *t = NULL;
        td_buf out = TD_BUF_INIT;
        td_err e = TD_ERR_INIT;
        td_fault_arm(TD_FAULT_ALLOC, n, false);
        td_rc rc = jinja_parse(busy, sizeof busy - 1, &t, &e);
        if (rc == TD_OK)
            rc = jinja_render(t, j, 0, &out, &e);
        failed = td_fault_count(TD_FAULT_ALLOC) > 0;
        td_fault_arm(TD_FAULT_ALLOC, 0, false);
        assert_int_equal(rc, failed ? TD_E_NOMEM : TD_OK);
        assert_int_equal(e.rc, rc);
        assert_true(n < 1000);
        jinja_free(t);
        td_buf_free(&out);
    }
    td_json_free(j);
}

typedef struct shared {
    const jinja *t;
    const td_json *vars;
    bool same;
} shared;

static void *render_often(void *arg)
{
    shared *s = arg;
    td_buf first = TD_BUF_INIT, out = TD_BUF_INIT;
    s->same = jinja_render(s->t, s->vars, 0, &first, NULL) == TD_OK;
    for (int i = 0; i < 50 && s->same; i++) {
        td_buf_clear(&out);
        s->same = jinja_render(s->t, s->vars, 0, &out, NULL) == TD_OK && out.len == first.len &&
                  !memcmp(out.data, first.data, out.len);
    }
    td_buf_free(&first);
    td_buf_free(&out);
    return NULL;
}

static void threads_share_a_template(void **state)
{
    (void)state;
    enum { N = 4 };
    jinja *t = NULL;
    td_json *j = NULL;
    pthread_t thread[N];
    shared s[N];
    err = (td_err)TD_ERR_INIT;
    assert_int_equal(td_json_parse(busy_vars, sizeof busy_vars - 1, &td_json_request_limits, &j, &err), TD_OK);
    assert_int_equal(jinja_parse(busy, sizeof busy - 1, &t, &err), TD_OK);
    for (int i = 0; i < N; i++) {
        s[i] = (shared){t, j, false};
        assert_int_equal(pthread_create(&thread[i], NULL, render_often, &s[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(thread[i], NULL);
        assert_true(s[i].same);
    }
    jinja_free(t);
    td_json_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(white_space), cmocka_unit_test(numbers_from_json), cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(not_utf8), cmocka_unit_test(limits), cmocka_unit_test(nesting),
        cmocka_unit_test(output_is_appended), cmocka_unit_test(torture), cmocka_unit_test(threads_share_a_template)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
