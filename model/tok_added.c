#include "model/tok_added.h"

#include "base/arena.h"
#include "base/check.h"
#include "model/tok_chars.h"

bool tok_added_put(tok_added *a, const char *text, size_t len, added_token token)
{
    if (a->count == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 64;
        added_token *p = td_realloc(a->token, cap * sizeof *p);
        if (!p)
            return false;
        a->token = p;
        a->cap = cap;
    }
    if (!tok_trie_put(&a->trie, text, len, (int32_t)a->count))
        return false;
    a->token[a->count++] = token;
    return true;
}

void tok_added_free(tok_added *a)
{
    tok_trie_free(&a->trie);
    td_free(a->token);
    *a = (tok_added){0};
}

static bool inside_word(const char *s, size_t len, size_t begin, size_t end)
{
    return (begin > 0 && tok_word_before(s, begin)) || (end < len && tok_word_at(s + end, len - end));
}

bool tok_added_next(const tok_added *a, const char *s, size_t len, size_t done, bool special, size_t *at,
                    added_hit *hit)
{
    while (*at < len) {
        int32_t index;
        size_t n = a->trie.first[(uint8_t)s[*at]] ? tok_trie_longest(&a->trie, s + *at, len - *at, &index) : 0;
        if (n == 0) {
            ++*at;
            continue;
        }
        const added_token *t = &a->token[index];
        size_t begin = *at, end = *at + n;
        *at = end;
        if ((t->special && !special) || (t->single_word && inside_word(s, len, begin, end)))
            continue;
        while (t->lstrip && begin > done && tok_space_before(s, begin))
            begin -= tok_space_before(s, begin);
        for (size_t step; t->rstrip && end < len && (step = tok_space_at(s + end, len - end)) != 0;)
            end += step;
        // Space that the token before took in may hold the beginning of this one: then both begin where that ended.
        *hit = (added_hit){.id = t->id, .begin = TD_MAX(begin, done), .end = TD_MAX(end, done)};
        return true;
    }
    return false;
}
