/* The face of tokenizers: text through the parts of tok_int.h to ids, and ids back to text. */
#include "model/tokenizer.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "model/tok_int.h"

#include <string.h>

tokenizer *tokenizer_new(void)
{
    tokenizer *t = td_alloc(sizeof *t);
    if (t)
        t->bos = t->eos = t->unk = t->pad = -1;
    return t;
}

void tokenizer_free(tokenizer *t)
{
    if (!t)
        return;
    tok_added_free(&t->added);
    tok_added_free(&t->added_normalized);
    tok_norm_free(&t->norm);
    pretok_free(&t->pre);
    tok_bpe_free(&t->bpe);
    tok_spm_free(&t->spm);
    tok_unigram_free(&t->unigram);
    spm_lib_free(t->lib);
    spm_lib_free(t->lib_inside);
    tok_decode_free(&t->decode);
    token_list_free(&t->prefix);
    token_list_free(&t->suffix);
    token_list_free(&t->stop);
    tok_vocab_free(&t->vocab);
    td_free(t);
}

/* One text on its way through. */
typedef struct encoding {
    const tokenizer *t;
    bool special;        // special tokens are parsed
    tok_matcher matcher;
    pretok_run run;
    td_buf norm_a, norm_b;
    merge_work merge;
    unigram_work unigram;
    token_list *out;
} encoding;

static td_rc encode_nomem(td_err *err, size_t len)
{
    return td_fail(err, TD_E_NOMEM, "not enough memory to encode a text of %zu bytes", len);
}

static td_rc encode_lib(encoding *e, const char *s, size_t len, bool first, td_err *err)
{
    int *ids = NULL;
    size_t count = 0;
    const spm_lib *lib = !first && e->t->lib_inside ? e->t->lib_inside : e->t->lib;
    bool ok = spm_lib_encode(lib, s, len, &ids, &count) == 0;
    for (size_t i = 0; ok && i < count; i++)
        ok = token_list_add(e->out, ids[i]);
    spm_lib_ids_free(ids);
    return ok ? TD_OK : encode_nomem(err, len);
}

static td_rc encode_word(void *ctx, const char *s, size_t len, td_err *err)
{
    encoding *e = ctx;
    const tokenizer *t = e->t;
    if (t->model == TOK_MODEL_UNIGRAM)
        return tok_unigram_word(&t->unigram, &e->unigram, s, len, e->out, err);
    bool ok = t->model == TOK_MODEL_BPE ? tok_bpe_word(&t->bpe, &e->merge, s, len, e->out)
                                        : tok_spm_text(&t->spm, &e->merge, s, len, e->out);
    return ok ? TD_OK : encode_nomem(err, len);
}

/* Text between added tokens, normalized. */
static td_rc encode_plain(encoding *e, const char *s, size_t len, bool first, td_err *err)
{
    if (len == 0)
        return TD_OK;
    return e->t->model == TOK_MODEL_SPM_LIB ? encode_lib(e, s, len, first, err)
                                            : pretok_cut(&e->t->pre, &e->run, s, len, first, err);
}

static td_rc encode_normalized(encoding *e, const char *s, size_t len, bool first, td_err *err)
{
    size_t done = 0, at = 0;
    for (added_hit hit; tok_added_next(&e->t->added_normalized, s, len, done, e->special, &at, &hit); done = hit.end) {
        td_rc rc = encode_plain(e, s + done, hit.begin - done, first && done == 0, err);
        if (rc != TD_OK)
            return rc;
        if (!token_list_add(e->out, hit.id))
            return encode_nomem(err, len);
    }
    return encode_plain(e, s + done, len - done, first && done == 0, err);
}

static td_rc encode_raw(encoding *e, const char *s, size_t len, bool first, td_err *err)
{
    if (len == 0)
        return TD_OK;
    const char *text = s;
    size_t text_len = len;
    td_rc rc = tok_norm_run(&e->t->norm, &e->matcher, s, len, &e->norm_a, &e->norm_b, &text, &text_len, err);
    return rc == TD_OK ? encode_normalized(e, text, text_len, first, err) : rc;
}

