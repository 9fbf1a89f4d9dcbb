/* safetensors reader: single files, shards, and each way to damage them. */
#include "model/safetensors.h"

#include "model_make.h"

#define GOOD_HEADER                                                                              \
    "{\"__metadata__\":{\"format\":\"pt\"},"                                                     \
    "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},"                         \
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}"

static const char *make_st(const char *name, const char *header, size_t data_bytes)
{
    static char path[256];
    td_buf b = TD_BUF_INIT;
    put_str(&b, header);
    for (size_t i = 0; i < data_bytes; i++)
        td_buf_char(&b, (char)i);
    snprintf(path, sizeof path, "%s", make_file(name, b.data, b.len));
    td_buf_free(&b);
    return path;
}

static void good_file(void **state)
{
    (void)state;
    safetensors *s;
    td_err err = TD_ERR_INIT;
    unsigned char bytes[8];
    assert_int_equal(safetensors_open(make_st("good.safetensors", GOOD_HEADER "  ", 32), &s, &err), TD_OK);
    assert_int_equal(safetensors_tensor_count(s), 2);
    assert_int_equal(safetensors_part_count(s), 1);
    const st_tensor *t = safetensors_tensor_find(s, "b");
    assert_int_equal(t->dtype, ST_BF16);
    assert_string_equal(t->dtype_name, "BF16");
    assert_int_equal(t->dim_count, 1);
    assert_int_equal(t->dims[0], 4);
    assert_int_equal(t->dims[1], 1);
    assert_int_equal(safetensors_read(s, t, 0, bytes, 8, &err), TD_OK);
    assert_int_equal(bytes[0], 24);
    assert_int_equal(safetensors_read(s, t, 6, bytes, 2, &err), TD_OK);
    assert_int_equal(bytes[1], 31);
    assert_ptr_equal(safetensors_tensor_find(s, "a"), safetensors_tensor_at(s, 0)); // by offset
    assert_null(safetensors_tensor_find(s, "c"));
    safetensors_close(s);
}

static void odd_tensors(void **state)
{
    (void)state;
    safetensors *s;
    const char *header = "{\"scalar\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
                         "\"none\":{\"dtype\":\"F16\",\"shape\":[0,9223372036854775807],\"data_offsets\":[8,8]},"
                         "\"fp8\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[8,11]},"
                         "\"fp4\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[11,14]}}";
    assert_int_equal(safetensors_open(make_st("odd.safetensors", header, 14), &s, NULL), TD_OK);
    assert_int_equal(safetensors_tensor_find(s, "scalar")->dim_count, 0);
    assert_int_equal(safetensors_tensor_find(s, "none")->bytes, 0);
    assert_int_equal(safetensors_tensor_find(s, "fp8")->dtype, ST_OTHER);
    assert_string_equal(safetensors_tensor_find(s, "fp8")->dtype_name, "F8_E4M3");
    assert_int_equal(safetensors_tensor_find(s, "fp4")->bytes, 3);
    safetensors_close(s);
    assert_int_equal(safetensors_open(make_st("empty.safetensors", "{}", 0), &s, NULL), TD_OK);
    assert_int_equal(safetensors_tensor_count(s), 0);
    safetensors_close(s);
}

