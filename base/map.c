#include "base/map.h"

#include "base/arena.h"
#include "base/hash.h"

#include <string.h>

static bool map_grow(td_map *m, size_t cap)
{
    td_map_slot *slot = td_alloc(cap * sizeof *slot);
    if (!slot)
        return false;
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->slot[i].key)
            continue;
        size_t at = m->slot[i].hash & (cap - 1);
        while (slot[at].key)
            at = (at + 1) & (cap - 1);
        slot[at] = m->slot[i];
    }
    td_free(m->slot);
    m->slot = slot;
    m->cap = cap;
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
    td_free(m->slot);
    *m = (td_map){0};
}

/* The slot that holds the key, or the empty one where it would go. */
static td_map_slot *map_find(const td_map *m, const char *key, size_t len, uint64_t h)
{
    size_t at = h & (m->cap - 1);
    for (;; at = (at + 1) & (m->cap - 1)) {
        td_map_slot *s = &m->slot[at];
        if (!s->key || (s->hash == h && s->len == len && memcmp(s->key, key, len) == 0))
            return s;
    }
}

bool td_map_put(td_map *m, const char *key, size_t len, uint32_t value, bool *oom)
{
    uint64_t h = td_hash64(key, len, 0);
    td_map_slot *s = map_find(m, key, len, h);
    if (s->key)
        return false;
    if (m->count + 1 > m->cap - m->cap / 4) {
        if (!map_grow(m, m->cap * 2)) {
            if (oom)
                *oom = true;
            return false;
        }
        s = map_find(m, key, len, h);
    }
    *s = (td_map_slot){.key = key, .len = (uint32_t)len, .value = value, .hash = h};
    m->count++;
    return true;
}

bool td_map_get(const td_map *m, const char *key, size_t len, uint32_t *value)
{
    if (!m->cap)
        return false;
    const td_map_slot *s = map_find(m, key, len, td_hash64(key, len, 0));
    if (!s->key)
        return false;
    *value = s->value;
    return true;
}
