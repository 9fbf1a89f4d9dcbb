/* Flags: layers and their order, types, nearest names, ranges, help within 80 columns, and every way to be wrong. */
#include "base/check.h"
#include "base/flags.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

enum { RUN, OTHER };
#define BOTH 3u

static const char *const groups[] = {"First", "Second", "Foreign", "Empty", NULL};
static const char *const ignored[] = {"DEMO_SERVICE_", NULL};
static const flags_def defs[] = {
    {"config", FLAG_STR, NULL, BOTH, "FILE", .traits = FLAG_ARGV, .help = "A file."},
    {"port", FLAG_INT, "8000", 1, "N", .min = 0, .max = 65535, .help = "Where to listen."},
    {"max-model-len", FLAG_INT, "auto", BOTH, "N", .min = 0, .max = 1e6, .group = 1, .help = "Tokens."},
    {"memory", FLAG_BYTES, "auto", BOTH, "BYTES", .min = 0, .max = INFINITY, .group = 1, .help = "Bytes."},
    {"temperature", FLAG_NUM, "1", BOTH, "X", .min = 0, .max = 100, .group = 1, .help = "Heat."},
    {"ui", FLAG_BOOL, "true", BOTH, .help = "No page."},
    {"ids", FLAG_BOOL, NULL, BOTH, .help = "Numbers."},
    {"device", FLAG_ENUM, "auto", BOTH, .choices = "auto|cpu|cuda", .help = "Where to compute."},
    {"prompt", FLAG_LIST, NULL, BOTH, "TEXT", .letter = 'p', .help = "Texts."},
    {"name", FLAG_LIST, NULL, BOTH, "NAME", .traits = FLAG_MANY, .help = "Names."},
    {"paths", FLAG_LIST, NULL, BOTH, "PATHS", .traits = FLAG_SPLIT, .help = "Paths."},
    {"api-key", FLAG_LIST, NULL, BOTH, "KEY", .traits = FLAG_SECRET, .help = "Keys."},
    {"batch", FLAG_INTS, "1", BOTH, "N,…", .min = 1, .max = 64, .letter = 'b', .help = "Sizes."},
    {"swap", FLAG_STR, NULL, BOTH, .group = 2, .traits = FLAG_IGNORED, .why = "nothing swaps"},
    {"lora", FLAG_BOOL, NULL, BOTH, .group = 2, .traits = FLAG_REFUSED, .why = "adapters are planned"},
};
static const flags_verb verbs[] = {{"run", "MODEL", "runs", NULL}, {"other", "", "does something else", NULL}};
static const flags_table table = {"demo", "DEMO_", ignored, groups, defs, TD_COUNT(defs), verbs, 2, "demo", NULL, NULL};

static flags *fresh(size_t verb)
{
    flags *f = NULL;
    assert_int_equal(flags_new(&table, verb, &f, NULL), TD_OK);
    return f;
}

static td_rc argv_of(flags *f, td_err *err, const char *const *words)
{
    int n = 0;
    while (words[n])
        n++;
    return flags_read_argv(f, n, (char *const *)words, err);
}
#define ARGV(f, err, ...) argv_of((f), (err), (const char *const[]){__VA_ARGS__, NULL})
#define ENV(f, err, ...) flags_read_env((f), (char *const[]){__VA_ARGS__, NULL}, (err))

static td_rc config(flags *f, const char *text, td_err *err)
{
    return flags_read_config(f, text, strlen(text), "demo.yaml", err);
}

/* A command line, environment or file that must fail, with a message that holds `part`. */
#define FAILS(call, part)                                          \
    do {                                                           \
        flags *f = fresh(RUN);                                     \
        td_err e = TD_ERR_INIT;                                    \
        assert_int_equal((call), TD_E_USAGE);                      \
        if (!strstr(e.msg, part))                                  \
            fail_msg("'%s' does not hold '%s'", e.msg, part);      \
        flags_free(f);                                             \
    } while (0)

