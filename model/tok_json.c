/* tokenizer.json, the format of the Hugging Face tokenizers library: BPE and Unigram models with all that goes around
 * them. The file is read as the library reads it; what would be guessed there is refused here. */
#include "model/tok_steps.h"

#include "base/check.h"
#include "base/log.h"
#include "model/json_model.h"

#include <math.h>
#include <string.h>

typedef struct json_reader {
    tokenizer *t;
    const td_json *root, *model;
    td_err *err;
} json_reader;

static td_rc nomem(const json_reader *r) { return td_fail(r->err, TD_E_NOMEM, "not enough memory for a tokenizer"); }

/* Largest id of the vocabulary and the added tokens, plus one. */
static td_rc id_count(const json_reader *r, int64_t *count)
{
    const td_json *vocab = td_json_get(r->model, "vocab");
    bool list = cJSON_IsArray(vocab);
    int64_t n = 0, id = 0;
    td_json_each(item, vocab)
    {
        if (list)
            id = n;
        else if (!td_json_int(item, &id))
            return td_fail(r->err, TD_E_MODEL, "token '%.40s' has an id that is not a whole number", item->string);
        n = TD_MAX(n, id + 1);
    }
    td_json_each(item, td_json_get(r->root, "added_tokens"))
    {
        if (!td_json_int(td_json_get(item, "id"), &id))
            return td_fail(r->err, TD_E_MODEL, "an added token has no id");
        n = TD_MAX(n, id + 1);
    }
    *count = n;
    return TD_OK;
}

static td_rc read_vocab_object(const json_reader *r, const td_json *vocab)
{
    td_json_each(item, vocab)
    {
        int64_t id = -1;
        td_json_int(item, &id);
        td_rc rc = tok_vocab_put(&r->t->vocab, id, item->string, strlen(item->string), 0, TOK_NORMAL, NULL, r->err);
        if (rc != TD_OK)
            return rc;
    }
    return TD_OK;
}

static td_rc read_vocab_list(const json_reader *r, const td_json *vocab, double *scores)
{
    int64_t id = 0;
    td_json_each(item, vocab)
    {
        const char *text = cJSON_IsArray(item) ? td_json_str(item->child) : NULL;
        double score = 0;
        if (!text || !td_json_num(item->child->next, &score) || !isfinite(score))
            return td_fail(r->err, TD_E_MODEL, "vocabulary entry %lld is not a text and a score", (long long)id);
        td_rc rc = tok_vocab_put(&r->t->vocab, id, text, strlen(text), (float)score, TOK_NORMAL, NULL, r->err);
        if (rc != TD_OK)
            return rc;
        scores[id++] = score;
    }
    return TD_OK;
}

/* Gives an added token its id, unless the vocabulary has its text: then that id is what the reference uses. */
static td_rc place_added(const json_reader *r, const td_json *item, const char *text, token_id *id)
{
    int64_t want = -1;
    td_json_int(td_json_get(item, "id"), &want);
    size_t len = strlen(text);
    bool special = td_json_get_bool(item, "special", false);
    *id = tok_vocab_find(&r->t->vocab, text, len);
    if (*id >= 0 && *id != want)
        td_warn("tokenizer: added token '%.40s' has id %lld in the list and %d in the vocabulary; the latter is used",
                text, (long long)want, *id);
    if (*id < 0) {
        *id = (token_id)want;
        return tok_vocab_put(&r->t->vocab, want, text, len, 0, special ? TOK_CONTROL : TOK_USER_DEFINED, NULL, r->err);
    }
    r->t->vocab.entry[*id].kind = special ? TOK_CONTROL : TOK_USER_DEFINED;
    return TD_OK;
}

static td_rc read_added(const json_reader *r)
{
    td_json_each(item, td_json_get(r->root, "added_tokens"))
    {
        const char *text = td_json_get_str(item, "content", NULL);
        token_id id;
        if (!text)
            return td_fail(r->err, TD_E_MODEL, "an added token has no content");
        if (!*text)
            continue; // matches nothing; the reference leaves it out too
        td_rc rc = place_added(r, item, text, &id);
        if (rc != TD_OK)
            return rc;
    }
    return TD_OK;
}

