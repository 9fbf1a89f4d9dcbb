#include "model/tok_spm.h"

#include "base/utf8.h"

#include <string.h>

enum { WHOLE_UNKNOWN, WHOLE_YES, WHOLE_NO };

td_rc tok_spm_init(tok_spm *m, const tok_vocab *v, token_id unk, td_err *err)
{
    *m = (tok_spm){.vocab = v, .unk = unk, .whole = td_alloc((size_t)v->count * sizeof *m->whole)};
    if (!m->whole)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a vocabulary of %d ids", v->count);
    for (unsigned i = 0; i < 256; i++)
        m->byte[i] = tok_vocab_find_byte(v, (uint8_t)i);
    tok_vocab_bridges(v, m->bridge);
    return TD_OK;
}

void tok_spm_free(tok_spm *m)
{
    td_free((void *)m->whole);
    *m = (tok_spm){0};
}

/* Orders floats downwards: the highest score is the lowest rank. */
static uint32_t rank_of(float score)
{
    uint32_t bits;
    score = score == 0 ? 0 : score; // one zero
    memcpy(&bits, &score, sizeof bits);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u; // ascending
    uint32_t rank = ~bits;
    return rank == UINT32_MAX ? rank - 1 : rank;
}

static bool lookup(const void *model, const char *word, const merge_symbol *l, const merge_symbol *r, uint32_t *rank,
                   int32_t *id)
{
    const tok_spm *m = model;
    *id = tok_vocab_find_plain(m->vocab, word + l->begin, (size_t)l->len + r->len);
    if (*id < 0)
        return false;
    *rank = rank_of(m->vocab->entry[*id].score);
    return true;
}

/* A symbol that did not merge: its own entry, its bytes, or the unknown token for it and its unknown neighbours. */
static bool put_symbol(const tok_spm *m, const char *word, const merge_symbol *s, bool *after_unk, token_list *out)
{
    token_id id = s->id >= 0 ? s->id : tok_vocab_find_plain(m->vocab, word + s->begin, s->len);
    bool was_unk = *after_unk;
    *after_unk = false;
    if (id >= 0)
        return token_list_add(out, id);
    for (uint32_t i = 0; i < s->len; i++) {
        if (m->byte[(uint8_t)word[s->begin + i]] < 0) {
            *after_unk = true;
            return was_unk || m->unk < 0 || token_list_add(out, m->unk);
        }
    }
    for (uint32_t i = 0; i < s->len; i++)
        if (!token_list_add(out, m->byte[(uint8_t)word[s->begin + i]]))
            return false;
    return true;
}

static bool put_word(const tok_spm *m, merge_work *w, const char *s, size_t len, bool *after_unk, token_list *out)
{
    token_id whole = tok_vocab_find_plain(m->vocab, s, len);
    uint8_t known = whole < 0 ? WHOLE_NO : atomic_load_explicit(&m->whole[whole], memory_order_relaxed);
    if (known == WHOLE_YES || (whole >= 0 && m->whole_words)) {
        *after_unk = false;
        return token_list_add(out, whole);
    }
    merge_clear(w);
    for (size_t i = 0, n; i < len; i += n) {
        n = td_utf8_len(s + i, len - i);
        n = n ? n : 1;
        if (!merge_add(w, -1, (uint32_t)i, (uint32_t)n))
            return false;
    }
    size_t before = out->count;
    if (!merge_run(w, s, lookup, m))
        return false;
    for (uint32_t i = 0; i != MERGE_END; i = w->symbol[i].next)
        if (!put_symbol(m, s, &w->symbol[i], after_unk, out))
            return false;
    if (known == WHOLE_UNKNOWN) {
        bool alone = out->count == before + 1 && out->ids[before] == whole;
        atomic_store_explicit(&m->whole[whole], alone ? WHOLE_YES : WHOLE_NO, memory_order_relaxed);
    }
    return true;
}

bool tok_spm_text(const tok_spm *m, merge_work *w, const char *s, size_t len, token_list *out)
{
    bool after_unk = false;
    for (size_t begin = 0, end; begin < len; begin = end) {
        end = tok_vocab_cut(m->bridge, s, len, begin);
        if (!put_word(m, w, s + begin, end - begin, &after_unk, out))
            return false;
    }
    return true;
}
