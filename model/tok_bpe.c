#include "model/tok_bpe.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/utf8.h"

#include <string.h>

enum { WHOLE_UNKNOWN, WHOLE_YES, WHOLE_NO };

td_rc tok_bpe_init(tok_bpe *b, const tok_vocab *v, size_t merges, td_err *err)
{
    *b = (tok_bpe){.vocab = v, .unk = -1, .cap = 16};
    if (merges > TD_TOK_MERGES_MAX)
        return td_fail(err, TD_E_MODEL, "the tokenizer has %zu merges, more than %d", merges, TD_TOK_MERGES_MAX);
    while (b->cap < merges * 2)
        b->cap *= 2;
    b->merge = td_alloc(b->cap * sizeof *b->merge);
    b->whole = td_alloc((size_t)v->count * sizeof *b->whole);
    if (!b->merge || !b->whole)
        return td_fail(err, TD_E_NOMEM, "not enough memory for %zu merges", merges);
    for (size_t i = 0; i < b->cap; i++)
        b->merge[i].left = UINT32_MAX;
    for (uint32_t cp = 0; cp < BPE_LETTERS; cp++) {
        char text[4];
        b->letter[cp] = tok_vocab_find_plain(v, text, td_utf8_encode(cp, text));
    }
    for (unsigned i = 0; i < 256; i++)
        b->byte[i] = tok_vocab_find_byte(v, (uint8_t)i);
    b->spaces = tok_vocab_find_plain(v, TOK_SPACE, strlen(TOK_SPACE)) >= 0;
    if (b->spaces)
        tok_vocab_bridges(v, b->bridge);
    return TD_OK;
}

void tok_bpe_free(tok_bpe *b)
{
    td_free(b->merge);
    td_free((void *)b->whole);
    td_free(b->prefix);
    td_free(b->suffix);
    *b = (tok_bpe){0};
}

static bpe_merge *slot_of(const tok_bpe *b, uint32_t left, uint32_t right)
{
    size_t at = td_mix64((uint64_t)left << 32 | right) & (b->cap - 1);
    for (;; at = (at + 1) & (b->cap - 1)) {
        bpe_merge *m = &b->merge[at];
        if (m->left == UINT32_MAX || (m->left == left && m->right == right))
            return m;
    }
}

/* The id of left + right, without the prefix that marks symbols inside a word. */
static token_id joined_id(const tok_bpe *b, const char *left, size_t left_len, const char *right, size_t right_len)
{
    char small[256];
    size_t skip = b->prefix ? strlen(b->prefix) : 0;
    if (skip > right_len || memcmp(right, b->prefix ? b->prefix : "", skip) != 0)
        skip = 0;
    size_t len = left_len + right_len - skip;
    if (len > b->vocab->len_max)
        return -1;
    char *text = len <= sizeof small ? small : td_alloc(len);
    if (!text)
        return -1;
    memcpy(text, left, left_len);
    memcpy(text + left_len, right + skip, right_len - skip);
    token_id id = tok_vocab_find(b->vocab, text, len);
    if (text != small)
        td_free(text);
    return id;
}

bool tok_bpe_merge(tok_bpe *b, const char *left, size_t left_len, const char *right, size_t right_len, uint32_t rank)
{
    token_id l = tok_vocab_find(b->vocab, left, left_len), r = tok_vocab_find(b->vocab, right, right_len);
    token_id id = l < 0 || r < 0 ? -1 : joined_id(b, left, left_len, right, right_len);
    if (id < 0 || b->count * 2 >= b->cap)
        return false;
    bpe_merge *m = slot_of(b, (uint32_t)l, (uint32_t)r);
    if (m->left == UINT32_MAX) { // the first rank of a pair holds
        *m = (bpe_merge){.left = (uint32_t)l, .right = (uint32_t)r, .rank = rank, .id = id};
        b->count++;
    }
    return true;
}

static bool lookup(const void *model, const char *word, const merge_symbol *l, const merge_symbol *r, uint32_t *rank,
                   int32_t *id)
{
    (void)word;
    if (l->id < 0 || r->id < 0)
        return false;
    const bpe_merge *m = slot_of(model, (uint32_t)l->id, (uint32_t)r->id);
    if (m->left == UINT32_MAX)
        return false;
    *rank = m->rank;
    *id = m->id;
    return true;
}

