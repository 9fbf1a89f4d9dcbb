/* The parts of run-batch that read and write files: bounded lines, batch lines, resumable results; with failing
 * allocations. */
#include "base/arena.h"
#include "base/check.h"
#include "base/fault.h"
#include "tools/batch_line.h"
#include "tools/batch_out.h"
#include "tools/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tools_batch-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *const names[] = {"in", "out", "out.part", "err", "err.part", "out.part.new"};
    for (size_t i = 0; i < TD_COUNT(names); i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static const char *at(const char *name)
{
    static const char *const names[] = {"in", "out", "out.part", "err", "err.part", "out.part.new"};
    static char path[TD_COUNT(names)][96];
    size_t i = 0;
    while (strcmp(names[i], name))
        i++;
    snprintf(path[i], sizeof path[i], "%s/%s", dir, name);
    return path[i];
}

static int file_of(const char *text, size_t len)
{
    int fd = open(at("in"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, text, len) == (ssize_t)len && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

/* ------------------------------------------------------------------ lines */

static void expect_lines(const char *text, size_t max, const char *const *want)
{
    static lines in;
    int fd = file_of(text, strlen(text));
    lines_init(&in, fd, max);
    for (; *want; want++) {
        lines_result got = lines_next(&in, NULL);
        if (!strcmp(*want, "(too long)")) {
            assert_int_equal(got, LINES_TOO_LONG);
        } else {
            assert_int_equal(got, LINES_OK);
            assert_string_equal(td_buf_cstr(&in.line), *want);
        }
    }
    assert_int_equal(lines_next(&in, NULL), LINES_END);
    assert_int_equal(lines_next(&in, NULL), LINES_END);
    assert_int_equal(in.offset, strlen(text));
    lines_free(&in);
    close(fd);
}
#define LINES(text, max, ...) expect_lines((text), (max), (const char *const[]){__VA_ARGS__, NULL})

static void lines_of_every_kind(void **state)
{
    (void)state;
    LINES("a\nb\n", 10, "a", "b");
    LINES("a\nb", 10, "a", "b");
    LINES("a\r\n\r\n\nb\r\n", 10, "a", "", "", "b");
    LINES("\xef\xbb\xbf" "a\n\xef\xbb\xbf" "b\n", 10, "a", "\xef\xbb\xbf" "b");
    LINES("12345\n123456\n1234567\n1\n", 6, "12345", "123456", "(too long)", "1");
    LINES("1234567", 6, "(too long)");
    expect_lines("", 6, (const char *const[]){NULL});
}

static void a_line_longer_than_memory_costs_nothing(void **state)
{
    (void)state;
    static lines in;
    size_t len = 40 << 20;
    char *text = malloc(len + 2);
    memset(text, 'x', len);
    memcpy(text + len, "\na", 2);
    int fd = file_of(text, len + 2);
    free(text);
    lines_init(&in, fd, 1 << 20);
    assert_int_equal(lines_next(&in, NULL), LINES_TOO_LONG);
    assert_true(in.line.cap <= 4 << 20);
    assert_int_equal(lines_next(&in, NULL), LINES_OK);
    assert_true(in.unterminated && in.number == 2);
    lines_free(&in);
    close(fd);
}

/* ------------------------------------------------------------------ batch lines */

static void body_is_taken_as_written(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"seed\":9007199254740993}}",
        " { \"body\" : {\"seed\":9007199254740993} , "
        "\"url\":\"/v1/completions\",\"x\":[1,{\"body\":2}],\"custom_id\":\"a\"}",
        "{\"x\":\"\\\"body\\\":{}\",\"custom_id\":\"a\",\"n\":-1.5e3,\"b\":true,\"url\":\"/v1/completions\","
        "\"body\":{\"seed\":9007199254740993}}",
    };
    for (size_t i = 0; i < TD_COUNT(texts); i++) {
        batch_line line;
        td_err e = TD_ERR_INIT;
        if (batch_line_read(texts[i], strlen(texts[i]), &line, &e))
            fail_msg("%s", e.msg);
        assert_int_equal(line.body_len, strlen("{\"seed\":9007199254740993}"));
        assert_memory_equal(line.body, "{\"seed\":9007199254740993}", line.body_len);
        assert_string_equal(line.custom_id, "a");
        assert_string_equal(line.url, "/v1/completions");
    }
}

static void bad_lines_keep_their_id(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
        bool has_id;
    } rows[] = {
        {"", "byte 0", false},
        {"[]", "JSON object", false},
        {"{}", "custom_id", false},
        {"{\"custom_id\":\"\"}", "1 to 512", false},
        {"{\"custom_id\":\"i\",\"method\":\"GET\"}", "POST", true},
        {"{\"custom_id\":\"i\",\"url\":\"/v1/x\"}", "url", true},
        {"{\"custom_id\":\"i\",\"url\":\"/v1/completions\"}", "body", true},
        {"{\"custom_id\":\"i\",\"url\":\"/v1/completions\",\"body\":{\"stream\":true}}", "stream", true},
        {"{\"custom_id\":\"i\",\"url\":\"/v1/completions\",\"b\\u006fdy\":{}}", "escapes", true},
    };
    for (size_t i = 0; i < TD_COUNT(rows); i++) {
        batch_line line;
        td_err e = TD_ERR_INIT;
        assert_int_equal(batch_line_read(rows[i].text, strlen(rows[i].text), &line, &e), TD_E_INPUT);
        if (!strstr(e.msg, rows[i].part))
            fail_msg("'%s' does not hold '%s'", e.msg, rows[i].part);
        assert_int_equal(line.has_custom_id, rows[i].has_id);
    }
}

/* ------------------------------------------------------------------ results */

static uint64_t digest(const char *text) { return batch_line_digest(text, strlen(text)); }

/* A result of the line whose whole text is `line`. */
static void put(batch_out *o, bool failed, int number, const char *line)
{
    td_buf b = TD_BUF_INIT;
    td_buf_str(&b, "{\"id\":\"");
    batch_out_id(&b, (uint64_t)number, digest(line));
    td_buf_fmt(&b, "\",\"response\":{\"body\":{\"system_fingerprint\":\"model\"}},\"error\":%s}",
               failed ? "{}" : "null");
    assert_int_equal(batch_out_put(o, (uint64_t)number, failed, &b, NULL), TD_OK);
    td_buf_free(&b);
}

/* The numbers of the lines of a file, as text. */
static const char *numbers(const char *name)
{
    static char out[256];
    static lines in;
    size_t len = 0;
    int fd = open(at(name), O_RDONLY);
    assert_true(fd >= 0);
    lines_init(&in, fd, 1 << 20);
    while (lines_next(&in, NULL) == LINES_OK)
        len += (size_t)snprintf(out + len, sizeof out - len, "%s%d", len ? " " : "",
                                (int)strtol(td_buf_cstr(&in.line) + strlen("{\"id\":\"batch-"), NULL, 10));
    out[len] = 0;
    lines_free(&in);
    close(fd);
    return out;
}

static void tear(const char *name, const char *text)
{
    int fd = open(at(name), O_WRONLY | O_APPEND);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void results_survive_a_kill(void **state)
{
    (void)state;
    batch_out o;
    td_err e = TD_ERR_INIT;
    bool done;
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), false, NULL), TD_OK);
    put(&o, false, 1, "a");
    put(&o, true, 3, "c");
    assert_int_equal(batch_out_close(&o, false, false, NULL), TD_OK);
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), false, &e), TD_E_USAGE);
    assert_non_null(strstr(e.msg, "--resume"));
    batch_out_close(&o, false, false, NULL);
    tear("out.part", "{\"id\":\"batch-2\",\"cus");
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), true, NULL), TD_OK);
    assert_int_equal(o.done_count, 1);
    assert_int_equal(o.failed_count, 1);
    assert_true(batch_out_is_done(&o, 1, digest("a"), &done, NULL) == TD_OK && done);
    assert_true(batch_out_is_done(&o, 2, digest("b"), &done, NULL) == TD_OK && !done);
    assert_true(batch_out_is_done(&o, 3, digest("c"), &done, NULL) == TD_OK && !done); // failed: tried again
    assert_true(batch_out_is_done(&o, 3, digest("mended"), &done, NULL) == TD_OK && !done);
    assert_int_equal(batch_out_is_done(&o, 1, digest("A"), &done, NULL), TD_E_USAGE);
    put(&o, false, 3, "c");
    put(&o, false, 2, "b");
    assert_int_equal(batch_out_close(&o, true, false, NULL), TD_OK);
    assert_string_equal(numbers("out"), "1 3 2");
    assert_string_equal(numbers("err"), "");
    assert_int_equal(access(at("out.part"), F_OK), -1);
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), true, NULL), TD_OK); // a finished run
    assert_int_equal(o.done_count, 3);
    assert_int_equal(batch_out_close(&o, true, true, NULL), TD_OK);
    assert_string_equal(numbers("out"), "1 2 3");
    assert_int_equal(access(at("out.part.new"), F_OK), -1);
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), true, NULL), TD_OK);
    assert_int_equal(batch_out_close(&o, false, false, NULL), TD_OK); // nothing was written: as it was
    assert_string_equal(numbers("out"), "1 2 3");
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), true, NULL), TD_OK);
    put(&o, false, 4, "d");
    assert_int_equal(batch_out_close(&o, false, false, NULL), TD_OK);
    tear("out.part", "{\"id\":\"chatcmpl-1\"}\n");
    e = (td_err)TD_ERR_INIT;
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), true, &e), TD_E_INPUT);
    batch_out_close(&o, false, false, NULL);
    unlink(at("out.part"));
    unlink(at("err.part"));
    unlink(at("err"));
}

