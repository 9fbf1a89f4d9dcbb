/* Tokenizer files: good ones, bad ones, ones where memory runs out. */
#include "base/utf8.h"
#include "model/spm_proto.h"

#include "tok_make.h"

static void expect_refused(const char *json, td_rc rc, const char *part)
{
    td_err err = TD_ERR_INIT;
    tokenizer *t = tok_from_text(json, &err);
    if (t || err.rc != rc || !strstr(err.msg, part))
        fail_msg("expected %s with '%s', got %s '%s' for %.100s", td_rc_name(rc), part, td_rc_name(err.rc), err.msg,
                 json);
}

#define MODEL(TEXT) "{\"model\":{\"type\":\"BPE\"," TEXT "}}"
#define AB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"

static void bad_json(void **state)
{
    (void)state;
    expect_refused("", TD_E_MODEL, "");
    expect_refused("{}", TD_E_MODEL, "no model");
    expect_refused(MODEL("\"vocab\":{},\"merges\":[]"), TD_E_MODEL, "empty");
    expect_refused(MODEL("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]"), TD_E_MODEL, "two tokens have id 0");
    expect_refused(MODEL("\"vocab\":{\"a\":-1},\"merges\":[]"), TD_E_MODEL, "");
    expect_refused(MODEL("\"vocab\":{\"a\":1e9},\"merges\":[]"), TD_E_MODEL, "ids");
    expect_refused(MODEL("\"vocab\":{\"a\":1.5},\"merges\":[]"), TD_E_MODEL, "whole number");
    expect_refused(MODEL("\"vocab\":{\"a\":\"0\"},\"merges\":[]"), TD_E_MODEL, "whole number");
    expect_refused(MODEL(AB ",\"merges\":[\"a c\"]"), TD_E_MODEL, "not in the vocabulary");
    expect_refused(MODEL(AB ",\"merges\":[\"b a\"]"), TD_E_MODEL, "not in the vocabulary");
    expect_refused(MODEL(AB ",\"merges\":[\"ab\"]"), TD_E_MODEL, "not two tokens");
    expect_refused(MODEL(AB ",\"merges\":[\"a b c\"]"), TD_E_MODEL, "not two tokens");
    expect_refused(MODEL(AB ",\"merges\":[[\"a\"]]"), TD_E_MODEL, "not two tokens");
    expect_refused(MODEL(AB ",\"merges\":[7]"), TD_E_MODEL, "not two tokens");
    expect_refused("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", TD_E_UNSUPPORTED, "WordPiece");
    expect_refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", TD_E_MODEL, "entry 0");
    expect_refused("{\"model\":{\"type\":\"Unigram\",\"unk_id\":9,\"vocab\":[[\"a\",1]]}}", TD_E_MODEL, "unk_id");
    expect_refused("{\"pre_tokenizer\":{\"type\":\"Nope\"},\"model\":{}}", TD_E_UNSUPPORTED, "'Nope'");
    expect_refused("{\"normalizer\":{\"type\":\"BertNormalizer\"},\"model\":{}}", TD_E_UNSUPPORTED, "'BertNormalizer'");
    expect_refused("{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"},\"model\":{}}",
                   TD_E_MODEL, "character table");
    expect_refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Removed\"},"
                   "\"model\":{}}", TD_E_MODEL, "regular expression");
    expect_refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"\"}},"
                   "\"model\":{}}", TD_E_MODEL, "empty");
    expect_refused("{\"decoder\":{\"type\":\"CTC\"},\"model\":{}}", TD_E_UNSUPPORTED, "'CTC'");
    expect_refused("{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"Strip\","
                   "\"start\":2}]},\"model\":{}}", TD_E_UNSUPPORTED, "Strip");
    expect_refused("{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]},"
                   "\"model\":{}}", TD_E_MODEL, "once");
    expect_refused("{\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"x\",7],\"cls\":[\"x\",7]},\"model\":{"
                   "\"type\":\"BPE\"," AB ",\"merges\":[]}}", TD_E_MODEL, "id 7");
    expect_refused("{\"added_tokens\":[{\"content\":\"x\"}],\"model\":{\"type\":\"BPE\"," AB ",\"merges\":[]}}",
                   TD_E_MODEL, "no id");
    expect_refused("{\"added_tokens\":[{\"content\":\"x\",\"id\":1}],\"model\":{\"type\":\"BPE\"," AB ","
                   "\"merges\":[]}}",
                   TD_E_MODEL, "two tokens");
}

