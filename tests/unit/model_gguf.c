/* GGUF reader: a good file gives back what was written, and each way to damage it is refused with its name. */
#include "model/gguf.h"

#include "model_make.h"

/* What is wrong with a file. X(fault, a part of the message) */
#define FAULTS(X)                                            \
    X(MAGIC, "does not begin with")                          \
    X(VERSION_0, "version 0")                                \
    X(VERSION_1, "convert the model again")                  \
    X(VERSION_4, "version 4")                                \
    X(VERSION_BE, "big-endian")                              \
    X(TENSORS_NEGATIVE, "claims -1 tensors")                 \
    X(TENSORS_MANY, "claims 900000 tensors")                 \
    X(KEYS_NEGATIVE, "claims -1 metadata keys")              \
    X(KEYS_MANY, "claims 900000 metadata keys")              \
    X(KEYS_ONE_MORE, "")                                     \
    X(KEY_LENGTH, "ends inside a key")                       \
    X(KEY_EMPTY, "0 bytes")                                  \
    X(KEY_LONG, "300 bytes")                                 \
    X(KEY_NUL, "not UTF-8")                                  \
    X(KEY_UTF8, "not UTF-8")                                 \
    X(KEY_TYPE, "unknown type 13")                           \
    X(KEY_TWICE, "appears twice")                            \
    X(STRING_LENGTH, "ends inside name")                     \
    X(STRING_UTF8, "not UTF-8")                              \
    X(STRING_NUL, "not UTF-8")                               \
    X(ARRAY_TYPE, "unknown")                                 \
    X(ARRAY_NESTED, "array again")                           \
    X(ARRAY_COUNT, "at most")                                \
    X(ARRAY_CUT, "ends inside")                              \
    X(ARRAY_STRINGS_CUT, "ends inside")                      \
    X(ARRAY_ELEMENT_LENGTH, "ends inside")                   \
    X(ALIGN_0, "power of two")                               \
    X(ALIGN_13, "power of two")                              \
    X(ALIGN_HUGE, "power of two")                            \
    X(ALIGN_TYPE, "not uint32")                              \
    X(ALIGN_INCONSISTENT, "lies at offset")                  \
    X(TENSOR_NAME_LENGTH, "ends inside a tensor's name")     \
    X(TENSOR_NAME_EMPTY, "0 bytes")                          \
    X(TENSOR_NAME_LONG, "300 bytes")                         \
    X(TENSOR_TWICE, "appears twice")                         \
    X(DIMS_9, "9 dimensions")                                \
    X(DIMS_HUGE, "4294967295 dimensions")                    \
    X(DIM_0, "0 as dimension")                               \
    X(DIM_NEGATIVE, "-1 as dimension")                       \
    X(DIMS_OVERFLOW, "overflows")                            \
    X(BYTES_OVERFLOW, "overflows")                           \
    X(ROW_NOT_BLOCKS, "not a multiple")                      \
    X(OFFSET_UNALIGNED, "lies at offset")                    \
    X(OFFSET_BEYOND, "lies at offset")                       \
    X(OFFSET_OVERLAP, "lies at offset")                      \
    X(OFFSET_HOLE, "lies at offset")                         \
    X(TENSOR_BEYOND, "ends inside tensor")                   \
    X(DATA_CUT, "ends inside tensor")                        \
    X(SPLIT_COUNT_0, "split.count")                          \
    X(SPLIT_COUNT_MANY, "split.count")                       \
    X(SPLIT_NAME, "must end in")                             \
    X(SPLIT_NOT_FIRST, "open its first part")

typedef enum fault {
    GOOD,
#define X(name, text) name,
    FAULTS(X)
#undef X
    FAULT_COUNT
} fault;

static const char *const fault_names[] = {"GOOD",
#define X(name, text) #name,
    FAULTS(X)
#undef X
};

static const char *const fault_texts[] = {"",
#define X(name, text) text,
    FAULTS(X)
#undef X
};

enum { KEYS = 8, TENSORS = 3 };

static void put_faulty_header(td_buf *b, fault f)
{
    static const uint32_t versions[] = {[VERSION_0] = 0, [VERSION_1] = 1, [VERSION_4] = 4, [VERSION_BE] = 3u << 24};
    td_buf_add(b, f == MAGIC ? "GGUG" : "GGUF", 4);
    put_u32(b, f >= VERSION_0 && f <= VERSION_BE ? versions[f] : 3);
    put_u64(b, f == TENSORS_NEGATIVE ? UINT64_MAX : f == TENSORS_MANY ? 900000 : TENSORS);
    bool split = f >= SPLIT_COUNT_0;
    put_u64(b, f == KEYS_NEGATIVE  ? UINT64_MAX
               : f == KEYS_MANY    ? 900000u
                                   : KEYS + (unsigned)(f == KEYS_ONE_MORE) + 2u * split);
}