static td_rc encode_text(encoding *e, const char *s, size_t len, td_err *err)
{
    size_t done = 0, at = 0;
    for (added_hit hit; tok_added_next(&e->t->added, s, len, done, e->special, &at, &hit); done = hit.end) {
        td_rc rc = encode_raw(e, s + done, hit.begin - done, done == 0, err);
        if (rc != TD_OK)
            return rc;
        if (!token_list_add(e->out, hit.id))
            return encode_nomem(err, len);
    }
    return encode_raw(e, s + done, len - done, done == 0, err);
}

static bool add_all(token_list *out, const token_list *from)
{
    for (size_t i = 0; i < from->count; i++)
        if (!token_list_add(out, from->ids[i]))
            return false;
    return true;
}

td_rc tokenizer_encode(const tokenizer *t, const char *text, size_t len, unsigned flags, token_list *out, td_err *err)
{
    if (len > TD_TOK_TEXT_BYTES_MAX)
        return td_fail(err, TD_E_INPUT, "a text of %zu bytes is longer than %u", len, TD_TOK_TEXT_BYTES_MAX);
    if (!td_utf8_valid(text, len))
        return td_fail(err, TD_E_INPUT, "the text is not UTF-8");
    encoding e = {.t = t, .special = flags & TOK_PARSE_SPECIAL, .out = out};
    e.run = (pretok_run){.matcher = &e.matcher, .word = encode_word, .ctx = &e};
    tok_matcher_start(&e.matcher, len);
    bool wrap = flags & TOK_ADD_SPECIAL;
    td_rc rc = wrap && !add_all(out, &t->prefix) ? encode_nomem(err, len) : encode_text(&e, text, len, err);
    if (rc == TD_OK && wrap && !add_all(out, &t->suffix))
        rc = encode_nomem(err, len);
    tok_matcher_free(&e.matcher);
    pretok_run_free(&e.run);
    td_buf_free(&e.norm_a);
    td_buf_free(&e.norm_b);
    merge_free(&e.merge);
    unigram_work_free(&e.unigram);
    return rc;
}

bool tokenizer_piece(const tokenizer *t, token_id id, bool special, td_buf *out)
{
    if (id < 0 || id >= t->vocab.count)
        return false;
    const tok_entry *e = &t->vocab.entry[id];
    bool hidden = e->kind == TOK_GAP || (!special && tokenizer_is_special(t, id));
    return hidden || tok_decode_piece(&t->decode, e->text, e->len, false, out);
}

int32_t tokenizer_vocab_count(const tokenizer *t) { return t->vocab.count; }

const char *tokenizer_raw(const tokenizer *t, token_id id, size_t *len)
{
    if (!tok_vocab_has(&t->vocab, id))
        return NULL;
    if (len)
        *len = t->vocab.entry[id].len;
    return t->vocab.entry[id].text;
}

bool tokenizer_is_special(const tokenizer *t, token_id id)
{
    if (!tok_vocab_has(&t->vocab, id))
        return false;
    uint8_t kind = t->vocab.entry[id].kind;
    return kind == TOK_CONTROL || kind == TOK_UNKNOWN;
}

token_id tokenizer_find(const tokenizer *t, const char *raw, size_t len) { return tok_vocab_find(&t->vocab, raw, len); }
token_id tokenizer_bos(const tokenizer *t) { return t->bos; }
token_id tokenizer_eos(const tokenizer *t) { return t->eos; }
token_id tokenizer_unk(const tokenizer *t) { return t->unk; }
token_id tokenizer_pad(const tokenizer *t) { return t->pad; }

bool tokenizer_adds_bos(const tokenizer *t)
{
    return t->bos >= 0 && t->prefix.count > 0 && t->prefix.ids[0] == t->bos;
}

bool tokenizer_adds_eos(const tokenizer *t)
{
    return t->eos >= 0 && t->suffix.count > 0 && t->suffix.ids[t->suffix.count - 1] == t->eos;
}

size_t tokenizer_stop_ids(const tokenizer *t, const token_id **ids)
{
    *ids = t->stop.ids;
    return t->stop.count;
}

const char *tokenizer_kind(const tokenizer *t)
{
    static const char *const names[] = {"bpe", "spm", "unigram", "spm", "bpe"};
    return names[t->model];
}

size_t tokenizer_piece_bytes_max(const tokenizer *t) { return t->piece_bytes_max; }