static void deep_sequences(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT;
    td_buf_str(&b, "{\"model\":{},\"normalizer\":");
    for (int i = 0; i < 25; i++)
        td_buf_str(&b, "{\"type\":\"Sequence\",\"normalizers\":[");
    td_buf_str(&b, "{\"type\":\"NFC\"}");
    for (int i = 0; i < 25; i++)
        td_buf_str(&b, "]}");
    td_buf_str(&b, "}");
    expect_refused(b.data, TD_E_MODEL, "sequences in each other");
    td_buf_free(&b);
}

static void gaps_and_ends(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    tokenizer *t = tok_from_text("{\"added_tokens\":[{\"id\":9,\"content\":\"<|im_end|>\",\"special\":true}],"
                                 "\"model\":{"
                                 "\"type\":\"BPE\"," AB ",\"merges\":[\"a b\"],\"unk_token\":\"b\"}}", &err);
    assert_non_null(t);
    assert_int_equal(tokenizer_vocab_count(t), 10);
    assert_null(tokenizer_raw(t, 5, NULL));
    assert_false(tokenizer_is_special(t, 5));
    assert_true(tokenizer_is_special(t, 9));
    assert_int_equal(tokenizer_unk(t), 1);
    assert_int_equal(tokenizer_find(t, "ab", 2), 2);
    assert_int_equal(tokenizer_find(t, "zz", 2), -1);
    const token_id *stop;
    assert_int_equal(tokenizer_stop_ids(t, &stop), 1);
    assert_int_equal(stop[0], 9);
    td_buf out = TD_BUF_INIT;
    assert_false(tokenizer_piece(t, 10, true, &out));
    assert_false(tokenizer_piece(t, -1, true, &out));
    assert_true(tokenizer_piece(t, 5, true, &out) && tokenizer_piece(t, 9, false, &out));
    assert_int_equal(out.len, 0);
    assert_int_equal(tokenizer_decode(t, (const token_id[]){0, 77}, 2, false, &out, &err), TD_E_INPUT);
    td_buf_free(&out);
    token_list l = {0};
    assert_int_equal(tokenizer_encode(t, "a\xFF", 2, 0, &l, &err), TD_E_INPUT);
    token_list_free(&l);
    tokenizer_free(t);
}

/* ---- directories */

static td_rc load_dir(void *arg)
{
    td_err err = TD_ERR_INIT;
    tokenizer *t = NULL;
    td_rc rc = tokenizer_from_dir(make_dir, &t, &err);
    if (rc == TD_OK) {
        token_list l = {0};
        td_buf text = TD_BUF_INIT;
        rc = tokenizer_encode(t, "ab abc", 6, TOK_ADD_SPECIAL, &l, &err);
        if (rc == TD_OK)
            rc = tokenizer_decode(t, l.ids, l.count, true, &text, &err);
        if (rc == TD_OK)
            assert_non_null(strstr(td_buf_cstr(&text), "ab abc"));
        token_list_free(&l);
        td_buf_free(&text);
    }
    tokenizer_free(t);
    if (rc != TD_OK && arg)
        *(td_err *)arg = err;
    return rc;
}

static void put(const char *name, const char *text) { make_file(name, text, strlen(text)); }

static void directories(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    assert_int_equal(load_dir(&err), TD_E_NOTFOUND);
    put("tokenizer.json", TINY);
    put("tokenizer_config.json", "{\"tokenizer_class\":\"LlamaTokenizerFast\",\"bos_token\":{\"content\":\"abc\"},"
                                 "\"eos_token\":\"cd\",\"add_bos_token\":true,\"add_eos_token\":true}");
    put("generation_config.json", "{\"eos_token_id\":[3,9]}");
    tokenizer *t;
    assert_int_equal(tokenizer_from_dir(make_dir, &t, &err), TD_OK);
    assert_int_equal(tokenizer_bos(t), 6);
    assert_int_equal(tokenizer_eos(t), 9);
    assert_true(tokenizer_adds_bos(t) && tokenizer_adds_eos(t));
    assert_ids(t, "a", TOK_ADD_SPECIAL, IDS(6, 0, 9, ));
    const token_id *stop;
    assert_int_equal(tokenizer_stop_ids(t, &stop), 3);
    assert_true(stop[0] == 3 && stop[1] == 8 && stop[2] == 9);
    tokenizer_free(t);
    put("generation_config.json", "{\"eos_token_id\":10}");
    assert_int_equal(load_dir(&err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "generation_config.json"));
    put("generation_config.json", "{}");
    put("config.json", "{\"pad_token_id\":4711}");
    assert_int_equal(load_dir(&err), TD_E_MODEL);
    put("config.json", "{\"pad_token_id\":-1}");
    assert_int_equal(load_dir(&err), TD_OK);
    put("tokenizer_config.json", "[");
    assert_int_equal(load_dir(&err), TD_E_MODEL);
}