static void put_faulty_key(td_buf *b, fault f)
{
    char longest[300];
    memset(longest, 'k', sizeof longest);
    if (f == KEY_LENGTH)
        put_u64(b, UINT64_MAX);
    else if (f == KEY_EMPTY)
        put_str(b, "");
    else if (f == KEY_LONG)
        put_strn(b, longest, sizeof longest);
    else if (f == KEY_NUL)
        put_strn(b, "na\0me", 5);
    else if (f == KEY_UTF8)
        put_str(b, "na\xffme");
    else
        put_str(b, "name");
    put_u32(b, f == KEY_TYPE ? 13 : 8);
    if (f == STRING_LENGTH)
        put_u64(b, UINT64_MAX);
    else if (f == STRING_UTF8)
        put_str(b, "\xc0\xaf");
    else if (f == STRING_NUL)
        put_strn(b, "a\0b", 3);
    else
        put_str(b, "hello");
}

static void put_arrays(td_buf *b, fault f)
{
    put_key(b, "tokens", 9);
    put_u32(b, f == ARRAY_TYPE ? 77 : f == ARRAY_NESTED ? 9 : 8);
    put_u64(b, f == ARRAY_COUNT ? UINT64_MAX : f == ARRAY_STRINGS_CUT ? 1000000 : 3);
    put_str(b, "one");
    if (f == ARRAY_ELEMENT_LENGTH)
        put_u64(b, UINT64_MAX - 7);
    else
        put_strn(b, "t\0\xff", 3);
    put_str(b, "");
    put_key(b, "scores", 9);
    put_u32(b, 6);
    put_u64(b, f == ARRAY_CUT ? 1000000 : 2);
    float scores[] = {1.5f, -2};
    td_buf_add(b, scores, sizeof scores);
}

static void put_keys(td_buf *b, fault f)
{
    put_faulty_key(b, f);
    put_arrays(b, f);
    put_key_u32(b, f == KEY_TWICE ? "name" : "count", 42);
    put_key(b, "negative", 5);
    put_u32(b, (uint32_t)-7);
    put_key(b, "big", 10);
    put_u64(b, UINT64_MAX);
    put_key(b, "yes", 7);
    td_buf_char(b, 1);
    if (f == ALIGN_TYPE) {
        put_key(b, "general.alignment", 10);
        put_u64(b, 32);
    } else {
        put_key_u32(b, "general.alignment", f == ALIGN_0              ? 0
                                            : f == ALIGN_13           ? 13
                                            : f == ALIGN_HUGE         ? 1u << 31
                                            : f == ALIGN_INCONSISTENT ? 128
                                                                      : 32);
    }
    if (f < SPLIT_COUNT_0)
        return;
    put_key_u32(b, "split.count", f == SPLIT_COUNT_0 ? 0 : f == SPLIT_COUNT_MANY ? 70000 : 3);
    put_key_u32(b, "split.no", f == SPLIT_NOT_FIRST ? 2 : 0);
}

/* The second of three tensors, the faulty one: 3 rows of 64 Q8_0 values, 204 bytes at 32. */
static void put_faulty_tensor(td_buf *b, fault f)
{
    char longest[300];
    memset(longest, 't', sizeof longest);
    if (f == TENSOR_NAME_LENGTH)
        put_u64(b, UINT64_MAX);
    else if (f == TENSOR_NAME_EMPTY)
        put_str(b, "");
    else if (f == TENSOR_NAME_LONG)
        put_strn(b, longest, sizeof longest);
    else
        put_str(b, f == TENSOR_TWICE ? "first" : "second");
    put_u32(b, f == DIMS_9 ? 9 : f == DIMS_HUGE ? UINT32_MAX : 2);
    uint64_t dims[9] = {64, 3, 1, 1, 1, 1, 1, 1, 1};
    if (f == DIM_0)
        dims[1] = 0;
    else if (f == DIM_NEGATIVE)
        dims[1] = UINT64_MAX;
    else if (f == DIMS_OVERFLOW)
        dims[0] = 1ull << 62, dims[1] = 1ull << 62;
    else if (f == BYTES_OVERFLOW)
        dims[0] = 1ull << 40, dims[1] = (1ull << 23) - 1;
    else if (f == ROW_NOT_BLOCKS)
        dims[0] = 63;
    else if (f == TENSOR_BEYOND)
        dims[1] = 1 << 20;
    td_buf_add(b, dims, (f == DIMS_9 ? 9 : 2) * sizeof *dims);
    put_u32(b, 8);
    put_u64(b, f == OFFSET_UNALIGNED  ? 33
               : f == OFFSET_BEYOND   ? UINT64_MAX - 31
               : f == OFFSET_OVERLAP  ? 0
               : f == OFFSET_HOLE     ? 64
                                      : 32);
}

