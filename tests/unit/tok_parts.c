/* The parts of a tokenizer, one by one: patterns, splits, merges, lattice, added tokens, normal forms, tables. */
#include "base/hash.h"
#include "base/utf8.h"
#include "model/pretok_names.h"
#include "model/tok_forms.h"

#include "tok_make.h"

#include <utf8proc.h>

/* ---- cutting */

static td_rc collect(void *ctx, const char *s, size_t len, td_err *err)
{
    (void)err;
    td_buf *out = ctx;
    td_buf_add(out, s, len);
    td_buf_char(out, '|');
    return TD_OK;
}

static void assert_cut(const pretok *p, const char *text, const char *want)
{
    td_buf out = TD_BUF_INIT;
    td_err err = TD_ERR_INIT;
    tok_matcher m = {0};
    pretok_run run = {.matcher = &m, .word = collect, .ctx = &out};
    tok_matcher_start(&m, strlen(text));
    assert_int_equal(pretok_cut(p, &run, text, strlen(text), true, &err), TD_OK);
    assert_string_equal(td_buf_cstr(&out), want);
    pretok_run_free(&run);
    tok_matcher_free(&m);
    td_buf_free(&out);
}

static void split_case(const char *pattern, pretok_behavior behavior, bool invert, const char *text, const char *want)
{
    pretok *p = td_alloc(sizeof *p);
    td_err err = TD_ERR_INIT;
    assert_int_equal(pretok_add_split(p, pattern, strlen(pattern), false, behavior, invert, &err), TD_OK);
    assert_cut(p, text, want);
    pretok_free(p);
    td_free(p);
}

static void splits(void **state)
{
    (void)state;
    split_case("-", PRETOK_REMOVED, false, "the-final--x-", "the|final|x|");
    split_case("-", PRETOK_ISOLATED, false, "the-final--x-", "the|-|final|-|-|x|-|");
    split_case("-", PRETOK_MERGED_WITH_PREVIOUS, false, "-the-final--x", "-|the-|final-|-|x|");
    split_case("-", PRETOK_MERGED_WITH_NEXT, false, "the-final--x-", "the|-final|-|-x|-|");
    split_case("-", PRETOK_CONTIGUOUS, false, "the-final--x-", "the|-|final|--|x|-|");
    split_case("[a-z]+", PRETOK_REMOVED, true, "the-final--x", "the|final|x|");
    split_case("(?=(\\d{3})+(?!\\d))", PRETOK_ISOLATED, false, "a1234567", "a1|234|567|");
    split_case("\\s+$", PRETOK_ISOLATED, false, "a  b  ", "a  b|  |");
}

/* What differs between the dialect of the files and PCRE2's. */
static void patterns(void **state)
{
    (void)state;
    split_case("\\s", PRETOK_REMOVED, false, "a\xE1\xA0\x8E" "b c\xE3\x80\x80" "d", "a\xE1\xA0\x8E" "b|c|d|"); // U+180E
    split_case("\\p{L}+", PRETOK_ISOLATED, false, "x\xF0\xB2\x8E\xAF" "1", "x\xF0\xB2\x8E\xAF|1|");        // Unicode 15
    split_case("\\p{Han}+", PRETOK_ISOLATED, false, "x\xE3\x80\x82\xE5\x8C\x97", "x\xE3\x80\x82|\xE5\x8C\x97|");
    split_case("\\h+", PRETOK_ISOLATED, false, "xyzAf0g", "xyz|Af0|g|");
    split_case("[a-f&&[^cd]]+", PRETOK_ISOLATED, false, "abcdef", "ab|cd|ef|");
    split_case("[[ab]c]+", PRETOK_ISOLATED, false, "xabcy", "x|abc|y|");
    split_case("(?i:'s)", PRETOK_ISOLATED, false, "it'S", "it|'S|");
    split_case("\\u0041+", PRETOK_ISOLATED, false, "bAAb", "b|AA|b|");
    static const char *const bad[] = {"(*NO_JIT)a", "[a&&b]", "[[:alpha:]]", "[a", "(", "\\", "", "[\\W]", "\\p{Nope}",
                                      "(?R)", "\\d|(?R)x", "(?<a>\\g<a>)"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        td_err err = TD_ERR_INIT;
        tok_regex *r = NULL;
        td_rc rc = tok_regex_new(bad[i], strlen(bad[i]), &r, &err);
        assert_true(rc == TD_E_MODEL || rc == TD_E_UNSUPPORTED);
        assert_true(strlen(err.msg) > 10);
    }
}

