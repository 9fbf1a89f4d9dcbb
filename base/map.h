/* map.h - hash map from byte strings to 32-bit values, open addressing. The keys' bytes are borrowed and must outlive
 * the map. Built once and then read from any thread, or used by one thread.
 *
 * A search walks the tags, which are dense enough for the caches even with a quarter million keys, and touches a slot
 * only where the tag fits. */
#ifndef TD_BASE_MAP_H
#define TD_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct td_map_slot {
    const char *key;
    uint32_t len, value;
} td_map_slot;

typedef struct td_map {
    uint32_t *tag;     // [cap] a key's hash, 0 = empty; its lowest bits say where the search begins
    td_map_slot *slot; // [cap]
    size_t cap, count; // cap: power of two, at least 4/3 count
} td_map;

bool td_map_init(td_map *m, size_t expected); // false: out of memory
void td_map_free(td_map *m);
/* Inserts; false when the key is there already (value kept) or memory ran out (*oom set when not NULL). */
bool td_map_put(td_map *m, const char *key, size_t len, uint32_t value, bool *oom);
bool td_map_get(const td_map *m, const char *key, size_t len, uint32_t *value);

#endif
