/* Small tokenizers written as text, for the tests of tokenizers. */
#ifndef TD_TESTS_TOK_MAKE_H
#define TD_TESTS_TOK_MAKE_H

#include "model/tok_int.h"

#include "model_make.h"

/* Letters a-d, space, "ab", "abc", " a"; merges in that order; byte-level. Ids: "a" 0 … "Ġ" 4, "ab" 5, "abc" 6, "Ġa" 7,
 * "<|end|>" 8 (special), "cd" 9 (not special). */
#define TINY_HEAD                                                                                                    \
    "{\"added_tokens\":[{\"id\":8,\"content\":\"<|end|>\",\"special\":true},{\"id\":9,\"content\":\"cd\","          \
    "\"special\":false,\"normalized\":false}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","         \
    "\"add_prefix_space\":false},\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"  \
    "{\"id\":\"<|end|>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":"            \
    "{\"<|end|>\":{\"id\":\"<|end|>\",\"ids\":[8],\"tokens\":[\"<|end|>\"]}}},\"decoder\":{\"type\":\"ByteLevel\"},"  \
    "\"model\":{\"type\":\"BPE\","
#define TINY_VOCAB                                                                                                   \
    "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"\xC4\xA0\":4,\"ab\":5,\"abc\":6,\"\xC4\xA0" "a\":7},"
#define TINY_MERGES "\"merges\":[\"a b\",[\"ab\",\"c\"],\"\xC4\xA0 a\"]}}"
#define TINY TINY_HEAD TINY_VOCAB TINY_MERGES

/* A tokenizer from the text of a tokenizer.json; NULL and *err when it is refused. */
static inline tokenizer *tok_from_text(const char *json, td_err *err)
{
    tokenizer *t = tokenizer_new();
    td_rc rc = t ? tok_json_read(t, json, strlen(json), err) : TD_E_NOMEM;
    if (rc == TD_OK)
        rc = tokenizer_finish(t, err);
    if (rc == TD_OK)
        return t;
    if (err->rc == TD_OK)
        err->rc = rc;
    tokenizer_free(t);
    return NULL;
}

/* Encodes and compares with a list that ends in -1. */
static inline void assert_ids(const tokenizer *t, const char *text, unsigned flags, const token_id *want)
{
    token_list got = {0};
    td_err err = TD_ERR_INIT;
    td_rc rc = tokenizer_encode(t, text, strlen(text), flags, &got, &err);
    if (rc != TD_OK)
        fail_msg("%s: %s", text, err.msg);
    size_t n = 0;
    while (want[n] >= 0)
        n++;
    if (got.count != n || (n && memcmp(got.ids, want, n * sizeof *want) != 0)) {
        for (size_t i = 0; i < got.count; i++)
            print_message("%d ", got.ids[i]);
        fail_msg("'%s': %zu ids, not %zu", text, got.count, n);
    }
    token_list_free(&got);
}
#define IDS(...) ((const token_id[]){__VA_ARGS__ - 1})

#endif