/* Failed lines of any number of runs, in one file or two, are left out at the end; done ones are there once. */
static void failed_lines_are_tried_again(void **state)
{
    (void)state;
    batch_out o;
    td_err e = TD_ERR_INIT;
    bool done;
    assert_int_equal(batch_out_open(&o, at("out"), NULL, false, NULL), TD_OK);
    put(&o, true, 2, "b");
    put(&o, false, 1, "a");
    put(&o, true, 5, "e");
    assert_int_equal(batch_out_close(&o, false, true, NULL), TD_OK);
    assert_int_equal(batch_out_open(&o, at("out"), NULL, true, NULL), TD_OK);
    put(&o, true, 2, "b");
    put(&o, false, 5, "e");
    assert_int_equal(batch_out_close(&o, false, true, NULL), TD_OK);
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), true, NULL), TD_OK);
    assert_int_equal(o.done_count, 2);
    assert_int_equal(o.failed_count, 1);
    assert_true(batch_out_is_done(&o, 5, digest("e"), &done, NULL) == TD_OK && done);
    put(&o, false, 4, "d");
    put(&o, false, 3, "c");
    put(&o, true, 2, "b");
    assert_int_equal(batch_out_close(&o, true, true, NULL), TD_OK);
    assert_string_equal(numbers("out"), "1 3 4 5");
    assert_string_equal(numbers("err"), "2");
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), true, NULL), TD_OK);
    batch_out other;
    assert_int_equal(batch_out_open(&other, at("out"), NULL, true, &e), TD_E_USAGE); // two at once
    assert_non_null(strstr(e.msg, "another run"));
    batch_out_close(&other, false, false, NULL);
    put(&o, false, 2, "b");
    assert_int_equal(batch_out_close(&o, true, false, NULL), TD_OK);
    assert_string_equal(numbers("out"), "1 3 4 5 2");
    assert_string_equal(numbers("err"), "");
    e = (td_err)TD_ERR_INIT;
    assert_int_equal(batch_out_open(&o, at("out"), at("out"), false, &e), TD_E_USAGE);
    batch_out_close(&o, false, false, NULL);
    e = (td_err)TD_ERR_INIT;
    assert_int_equal(batch_out_open(&o, at("out"), NULL, false, &e), TD_E_USAGE); // a new run over a finished one
    assert_non_null(strstr(e.msg, "--resume"));
    batch_out_close(&o, false, false, NULL);
    assert_string_equal(numbers("out"), "1 3 4 5 2");
    assert_int_equal(access(at("out.part"), F_OK), -1);
    unlink(at("out"));
    unlink(at("err"));
}