static void put_data(td_buf *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        td_buf_char(b, (char)i);
}

static void make(td_buf *b, fault f)
{
    put_faulty_header(b, f);
    put_keys(b, f);
    put_tensor(b, "first", 1, (const uint64_t[]){5}, 0, 0);
    put_faulty_tensor(b, f);
    put_tensor(b, "third", 3, (const uint64_t[]){2, 2, 2}, 30, f == TENSOR_BEYOND ? 1 << 26 : 32 + 224);
    put_pad(b, 32);
    put_data(b, 32 + 224 + 16 - (f == DATA_CUT));
}

static void good_file(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    gguf *g;
    td_err err = TD_ERR_INIT;
    make(&b, GOOD);
    assert_int_equal(gguf_open(make_file("good.gguf", b.data, b.len), &g, &err), TD_OK);
    assert_int_equal(gguf_version(g), 3);
    assert_int_equal(gguf_part_count(g), 1);
    assert_int_equal(gguf_file_bytes(g), b.len);
    assert_int_equal(gguf_tensor_count(g), 3);
    assert_int_equal(gguf_key_count(g), KEYS);
    const gguf_tensor *t = gguf_tensor_find(g, "second");
    assert_ptr_equal(t, gguf_tensor_at(g, 1));
    assert_int_equal(t->bytes, 3 * 2 * 34);
    assert_int_equal(t->dims[0], 64);
    assert_int_equal(t->dims[7], 1);
    assert_string_equal(gguf_type_name(t->ggml_type), "Q8_0");
    unsigned char bytes[204];
    assert_int_equal(gguf_read(g, t, 0, bytes, sizeof bytes, &err), TD_OK);
    assert_int_equal(bytes[0], 32);
    assert_int_equal(gguf_read(g, t, 200, bytes, 4, &err), TD_OK);
    assert_int_equal(bytes[3], 32 + 203);
    assert_null(gguf_tensor_find(g, "fourth"));
    gguf_close(g);
    td_buf_free(&b);
}

static void good_keys(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    gguf *g;
    gguf_type type;
    size_t count;
    make(&b, GOOD);
    assert_int_equal(gguf_open(make_file("good.gguf", b.data, b.len), &g, NULL), TD_OK);
    assert_string_equal(gguf_get_str(g, "name"), "hello");
    assert_null(gguf_get_str(g, "count"));
    assert_int_equal(gguf_get_int(g, "count", 0), 42);
    assert_int_equal(gguf_get_int(g, "negative", 0), -7);
    assert_int_equal(gguf_get_int(g, "big", -3), -3); // beyond int64
    assert_true(gguf_get_num(g, "big", 0) == 18446744073709551616.0);
    assert_true(gguf_get_bool(g, "yes", false));
    assert_int_equal(gguf_get_int(g, "missing", 9), 9);
    assert_int_equal(gguf_get_int(g, "name", 9), 9);
    assert_true(gguf_has(g, "yes") && !gguf_has(g, "no"));
    assert_true(gguf_arr_type(g, "tokens", &type, &count) && type == GGUF_STR && count == 3);
    assert_string_equal(gguf_arr_str(g, "tokens", 0).s, "one");
    gguf_str raw = gguf_arr_str(g, "tokens", 1);
    assert_int_equal(raw.len, 3);
    assert_memory_equal(raw.s, "t\0\xff\0", 4);
    assert_int_equal(gguf_arr_str(g, "tokens", 2).len, 0);
    assert_int_equal(gguf_arr_str(g, "tokens", 3).len, 0);
    assert_int_equal(gguf_arr_count(g, "scores", GGUF_F32), 2);
    assert_int_equal(gguf_arr_count(g, "scores", GGUF_I32), 0);
    assert_true(gguf_arr_num(g, "scores", 1) == -2);
    assert_true(gguf_arr_num(g, "scores", 2) == 0);
    float second;
    memcpy(&second, (const char *)gguf_arr_data(g, "scores", GGUF_F32) + 4, sizeof second);
    assert_true(second == -2);
    assert_null(gguf_arr_data(g, "tokens", GGUF_STR));
    gguf_close(g);
    td_buf_free(&b);
}

