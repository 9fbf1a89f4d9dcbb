#include "model/tok_unigram.h"

#include "base/utf8.h"

#define UNK_PENALTY 10.0

td_rc tok_unigram_init(tok_unigram *u, const tok_vocab *v, double *scores_take, token_id unk, td_err *err)
{
    *u = (tok_unigram){.vocab = v, .score = scores_take, .unk = unk, .fuse_unk = true};
    double low = 0;
    bool any = false;
    for (int32_t id = 0; id < v->count; id++) {
        const tok_entry *e = &v->entry[id];
        if (e->kind == TOK_GAP)
            continue;
        if (!any || scores_take[id] < low)
            low = scores_take[id];
        any = true;
        if (e->kind == TOK_CONTROL)
            continue;
        if (!tok_trie_put(&u->trie, e->text, e->len, id))
            return td_fail(err, TD_E_NOMEM, "not enough memory for a vocabulary of %d ids", v->count);
    }
    u->unk_score = low - UNK_PENALTY;
    for (unsigned i = 0; i < 256; i++)
        u->byte[i] = tok_vocab_find_byte(v, (uint8_t)i);
    return TD_OK;
}

void tok_unigram_free(tok_unigram *u)
{
    tok_trie_free(&u->trie);
    td_free(u->score);
    *u = (tok_unigram){0};
}

void unigram_work_free(unigram_work *w)
{
    td_free(w->node);
    td_free(w->end);
    *w = (unigram_work){0};
}

static bool work_reserve(unigram_work *w, size_t positions)
{
    if (positions <= w->cap)
        return true;
    size_t cap = positions > 2 * w->cap ? positions : 2 * w->cap;
    unigram_node *node = td_realloc(w->node, cap * sizeof *node);
    if (node)
        w->node = node;
    uint32_t *end = node ? td_realloc(w->end, cap * sizeof *end) : NULL;
    if (!end)
        return false;
    w->end = end;
    w->cap = cap;
    return true;
}

static void offer(unigram_node *n, double score, size_t begin, token_id id)
{
    if (n->begin == UINT32_MAX || score > n->score)
        *n = (unigram_node){score, (uint32_t)begin, id};
}

/* Every entry that begins at `at`, and the unknown token when none of them is the one character there. */
static bool relax(const tok_unigram *u, unigram_node *node, const char *s, size_t len, size_t at, size_t char_len)
{
    double here = node[at].score;
    bool single = false;
    uint32_t state = TRIE_ROOT;
    for (size_t i = at; i < len && tok_trie_step(&u->trie, &state, (uint8_t)s[i]); i++) {
        token_id id = u->trie.value[state];
        if (id < 0)
            continue;
        offer(&node[i + 1], u->score[id] + here, at, id);
        single = single || i + 1 - at == char_len;
    }
    if (single)
        return true;
    offer(&node[at + char_len], u->unk_score + here, at, u->unk);
    return u->unk >= 0 || u->byte_fallback;
}

static bool put_unknown(const tok_unigram *u, const char *s, size_t len, token_list *out)
{
    token_id whole = tok_vocab_find_plain(u->vocab, s, len); // several unknown characters together may be an entry
    if (whole >= 0)
        return token_list_add(out, whole);
    size_t have = 0;
    while (u->byte_fallback && have < len && u->byte[(uint8_t)s[have]] >= 0)
        have++;
    if (have < len || !u->byte_fallback)
        return u->unk < 0 || token_list_add(out, u->unk);
    for (size_t i = 0; i < len; i++)
        if (!token_list_add(out, u->byte[(uint8_t)s[i]]))
            return false;
    return true;
}

/* Walks back from the end, then writes the pieces forward, neighbouring unknown ones as one. */
static bool put_best(const tok_unigram *u, unigram_work *w, const char *s, size_t len, token_list *out)
{
    size_t pieces = 0;
    for (size_t end = len; end > 0; end = w->node[end].begin)
        w->end[pieces++] = (uint32_t)end;
    while (pieces > 0) {
        size_t end = w->end[--pieces];
        const unigram_node *n = &w->node[end];
        size_t begin = n->begin;
        if (n->id != u->unk) {
            if (!token_list_add(out, n->id))
                return false;
            continue;
        }
        while (u->fuse_unk && pieces > 0 && w->node[w->end[pieces - 1]].id == u->unk)
            end = w->end[--pieces];
        if (!put_unknown(u, s + begin, end - begin, out))
            return false;
    }
    return true;
}

td_rc tok_unigram_word(const tok_unigram *u, unigram_work *w, const char *s, size_t len, token_list *out, td_err *err)
{
    bool ok = work_reserve(w, len + 1);
    if (ok) {
        for (size_t i = 0; i <= len; i++)
            w->node[i] = (unigram_node){.begin = UINT32_MAX};
        for (size_t at = 0, n; at < len; at += n) {
            n = td_utf8_len(s + at, len - at);
            n = n ? n : 1;
            if (!relax(u, w->node, s, len, at, n))
                return td_fail(err, TD_E_INPUT, "the text has a character that this vocabulary has no token for, "
                                                "and no unknown token");
        }
        ok = put_best(u, w, s, len, out);
    }
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory to encode a word of %zu bytes", len);
}
