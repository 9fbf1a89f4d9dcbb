/* tokenizer.model: SentencePiece's own file.
 *
 * libsentencepiece encodes (spm_wrap.h says why), except for BPE models that do not normalize: those of Llama, Mistral
 * and Gemma are of that kind. They need only what tok_spm does for GGUF files anyway, ten times faster and in a tenth
 * of the memory; the oracle tests compare it with the library. The pieces are kept here in both cases, for look-ups and
 * for decoding, which is a few rules and must work token by token. */
#include "model/tok_int.h"

#include "model/spm_proto.h"

#include <string.h>

/* normalizer_spec { add_dummy_prefix: false }: protobuf merges messages that follow each other. */
static const char no_dummy_prefix[] = {0x1A, 0x02, 0x18, 0x00};

static tok_kind_of kind_of(int32_t type)
{
    static const tok_kind_of kinds[] = {TOK_NORMAL, TOK_NORMAL, TOK_UNKNOWN, TOK_CONTROL, TOK_USER_DEFINED, TOK_UNUSED,
                                        TOK_BYTE};
    return kinds[type];
}

static td_rc read_pieces(tokenizer *t, const spm_model *m, size_t extra, td_err *err)
{
    td_rc rc = tok_vocab_init(&t->vocab, (int64_t)(m->count + extra), err);
    for (size_t i = 0; rc == TD_OK && i < m->count; i++) {
        const spm_piece *p = &m->piece[i];
        rc = tok_vocab_put(&t->vocab, (int64_t)i, p->text, p->len, p->score, kind_of(p->type), NULL, err);
    }
    return rc;
}

static token_id known(const tokenizer *t, int32_t id) { return tok_vocab_has(&t->vocab, id) ? id : -1; }

/* Merging is all there is to do: no table, no squeezing of spaces, no pieces that are taken apart again. */
static bool only_merges(const spm_model *m, bool legacy)
{
    if (m->unigram || m->charsmap || m->remove_extra_whitespaces || !m->escape_whitespaces ||
        (m->add_dummy_prefix && !legacy))
        return false;
    for (size_t i = 0; i < m->count; i++)
        if (kind_of(m->piece[i].type) == TOK_UNUSED)
            return false;
    return true;
}

static td_rc make_own(tokenizer *t, const spm_model *m, td_err *err)
{
    t->model = TOK_MODEL_SPM;
    td_rc rc = tok_spm_init(&t->spm, &t->vocab, known(t, m->unk_id), err);
    for (unsigned i = 0; !m->byte_fallback && i < 256; i++)
        t->spm.byte[i] = -1;
    if (rc == TD_OK && m->add_dummy_prefix)
        rc = tok_norm_add_prepend(&t->norm, TOK_SPACE, err);
    if (rc == TD_OK)
        rc = tok_norm_add_replace(&t->norm, " ", true, TOK_SPACE, err);
    for (size_t i = 0; rc == TD_OK && i < m->count; i++) {
        const spm_piece *p = &m->piece[i];
        if (kind_of(p->type) == TOK_USER_DEFINED &&
            !tok_added_put(&t->added_normalized, p->text, p->len, (added_token){.id = (token_id)i}))
            rc = td_fail(err, TD_E_NOMEM, "not enough memory for %zu pieces", m->count);
    }
    return rc;
}

static td_rc make_libs(tokenizer *t, spm_model *m, bool legacy, td_err *err)
{
    char why[160];
    t->model = TOK_MODEL_SPM_LIB;
    t->lib = spm_lib_new(m->clean.data, m->clean.len, why, sizeof why);
    if (t->lib && !legacy && m->add_dummy_prefix) {
        if (!td_buf_add(&m->clean, no_dummy_prefix, sizeof no_dummy_prefix))
            return td_fail(err, TD_E_NOMEM, "not enough memory for a SentencePiece model");
        t->lib_inside = spm_lib_new(m->clean.data, m->clean.len, why, sizeof why);
    }
    bool ok = t->lib && (t->lib_inside || legacy || !m->add_dummy_prefix);
    return ok ? TD_OK : td_fail(err, TD_E_MODEL, "SentencePiece refuses the model: %.120s", why);
}

static td_rc make_decoder(tokenizer *t, const spm_model *m, td_err *err)
{
    t->decode.byte_marks = true;
    t->decode.lead = m->remove_extra_whitespaces ? DECODE_LEAD_EACH_SPACE
                     : m->add_dummy_prefix       ? DECODE_LEAD_ONE_SPACE
                                                 : DECODE_LEAD_KEEP;
    td_rc rc = tok_decode_add(&t->decode, DECODE_REPLACE, TOK_SPACE, " ", 0, 0, err);
    return rc == TD_OK ? tok_decode_add(&t->decode, DECODE_BYTE, "", "", 0, 0, err) : rc;
}

/* Control and unknown pieces in a text count only where they are asked for; user-defined ones the library finds. */
static td_rc collect_control(tokenizer *t, td_err *err)
{
    for (int32_t id = 0; id < t->vocab.count; id++) {
        const tok_entry *e = &t->vocab.entry[id];
        if ((e->kind == TOK_CONTROL || e->kind == TOK_UNKNOWN) &&
            !tok_added_put(&t->added, e->text, e->len, (added_token){.id = id, .special = true}))
            return td_fail(err, TD_E_NOMEM, "not enough memory for a vocabulary of %d ids", t->vocab.count);
    }
    return TD_OK;
}

td_rc tok_spm_read(tokenizer *t, const char *bytes, size_t len, const tok_spm_options *o, td_err *err)
{
    spm_model m;
    td_rc rc = spm_model_read(bytes, len, &m, err);
    if (rc != TD_OK)
        return rc;
    rc = read_pieces(t, &m, o->extra_ids > (int64_t)m.count ? (size_t)o->extra_ids - m.count : 0, err);
    if (rc == TD_OK)
        rc = only_merges(&m, o->legacy) ? make_own(t, &m, err) : make_libs(t, &m, o->legacy, err);
    if (rc == TD_OK)
        rc = make_decoder(t, &m, err);
    if (rc == TD_OK) {
        t->unk = known(t, m.unk_id);
        t->bos = known(t, m.bos_id);
        t->eos = known(t, m.eos_id);
        t->pad = known(t, m.pad_id);
        rc = collect_control(t, err);
    }
    spm_model_free(&m);
    return rc;
}
