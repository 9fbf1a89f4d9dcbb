/* A stream of tokens gives the same text as all of them at once, never half a character, however it is cut. */
#include "base/hash.h"
#include "base/utf8.h"
#include "model/detok.h"

#include "tok_make.h"

/* All bytes as letters, and some tokens that begin or end inside a character. */
static tokenizer *byte_level(void)
{
    td_buf b = TD_BUF_INIT;
    td_buf_str(&b, "{\"added_tokens\":[{\"id\":300,\"content\":\"<|end|>\",\"special\":true}],\"decoder\":{\"type\":"
                   "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
    for (int i = 0; i < 256; i++) {
        char two[2];
        size_t n = tok_byte_letter((uint8_t)i, two);
        td_buf_char(&b, '"');
        if (two[0] == '"' || two[0] == '\\')
            td_buf_char(&b, '\\');
        td_buf_add(&b, two, n);
        td_buf_fmt(&b, "\":%d,", i);
    }
    td_buf_str(&b, "\"\xC3\xB0\xC5\x81\xC4\xBA\":256,\"\xC4\xA0\xC3\xA2\":257,\"not a letter \xE6\xBC\xA2\":258}}}");
    td_err err = TD_ERR_INIT;
    tokenizer *t = tok_from_text(b.data, &err);
    if (!t)
        fail_msg("%s", err.msg);
    td_buf_free(&b);
    return t;
}

static tokenizer *with_decoder(const char *decoder)
{
    td_buf b = TD_BUF_INIT;
    td_buf_fmt(&b,
               "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],\"decoder\":%s,\"model\":{\"type\":"
               "\"BPE\",\"merges\":[],\"vocab\":{\"<s>\":0,\"\xE2\x96\x81\":1,\"\xE2\x96\x81" "a\":2,\"b\":3,"
               "\"<0xE2>\":4,"
               "\"<0x96>\":5,\"<0x81>\":6,\"<0x20>\":7,\"\xE6\xBC\xA2\":8,\"\xE2\x96\x81\xE2\x96\x81\":9,"
               "\"<0xC3>\":10}}}",
               decoder);
    td_err err = TD_ERR_INIT;
    tokenizer *t = tok_from_text(b.data, &err);
    if (!t)
        fail_msg("%s", err.msg);
    td_buf_free(&b);
    return t;
}

static void stream_equals_whole(const tokenizer *t, uint64_t seed)
{
    token_list ids = {0};
    td_err err = TD_ERR_INIT;
    for (uint64_t i = 0; i < 1 + seed % 12; i++)
        token_list_add(&ids, (token_id)(td_mix64(seed * 100 + i + 1) % (uint64_t)tokenizer_vocab_count(t)));
    for (int skip = 0; skip < 2; skip++) {
        td_buf whole = TD_BUF_INIT, stream = TD_BUF_INIT;
        assert_int_equal(tokenizer_decode(t, ids.ids, ids.count, skip, &whole, &err), TD_OK);
        detok d;
        detok_init(&d, t, skip);
        for (size_t i = 0; i < ids.count; i++) {
            td_buf step = TD_BUF_INIT;
            detok fork = d; // plain data: a copy goes on by itself
            assert_true(detok_add(&fork, ids.ids[i], &step));
            assert_true(td_utf8_valid(td_buf_cstr(&step), step.len));
            d = fork;
            td_buf_add(&stream, td_buf_cstr(&step), step.len);
            td_buf_free(&step);
        }
        assert_true(detok_end(&d, &stream));
        assert_string_equal(td_buf_cstr(&stream), td_buf_cstr(&whole));
        td_buf_free(&whole);
        td_buf_free(&stream);
    }
    token_list_free(&ids);
}

static void streams(void **state)
{
    (void)state;
    static const char *const decoders[] = {
        "null", "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"always\"}",
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},"
        "\"content\":"
        "\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,"
        "\"stop\":0}]}",
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Strip\",\"content\":\"b\",\"start\":3,\"stop\":1},"
        "{\"type\":\"ByteFallback\"}]}"};
    tokenizer *t = byte_level();
    for (uint64_t seed = 0; seed < 2000; seed++)
        stream_equals_whole(t, seed);
    tokenizer_free(t);
    for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++) {
        t = with_decoder(decoders[i]);
        for (uint64_t seed = 0; seed < 500; seed++)
            stream_equals_whole(t, seed);
        tokenizer_free(t);
    }
}

static void says(const tokenizer *t, const token_id *ids, const char *want)
{
    td_buf out = TD_BUF_INIT;
    size_t n = 0;
    while (ids[n] >= 0)
        n++;
    assert_int_equal(tokenizer_decode(t, ids, n, false, &out, NULL), TD_OK);
    assert_string_equal(td_buf_cstr(&out), want);
    td_buf_free(&out);
}

static void known_texts(void **state)
{
    (void)state;
    tokenizer *t = byte_level();
    says(t, IDS('a', 0xE6, 0xBC, 0xA2, ), "a\xE6\xBC\xA2");
    says(t, IDS('a', 0xE6, 0xBC, ), "a\xEF\xBF\xBD");            // one for the broken character
    says(t, IDS(0xE6, 'a', 0xBC, 0xA2, ), "\xEF\xBF\xBD" "a\xEF\xBF\xBD\xEF\xBF\xBD");
    says(t, IDS(258, 300, ), "not a letter \xE6\xBC\xA2<|end|>");
    tokenizer_free(t);
    t = with_decoder("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"
                     "\"\xE2\x96\x81\"},"
                     "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","
                     "\"content\":"
                     "\" \",\"start\":1,\"stop\":0}]}");
    says(t, IDS(2, 3, 2, ), "ab a");
    says(t, IDS(1, 2, ), " a");
    says(t, IDS(0, 2, ), "<s> a");
    says(t, IDS(7, 7, 3, ), " b");
    says(t, IDS(3, 4, 5, 3, ), "b\xEF\xBF\xBD\xEF\xBF\xBD" "b"); // one for each byte
    says(t, IDS(3, 4, 5, 6, ), "b\xE2\x96\x81");
    tokenizer_free(t);
    t = with_decoder("null");
    says(t, IDS(3, 0, 8, ), "b <s> \xE6\xBC\xA2");
    tokenizer_free(t);
    t = with_decoder("{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"first\"}");
    says(t, IDS(9, 2, 3, ), " ab");
    tokenizer_free(t);
}

/* A token for which there is no memory has not come; the stream can go on. */
static void memory_runs_out(void **state)
{
    (void)state;
    tokenizer *t = byte_level();
    detok d;
    detok_init(&d, t, false);
    td_buf out = TD_BUF_INIT, after = TD_BUF_INIT;
    assert_true(detok_add(&d, 0xE6, &out));
    td_fault_arm(TD_FAULT_ALLOC, 1, true);
    assert_false(detok_add(&d, 258, &out) && detok_add(&d, 258, &out) && detok_add(&d, 258, &out));
    td_fault_arm(TD_FAULT_ALLOC, 0, false);
    assert_true(d.held_len <= 3);
    assert_true(detok_add(&d, 0xBC, &after) && detok_add(&d, 0xA2, &after) && detok_end(&d, &after));
    assert_true(td_utf8_valid(td_buf_cstr(&after), after.len));
    td_buf_free(&out);
    td_buf_free(&after);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(streams), cmocka_unit_test(known_texts),
                                       cmocka_unit_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