/* A token that is looked for in normalized text is itself normalized. */
static td_rc put_normalized(const json_reader *r, const char *text, added_token token)
{
    tok_matcher m = {0};
    td_buf a = TD_BUF_INIT, b = TD_BUF_INIT;
    const char *to;
    size_t len;
    tok_matcher_start(&m, strlen(text));
    td_rc rc = tok_norm_run(&r->t->norm, &m, text, strlen(text), &a, &b, &to, &len, r->err);
    if (rc == TD_OK && !tok_added_put(&r->t->added_normalized, to, len, token))
        rc = nomem(r);
    tok_matcher_free(&m);
    td_buf_free(&a);
    td_buf_free(&b);
    return rc;
}

/* After the normalizer was read. */
static td_rc collect_added(const json_reader *r)
{
    td_json_each(item, td_json_get(r->root, "added_tokens"))
    {
        const char *text = td_json_get_str(item, "content", "");
        bool special = td_json_get_bool(item, "special", false);
        added_token token = {
            .id = tok_vocab_find(&r->t->vocab, text, strlen(text)),
            .special = special || tokenizer_is_special(r->t, tok_vocab_find(&r->t->vocab, text, strlen(text))),
            .lstrip = td_json_get_bool(item, "lstrip", false),
            .rstrip = td_json_get_bool(item, "rstrip", false),
            .single_word = td_json_get_bool(item, "single_word", false),
        };
        td_rc rc = TD_OK;
        if (td_json_get_bool(item, "normalized", !special))
            rc = put_normalized(r, text, token);
        else if (!tok_added_put(&r->t->added, text, strlen(text), token))
            rc = nomem(r);
        if (rc != TD_OK)
            return rc;
    }
    return TD_OK;
}

static token_id named_token(const json_reader *r, const char *key)
{
    const char *text = td_json_get_str(r->model, key, NULL);
    return text ? tok_vocab_find(&r->t->vocab, text, strlen(text)) : -1;
}

static td_rc read_mark(const json_reader *r, const char *key, char **out)
{
    const char *text = td_json_get_str(r->model, key, "");
    size_t len = strlen(text);
    if (len > TD_TOK_MARK_BYTES_MAX)
        return td_fail(r->err, TD_E_MODEL, "%s is %zu bytes long, more than %d", key, len, TD_TOK_MARK_BYTES_MAX);
    if (len == 0)
        return TD_OK;
    *out = td_alloc(len + 1);
    if (!*out)
        return nomem(r);
    memcpy(*out, text, len);
    return TD_OK;
}

/* "left right" or ["left", "right"]. */
static td_rc read_merge(const json_reader *r, const td_json *item, uint32_t rank)
{
    const char *left = td_json_str(item), *right;
    size_t left_len, right_len;
    if (left) {
        right = strchr(left, ' ');
        if (!right || strchr(right + 1, ' '))
            return td_fail(r->err, TD_E_MODEL, "merge %u is not two tokens: '%.60s'", rank, left);
        left_len = (size_t)(right++ - left);
    } else {
        left = cJSON_IsArray(item) ? td_json_str(item->child) : NULL;
        right = left ? td_json_str(item->child->next) : NULL;
        if (!right || item->child->next->next)
            return td_fail(r->err, TD_E_MODEL, "merge %u is not two tokens", rank);
        left_len = strlen(left);
    }
    right_len = strlen(right);
    if (!tok_bpe_merge(&r->t->bpe, left, left_len, right, right_len, rank))
        return td_fail(r->err, TD_E_MODEL, "merge %u, '%.40s' and '%.40s': a token is not in the vocabulary", rank,
                       left, right);
    return TD_OK;
}