static void numbers(void **state)
{
    (void)state;
    static const struct { const char *s; bool bytes, ok; int64_t v; } rows[] = {
        {"0", false, true, 0},
        {"1k", false, true, 1000},
        {"1K", false, true, 1024},
        {"25.6k", false, true, 25600},
        {"0.5K", false, true, 512},
        {"2m", false, true, 2000000},
        {"-3", false, true, -3},
        {"9223372036854775807", false, true, INT64_MAX},
        {"9223372036854775808", false, false, 0},
        {"9007199254740993", false, true, 9007199254740993},
        {"9223372036854775807K", false, false, 0},
        {"4GiB", true, true, 4ll << 30},
        {"4GB", true, true, 4000000000},
        {"4G", true, true, 4ll << 30},
        {"1.5GiB", true, true, 1610612736},
        {"4GiB", false, false, 0},
        {"1.5", false, false, 0},
        {"1e3", false, false, 0},
        {"0x10", false, false, 0},
        {"", false, false, 0},
        {" 1", false, false, 0},
        {"1 ", false, false, 0},
        {"k", false, false, 0},
        {"1kk", false, false, 0},
        {"nan", false, false, 0},
        {".", false, false, 0},
    };
    for (size_t i = 0; i < TD_COUNT(rows); i++) {
        int64_t v = 0;
        bool ok = flags_parse_int(rows[i].s, rows[i].bytes, &v);
        if (ok != rows[i].ok || (ok && v != rows[i].v))
            fail_msg("'%s' gives %d %lld", rows[i].s, ok, (long long)v);
    }
    double d;
    assert_true(flags_parse_num("1e-3", &d) && d == 1e-3);
    assert_true(flags_parse_num("-.5", &d) && d == -0.5);
    assert_false(flags_parse_num("inf", &d));
    assert_false(flags_parse_num("1e999", &d));
    assert_false(flags_parse_num("1,5", &d));
}

static void defaults_and_types(void **state)
{
    (void)state;
    flags *f = fresh(RUN);
    assert_int_equal(flags_int(f, "port"), 8000);
    assert_int_equal(flags_int(f, "max-model-len"), 0);
    assert_true(flags_bool(f, "ui"));
    assert_false(flags_bool(f, "ids"));
    assert_string_equal(flags_str(f, "device"), "auto");
    assert_false(flags_given(f, "port"));
    assert_int_equal(ARGV(f, NULL, "m.gguf", "--port=9", "--max_model_len", "8k", "--no-ui", "--ids", "--device", "cpu",
                          "-p", "one", "-ptwo", "-p", "-", "-b", "1,2,16", "--name", "a", "b", "--memory", "1GiB",
                          "--temperature", "0.5", "--", "--port"),
                     TD_OK);
    assert_int_equal(flags_int(f, "port"), 9);
    assert_int_equal(flags_int(f, "max-model-len"), 8000);
    assert_int_equal(flags_int(f, "memory"), 1 << 30);
    assert_true(flags_num(f, "temperature") == 0.5);
    assert_false(flags_bool(f, "ui"));
    assert_true(flags_bool(f, "ids"));
    assert_int_equal(flags_choice(f, "device"), 1);
    const char *const *items;
    assert_int_equal(flags_list(f, "prompt", &items), 3);
    assert_string_equal(items[0], "one");
    assert_string_equal(items[1], "two");
    assert_string_equal(items[2], "-");
    assert_int_equal(flags_list(f, "name", &items), 2);
    const int64_t *ints;
    assert_int_equal(flags_ints(f, "batch", &ints), 3);
    assert_int_equal(ints[2], 16);
    assert_int_equal(flags_operand_count(f), 2);
    assert_string_equal(flags_operand(f, 0), "m.gguf");
    assert_string_equal(flags_operand(f, 1), "--port");
    assert_null(flags_operand(f, 2));
    flags_free(f);
}

static void layers(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        flags *f = fresh(RUN);
        for (int step = 0; step < 3; step++) {
            int which = order ? 2 - step : step;
            td_rc rc = which == 0   ? ARGV(f, NULL, "--port", "1", "-p", "argv")
                       : which == 1 ? ENV(f, NULL, "DEMO_PORT=2", "DEMO_PROMPT=env", "DEMO_TEMPERATURE=3", "PATH=x",
                                          "DEMO_NAME=a b", "DEMO_NO_UI=1")
                                    : config(f, "port: 4\ntemperature: 5\nmemory: 6k\nprompt: [x, y]\n", NULL);
            assert_int_equal(rc, TD_OK);
        }
        const char *const *items;
        assert_int_equal(flags_int(f, "port"), 1);
        assert_true(flags_num(f, "temperature") == 3);
        assert_int_equal(flags_int(f, "memory"), 6000);
        assert_int_equal(flags_list(f, "prompt", &items), 1);
        assert_string_equal(items[0], "argv");
        assert_int_equal(flags_list(f, "name", &items), 2);
        assert_false(flags_bool(f, "ui"));
        td_buf out = TD_BUF_INIT;
        assert_true(flags_print(f, &out));
        assert_non_null(strstr(out.data, "# DEMO_TEMPERATURE"));
        assert_non_null(strstr(out.data, "# demo.yaml:3"));
        assert_non_null(strstr(out.data, "# command line"));
        assert_null(strstr(out.data, "swap"));
        td_buf_free(&out);
        flags_free(f);
    }
}

