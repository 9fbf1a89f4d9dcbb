#include "kvcache/prefix.h"

#include "base/check.h"

#include <string.h>

enum { UNIT = TD_KV_HASH_UNIT_TOK };

kv_key prefix_root(const uint8_t model_fp[32], const char *numerics_id, const uint8_t *lora, const char *salt)
{
    // Lengths stand before the variable parts, so that no two roots can be made of the same bytes.
    uint8_t text[4 + 32 + 32 + 32 + 32] = "kvx1";
    td_sha256 numerics = td_sha256_of(numerics_id, strlen(numerics_id));
    td_sha256 salted = td_sha256_of(salt ? salt : "", salt ? strlen(salt) + 1 : 0);
    memcpy(text + 4, model_fp, 32);
    memcpy(text + 36, numerics.b, 32);
    if (lora)
        memcpy(text + 68, lora, 32);
    memcpy(text + 100, salted.b, 32);
    return td_sha256_of(text, sizeof text);
}

void prefix_chain_init(prefix_chain *c, kv_key root, kv_key *keys, int32_t unit_cap)
{
    *c = (prefix_chain){.root = root, .keys = keys, .unit_cap = unit_cap};
}

void prefix_chain_extend(prefix_chain *c, const int32_t *ids, int32_t count)
{
    int32_t units = TD_MIN(count / UNIT, c->unit_cap);
    for (; c->unit_count < units; c->unit_count++) {
        uint8_t text[32 + 4 * UNIT];
        const kv_key *parent = c->unit_count ? &c->keys[c->unit_count - 1] : &c->root;
        memcpy(text, parent->b, 32);
        memcpy(text + 32, ids + (size_t)c->unit_count * UNIT, 4 * UNIT); // little endian hosts only
        c->keys[c->unit_count] = td_sha256_of(text, sizeof text);
    }
}

const kv_key *prefix_page_key(const prefix_chain *c, int32_t block_tok, int32_t page)
{
    int64_t unit = ((int64_t)page + 1) * (block_tok / UNIT) - 1;
    return unit < c->unit_count ? &c->keys[unit] : NULL;
}

int32_t prefix_first_page(const kv_geometry *g, int32_t group, int32_t pos)
{
    int32_t window = g->group[group].window;
    return window && pos >= window ? (pos - window + 1) / g->block_tok : 0;
}

/* Whether the pages that a query at page_count * block_tok sees are there in a window group; when not, *retry is the
 * largest shorter prefix that the missing page does not rule out. */
static bool window_complete(const kv_pool *p, const prefix_chain *c, int32_t group, int32_t page_count, int32_t *retry)
{
    const kv_geometry *g = kv_pool_geometry(p);
    int32_t first = prefix_first_page(g, group, page_count * g->block_tok);
    for (int32_t page = page_count - 1; page >= first; page--) {
        if (kv_find(p, group, prefix_page_key(c, g->block_tok, page)) < 0) {
            *retry = page; // a prefix that still saw this page would miss it too
            return false;
        }
    }
    return true;
}

int32_t prefix_lookup(const kv_pool *p, const prefix_chain *c, int32_t tok_max)
{
    const kv_geometry *g = kv_pool_geometry(p);
    int32_t pages = TD_MIN(tok_max, c->unit_count * UNIT) / g->block_tok;
    for (int32_t i = 0; i < g->group_count; i++) {
        if (g->group[i].window)
            continue;
        int32_t n = 0;
        while (n < pages && kv_find(p, i, prefix_page_key(c, g->block_tok, n)) >= 0)
            n++;
        pages = n;
    }
    for (int32_t i = 0; i < g->group_count && pages > 0;) {
        int32_t retry;
        if (!g->group[i].window || window_complete(p, c, i, pages, &retry)) {
            i++;
        } else {
            pages = retry;
            i = 0;
        }
    }
    return pages * g->block_tok;
}