/* The n-th allocation fails, n = 1, 2, …: an error or, where something can do without, success; never a leak. */
static int torture(td_rc (*try)(void *))
{
    int failed = 0;
    for (uint64_t n = 1;; n++) {
        td_fault_arm(TD_FAULT_ALLOC, n, false);
        td_rc rc = try(NULL);
        uint64_t hits = td_fault_count(TD_FAULT_ALLOC);
        td_fault_arm(TD_FAULT_ALLOC, 0, false);
        assert_true(rc == TD_OK || rc == TD_E_NOMEM);
        failed += rc != TD_OK;
        if (hits == 0)
            return failed;
    }
}

static void directory_without_memory(void **state)
{
    (void)state;
    put("tokenizer.json",
        "{\"added_tokens\":[{\"id\":8,\"content\":\"<|end|>\",\"special\":true},{\"id\":9,\"content\":\"cd\"}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\",\"pattern\":"
        "{\"Regex\":\"x+\"},\"content\":\"\"},{\"type\":\"Prepend\",\"prepend\":\"\"}]},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"
        "\"Regex\":\"\\\\d\"},"
        "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},"
        "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\"," TINY_VOCAB TINY_MERGES);
    put("tokenizer_config.json", "{\"tokenizer_class\":\"LlamaTokenizer\",\"bos_token\":\"<|end|>\","
        "\"add_bos_token\":true}");
    put("config.json", "{\"eos_token_id\":8}");
    assert_int_equal(load_dir(NULL), TD_OK);
    assert_true(torture(load_dir) > 50);
}

/* "a" "b" " " "ab" "bb" behind five special tokens; the second of them is not listed. */
#define TEKKEN_HEAD                                                                                             \
    "{\"config\":{\"pattern\":\"\\\\S+|\\\\s+\",\"default_vocab_size\":10,\"default_num_special_tokens\":5}," \
    "\"special_tokens\":[{\"rank\":0,\"token_str\":\"<unk>\"},{\"rank\":2,\"token_str\":\"</s>\"}],"
#define TEKKEN_VOCAB(LAST)                                                                           \
    "\"vocab\":[{\"rank\":0,\"token_bytes\":\"YQ==\",\"token_str\":\"\\u0000\"},"                     \
    "{\"rank\":1,\"token_bytes\":\"Yg==\"},{\"rank\":2,\"token_bytes\":\"IA==\"},"                     \
    "{\"rank\":3,\"token_bytes\":\"YWI=\"},{\"rank\":" LAST "}]}"

static void tekken_files(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    put("tekken.json", TEKKEN_HEAD TEKKEN_VOCAB("4,\"token_bytes\":\"YmI=\""));
    tokenizer *t;
    assert_int_equal(tokenizer_from_dir(make_dir, &t, &err), TD_OK);
    assert_ids(t, "abb ab", TOK_ADD_SPECIAL, IDS(1, 8, 6, 7, 8, )); // "ab" has the lower rank
    assert_ids(t, "bb</s>", TOK_PARSE_SPECIAL, IDS(9, 2, ));
    assert_string_equal(tokenizer_raw(t, 1, NULL), "<SPECIAL_1>");
    const token_id *stop;
    assert_int_equal(tokenizer_stop_ids(t, &stop), 1);
    assert_int_equal(stop[0], 2);
    tokenizer_free(t);
    put("tekken.json", TEKKEN_HEAD TEKKEN_VOCAB("5,\"token_bytes\":\"YmI=\""));
    assert_int_equal(load_dir(&err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "order of rank"));
    put("tekken.json", TEKKEN_HEAD TEKKEN_VOCAB("4,\"token_bytes\":\"?\""));
    assert_int_equal(load_dir(&err), TD_E_MODEL);
    put("tekken.json", TEKKEN_HEAD "\"vocab\":[]}");
    assert_int_equal(load_dir(&err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "entries"));
}

/* ---- GGUF */

static void put_strings(td_buf *b, const char *key, const char *const *s, size_t n)
{
    put_key(b, key, 9);
    put_u32(b, 8);
    put_u64(b, n);
    for (size_t i = 0; i < n; i++)
        put_str(b, s[i]);
}

static void put_numbers(td_buf *b, const char *key, uint32_t type, const void *data, size_t n)
{
    put_key(b, key, 9);
    put_u32(b, type);
    put_u64(b, n);
    td_buf_add(b, data, 4 * n);
}

