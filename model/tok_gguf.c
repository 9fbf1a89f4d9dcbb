/* A tokenizer from a GGUF's metadata: byte-level BPE ("gpt2", "gemma4") and SentencePiece ("llama").
 *
 * The keys hold less than a tokenizer.json: the pre-tokenizer is a name, and what the name stands for is in
 * pretok_names.c; which special tokens end a turn is guessed by their texts in tok_finish.c. */
#include "model/tok_int.h"

#include "base/log.h"
#include "model/pretok_names.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define KEY "tokenizer.ggml."

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE }; // in the file

static tok_kind_of kind_of(int32_t type)
{
    switch (type) {
    case TYPE_UNKNOWN: return TOK_UNKNOWN;
    case TYPE_CONTROL: return TOK_CONTROL;
    case TYPE_USER_DEFINED: return TOK_USER_DEFINED;
    case TYPE_UNUSED: return TOK_UNUSED;
    case TYPE_BYTE: return TOK_BYTE;
    default: return TOK_NORMAL;
    }
}

/* An optional array beside the tokens: NULL and no error when it is not there. */
static td_rc side_array(const gguf *g, const char *key, gguf_type type, size_t tokens, const char **out, td_err *err)
{
    gguf_type is;
    size_t count;
    *out = NULL;
    if (!gguf_arr_type(g, key, &is, &count))
        return TD_OK;
    if (is != type || count < tokens)
        return td_fail(err, TD_E_MODEL, "%s has %zu elements of type %d; %zu of type %d are needed", key, count, is,
                       tokens, type);
    *out = gguf_arr_data(g, key, type);
    return TD_OK;
}

static td_rc read_vocab(tokenizer *t, const gguf *g, td_err *err)
{
    const char *scores, *types;
    size_t count = gguf_arr_count(g, KEY "tokens", GGUF_STR);
    td_rc rc = tok_vocab_init(&t->vocab, (int64_t)count, err);
    if (rc == TD_OK)
        rc = side_array(g, KEY "scores", GGUF_F32, count, &scores, err);
    if (rc == TD_OK)
        rc = side_array(g, KEY "token_type", GGUF_I32, count, &types, err);
    bool twice = false;
    for (size_t i = 0; rc == TD_OK && i < count; i++) {
        gguf_str s = gguf_arr_str(g, KEY "tokens", i);
        float score = 0;
        int32_t type = TYPE_NORMAL;
        if (scores)
            memcpy(&score, scores + 4 * i, 4);
        if (types)
            memcpy(&type, types + 4 * i, 4);
        if (!isfinite(score))
            return td_fail(err, TD_E_MODEL, KEY "scores: token %zu has a score that is not a number", i);
        rc = tok_vocab_put(&t->vocab, (int64_t)i, s.s, s.len, score, kind_of(type), &twice, err);
    }
    if (rc == TD_OK && twice)
        td_warn("tokenizer: some tokens have the same text; the first of them is used");
    return rc;
}

/* The id under a key, `dflt` when it is missing or outside the vocabulary; -1 for none. */
static token_id read_id(const tokenizer *t, const gguf *g, const char *key, token_id dflt)
{
    int64_t id = gguf_get_int(g, key, dflt);
    return tok_vocab_has(&t->vocab, id) ? (token_id)id : -1;
}

/* Phi-3's special tokens take the white space behind them in; the file does not say so. */
static bool strips_right(const gguf *g, const char *text)
{
    const char *name = gguf_get_str(g, "general.name");
    bool phi = name && (strcasestr(name, "phi-3") || strcasestr(name, "phi3"));
    return phi && strcmp(text, "<unk>") != 0 && strcmp(text, "<s>") != 0 && strcmp(text, "<|endoftext|>") != 0;
}

static td_rc read_added(tokenizer *t, const gguf *g, td_err *err)
{
    for (int32_t id = 0; id < t->vocab.count; id++) {
        const tok_entry *e = &t->vocab.entry[id];
        bool special = e->kind == TOK_CONTROL || e->kind == TOK_UNKNOWN;
        if (!special && e->kind != TOK_USER_DEFINED)
            continue;
        added_token a = {.id = id, .special = special, .rstrip = strips_right(g, e->text)};
        if (!tok_added_put(&t->added, e->text, e->len, a))
            return td_fail(err, TD_E_NOMEM, "not enough memory for a vocabulary of %d ids", t->vocab.count);
    }
    return TD_OK;
}

static td_rc read_merges(tokenizer *t, const gguf *g, td_err *err)
{
    gguf_type is;
    size_t count = 0, absent = 0;
    if (!gguf_arr_type(g, KEY "merges", &is, &count) || is != GGUF_STR)
        return td_fail(err, TD_E_MODEL, KEY "merges is missing or not a list of texts");
    td_rc rc = tok_bpe_init(&t->bpe, &t->vocab, count, err);
    for (size_t i = 0; rc == TD_OK && i < count; i++) {
        gguf_str s = gguf_arr_str(g, KEY "merges", i);
        // The first space that is not the first byte divides: a merge may begin with a space token.
        const char *space = s.len > 1 ? memchr(s.s + 1, ' ', s.len - 1) : NULL;
        size_t left = space ? (size_t)(space - s.s) : 0;
        if (!space || !tok_bpe_merge(&t->bpe, s.s, left, space + 1, s.len - left - 1, (uint32_t)i))
            absent++;
    }
    if (rc == TD_OK && absent)
        td_warn("tokenizer: %zu of %zu merges are left out, their tokens are not in the vocabulary", absent, count);
    return rc;
}