static td_rc read_bpe(const json_reader *r)
{
    tokenizer *t = r->t;
    const td_json *merges = td_json_get(r->model, "merges");
    t->model = TOK_MODEL_BPE;
    t->unk = named_token(r, "unk_token");
    td_rc rc = tok_bpe_init(&t->bpe, &t->vocab, (size_t)cJSON_GetArraySize(merges), r->err);
    t->bpe.unk = t->unk;
    t->bpe.fuse_unk = td_json_get_bool(r->model, "fuse_unk", false);
    t->bpe.byte_fallback = td_json_get_bool(r->model, "byte_fallback", false);
    t->bpe.ignore_merges = td_json_get_bool(r->model, "ignore_merges", false);
    if (rc == TD_OK)
        rc = read_mark(r, "continuing_subword_prefix", &t->bpe.prefix);
    if (rc == TD_OK)
        rc = read_mark(r, "end_of_word_suffix", &t->bpe.suffix);
    uint32_t rank = 0;
    td_json_each(item, merges)
    {
        if (rc == TD_OK)
            rc = read_merge(r, item, rank++);
    }
    return rc;
}

static td_rc read_unigram(const json_reader *r, double *scores_take)
{
    tokenizer *t = r->t;
    int64_t unk = td_json_get_int(r->model, "unk_id", -1);
    t->model = TOK_MODEL_UNIGRAM;
    t->unk = tok_vocab_has(&t->vocab, unk) ? (token_id)unk : -1;
    td_rc rc = tok_unigram_init(&t->unigram, &t->vocab, scores_take, t->unk, r->err);
    t->unigram.byte_fallback = td_json_get_bool(r->model, "byte_fallback", false);
    if (rc == TD_OK && unk >= 0 && t->unk < 0)
        rc = td_fail(r->err, TD_E_MODEL, "unk_id %lld is not in the vocabulary", (long long)unk);
    return rc;
}

static td_rc read_model(const json_reader *r)
{
    const td_json *vocab = td_json_get(r->model, "vocab");
    const char *type = td_json_get_str(r->model, "type", NULL);
    bool unigram = cJSON_IsArray(vocab), bpe = cJSON_IsArray(td_json_get(r->model, "merges"));
    if (type ? strcmp(type, unigram ? "Unigram" : "BPE") != 0 : !unigram && !bpe)
        return td_fail(r->err, TD_E_UNSUPPORTED, "tokenizer model '%.40s' is not supported; BPE and Unigram are",
                       type ? type : "WordPiece");
    int64_t count;
    td_rc rc = id_count(r, &count);
    if (rc == TD_OK)
        rc = tok_vocab_init(&r->t->vocab, count, r->err);
    if (rc != TD_OK)
        return rc;
    double *scores = unigram ? td_alloc((size_t)count * sizeof *scores) : NULL;
    if (unigram && !scores)
        return nomem(r);
    rc = unigram ? read_vocab_list(r, vocab, scores) : read_vocab_object(r, vocab);
    if (rc == TD_OK)
        rc = read_added(r);
    if (rc != TD_OK) {
        td_free(scores);
        return rc;
    }
    return unigram ? read_unigram(r, scores) : read_bpe(r);
}

static td_rc read_root(const json_reader *r)
{
    tokenizer *t = r->t;
    if (!r->model)
        return td_fail(r->err, TD_E_MODEL, "there is no model in the tokenizer");
    td_rc rc = tok_steps_norm(t, td_json_get(r->root, "normalizer"), r->err);
    if (rc == TD_OK)
        rc = tok_steps_pre(t, td_json_get(r->root, "pre_tokenizer"), r->err);
    if (rc == TD_OK)
        rc = tok_steps_decode(t, td_json_get(r->root, "decoder"), r->err);
    if (rc == TD_OK)
        rc = tok_steps_post(t, td_json_get(r->root, "post_processor"), r->err);
    if (rc == TD_OK)
        rc = read_model(r);
    if (rc == TD_OK)
        rc = tokenizer_find_ends(t, r->err);
    return rc == TD_OK ? collect_added(r) : rc;
}

td_rc tok_json_read(tokenizer *t, const char *text, size_t len, td_err *err)
{
    td_json *root = NULL;
    td_rc rc = model_json_parse(text, len, &root, err);
    if (rc == TD_OK) {
        json_reader r = {.t = t, .root = root, .model = td_json_get(root, "model"), .err = err};
        rc = read_root(&r);
    }
    td_json_free(root);
    return rc;
}