static void faults_are_named(void **state)
{
    (void)state;
    for (fault f = GOOD + 1; f < FAULT_COUNT; f++) {
        td_buf b = TD_BUF_INIT;
        td_err err = TD_ERR_INIT;
        gguf *g;
        make(&b, f);
        const char *path = make_file("bad.gguf", b.data, b.len);
        td_rc rc = gguf_open(path, &g, &err);
        bool version = f >= VERSION_0 && f <= VERSION_BE;
        if (rc != (version ? TD_E_UNSUPPORTED : TD_E_MODEL) || !strstr(err.msg, fault_texts[f]) ||
            !strstr(err.msg, path))
            fail_msg("%s: rc %d, message \"%s\"", fault_names[f], (int)rc, err.msg);
        td_buf_free(&b);
    }
}

static void truncated_anywhere(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    make(&b, GOOD);
    for (size_t percent = 0; percent < 100; percent++) {
        gguf *g;
        td_err err = TD_ERR_INIT;
        const char *path = make_file("cut.gguf", b.data, b.len * percent / 100);
        assert_int_equal(gguf_open(path, &g, &err), TD_E_MODEL);
        assert_non_null(strstr(err.msg, "cut.gguf"));
    }
    td_buf_free(&b);
}

static void unknown_type_is_listed(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    gguf *g;
    put_header(&b, 2, 2, 0);
    put_tensor(&b, "odd", 1, (const uint64_t[]){7}, 4, 0);
    put_tensor(&b, "after", 1, (const uint64_t[]){4}, 24, 64);
    put_pad(&b, 32);
    put_data(&b, 96);
    assert_int_equal(gguf_open(make_file("odd.gguf", b.data, b.len), &g, NULL), TD_OK);
    assert_int_equal(gguf_tensor_at(g, 0)->bytes, 0);
    assert_null(gguf_type_name(gguf_tensor_at(g, 0)->ggml_type));
    assert_int_equal(gguf_tensor_at(g, 1)->bytes, 4);
    gguf_close(g);
    td_buf_free(&b);
}

static void too_many_elements(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    gguf *g;
    td_err err = TD_ERR_INIT;
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "odd", 2, (const uint64_t[]){1ull << 62, 3}, 4, 0); // fits in 64 bits, not in a signed count
    put_pad(&b, 32);
    assert_int_equal(gguf_open(make_file("odd.gguf", b.data, b.len), &g, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "overflows"));
    td_buf_free(&b);
}

static void block_sizes(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, elems, bytes;
    } rows[] = {{0, 1, 4},     {1, 1, 2},      {2, 32, 18},    {8, 32, 34},   {10, 256, 84}, {11, 256, 110},
                {12, 256, 144}, {13, 256, 176}, {14, 256, 210}, {23, 256, 136}, {30, 1, 2},   {39, 32, 17}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t elems, bytes;
        assert_true(gguf_type_block(rows[i].type, &elems, &bytes));
        assert_int_equal(elems, rows[i].elems);
        assert_int_equal(bytes, rows[i].bytes);
    }
    uint32_t elems, bytes;
    assert_false(gguf_type_block(4, &elems, &bytes));
    assert_false(gguf_type_block(1000, &elems, &bytes));
}

/* ---- split models ---- */

static void make_part(td_buf *b, uint32_t no, uint32_t count, uint32_t tensors, const char *name)
{
    td_buf_clear(b);
    put_header(b, 3, 1, 3);
    put_key_u32(b, "split.no", no);
    put_key_u32(b, "split.count", count);
    put_key_u32(b, "split.tensors.count", tensors);
    put_tensor(b, name, 1, (const uint64_t[]){4}, 24, 0);
    put_pad(b, 32);
    put_u32(b, no);
}

