/* golden.h - what the tests of golden answers share: reading the files. Include after cmocka. */
#ifndef TD_TESTS_GOLDEN_H
#define TD_TESTS_GOLDEN_H

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"

#include <stdio.h>

/* tests/golden/DIR/NAME as JSON; the test fails when it cannot be read. */
static inline td_json *golden_load(const char *dir, const char *name)
{
    char path[512], *text = NULL;
    size_t len;
    td_err err = TD_ERR_INIT;
    td_json *j = NULL;
    snprintf(path, sizeof path, TD_TESTS_DIR "/golden/%s/%s", dir, name);
    if (td_file_read(path, 1 << 26, &text, &len, &err) || td_json_parse(text, len, &td_json_file_limits, &j, &err))
        fail_msg("%s: %s", path, err.msg);
    td_free(text);
    return j;
}

/* The whole numbers of an array; returns how many. */
static inline int32_t golden_ints(const td_json *arr, int32_t *out, int32_t cap)
{
    int32_t n = 0;
    td_json_each(it, arr)
    {
        int64_t v;
        assert_true(td_json_int(it, &v) && n < cap);
        out[n++] = (int32_t)v;
    }
    return n;
}

#endif