static void catastrophe_is_cut_short(void **state)
{
    (void)state;
    tok_regex *r;
    td_err err = TD_ERR_INIT;
    assert_int_equal(tok_regex_new("(a+)+$", 6, &r, &err), TD_OK);
    char text[4096];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 'b';
    tok_matcher m = {0};
    tok_matcher_start(&m, 0);
    bool found;
    size_t b, e;
    assert_int_equal(tok_regex_find(r, &m, text, sizeof text, 0, &found, &b, &e, &err), TD_E_INPUT);
    tok_matcher_free(&m);
    tok_regex_free(r);
}

static void named(const char *name, const char *text, const char *want)
{
    const pretok_name *n = pretok_name_find(name);
    assert_non_null(n);
    pretok *p = td_alloc(sizeof *p);
    td_err err = TD_ERR_INIT;
    assert_int_equal(pretok_add_named(p, n, &err), TD_OK);
    if (p->step[p->count - 1].kind == PRETOK_BYTES)
        p->count--; // readable words
    assert_cut(p, text, want);
    pretok_free(p);
    td_free(p);
}

static void names_cut_as_they_should(void **state)
{
    (void)state;
    const char *text = "It's 12345 x\xC3\xA9,\n\n  end";
    named("gpt-2", text, "It|'s| 12345| x\xC3\xA9|,|\n\n | end|");
    named("llama-bpe", text, "It|'s| |123|45| x\xC3\xA9|,\n\n| | end|");
    named("qwen2", text, "It|'s| |1|2|3|4|5| x\xC3\xA9|,\n\n| | end|");
    named("smollm", text, "It|'s| |1|2|3|4|5| x\xC3\xA9|,|\n\n | end|");
    named("deepseek-llm", text, "It|'|s| |12345| x|\xC3\xA9|,|\n|\n| | end|");
    named("falcon", text, "It|'|s| |123|45| x\xC3\xA9|,|\n\n | end|");
    named("tekken", "camelCase HTTPServer", "camel|Case| HTTPServer|");
    named("gemma4", text, "It's 12345 x\xC3\xA9,|\n\n|  end|");
    named("kimi-k2", "ab\xE6\xBC\xA2\xE5\xAD\x97 cd", "ab|\xE6\xBC\xA2\xE5\xAD\x97| cd|");
    assert_null(pretok_name_find("nonsense"));
    assert_null(pretok_name_find("gpt"));
    assert_null(pretok_name_find("gpt-2 gpt-neox"));
    assert_null(pretok_name_find(""));
}

/* Every name in the table compiles. */
static void names_compile(void **state)
{
    (void)state;
    static const char *const all[] = {
        "default", "llama-bpe", "dbrx", "glm4", "jais-2", "deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon",
        "starcoder", "refact", "command-r", "smollm", "gpt-2", "gpt-neox", "mpt", "olmo", "jais", "qwen2", "qwen35",
        "ufakzeka", "laguna", "bloom", "viking", "tekken", "gpt-4o", "granite-embed-multi-97m", "youtu", "kimi-k2",
        "bailingmoe", "seed-coder", "chameleon", "minicpm5", "spark2_5", "gemma4", "sarvam-moe", "poro-chat"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        pretok *p = td_alloc(sizeof *p);
        td_err err = TD_ERR_INIT;
        const pretok_name *n = pretok_name_find(all[i]);
        if (!n || pretok_add_named(p, n, &err) != TD_OK)
            fail_msg("%s: %s", all[i], err.msg);
        pretok_free(p);
        td_free(p);
    }
}