static const char *make_split(uint32_t sister_no, uint32_t tensors, const char *sister_name)
{
    td_buf b = TD_BUF_INIT;
    make_part(&b, sister_no, 2, tensors, sister_name);
    make_file("m-00002-of-00002.gguf", b.data, b.len);
    make_part(&b, 0, 2, tensors, "a");
    const char *path = make_file("m-00001-of-00002.gguf", b.data, b.len);
    td_buf_free(&b);
    return path;
}

static void split_model(void **state)
{
    (void)state;
    gguf *g;
    td_err err = TD_ERR_INIT;
    uint32_t no;
    assert_int_equal(gguf_open(make_split(1, 2, "b"), &g, &err), TD_OK);
    assert_int_equal(gguf_part_count(g), 2);
    assert_non_null(strstr(gguf_part_path(g, 1), "m-00002-of-00002.gguf"));
    const gguf_tensor *t = gguf_tensor_find(g, "b");
    assert_int_equal(t->part, 1);
    assert_int_equal(gguf_read(g, t, 0, &no, sizeof no, &err), TD_OK);
    assert_int_equal(no, 1);
    gguf_close(g);
}

static void split_lies(void **state)
{
    (void)state;
    gguf *g;
    td_err err = TD_ERR_INIT;
    assert_int_equal(gguf_open(make_split(0, 2, "b"), &g, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "expected 2 of 2"));
    err = (td_err)TD_ERR_INIT;
    assert_int_equal(gguf_open(make_split(1, 3, "b"), &g, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "split.tensors.count is 3"));
    err = (td_err)TD_ERR_INIT;
    assert_int_equal(gguf_open(make_split(1, 2, "a"), &g, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "appears twice"));
    err = (td_err)TD_ERR_INIT;
    const char *path = make_split(1, 2, "b");
    unlink(make_path("m-00002-of-00002.gguf"));
    assert_int_equal(gguf_open(path, &g, &err), TD_E_IO);
    assert_non_null(strstr(err.msg, "m-00002-of-00002.gguf"));
}

static void not_a_file(void **state)
{
    (void)state;
    gguf *g;
    assert_int_equal(gguf_open(make_path("missing.gguf"), &g, NULL), TD_E_IO);
    assert_int_equal(gguf_open(make_dir, &g, NULL), TD_E_IO);
    assert_int_equal(mkfifo(make_path("fifo.gguf"), 0600), 0);
    assert_int_equal(gguf_open(make_path("fifo.gguf"), &g, NULL), TD_E_IO);
}

static td_rc open_and_read(void *path)
{
    gguf *g;
    td_err err = TD_ERR_INIT;
    uint32_t v;
    td_rc rc = gguf_open(path, &g, &err);
    if (rc != TD_OK)
        return rc;
    rc = gguf_read(g, gguf_tensor_at(g, 0), 0, &v, sizeof v, &err);
    gguf_close(g);
    return rc;
}

static void torture(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    make(&b, GOOD);
    assert_true(make_torture(open_and_read, (void *)make_file("good.gguf", b.data, b.len)) >= 6);
    assert_true(make_torture(open_and_read, (void *)make_split(1, 2, "b")) >= 10);
    td_buf_free(&b);
}

static void large_vocabulary(void **state)
{
    (void)state;
    enum { COUNT = 262144 };
    td_buf b = TD_BUF_INIT;
    gguf *g;
    char token[32];
    put_header(&b, 3, 0, 1);
    put_key(&b, "tokens", 9);
    put_u32(&b, 8);
    put_u64(&b, COUNT);
    for (int i = 0; i < COUNT; i++) {
        snprintf(token, sizeof token, "token%d", i);
        put_str(&b, token);
    }
    assert_int_equal(gguf_open(make_file("vocab.gguf", b.data, b.len), &g, NULL), TD_OK);
    assert_int_equal(gguf_arr_count(g, "tokens", GGUF_STR), COUNT);
    assert_string_equal(gguf_arr_str(g, "tokens", COUNT - 1).s, token);
    gguf_close(g);
    td_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file),          cmocka_unit_test(good_keys),
        cmocka_unit_test(faults_are_named),   cmocka_unit_test(truncated_anywhere),
        cmocka_unit_test(unknown_type_is_listed), cmocka_unit_test(too_many_elements),
        cmocka_unit_test(block_sizes),
        cmocka_unit_test(split_model),        cmocka_unit_test(split_lies),
        cmocka_unit_test(not_a_file),         cmocka_unit_test(torture),
        cmocka_unit_test(large_vocabulary),
    };
    return cmocka_run_group_tests(tests, make_setup, make_teardown);
}
