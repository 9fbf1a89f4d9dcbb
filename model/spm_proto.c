#include "model/spm_proto.h"

#include "base/arena.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "model/tok_charsmap.h"
#include "model/tok_trie.h"

#include <math.h>
#include <string.h>

/* Field numbers of sentencepiece_model.proto. */
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TRAINER_TYPE = 3, TRAINER_SUFFIX_SPACE = 24, TRAINER_BYTE_FALLBACK = 35, TRAINER_UNK = 40, TRAINER_BOS = 41,
       TRAINER_EOS = 42, TRAINER_PAD = 43 };
enum { NORM_CHARSMAP = 2, NORM_DUMMY = 3, NORM_EXTRA = 4, NORM_ESCAPE = 5 };
enum { TYPE_UNIGRAM = 1, TYPE_BPE = 2 };
enum { PIECE_NORMAL = 1, PIECE_UNKNOWN = 2, PIECE_BYTE = 6 };
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { PIECE_LEN_MAX = 4096, NESTED_MAX = 32 }; // the library has arrays of 32 and 64 for pieces that begin each other

typedef struct field { // one field of a message
    uint32_t number, wire;
    uint64_t value;    // VARINT, FIXED32
    const char *data;  // BYTES
    size_t len;
    const char *from;  // the whole field, tag included
    size_t whole;
} field;

typedef struct cursor {
    const char *at, *end;
} cursor;

static bool varint(cursor *c, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (c->at == c->end)
            return false;
        uint8_t b = (uint8_t)*c->at++;
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* 1: a field, 0: the end, -1: not protobuf. */
static int next_field(cursor *c, field *f)
{
    uint64_t tag, n;
    if (c->at == c->end)
        return 0;
    *f = (field){.from = c->at};
    if (!varint(c, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF)
        return -1;
    f->number = (uint32_t)(tag >> 3);
    f->wire = tag & 7;
    size_t left;
    switch (f->wire) {
    case VARINT:
        if (!varint(c, &f->value))
            return -1;
        break;
    case BYTES:
        if (!varint(c, &n) || n > (size_t)(c->end - c->at))
            return -1;
        f->data = c->at;
        f->len = (size_t)n;
        c->at += n;
        break;
    case FIXED32:
    case FIXED64:
        left = f->wire == FIXED32 ? 4 : 8;
        if ((size_t)(c->end - c->at) < left)
            return -1;
        for (size_t i = 0; i < 4; i++)
            f->value |= (uint64_t)(uint8_t)c->at[i] << 8 * i;
        c->at += left;
        break;
    default: return -1;
    }
    f->whole = (size_t)(c->at - f->from);
    return 1;
}

static td_rc cut_off(td_err *err, const char *what)
{
    return td_fail(err, TD_E_MODEL, "SentencePiece model: %s is cut off or not protobuf", what);
}

static td_rc read_piece(const field *outer, spm_piece *p, size_t id, td_err *err)
{
    cursor c = {outer->data, outer->data + outer->len};
    field f;
    int more;
    *p = (spm_piece){.text = "", .type = PIECE_NORMAL};
    while ((more = next_field(&c, &f)) == 1) {
        if (f.number == PIECE_TEXT && f.wire == BYTES) {
            p->text = f.data, p->len = f.len;
        } else if (f.number == PIECE_SCORE && f.wire == FIXED32) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p->score, &bits, 4);
        } else if (f.number == PIECE_TYPE && f.wire == VARINT) {
            p->type = f.value > PIECE_BYTE ? -1 : (int32_t)f.value;
        }
    }
    if (more < 0)
        return cut_off(err, "a piece");
    if (p->len == 0 || p->len > PIECE_LEN_MAX || !td_utf8_valid(p->text, p->len) || memchr(p->text, 0, p->len))
        return td_fail(err, TD_E_MODEL, "SentencePiece model: piece %zu has %zu bytes or is not UTF-8", id, p->len);
    if (!isfinite(p->score) || p->type < PIECE_NORMAL)
        return td_fail(err, TD_E_MODEL, "SentencePiece model: piece %zu has a bad score or type", id);
    return TD_OK;
}

static int32_t id_of(uint64_t v) { return (int64_t)v < 0 || v > INT32_MAX ? -1 : (int32_t)v; }

static td_rc read_trainer(spm_model *m, const field *outer, td_err *err)
{
    cursor c = {outer->data, outer->data + outer->len};
    field f;
    int more;
    uint64_t type = TYPE_UNIGRAM;
    while ((more = next_field(&c, &f)) == 1) {
        if (f.wire != VARINT)
            continue;
        switch (f.number) {
        case TRAINER_TYPE: type = f.value; break;
        case TRAINER_BYTE_FALLBACK: m->byte_fallback = f.value != 0; break;
        case TRAINER_UNK: m->unk_id = id_of(f.value); break;
        case TRAINER_BOS: m->bos_id = id_of(f.value); break;
        case TRAINER_EOS: m->eos_id = id_of(f.value); break;
        case TRAINER_PAD: m->pad_id = id_of(f.value); break;
        case TRAINER_SUFFIX_SPACE:
            if (f.value)
                return td_fail(err, TD_E_UNSUPPORTED, "SentencePiece model: spaces behind words are not supported");
            break;
        default: break;
        }
    }
    if (more < 0)
        return cut_off(err, "trainer_spec");
    if (type != TYPE_UNIGRAM && type != TYPE_BPE)
        return td_fail(err, TD_E_UNSUPPORTED, "SentencePiece model: only BPE and Unigram are supported");
    m->unigram = type == TYPE_UNIGRAM;
    return TD_OK;
}

