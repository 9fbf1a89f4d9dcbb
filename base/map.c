#include "base/map.h"

#include "base/arena.h"
#include "base/hash.h"

#include <string.h>

/* The upper half of the hash; never 0. */
static uint32_t tag_of(const char *key, size_t len)
{
    uint32_t tag = (uint32_t)(td_hash64(key, len, 0) >> 32);
    return tag ? tag : 1;
}

static bool map_grow(td_map *m, size_t cap)
{
    td_map grown = {.tag = td_alloc(cap * sizeof *grown.tag), .slot = td_alloc(cap * sizeof *grown.slot), .cap = cap};
    if (!grown.tag || !grown.slot) {
        td_map_free(&grown);
        return false;
    }
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->tag[i])
            continue;
        size_t at = m->tag[i] & (cap - 1);
        while (grown.tag[at])
            at = (at + 1) & (cap - 1);
        grown.tag[at] = m->tag[i];
        grown.slot[at] = m->slot[i];
    }
    grown.count = m->count;
    td_map_free(m);
    *m = grown;
    return true;
}

bool td_map_init(td_map *m, size_t expected)
{
    *m = (td_map){0};
    size_t cap = 16;
    while (cap - cap / 4 < expected)
        cap *= 2;
    return map_grow(m, cap);
}

void td_map_free(td_map *m)
{
    td_free(m->tag);
    td_free(m->slot);
    *m = (td_map){0};
}

/* Where the key is, or the empty place where it would go. */
static size_t map_find(const td_map *m, const char *key, size_t len, uint32_t tag)
{
    size_t at = tag & (m->cap - 1);
    for (;; at = (at + 1) & (m->cap - 1)) {
        if (!m->tag[at])
            return at;
        const td_map_slot *s = &m->slot[at];
        if (m->tag[at] == tag && s->len == len && memcmp(s->key, key, len) == 0)
            return at;
    }
}

bool td_map_put(td_map *m, const char *key, size_t len, uint32_t value, bool *oom)
{
    uint32_t tag = tag_of(key, len);
    size_t at = map_find(m, key, len, tag);
    if (m->tag[at])
        return false;
    if (m->count + 1 > m->cap - m->cap / 4) {
        if (!map_grow(m, m->cap * 2)) {
            if (oom)
                *oom = true;
            return false;
        }
        at = map_find(m, key, len, tag);
    }
    m->tag[at] = tag;
    m->slot[at] = (td_map_slot){.key = key, .len = (uint32_t)len, .value = value};
    m->count++;
    return true;
}

bool td_map_get(const td_map *m, const char *key, size_t len, uint32_t *value)
{
    if (!m->cap)
        return false;
    size_t at = map_find(m, key, len, tag_of(key, len));
    if (!m->tag[at])
        return false;
    *value = m->slot[at].value;
    return true;
}