static td_rc check_input(const batch_out *o, const char *text, td_err *err)
{
    static lines in;
    int fd = file_of(text, strlen(text));
    lines_init(&in, fd, 1 << 20);
    *err = (td_err)TD_ERR_INIT;
    td_rc rc = batch_out_check_input(o, &in, err);
    lines_free(&in);
    close(fd);
    return rc;
}

/* Results go with the input and the model that they were made from, whatever custom ids say. */
static void another_input_or_model_is_noticed(void **state)
{
    (void)state;
    batch_out o;
    td_err e = TD_ERR_INIT;
    assert_int_equal(batch_out_open(&o, at("out"), NULL, false, NULL), TD_OK);
    put(&o, false, 1, "a");
    put(&o, true, 2, "b");
    put(&o, false, 4, "d");
    batch_out_close(&o, false, false, NULL);
    assert_int_equal(batch_out_open(&o, at("out"), NULL, true, NULL), TD_OK);
    static const struct {
        const char *text, *part; // NULL: the same input
    } rows[] = {
        {"a\nb\nc\nd\ne\n", NULL},     {"a\r\nb\r\n\r\nd", NULL},    {"a\nmended\nc\nd\n", NULL},
        {"A\nb\nc\nd\n", "line 1 is"}, {"a\nc\nd\n", "line 4 is not"}, {"a\nb\nc\nc\nd\n", "line 4 is another"},
        {"", "line 4 is not"},
    };
    for (size_t i = 0; i < TD_COUNT(rows); i++) {
        assert_int_equal(check_input(&o, rows[i].text, &e), rows[i].part ? TD_E_USAGE : TD_OK);
        if (rows[i].part && !strstr(e.msg, rows[i].part))
            fail_msg("'%s' does not hold '%s'", e.msg, rows[i].part);
    }
    assert_int_equal(batch_out_check_model(&o, "model", NULL), TD_OK);
    assert_int_equal(batch_out_check_model(&o, "other", NULL), TD_E_USAGE);
    batch_out_close(&o, false, false, NULL);
    tear("out.part", "{\"id\":\"batch-9-0123456789abcdef\",\"response\":{\"body\":{\"system_fingerprint\":\"x\"}}}\n");
    assert_int_equal(batch_out_open(&o, at("out"), NULL, true, NULL), TD_E_USAGE); // of two models
    batch_out_close(&o, false, false, NULL);
    unlink(at("out.part"));
}