static td_rc spaces_to_marks(tokenizer *t, bool prefix, td_err *err)
{
    td_rc rc = prefix ? tok_norm_add_prepend(&t->norm, TOK_SPACE, err) : TD_OK;
    return rc == TD_OK ? tok_norm_add_replace(&t->norm, " ", true, TOK_SPACE, err) : rc;
}

static td_rc marks_to_spaces(tokenizer *t, td_err *err)
{
    t->decode.byte_marks = true;
    td_rc rc = tok_decode_add(&t->decode, DECODE_REPLACE, TOK_SPACE, " ", 0, 0, err);
    return rc == TD_OK ? tok_decode_add(&t->decode, DECODE_BYTE, "", "", 0, 0, err) : rc;
}

static td_rc read_bpe(tokenizer *t, const gguf *g, const char *pre, bool *add_bos, td_err *err)
{
    t->model = TOK_MODEL_BPE;
    const pretok_name *name = pre ? pretok_name_find(pre) : NULL;
    if (!name) {
        td_warn("tokenizer: pre-tokenizer '%s' is not known, using 'default': the text may be cut differently than "
                "the model was trained with", pre ? pre : "(none)");
        name = pretok_name_find("default");
    }
    td_rc rc = read_merges(t, g, err);
    if (rc == TD_OK)
        rc = pretok_add_named(&t->pre, name, err);
    bool spaces = name->flags & PRETOK_NAME_SPACES;
    t->bpe.ignore_merges = name->flags & PRETOK_NAME_IGNORE_MERGES;
    t->bpe.newline_words = name->flags & PRETOK_NAME_NEWLINES;
    t->bpe.byte_fallback = spaces;
    *add_bos = name->flags & PRETOK_NAME_ADD_BOS;
    if (rc == TD_OK && spaces)
        rc = spaces_to_marks(t, false, err);
    if (rc != TD_OK)
        return rc;
    return spaces ? marks_to_spaces(t, err) : tok_decode_add(&t->decode, DECODE_LETTERS, "", "", 0, 0, err);
}

static td_rc read_spm(tokenizer *t, const gguf *g, td_err *err)
{
    t->model = TOK_MODEL_SPM;
    t->unk = read_id(t, g, KEY "unknown_token_id", 0);
    bool prefix = gguf_get_bool(g, KEY "add_space_prefix", true);
    td_rc rc = tok_spm_init(&t->spm, &t->vocab, t->unk, err);
    if (rc == TD_OK)
        rc = spaces_to_marks(t, prefix, err);
    t->decode.lead = prefix ? DECODE_LEAD_ONE_SPACE : DECODE_LEAD_KEEP;
    return rc == TD_OK ? marks_to_spaces(t, err) : rc;
}

static td_rc read_special(tokenizer *t, const gguf *g, bool spm, bool add_bos, td_err *err)
{
    t->bos = read_id(t, g, KEY "bos_token_id", spm ? 1 : -1);
    t->eos = read_id(t, g, KEY "eos_token_id", spm ? 2 : -1);
    t->unk = read_id(t, g, KEY "unknown_token_id", spm ? 0 : -1);
    t->pad = read_id(t, g, KEY "padding_token_id", -1);
    add_bos = gguf_get_bool(g, KEY "add_bos_token", add_bos);
    bool add_eos = gguf_get_bool(g, KEY "add_eos_token", false);
    static const char *const ends[] = {KEY "eos_token_id", KEY "eot_token_id", KEY "eom_token_id"};
    bool ok = (!add_bos || t->bos < 0 || token_list_add(&t->prefix, t->bos)) &&
              (!add_eos || t->eos < 0 || token_list_add(&t->suffix, t->eos));
    for (size_t i = 0; ok && i < sizeof ends / sizeof *ends; i++) {
        token_id id = read_id(t, g, ends[i], i == 0 ? t->eos : -1);
        ok = id < 0 || token_list_add(&t->stop, id);
    }
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
}

static td_rc read_all(tokenizer *t, const gguf *g, td_err *err)
{
    const char *model = gguf_get_str(g, KEY "model"), *pre = gguf_get_str(g, KEY "pre");
    if (!model)
        return td_fail(err, TD_E_MODEL, "the file has no tokenizer: " KEY "model is missing");
    bool spm = strcmp(model, "llama") == 0, gemma4 = strcmp(model, "gemma4") == 0, add_bos = spm;
    if (!spm && !gemma4 && strcmp(model, "gpt2") != 0)
        return td_fail(err, TD_E_UNSUPPORTED, "tokenizer '%.40s' is not supported; gpt2, llama and gemma4 are", model);
    td_rc rc = read_vocab(t, g, err);
    if (rc == TD_OK)
        rc = spm ? read_spm(t, g, err) : read_bpe(t, g, gemma4 ? model : pre, &add_bos, err);
    if (rc == TD_OK)
        rc = read_special(t, g, spm, add_bos, err);
    if (rc == TD_OK)
        rc = tokenizer_find_ends(t, err); // may turn entries into control tokens
    return rc == TD_OK ? read_added(t, g, err) : rc;
}

td_rc tokenizer_from_gguf(const gguf *g, tokenizer **out, td_err *err)
{
    tokenizer *t = tokenizer_new();
    td_rc rc = t ? read_all(t, g, err) : td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
    if (rc == TD_OK)
        rc = tokenizer_finish(t, err);
    if (rc == TD_OK)
        *out = t;
    else
        tokenizer_free(t);
    return rc;
}
