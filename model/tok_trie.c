#include "model/tok_trie.h"

#include "base/arena.h"
#include "base/hash.h"

#include <string.h>

void tok_trie_free(tok_trie *t)
{
    td_free(t->edge);
    td_free(t->value);
    *t = (tok_trie){0};
}

static trie_edge *edge_find(const trie_edge *edge, size_t cap, uint64_t key)
{
    size_t at = td_mix64(key) & (cap - 1);
    while (edge[at].key && edge[at].key != key)
        at = (at + 1) & (cap - 1);
    return (trie_edge *)&edge[at];
}

static bool edges_grow(tok_trie *t)
{
    size_t cap = t->cap ? t->cap * 2 : 256;
    trie_edge *edge = td_alloc(cap * sizeof *edge);
    if (!edge)
        return false;
    for (size_t i = 0; i < t->cap; i++)
        if (t->edge[i].key)
            *edge_find(edge, cap, t->edge[i].key) = t->edge[i];
    td_free(t->edge);
    t->edge = edge;
    t->cap = cap;
    return true;
}

static bool node_new(tok_trie *t, uint32_t *node)
{
    if (t->nodes == t->node_cap) {
        uint32_t cap = t->node_cap ? t->node_cap * 2 : 256;
        int32_t *value = td_realloc(t->value, cap * sizeof *value);
        if (!value)
            return false;
        t->value = value;
        t->node_cap = cap;
    }
    t->value[t->nodes] = -1;
    *node = t->nodes++;
    return true;
}

/* The child of *node by `byte`, made when it is not there. */
static bool child(tok_trie *t, uint32_t *node, uint8_t byte)
{
    if ((t->count + 1) * 2 > t->cap && !edges_grow(t))
        return false;
    uint64_t key = ((uint64_t)*node << 8 | byte) + 1;
    trie_edge *e = edge_find(t->edge, t->cap, key);
    if (!e->key) {
        uint32_t fresh;
        if (!node_new(t, &fresh))
            return false;
        *e = (trie_edge){.key = key, .node = fresh};
        t->count++;
    }
    *node = e->node;
    return true;
}

bool tok_trie_put(tok_trie *t, const char *s, size_t len, int32_t value)
{
    uint32_t node = TRIE_ROOT;
    if (len == 0)
        return true;
    if (t->nodes == 0 && !node_new(t, &node))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!child(t, &node, (uint8_t)s[i]))
            return false;
    if (t->value[node] < 0)
        t->value[node] = value;
    t->first[(uint8_t)s[0]] = true;
    return true;
}

bool tok_trie_step(const tok_trie *t, uint32_t *node, uint8_t byte)
{
    if (!t->cap)
        return false;
    const trie_edge *e = edge_find(t->edge, t->cap, ((uint64_t)*node << 8 | byte) + 1);
    if (!e->key)
        return false;
    *node = e->node;
    return true;
}

size_t tok_trie_longest(const tok_trie *t, const char *s, size_t len, int32_t *value)
{
    size_t best = 0;
    uint32_t node = TRIE_ROOT;
    if (len == 0 || !t->first[(uint8_t)s[0]])
        return 0;
    for (size_t i = 0; i < len && tok_trie_step(t, &node, (uint8_t)s[i]); i++) {
        if (t->value[node] >= 0) {
            best = i + 1;
            *value = t->value[node];
        }
    }
    return best;
}