/* The entry of one character of the word, with the marks of its place. */
static token_id symbol_id(const tok_bpe *b, const char *s, size_t len, bool first, bool last)
{
    uint32_t cp;
    bool marked = (!first && b->prefix) || (last && b->suffix);
    if (!marked && td_utf8_decode(s, len, &cp) && cp < BPE_LETTERS)
        return b->letter[cp];
    if (!marked)
        return tok_vocab_find_plain(b->vocab, s, len);
    char text[TD_TOK_MARK_BYTES_MAX * 2 + 4];
    size_t n = 0, mark = !first && b->prefix ? strlen(b->prefix) : 0;
    memcpy(text, b->prefix ? b->prefix : "", mark);
    n = mark;
    memcpy(text + n, s, len);
    n += len;
    mark = last && b->suffix ? strlen(b->suffix) : 0;
    memcpy(text + n, b->suffix ? b->suffix : "", mark);
    return tok_vocab_find_plain(b->vocab, text, n + mark);
}

typedef struct unknown { // characters without entry that wait to become one unknown token
    uint32_t begin, len; // len 0: none
} unknown;

static bool unknown_flush(const tok_bpe *b, merge_work *w, unknown *u)
{
    bool ok = u->len == 0 || merge_add(w, b->unk, u->begin, u->len);
    u->len = 0;
    return ok;
}

static bool add_unknown(const tok_bpe *b, merge_work *w, const char *s, uint32_t at, uint32_t n, unknown *u)
{
    if (b->byte_fallback) {
        uint32_t have = 0;
        while (have < n && b->byte[(uint8_t)s[at + have]] >= 0)
            have++;
        for (uint32_t i = 0; have == n && i < n; i++)
            if (!merge_add(w, b->byte[(uint8_t)s[at + i]], at + i, 1))
                return false;
        if (have == n)
            return true;
    }
    if (b->unk < 0)
        return true;
    if (u->len && b->fuse_unk) {
        u->len = at + n - u->begin;
        return true;
    }
    if (!unknown_flush(b, w, u))
        return false;
    *u = (unknown){at, n};
    return true;
}

static bool add_symbols(const tok_bpe *b, merge_work *w, const char *s, size_t len)
{
    unknown u = {0};
    merge_clear(w);
    for (size_t i = 0; i < len;) {
        size_t n = td_utf8_len(s + i, len - i);
        n = n ? n : 1;
        token_id id = symbol_id(b, s + i, n, i == 0, i + n == len);
        bool ok = id >= 0 ? unknown_flush(b, w, &u) && merge_add(w, id, (uint32_t)i, (uint32_t)n)
                          : add_unknown(b, w, s, (uint32_t)i, (uint32_t)n, &u);
        if (!ok)
            return false;
        i += n;
    }
    return unknown_flush(b, w, &u);
}

static bool only_newlines(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] != '\n')
            return false;
    return true;
}

static bool put_word(const tok_bpe *b, merge_work *w, const char *s, size_t len, token_list *out)
{
    token_id whole = tok_vocab_find_plain(b->vocab, s, len);
    uint8_t known = whole < 0 ? WHOLE_NO : atomic_load_explicit(&b->whole[whole], memory_order_relaxed);
    if (whole >= 0 && (known == WHOLE_YES || b->ignore_merges || (b->newline_words && only_newlines(s, len))))
        return token_list_add(out, whole);
    size_t before = out->count;
    if (!add_symbols(b, w, s, len) || !merge_run(w, s, lookup, b))
        return false;
    for (uint32_t i = w->count ? 0 : MERGE_END; i != MERGE_END; i = w->symbol[i].next)
        if (!token_list_add(out, w->symbol[i].id))
            return false;
    if (known == WHOLE_UNKNOWN) {
        bool alone = out->count == before + 1 && out->ids[before] == whole;
        atomic_store_explicit(&b->whole[whole], alone ? WHOLE_YES : WHOLE_NO, memory_order_relaxed);
    }
    return true;
}

/* Models of SentencePiece's kind come with the whole text as one word. Where nothing can merge across a visible space,
 * cutting there changes nothing but the time. */
bool tok_bpe_word(const tok_bpe *b, merge_work *w, const char *s, size_t len, token_list *out)
{
    bool cut = b->spaces && !b->ignore_merges && !b->prefix && !b->suffix;
    for (size_t begin = 0, end; begin < len; begin = end) {
        end = cut ? tok_vocab_cut(b->bridge, s, len, begin) : len;
        if (!put_word(b, w, s + begin, end - begin, out))
            return false;
    }
    return true;
}