static void byte_alphabet(void **state)
{
    (void)state;
    for (int b = 0; b < 256; b++) {
        char two[2];
        uint32_t cp;
        size_t n = tok_byte_letter((uint8_t)b, two);
        assert_int_equal(td_utf8_decode(two, n, &cp), n);
        assert_int_equal(tok_letter_byte(cp), b);
    }
    char two[2];
    assert_int_equal(tok_byte_letter(' ', two), 2);
    assert_memory_equal(two, "\xC4\xA0", 2);
    assert_int_equal(tok_letter_byte(0x144), -1);
    assert_int_equal(tok_letter_byte(0xAD), -1);
}

/* ---- merging */

enum { RANKS = 7 };

/* Symbols a, b, …; a pair merges by a made-up table of its summed letters, up to a length. */
static bool made_up(const void *model, const char *word, const merge_symbol *l, const merge_symbol *r, uint32_t *rank,
                    int32_t *id)
{
    uint64_t h = td_hash64(word + l->begin, l->len + r->len, *(const uint64_t *)model);
    *rank = (uint32_t)(h % RANKS);
    *id = (int32_t)(h >> 40);
    return l->len + r->len <= 6 && h % 3 != 0;
}

/* The definition: join the lowest rank, leftmost, until none is left. */
static size_t naive(const char *word, size_t n, uint64_t seed, uint32_t *ends)
{
    size_t count = n;
    for (size_t i = 0; i < n; i++)
        ends[i] = (uint32_t)i + 1;
    for (;;) {
        size_t best = SIZE_MAX;
        uint32_t low = UINT32_MAX;
        for (size_t i = 0; i + 1 < count; i++) {
            uint32_t begin = i ? ends[i - 1] : 0, rank;
            int32_t id;
            merge_symbol l = {.begin = begin, .len = ends[i] - begin};
            merge_symbol r = {.begin = ends[i], .len = ends[i + 1] - ends[i]};
            if (made_up(&seed, word, &l, &r, &rank, &id) && rank < low)
                low = rank, best = i;
        }
        if (best == SIZE_MAX)
            return count;
        memmove(ends + best, ends + best + 1, (count - best - 1) * sizeof *ends);
        count--;
    }
}

static void merging_equals_the_definition(void **state)
{
    (void)state;
    merge_work w = {0};
    for (uint64_t seed = 1; seed < 60; seed++) {
        char word[200];
        uint32_t ends[200];
        size_t n = 1 + seed * 37 % 199; // short ones scan, long ones use the heap
        for (size_t i = 0; i < n; i++)
            word[i] = (char)('a' + td_mix64(seed * 1000 + i) % 3);
        merge_clear(&w);
        for (size_t i = 0; i < n; i++)
            assert_true(merge_add(&w, word[i], (uint32_t)i, 1));
        assert_true(merge_run(&w, word, made_up, &seed));
        size_t count = naive(word, n, seed, ends), k = 0;
        for (uint32_t i = 0; i != MERGE_END; i = w.symbol[i].next)
            assert_int_equal(w.symbol[i].begin + w.symbol[i].len, ends[k++]);
        assert_int_equal(k, count);
    }
    merge_free(&w);
}

static void bpe_words(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    tokenizer *t = tok_from_text(TINY, &err);
    assert_non_null(t);
    for (int round = 0; round < 2; round++) { // the second time by the notes of the first
        assert_ids(t, "abc", 0, IDS(6, ));
        assert_ids(t, "ab abc a", 0, IDS(5, 4, 6, 7, ));
        assert_ids(t, "cd", 0, IDS(9, ));
        assert_ids(t, "bcd", 0, IDS(1, 9, ));
        assert_ids(t, "", 0, IDS());
        assert_ids(t, "x", 0, IDS()); // no token, no unknown token
    }
    assert_ids(t, "a<|end|>b", TOK_PARSE_SPECIAL, IDS(0, 8, 1, ));
    assert_ids(t, "a<|end|>b", 0, IDS(0, 3, 1, )); // only the letters that exist
    assert_ids(t, "a", TOK_ADD_SPECIAL, IDS(8, 0, ));
    tokenizer_free(t);
}

/* ---- SentencePiece's scores and the lattice */