static const char *const spm_tokens[] = {"<unk>", "<s>", "</s>", "a", "b", TOK_SPACE, TOK_SPACE "a", "<0x0A>"};
enum { SPM_N = sizeof spm_tokens / sizeof *spm_tokens };

static const char *make_spm_gguf(float bad_score, size_t scores)
{
    static const int32_t types[SPM_N] = {2, 3, 3, 1, 1, 1, 1, 6};
    float score[SPM_N] = {0, 0, 0, -1, -2, -3, bad_score, 0};
    td_buf b = TD_BUF_INIT;
    put_header(&b, 3, 0, 5);
    put_key_str(&b, "general.architecture", "llama");
    put_key_str(&b, "tokenizer.ggml.model", "llama");
    put_strings(&b, "tokenizer.ggml.tokens", spm_tokens, SPM_N);
    put_numbers(&b, "tokenizer.ggml.scores", 6, score, scores);
    put_numbers(&b, "tokenizer.ggml.token_type", 5, types, SPM_N);
    const char *path = make_file("spm.gguf", b.data, b.len);
    td_buf_free(&b);
    return path;
}

static td_rc load_gguf(const char *path, tokenizer **t, td_err *err)
{
    gguf *g = NULL;
    td_rc rc = gguf_open(path, &g, err);
    if (rc == TD_OK)
        rc = tokenizer_from_gguf(g, t, err);
    gguf_close(g);
    return rc;
}

static void gguf_spm(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    tokenizer *t = NULL;
    assert_int_equal(load_gguf(make_spm_gguf(-1.5f, SPM_N), &t, &err), TD_OK);
    assert_ids(t, "a b", TOK_ADD_SPECIAL, IDS(1, 6, 5, 4, ));
    assert_ids(t, "a\n", 0, IDS(6, 7, ));
    assert_ids(t, "b</s>b", TOK_PARSE_SPECIAL, IDS(5, 4, 2, 5, 4, ));
    td_buf out = TD_BUF_INIT;
    assert_int_equal(tokenizer_decode(t, (const token_id[]){1, 6, 5, 4, 7}, 5, true, &out, &err), TD_OK);
    assert_string_equal(td_buf_cstr(&out), "a b\n");
    td_buf_free(&out);
    tokenizer_free(t);
    assert_int_equal(load_gguf(make_spm_gguf(0.0f / 0.0f, SPM_N), &t, &err), TD_E_MODEL);
    err = (td_err)TD_ERR_INIT;
    assert_int_equal(load_gguf(make_spm_gguf(0, SPM_N - 1), &t, &err), TD_E_MODEL);
    assert_non_null(strstr(err.msg, "scores"));
}

static td_rc gguf_try(void *arg)
{
    (void)arg;
    tokenizer *t = NULL;
    td_err err = TD_ERR_INIT;
    td_rc rc = load_gguf(make_path("spm.gguf"), &t, &err);
    token_list l = {0};
    if (rc == TD_OK)
        rc = tokenizer_encode(t, "a b<s>", 6, TOK_PARSE_SPECIAL, &l, &err);
    token_list_free(&l);
    tokenizer_free(t);
    return rc;
}

static void gguf_without_memory(void **state)
{
    (void)state;
    make_spm_gguf(0, SPM_N);
    assert_true(torture(gguf_try) > 10);
}

/* ---- SentencePiece files */

static void put_piece(td_buf *b, const char *text, float score, int type)
{
    td_buf p = TD_BUF_INIT;
    td_buf_char(&p, 0x0A), td_buf_char(&p, (char)strlen(text)), td_buf_str(&p, text);
    td_buf_char(&p, 0x15), td_buf_add(&p, &score, 4);
    td_buf_char(&p, 0x18), td_buf_char(&p, (char)type);
    td_buf_char(b, 0x0A), td_buf_char(b, (char)p.len), td_buf_add(b, p.data, p.len);
    td_buf_free(&p);
}

static td_buf spm_file(void)
{
    td_buf b = TD_BUF_INIT;
    put_piece(&b, "<unk>", 0, 2);
    put_piece(&b, "<s>", 0, 3);
    put_piece(&b, "</s>", 0, 3);
    put_piece(&b, TOK_SPACE, -3, 1);
    put_piece(&b, "a", -1, 1);
    put_piece(&b, "b", -2, 1);
    put_piece(&b, "c", -2, 1);
    put_piece(&b, "ab", -1.5f, 1);
    td_buf_add(&b, "\x12\x02\x18\x02", 4); // trainer_spec: BPE
    td_buf_add(&b, "\x1A\x00", 2);         // normalizer_spec: as it is
    return b;
}