static td_rc read_normalizer(spm_model *m, const field *outer, td_err *err)
{
    cursor c = {outer->data, outer->data + outer->len};
    field f;
    int more;
    td_rc rc = TD_OK;
    while (rc == TD_OK && (more = next_field(&c, &f)) == 1) {
        if (f.number == NORM_CHARSMAP && f.wire == BYTES && f.len > 0) {
            m->charsmap = true;
            rc = tok_charsmap_check((const uint8_t *)f.data, f.len, err);
        } else if (f.number == NORM_ESCAPE && f.wire == VARINT) {
            m->escape_whitespaces = f.value != 0;
        } else if (f.number == NORM_DUMMY && f.wire == VARINT) {
            m->add_dummy_prefix = f.value != 0;
        } else if (f.number == NORM_EXTRA && f.wire == VARINT) {
            m->remove_extra_whitespaces = f.value != 0;
        }
    }
    return rc == TD_OK && more < 0 ? cut_off(err, "normalizer_spec") : rc;
}

/* One pass to count, one to fill in. */
static td_rc read_sections(spm_model *m, const char *bytes, size_t len, size_t *pieces, td_err *err)
{
    cursor c = {bytes, bytes + len};
    field f;
    int more;
    size_t id = 0;
    td_rc rc = TD_OK;
    while (rc == TD_OK && (more = next_field(&c, &f)) == 1) {
        bool known = f.wire == BYTES && f.number <= MODEL_NORMALIZER;
        if (!known)
            continue;
        if (f.number == MODEL_PIECE) {
            if (m->piece)
                rc = read_piece(&f, &m->piece[id], id, err);
            id++;
        } else if (m->piece) {
            rc = f.number == MODEL_TRAINER ? read_trainer(m, &f, err) : read_normalizer(m, &f, err);
        }
        if (m->piece && rc == TD_OK && !td_buf_add(&m->clean, f.from, f.whole))
            rc = td_fail(err, TD_E_NOMEM, "not enough memory for a SentencePiece model of %zu bytes", len);
    }
    *pieces = id;
    return rc == TD_OK && more < 0 ? cut_off(err, "the file") : rc;
}

/* How many pieces are the beginning of one another, at most; the library keeps them in fixed arrays. */
static td_rc check_nesting(const spm_model *m, td_err *err)
{
    tok_trie trie = {0};
    td_rc rc = TD_OK;
    for (size_t i = 0; rc == TD_OK && i < m->count; i++)
        if (m->piece[i].type == 4 && !tok_trie_put(&trie, m->piece[i].text, m->piece[i].len, (int32_t)i))
            rc = td_fail(err, TD_E_NOMEM, "not enough memory for a SentencePiece model");
    for (size_t i = 0; rc == TD_OK && i < m->count; i++) {
        uint32_t node = TRIE_ROOT;
        int nested = 0;
        for (size_t k = 0; k < m->piece[i].len && tok_trie_step(&trie, &node, (uint8_t)m->piece[i].text[k]); k++)
            nested += trie.value[node] >= 0;
        if (nested > NESTED_MAX)
            rc = td_fail(err, TD_E_UNSUPPORTED,
                         "SentencePiece model: more than %d user-defined pieces begin one another", NESTED_MAX);
    }
    tok_trie_free(&trie);
    return rc;
}

td_rc spm_model_read(const char *bytes, size_t len, spm_model *m, td_err *err)
{
    size_t pieces = 0;
    *m = (spm_model){.unk_id = 0, .bos_id = 1, .eos_id = 2, .pad_id = -1, .unigram = true, .add_dummy_prefix = true,
                     .remove_extra_whitespaces = true, .escape_whitespaces = true};
    td_rc rc = read_sections(m, bytes, len, &pieces, err);
    if (rc == TD_OK && (pieces == 0 || pieces > TD_MODEL_VOCAB_MAX))
        rc = td_fail(err, TD_E_MODEL, "SentencePiece model: %zu pieces; 1 to %d are accepted", pieces,
                     TD_MODEL_VOCAB_MAX);
    if (rc == TD_OK && !(m->piece = td_alloc(pieces * sizeof *m->piece)))
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for %zu pieces", pieces);
    if (rc == TD_OK)
        rc = read_sections(m, bytes, len, &m->count, err);
    if (rc == TD_OK)
        rc = check_nesting(m, err);
    if (rc != TD_OK)
        spm_model_free(m);
    return rc;
}

void spm_model_free(spm_model *m)
{
    td_free(m->piece);
    td_buf_free(&m->clean);
    *m = (spm_model){0};
}