static void spm_prefers_scores(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        float score;
        tok_kind_of kind;
    } entries[] = {{"<unk>", 0, TOK_UNKNOWN}, {"<s>", 0, TOK_CONTROL}, {"a", -1, TOK_NORMAL}, {"b", -2, TOK_NORMAL},
                   {"c", -3, TOK_NORMAL}, {"ab", -10, TOK_NORMAL}, {"bc", -5, TOK_NORMAL}, {TOK_SPACE, -4, TOK_NORMAL},
                   {TOK_SPACE "a", -6, TOK_NORMAL}, {"<0xC3>", 0, TOK_BYTE}, {"<0xA9>", 0, TOK_BYTE},
                   {"<", -1, TOK_NORMAL}, {"s", -1, TOK_NORMAL}, {">", -1, TOK_NORMAL}, {"<s", -1, TOK_NORMAL}};
    enum { N = sizeof entries / sizeof *entries };
    td_err err = TD_ERR_INIT;
    tok_vocab v;
    tok_spm m;
    assert_int_equal(tok_vocab_init(&v, N, &err), TD_OK);
    for (int i = 0; i < N; i++)
        assert_int_equal(tok_vocab_put(&v, i, entries[i].text, strlen(entries[i].text), entries[i].score,
                                       entries[i].kind, NULL, &err), TD_OK);
    assert_int_equal(tok_spm_init(&m, &v, 0, &err), TD_OK);
    static const struct {
        const char *text;
        token_id ids[8];
    } cases[] = {{"abc", {2, 6, -1}},                        // "bc" before "ab"
                 {TOK_SPACE "ab" TOK_SPACE "a", {8, 3, 8, -1}},
                 {"a\xC3\xA9", {2, 9, 10, -1}},              // by bytes
                 {"a\xC3\xA8\xC3\xA8" "b", {2, 0, 3, -1}},   // no byte: one unknown token for both
                 {"<s>", {14, 13, -1}},                      // never the control token
                 {"<0xC3>", {11, 0, 13, -1}}};
    merge_work w = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        token_list out = {0};
        assert_true(tok_spm_text(&m, &w, cases[i].text, strlen(cases[i].text), &out));
        for (size_t k = 0; k < out.count; k++)
            assert_int_equal(out.ids[k], cases[i].ids[k]);
        assert_int_equal(cases[i].ids[out.count], -1);
        token_list_free(&out);
    }
    merge_free(&w);
    tok_spm_free(&m);
    tok_vocab_free(&v);
}

static void unigram_finds_the_best_way(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    tokenizer *t = tok_from_text(
        "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"b\",-1],[\"ab\",-1.5],"
        "[\"abc\",-9],[\"c\",-2]]}}", &err);
    assert_non_null(t);
    assert_string_equal(tokenizer_kind(t), "unigram");
    assert_ids(t, "abc", 0, IDS(3, 5, ));
    assert_ids(t, "aab", 0, IDS(1, 3, ));
    assert_ids(t, "axyb", 0, IDS(1, 0, 2, )); // unknown ones are one
    tokenizer_free(t);
}

/* ---- added tokens */

static void added_flags(void **state)
{
    (void)state;
    td_err err = TD_ERR_INIT;
    tokenizer *t = tok_from_text(
        "{\"added_tokens\":[{\"id\":3,\"content\":\"<l>\",\"lstrip\":true,\"special\":true},{\"id\":4,"
        "\"content\":\"<r>\","
        "\"rstrip\":true,\"special\":true},{\"id\":5,\"content\":\"ab\",\"single_word\":true,\"normalized\":false},"
        "{\"id\":6,\"content\":\"<l>a\",\"special\":true},{\"id\":7,\"content\":\"\",\"special\":true}],"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\" \":2},\"merges\":[]}}", &err);
    assert_non_null(t);
    unsigned all = TOK_PARSE_SPECIAL;
    assert_ids(t, "a  <l> b", all, IDS(0, 3, 2, 1, ));
    assert_ids(t, "a <r>  b", all, IDS(0, 2, 4, 1, ));
    assert_ids(t, "<r>  <l>", all, IDS(4, 3, )); // the space between them belongs to the first
    assert_ids(t, "ab a ab", all, IDS(5, 2, 0, 2, 5, ));
    assert_ids(t, "aab", all, IDS(0, 0, 1, ));
    assert_ids(t, "<l>a", all, IDS(6, )); // the longest
    assert_ids(t, "<l>a", 0, IDS(0, ));
    tokenizer_free(t);
}