static void secrets_stay_hidden(void **state)
{
    (void)state;
    flags *f = fresh(RUN);
    assert_int_equal(ARGV(f, NULL, "--api-key", "hunter2"), TD_OK);
    td_buf out = TD_BUF_INIT;
    assert_true(flags_print(f, &out));
    assert_null(strstr(out.data, "hunter2"));
    assert_non_null(strstr(out.data, "(hidden)"));
    td_buf_free(&out);
    flags_free(f);
}

static void wrong_command_lines(void **state)
{
    (void)state;
    FAILS(ARGV(f, &e, "--prot", "1"), "'port'");
    FAILS(ARGV(f, &e, "--zzzzzzzzz"), "not known");
    FAILS(ARGV(f, &e, "--port"), "needs a value");
    FAILS(ARGV(f, &e, "--port", "--ui"), "needs a value");
    FAILS(ARGV(f, &e, "--port", "65536"), "from 0 to 65535");
    FAILS(ARGV(f, &e, "--port", "x"), "whole number");
    FAILS(ARGV(f, &e, "--device", "gpu"), "auto|cpu|cuda");
    FAILS(ARGV(f, &e, "--ids=maybe"), "true or false");
    FAILS(ARGV(f, &e, "--lora"), "adapters are planned");
    FAILS(ARGV(f, &e, "-x"), "-x is not known");
    FAILS(ARGV(f, &e, "-b", "1,,2"), "whole number");
    FAILS(ARGV(f, &e, "-b", "0"), "from 1 to 64");
    flags *other = fresh(OTHER);
    td_err e = TD_ERR_INIT;
    assert_int_equal(ARGV(other, &e, "--port", "1"), TD_E_USAGE);
    assert_non_null(strstr(e.msg, "a flag of `run`, not of `other`"));
    assert_int_equal(ENV(other, NULL, "DEMO_PORT=1"), TD_OK);
    assert_int_equal(config(other, "port: 1", NULL), TD_OK);
    flags_free(other);
}

static void foreign_flags(void **state)
{
    (void)state;
    flags *f = fresh(RUN);
    assert_int_equal(ARGV(f, NULL, "--swap", "4", "--no-lora", "--lora=false", "m"), TD_OK);
    assert_int_equal(flags_operand_count(f), 1);
    flags_free(f);
}

static void environment(void **state)
{
    (void)state;
    FAILS(ENV(f, &e, "DEMO_PROT=1"), "'port'");
    FAILS(ENV(f, &e, "DEMO_PORT=99999"), "DEMO_PORT");
    FAILS(ENV(f, &e, "DEMO_CONFIG=x"), "command line only");
    FAILS(ENV(f, &e, "DEMO_port=1"), "not known");
    flags *f = fresh(RUN);
    assert_int_equal(ENV(f, NULL, "DEMO_PORT=tcp://10.0.0.1:8000", "DEMO_SERVICE_HOST=10.0.0.1",
                         "DEMO_PORT_8000_TCP=tcp://10.0.0.1:8000", "DEMO_PORT_8000_TCP_ADDR=10.0.0.1",
                         "DEMO_DECODE_SERVICE_PORT_HTTP=8000", "DEMO_MAX_MODEL_LEN="),
                     TD_OK);
    assert_int_equal(flags_int(f, "port"), 8000);
    flags_free(f);
}