/* A run that was killed before its first result is no earlier run. */
static void an_empty_file_is_in_nobodys_way(void **state)
{
    (void)state;
    batch_out o;
    close(open(at("out.part"), O_WRONLY | O_CREAT, 0600));
    close(open(at("out"), O_WRONLY | O_CREAT, 0600));
    assert_int_equal(batch_out_open(&o, at("out"), NULL, false, NULL), TD_OK);
    put(&o, false, 1, "a");
    assert_int_equal(batch_out_close(&o, true, false, NULL), TD_OK);
    assert_string_equal(numbers("out"), "1");
    unlink(at("out"));
}

static void results_are_synced_within_a_second(void **state)
{
    (void)state;
    batch_out o;
    assert_int_equal(batch_out_open(&o, at("out"), at("err"), false, NULL), TD_OK);
    put(&o, false, 1, "a");
    put(&o, true, 2, "b");
    assert_true(o.results.dirty && o.errors.dirty);
    assert_int_equal(batch_out_sync(&o, false, NULL), TD_OK);
    assert_true(o.results.dirty && o.errors.dirty); // not yet due
    o.synced_ns -= 1000000000;
    assert_int_equal(batch_out_sync(&o, false, NULL), TD_OK);
    assert_true(!o.results.dirty && !o.errors.dirty);
    batch_out_close(&o, false, false, NULL);
    unlink(at("out.part"));
    unlink(at("err.part"));
}

static void failing_allocations(void **state)
{
    (void)state;
    static const char text[] = "{\"custom_id\":\"a\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}";
    uint64_t hits;
    for (uint64_t n = 1;; n++) {
        batch_out o;
        batch_line line;
        td_err e = TD_ERR_INIT;
        td_fault_arm(TD_FAULT_ALLOC, n, true);
        td_rc a = batch_line_read(text, sizeof text - 1, &line, &e);
        e = (td_err)TD_ERR_INIT;
        td_rc b = batch_out_open(&o, at("out"), NULL, true, &e);
        td_buf result = TD_BUF_INIT;
        td_buf_str(&result, "{\"id\":\"batch-1-0123456789abcdef\",\"custom_id\":\"a\"}");
        td_rc c = b ? TD_OK : batch_out_put(&o, 1, false, &result, NULL);
        td_buf_free(&result);
        batch_out_close(&o, false, false, NULL);
        hits = td_fault_count(TD_FAULT_ALLOC);
        td_fault_arm(TD_FAULT_ALLOC, 0, false);
        assert_true(!a || a == TD_E_NOMEM);
        assert_true(!b || b == TD_E_NOMEM);
        assert_true(!c || c == TD_E_NOMEM);
        if (!hits)
            break;
    }
    unlink(at("out.part"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_every_kind),     cmocka_unit_test(a_line_longer_than_memory_costs_nothing),
        cmocka_unit_test(body_is_taken_as_written), cmocka_unit_test(bad_lines_keep_their_id),
        cmocka_unit_test(results_survive_a_kill),  cmocka_unit_test(failed_lines_are_tried_again),
        cmocka_unit_test(another_input_or_model_is_noticed), cmocka_unit_test(an_empty_file_is_in_nobodys_way),
        cmocka_unit_test(results_are_synced_within_a_second), cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