#define A(dtype, shape, offsets) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct bad {
    const char *what, *header;
    size_t data_bytes;
    const char *text; // a part of the message
} bads[] = {
    {"not JSON", "hello", 0, "header"},
    {"empty header", "", 0, "header"},
    {"cut JSON", "{\"a\":{", 0, "header"},
    {"not UTF-8", "{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "header"},
    {"an array", "[]", 0, "not a JSON object"},
    {"trailing garbage", "{}x", 0, "header"},
    {"a number", "{\"a\":1}", 0, "not an object"},
    {"name twice", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                   "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "header"},
    {"empty name", "{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "0 bytes"},
    {"unknown dtype", A("\"F33\"", "[1]", "[0,4]"), 4, "unknown dtype \"F33\""},
    {"dtype a number", A("32", "[1]", "[0,4]"), 4, "unknown dtype"},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "no \"shape\""},
    {"shape a string", A("\"U8\"", "\"1\"", "[0,1]"), 1, "no \"shape\""},
    {"negative dimension", A("\"U8\"", "[-1]", "[0,1]"), 1, "not a whole number"},
    {"fraction", A("\"U8\"", "[1.5]", "[0,1]"), 1, "not a whole number"},
    {"dimension 2^63", A("\"U8\"", "[9223372036854775808]", "[0,1]"), 1, ""},
    {"nine dimensions", A("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, "more than 8"},
    {"shape overflows", A("\"F32\"", "[4194305,4194305,211106198978564]", "[0,4]"), 4, "overflows"},
    {"half a byte", A("\"F4\"", "[3]", "[0,1]"), 1, "whole bytes"},
    {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "data_offsets"},
    {"one offset", A("\"U8\"", "[1]", "[1]"), 1, "data_offsets"},
    {"three offsets", A("\"U8\"", "[1]", "[0,1,2]"), 1, "data_offsets"},
    {"negative offset", A("\"U8\"", "[1]", "[-1,0]"), 1, "data_offsets"},
    {"begin after end", A("\"U8\"", "[1]", "[1,0]"), 1, "lies at [1, 0)"},
    {"beyond the file", A("\"U8\"", "[9]", "[0,9]"), 8, "truncated"},
    {"offsets 2^62", A("\"U8\"", "[1]", "[4611686018427387904,4611686018427387905]"), 1, "truncated"},
    {"size differs", A("\"F32\"", "[2]", "[0,4]"), 4, "by its shape"},
    {"hole before", A("\"U8\"", "[1]", "[1,2]"), 2, "after a hole"},
    {"hole at the end", A("\"U8\"", "[1]", "[0,1]"), 2, "2 bytes of data"},
    {"overlap", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, "inside the tensor before"},
    {"the same bytes", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                       "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "inside the tensor before"},
};

static void faults_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        safetensors *s;
        td_err err = TD_ERR_INIT;
        td_rc rc = safetensors_open(make_st("bad.safetensors", bads[i].header, bads[i].data_bytes), &s, &err);
        if (rc != TD_E_MODEL || err.rc != rc || !strstr(err.msg, bads[i].text) || !strstr(err.msg, "bad.safetensors"))
            fail_msg("%s: rc %d, message \"%s\"", bads[i].what, (int)rc, err.msg);
    }
}

static void header_length(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {UINT64_MAX, 1ull << 63, 1ull << 32, 200u << 20, 9};
    safetensors *s;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        td_buf b = TD_BUF_INIT;
        td_err err = TD_ERR_INIT;
        put_u64(&b, lengths[i]);
        td_buf_str(&b, "{}");
        assert_int_equal(safetensors_open(make_file("bad.safetensors", b.data, b.len), &s, &err), TD_E_MODEL);
        assert_non_null(strstr(err.msg, "a header of"));
        td_buf_free(&b);
    }
    uint64_t length = 101u << 20; // in a file that is large enough, with a hole for most of it
    const char *path = make_file("large.safetensors", &length, sizeof length);
    assert_int_equal(truncate(path, 102 << 20), 0);
    td_err err = TD_ERR_INIT;
    assert_int_equal(safetensors_open(path, &s, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "a header of"));
    assert_int_equal(safetensors_open(make_file("bad.safetensors", "", 0), &s, NULL), TD_E_MODEL);
    assert_int_equal(safetensors_open(make_file("bad.safetensors", "1234567", 7), &s, NULL), TD_E_MODEL);
}

static void truncated_anywhere(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    put_str(&b, GOOD_HEADER);
    td_buf_str(&b, "0123456789abcdef0123456789abcdef");
    for (size_t percent = 0; percent < 100; percent++) {
        safetensors *s;
        const char *path = make_file("cut.safetensors", b.data, b.len * percent / 100);
        assert_int_equal(safetensors_open(path, &s, NULL), TD_E_MODEL);
    }
    td_buf_free(&b);
}

/* ---- shards ---- */

#define U8(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}"
#define U8_TWO(a, b)                                                     \
    "{\"" a "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}," \
    "\"" b "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}"
#define INDEX_NAME "model.safetensors.index.json"

static void make_index(const char *weight_map)
{
    td_buf b = TD_BUF_INIT;
    td_buf_fmt(&b, "{\"metadata\":{\"total_size\":4},\"weight_map\":%s}", weight_map);
    make_file(INDEX_NAME, b.data, b.len);
    td_buf_free(&b);
}

static void make_shards(void)
{
    unlink(make_path("model.safetensors"));
    make_st("m-1.safetensors", U8_TWO("a", "extra"), 4);
    make_st("m-2.safetensors", U8("b"), 2);
    make_index("{\"b\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\"}");
}

static void sharded_model(void **state)
{
    (void)state;
    safetensors *s;
    td_err err = TD_ERR_INIT;
    make_shards();
    const char *paths[] = {make_dir, make_path(INDEX_NAME)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(safetensors_open(paths[i], &s, &err), TD_OK);
        assert_int_equal(safetensors_part_count(s), 2);
        assert_int_equal(safetensors_tensor_count(s), 2); // "extra" is not in the index
        const st_tensor *t = safetensors_tensor_find(s, "a");
        assert_non_null(strstr(safetensors_part_path(s, t->part), "m-1.safetensors"));
        unsigned char bytes[2];
        assert_int_equal(safetensors_read(s, t, 0, bytes, 2, &err), TD_OK);
        assert_int_equal(bytes[1], 1);
        assert_null(safetensors_tensor_find(s, "extra"));
        safetensors_close(s);
    }
}

static void index_faults(void **state)
{
    (void)state;
    static const struct {
        const char *weight_map, *text;
        td_rc rc;
    } cases[] = {
        {"{}", "no \"weight_map\"", TD_E_MODEL},
        {"[]", "no \"weight_map\"", TD_E_MODEL},
        {"{\"a\":\"../../etc/passwd\"}", "not the name of", TD_E_MODEL},
        {"{\"a\":\"../m-1.safetensors\"}", "not the name of", TD_E_MODEL},
        {"{\"a\":\"/m-1.safetensors\"}", "not the name of", TD_E_MODEL},
        {"{\"a\":\"x/m-1.safetensors\"}", "not the name of", TD_E_MODEL},
        {"{\"a\":\".safetensors\"}", "not the name of", TD_E_MODEL},
        {"{\"a\":\"..\"}", "not the name of", TD_E_MODEL},
        {"{\"a\":\"m-1.bin\"}", "not the name of", TD_E_MODEL},
        {"{\"a\":7}", "not the name of", TD_E_MODEL},
        {"{\"a\":\"m-3.safetensors\"}", "m-3.safetensors", TD_E_IO},
        {"{\"c\":\"m-1.safetensors\"}", "does not hold it", TD_E_MODEL},
        {"{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\"}", "which the index gives to", TD_E_MODEL},
        {"{\"a\":\"m-1.safetensors\",\"a\":\"m-2.safetensors\"}", INDEX_NAME, TD_E_MODEL},
    };
    make_shards();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        safetensors *s;
        td_err err = TD_ERR_INIT;
        make_index(cases[i].weight_map);
        td_rc rc = safetensors_open(make_dir, &s, &err);
        if (rc != cases[i].rc || !strstr(err.msg, cases[i].text))
            fail_msg("%s: rc %d, message \"%s\"", cases[i].weight_map, (int)rc, err.msg);
    }
    make_st("m-2.safetensors", U8_TWO("a", "b"), 4); // a lies in both
    make_index("{\"b\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\"}");
    safetensors *s;
    td_err err = TD_ERR_INIT;
    assert_int_equal(safetensors_open(make_dir, &s, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "which the index gives to"));
}

static void where_to_look(void **state)
{
    (void)state;
    safetensors *s;
    td_err err = TD_ERR_INIT;
    make_shards();
    make_st("model.safetensors", U8("single"), 2); // wins over an index, as in the reference library
    assert_int_equal(safetensors_open(make_dir, &s, &err), TD_OK);
    assert_non_null(safetensors_tensor_find(s, "single"));
    safetensors_close(s);
    unlink(make_path("model.safetensors"));
    unlink(make_path(INDEX_NAME));
    assert_int_equal(safetensors_open(make_dir, &s, &err), TD_E_NOTFOUND);
    assert_int_equal(safetensors_open(make_path("absent.safetensors"), &s, NULL), TD_E_IO);
}

static td_rc open_and_read(void *path)
{
    safetensors *s;
    td_err err = TD_ERR_INIT;
    unsigned char v;
    td_rc rc = safetensors_open(path, &s, &err);
    if (rc != TD_OK)
        return rc;
    rc = safetensors_read(s, safetensors_tensor_at(s, 0), 0, &v, sizeof v, &err);
    safetensors_close(s);
    return rc;
}

static void torture(void **state)
{
    (void)state;
    assert_true(make_torture(open_and_read, (void *)make_st("good.safetensors", GOOD_HEADER, 32)) >= 30);
    make_shards();
    assert_true(make_torture(open_and_read, make_dir) >= 50);
}

static void golden_file(void **state)
{
    (void)state;
    safetensors *s;
    td_err err = TD_ERR_INIT;
    assert_int_equal(safetensors_open(TD_TESTS_DIR "/golden/tiny/gemma3", &s, &err), TD_OK);
    const st_tensor *t = safetensors_tensor_find(s, "model.embed_tokens.weight");
    assert_non_null(t);
    assert_int_equal(t->dims[0], 512);
    assert_int_equal(t->dims[1], 64);
    assert_int_equal(t->bytes, 512 * 64 * 4);
    safetensors_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file),          cmocka_unit_test(odd_tensors),   cmocka_unit_test(faults_are_named),
        cmocka_unit_test(header_length),      cmocka_unit_test(truncated_anywhere),
        cmocka_unit_test(sharded_model),      cmocka_unit_test(index_faults),  cmocka_unit_test(where_to_look),
        cmocka_unit_test(torture),            cmocka_unit_test(golden_file),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