static void wrong_files(void **state)
{
    (void)state;
    FAILS(config(f, "prot: 1", &e), "demo.yaml:1: prot is not known; did you mean 'port'");
    FAILS(config(f, "\n\nport: 99999", &e), "demo.yaml:3");
    FAILS(config(f, "port: 1\nport: 2", &e), "second time");
    FAILS(config(f, "port: [1, 2]", &e), "one value");
    FAILS(config(f, "prompt: [[1]]", &e), "plain scalar");
    FAILS(config(f, "port: {a: 1}", &e), "plain scalar");
    FAILS(config(f, "port: &a 1", &e), "plain scalar");
    FAILS(config(f, "? [a]\n: 1", &e), "key");
    FAILS(config(f, "- port", &e), "must be a map");
    FAILS(config(f, "port", &e), "must be a map");
    FAILS(config(f, "port: 1\n---\nport: 2", &e), "document");
    FAILS(config(f, "port: 'x", &e), "not YAML");
    FAILS(config(f, "port: \"1\\0\"", &e), "plain scalar");
    FAILS(config(f, "config: x", &e), "command line only");
    FAILS(config(f, "port: \xff\xfe", &e), "not YAML");
    flags *f = fresh(RUN);
    assert_int_equal(config(f, "", NULL), TD_OK);
    assert_int_equal(config(f, "# nothing\n", NULL), TD_OK);
    assert_int_equal(config(f, "port: ~\nui: off\nno-ids: no\nname: a b\npaths: [/a, /b]\nmax_model_len: 1K\n", NULL),
                     TD_OK);
    assert_int_equal(flags_int(f, "port"), 8000);
    assert_false(flags_bool(f, "ui"));
    assert_true(flags_bool(f, "ids"));
    assert_int_equal(flags_int(f, "max-model-len"), 1024);
    const char *const *items;
    assert_int_equal(flags_list(f, "paths", &items), 2);
    flags_free(f);
}

static void help_fits(void **state)
{
    (void)state;
    td_buf out = TD_BUF_INIT;
    size_t hits;
    assert_true(flags_help(&table, RUN, "all", &out, &hits));
    assert_int_equal(hits, TD_COUNT(defs));
    td_buf_clear(&out);
    assert_true(flags_help(&table, RUN, "listen", &out, &hits));
    assert_int_equal(hits, 1);
    assert_true(flags_help(&table, OTHER, NULL, &out, &hits));
    assert_int_equal(hits, TD_COUNT(defs) - 3);
    for (const char *line = out.data; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 82); // 80 columns; an ellipsis takes three bytes
    td_buf_free(&out);
    assert_true(flags_completion(&table, "bash", &out) && flags_completion(&table, "zsh", &out) &&
                flags_completion(&table, "fish", &out));
    assert_false(flags_completion(&table, "tcsh", &out));
    assert_true(flags_man(&table, "1.0", &out) && flags_markdown(&table, &out));
    td_buf_free(&out);
}

/* Neither document has a section with nothing in it; both tell which verbs take a flag. */
static void documents(void **state)
{
    (void)state;
    td_buf out = TD_BUF_INIT;
    assert_true(flags_man(&table, "1.0", &out));
    assert_non_null(strstr(out.data, ".SS Second"));
    assert_null(strstr(out.data, ".SS Foreign")); // the page leaves them out
    assert_null(strstr(out.data, "Empty"));
    assert_non_null(strstr(out.data, "Where to listen. [8000]\n.br\n.I run\n"));
    assert_non_null(strstr(out.data, "Tokens. [auto]\n.TP")); // every verb takes it
    td_buf_free(&out);
    assert_true(flags_markdown(&table, &out));
    assert_non_null(strstr(out.data, "## Foreign"));
    assert_null(strstr(out.data, "Empty"));
    assert_non_null(strstr(out.data, "`--config FILE` (YAML, `max-model-len: 8k`), default."));
    td_buf_free(&out);
    flags_table with = table;
    with.layers = "the weather";
    assert_true(flags_markdown(&with, &out) && strstr(out.data, "`max-model-len: 8k`), the weather, default."));
    td_buf_free(&out);
}

/* A hint is of use only when it leads somewhere: not to another verb's flag, nor to one that is refused. */
static void hints(void **state)
{
    (void)state;
    FAILS(ARGV(f, &e, "--prt", "1"), "did you mean 'port'");
    flags *f = fresh(OTHER);
    td_err e = TD_ERR_INIT;
    assert_int_equal(ARGV(f, &e, "--prt", "1"), TD_E_USAGE);
    assert_null(strstr(e.msg, "port"));
    e = (td_err)TD_ERR_INIT;
    assert_int_equal(ARGV(f, &e, "--lora1"), TD_E_USAGE);
    assert_null(strstr(e.msg, "did you mean"));
    flags_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),          cmocka_unit_test(defaults_and_types), cmocka_unit_test(layers),
        cmocka_unit_test(secrets_stay_hidden), cmocka_unit_test(wrong_command_lines), cmocka_unit_test(foreign_flags),
        cmocka_unit_test(environment),      cmocka_unit_test(wrong_files),        cmocka_unit_test(help_fits),
        cmocka_unit_test(documents),        cmocka_unit_test(hints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