/* The same pieces without normalization go through the own merge loop: the same ids. */
static void spm_without_library(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    td_buf b = spm_file();
    b.len -= 2;
    td_buf_add(&b, "\x1A\x02\x20\x00", 4); // normalizer_spec: remove_extra_whitespaces false
    make_file("tokenizer.model", b.data, b.len);
    td_buf_free(&b);
    tokenizer *t;
    assert_int_equal(tokenizer_from_dir(make_dir, &t, &err), TD_OK);
    assert_null(t->lib);
    assert_ids(t, "ab ab", TOK_ADD_SPECIAL, IDS(1, 3, 7, 3, 7, ));
    assert_ids(t, "  zzb", 0, IDS(3, 3, 3, 0, 5, ));
    assert_ids(t, "a</s>b", TOK_PARSE_SPECIAL, IDS(3, 4, 2, 3, 5, ));
    tokenizer_free(t);
    assert_int_equal(load_dir(NULL), TD_OK);
    assert_true(torture(load_dir) > 10);
}

static void spm_files(void **state)
{
    (void)state;
    td_buf b = spm_file();
    make_file("tokenizer.model", b.data, b.len);
    assert_int_equal(load_dir(NULL), TD_OK);
    put("tokenizer_config.json", "{\"legacy\":false,\"added_tokens_decoder\":{\"9\":{\"content\":\"<x>\","
        "\"special\":true}}}");
    tokenizer *t;
    td_err err = TD_ERR_INIT;
    assert_int_equal(tokenizer_from_dir(make_dir, &t, &err), TD_OK);
    assert_ids(t, "ab<x>b", TOK_PARSE_SPECIAL | TOK_ADD_SPECIAL, IDS(1, 3, 7, 9, 5, ));
    tokenizer_free(t);
    for (size_t cut = 0; cut < b.len; cut++) { // every beginning of the file
        spm_model m;
        char *copy = td_alloc(cut);
        memcpy(copy, b.data, cut);
        if (spm_model_read(copy, cut, &m, NULL) == TD_OK)
            spm_model_free(&m);
        td_free(copy);
    }
    td_buf_free(&b);
}

static void bad_spm_files(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *part;
    } bad[] = {{"", 0, "pieces"},
               {"\x0A\x7F", 2, "cut off"},
               {"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11, "cut off"},
               {"\x0A\x02\x0A\x00", 4, "piece 0"},
               {"\x0A\x08\x0A\x01" "a\x15\x00\x00\xC0\x7F", 10, "score"},
               {"\x0A\x05\x0A\x01" "a\x18\x07", 7, "type"},
               {"\x0A\x03\x0A\x01\xFF", 5, "UTF-8"},
               {"\x0A\x03\x0A\x01" "a\x12\x02\x18\x04", 9, "only BPE"},
               {"\x0A\x03\x0A\x01" "a\x1A\x05\x12\x03" "abc", 12, "character table"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        spm_model m;
        td_err err = TD_ERR_INIT;
        td_rc rc = spm_model_read(bad[i].bytes, bad[i].len, &m, &err);
        if (rc == TD_OK || !strstr(err.msg, bad[i].part))
            fail_msg("%zu: %s '%s'", i, td_rc_name(rc), err.msg);
    }
    td_buf b = TD_BUF_INIT; // user-defined pieces that begin one another, more than the library has room for
    char text[64] = "";
    put_piece(&b, "<unk>", 0, 2);
    for (int i = 0; i < 40; i++) {
        text[i] = 'a';
        put_piece(&b, text, 0, 4);
    }
    spm_model m;
    td_err err = TD_ERR_INIT;
    assert_int_equal(spm_model_read(b.data, b.len, &m, &err), TD_E_UNSUPPORTED);
    td_buf_free(&b);
}

static void spm_without_memory(void **state)
{
    (void)state;
    td_buf b = spm_file();
    make_file("tokenizer.model", b.data, b.len);
    td_buf_free(&b);
    assert_true(torture(load_dir) > 10);
}

#define in_folder(f) cmocka_unit_test_setup_teardown(f, make_setup, make_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_json), cmocka_unit_test(deep_sequences), cmocka_unit_test(gaps_and_ends),
        in_folder(directories), in_folder(directory_without_memory), in_folder(tekken_files), in_folder(gguf_spm),
        in_folder(gguf_without_memory),
        in_folder(spm_files), in_folder(spm_without_library),
        cmocka_unit_test(bad_spm_files), in_folder(spm_without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
