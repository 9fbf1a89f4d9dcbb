/* tekken.json, the format of Mistral's newer tokenizers: byte strings in order of their rank, in tiktoken's manner.
 *
 * There are no merges: two neighbours merge when their joined bytes are an entry, the lowest rank first. That is what
 * tok_spm does with scores, so an entry's score is minus its rank, and its text is spelt in the byte alphabet. Special
 * tokens take the first ids; where the file lists fewer than it counts, the rest are "<SPECIAL_n>". */
#include "model/tok_int.h"

#include "base/check.h"
#include "model/json_model.h"
#include "model/tok_chars.h"

#include <stdio.h>
#include <string.h>

enum { TEKKEN_UNK, TEKKEN_BOS, TEKKEN_EOS }; // always the first ids
enum { BYTES_MAX = 1024 };                   // of one entry

/* Files before version 7 do not list theirs. */
static const char *const old_specials[] = {
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"};

static td_rc put_special(tokenizer *t, int64_t id, const char *text, bool control, td_err *err)
{
    tok_kind_of kind = id == TEKKEN_UNK ? TOK_UNKNOWN : control ? TOK_CONTROL : TOK_USER_DEFINED;
    td_rc rc = tok_vocab_put(&t->vocab, id, text, strlen(text), 0, kind, NULL, err);
    added_token a = {.id = (token_id)id, .special = true}; // found in text only where asked for, control or not
    if (rc == TD_OK && !tok_added_put(&t->added, text, strlen(text), a))
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
    return rc;
}

static td_rc read_specials(tokenizer *t, const td_json *list, int64_t count, td_err *err)
{
    td_rc rc = TD_OK;
    td_json_each(item, list)
    {
        const char *text = td_json_get_str(item, "token_str", NULL);
        int64_t id = td_json_get_int(item, "rank", -1);
        if (!text || id < 0 || id >= count)
            return td_fail(err, TD_E_MODEL, "a special token has no text or rank %lld, of %lld", (long long)id,
                           (long long)count);
        if (rc == TD_OK)
            rc = put_special(t, id, text, td_json_get_bool(item, "is_control", true), err);
    }
    for (int64_t id = 0; rc == TD_OK && id < count; id++) {
        char filler[40];
        snprintf(filler, sizeof filler, "<SPECIAL_%lld>", (long long)id);
        bool old = !list && id < (int64_t)TD_COUNT(old_specials);
        if (!tok_vocab_has(&t->vocab, id))
            rc = put_special(t, id, old ? old_specials[id] : filler, true, err);
    }
    return rc;
}

/* One entry: base64 to bytes to letters. */
static td_rc put_entry(tokenizer *t, const td_json *item, int64_t rank, int64_t id, td_err *err)
{
    const char *base64 = td_json_get_str(item, "token_bytes", "");
    uint8_t bytes[BYTES_MAX];
    char text[2 * BYTES_MAX];
    size_t n = 0, len = 0;
    if (strlen(base64) > BYTES_MAX || !tok_base64(base64, bytes, &n) || n == 0)
        return td_fail(err, TD_E_MODEL, "vocabulary entry %lld has no token_bytes", (long long)rank);
    if (td_json_get_int(item, "rank", -1) != rank)
        return td_fail(err, TD_E_MODEL, "vocabulary entry %lld is not in order of rank", (long long)rank);
    for (size_t i = 0; i < n; i++)
        len += tok_byte_letter(bytes[i], text + len);
    return tok_vocab_put(&t->vocab, id, text, len, -(float)rank, TOK_NORMAL, NULL, err);
}

static td_rc read_root(tokenizer *t, const td_json *root, td_err *err)
{
    const td_json *config = td_json_get(root, "config"), *vocab = td_json_get(root, "vocab");
    int64_t count = td_json_get_int(config, "default_vocab_size", -1);
    int64_t specials = td_json_get_int(config, "default_num_special_tokens", -1), rank = 0;
    const char *pattern = td_json_get_str(config, "pattern", NULL);
    if (!pattern || specials <= TEKKEN_EOS || specials >= count)
        return td_fail(err, TD_E_MODEL, "config has no pattern, or %lld special tokens of %lld", (long long)specials,
                       (long long)count);
    td_rc rc = tok_vocab_init(&t->vocab, count, err);
    if (rc == TD_OK)
        rc = read_specials(t, td_json_get(root, "special_tokens"), specials, err);
    td_json_each(item, vocab)
    {
        if (rc != TD_OK || specials + rank >= count)
            break;
        rc = put_entry(t, item, rank, specials + rank, err);
        rank++;
    }
    if (rc == TD_OK && specials + rank != count)
        rc = td_fail(err, TD_E_MODEL, "the vocabulary has %lld entries, the config says %lld", (long long)rank,
                     (long long)(count - specials));
    if (rc == TD_OK)
        rc = pretok_add_split(&t->pre, pattern, strlen(pattern), false, PRETOK_ISOLATED, false, err);
    if (rc == TD_OK)
        rc = pretok_add_plain(&t->pre, PRETOK_BYTES, err);
    if (rc == TD_OK)
        rc = tok_decode_add(&t->decode, DECODE_LETTERS, "", "", 0, 0, err);
    return rc == TD_OK ? tok_spm_init(&t->spm, &t->vocab, -1, err) : rc;
}

/* Readable copies of the entries may hold \u0000, which JSON from outside must not have here; nothing reads them. */
static void blank_zeros(char *text, size_t len)
{
    static const char zero[] = "\\u0000";
    for (char *at = text; (at = memmem(at, len - (size_t)(at - text), zero, sizeof zero - 1)) != NULL;)
        at[5] = '1';
}

td_rc tok_tekken_read(tokenizer *t, char *text, size_t len, td_err *err)
{
    td_json *root = NULL;
    blank_zeros(text, len);
    td_rc rc = model_json_parse(text, len, &root, err);
    if (rc == TD_OK)
        rc = read_root(t, root, err);
    td_json_free(root);
    t->model = TOK_MODEL_TEKKEN;
    t->spm.whole_words = true;
    t->unk = TEKKEN_UNK;
    t->bos = TEKKEN_BOS;
    t->eos = TEKKEN_EOS;
    if (rc == TD_OK && !token_list_add(&t->prefix, t->bos))
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
    return rc;
}