/* ---- normal forms and tables */

static void forms_equal_the_library(void **state)
{
    (void)state;
    static const uint32_t pool[] = {'a', 'e', 0xC9, 0x301, 0x323, 0x308, 0x327, 0x1100, 0x1161, 0x11A8, 0xAC00, 0xFB01,
                                    0x1E9B, 0x2126, 0xBD, 0x344, 0x0F73, 0x30AB, 0x3099, 0x1D15F, 0xFDFA};
    for (uint64_t round = 0; round < 400; round++) {
        td_buf text = TD_BUF_INIT, ours = TD_BUF_INIT;
        for (uint64_t i = 0; i < 1 + round % 20; i++) {
            char four[4];
            uint32_t cp = pool[td_mix64(round * 64 + i + 1) % (sizeof pool / sizeof *pool)];
            td_buf_add(&text, four, td_utf8_encode(cp, four));
        }
        utf8proc_uint8_t *(*const theirs[])(const utf8proc_uint8_t *) = {utf8proc_NFD, utf8proc_NFC, utf8proc_NFKD,
                                                                        utf8proc_NFKC};
        for (int form = 0; form < 4; form++) {
            td_buf_clear(&ours);
            tok_form(text.data, text.len, form, &ours);
            char *want = (char *)theirs[form]((const utf8proc_uint8_t *)text.data);
            assert_string_equal(td_buf_cstr(&ours), want);
            free(want);
        }
        td_buf_free(&text);
        td_buf_free(&ours);
    }
}

static void bad_charsmaps(void **state)
{
    (void)state;
    uint8_t bytes[4 + 4 * 512 + 4] = {0};
    uint32_t size = 4 * 512, unit = 0;
    td_err err = TD_ERR_INIT;
    memcpy(bytes, &size, 4);
    for (size_t i = 0; i < 512; i++) { // no unit answers to any byte
        unit = 0x800000FF;
        memcpy(bytes + 4 + 4 * i, &unit, 4);
    }
    unit = 256u << 10; // the root's children begin at 256
    memcpy(bytes + 4, &unit, 4);
    assert_int_equal(tok_charsmap_check(bytes, sizeof bytes, &err), TD_OK);
    unit = (256u ^ 97) << 10 | 1u << 8 | 97; // "a" has a value: unit 256 ^ 97 ^ offset = 0, whose value is 256 << 10
    memcpy(bytes + 4 + 4 * (256 ^ 97), &unit, 4);
    assert_int_equal(tok_charsmap_check(bytes, sizeof bytes, &err), TD_E_MODEL);
    unit = 0x3FFu << 10 | 97; // a link outside
    memcpy(bytes + 4 + 4 * (256 ^ 97), &unit, 4);
    assert_int_equal(tok_charsmap_check(bytes, sizeof bytes, &err), TD_E_MODEL);
    unit = 97u << 10 | 97; // to itself: a circle without values ends
    memcpy(bytes + 4 + 4 * (256 ^ 97), &unit, 4);
    assert_int_equal(tok_charsmap_check(bytes, sizeof bytes, &err), TD_OK);
    assert_int_equal(tok_charsmap_check(bytes, 100, &err), TD_E_MODEL);
    bytes[sizeof bytes - 1] = 'x';
    assert_int_equal(tok_charsmap_check(bytes, sizeof bytes, &err), TD_E_MODEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits), cmocka_unit_test(patterns), cmocka_unit_test(catastrophe_is_cut_short),
        cmocka_unit_test(names_cut_as_they_should), cmocka_unit_test(names_compile), cmocka_unit_test(byte_alphabet),
        cmocka_unit_test(merging_equals_the_definition), cmocka_unit_test(bpe_words),
        cmocka_unit_test(spm_prefers_scores),
        cmocka_unit_test(unigram_finds_the_best_way), cmocka_unit_test(added_flags),
        cmocka_unit_test(forms_equal_the_library), cmocka_unit_test(bad_charsmaps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
