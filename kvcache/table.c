#include "kvcache/table.h"

#include "base/check.h"

size_t kv_table_mem_count(const kv_geometry *g, int32_t page_cap)
{
    return (size_t)g->group_count * (size_t)page_cap;
}

void kv_table_init(kv_table *t, const kv_geometry *g, int32_t page_cap, int32_t *mem)
{
    *t = (kv_table){.page_cap = page_cap};
    for (int32_t i = 0; i < g->group_count; i++)
        t->page[i] = mem + (size_t)i * (size_t)page_cap;
}

static int32_t pages_for(const kv_geometry *g, int32_t tok_count)
{
    return (int32_t)(((int64_t)tok_count + g->block_tok - 1) / g->block_tok);
}

void kv_table_adopt(kv_table *t, kv_pool *p, const prefix_chain *c, int32_t tok_count)
{
    const kv_geometry *g = kv_pool_geometry(p);
    int32_t pages = tok_count / g->block_tok;
    td_assert(t->page_count == 0 && pages <= t->page_cap);
    for (int32_t i = 0; i < g->group_count; i++) {
        int32_t first = prefix_first_page(g, i, tok_count);
        for (int32_t k = 0; k < pages; k++) {
            int32_t b = k < first ? -1 : kv_find(p, i, prefix_page_key(c, g->block_tok, k));
            td_assert(k < first || b >= 0);
            if (b >= 0)
                kv_ref(p, b);
            t->page[i][k] = b;
        }
        t->live_from[i] = first;
    }
    t->page_count = t->published = pages;
}

int32_t kv_table_missing(const kv_table *t, const kv_geometry *g, int32_t tok_count)
{
    return TD_MAX(pages_for(g, tok_count) - t->page_count, 0) * g->group_count;
}

bool kv_table_reserve(kv_table *t, kv_pool *p, int32_t tok_count)
{
    const kv_geometry *g = kv_pool_geometry(p);
    int32_t pages = pages_for(g, tok_count);
    td_assert(pages <= t->page_cap);
    if (kv_table_missing(t, g, tok_count) > kv_available(p))
        return false;
    for (; t->page_count < pages; t->page_count++) {
        for (int32_t i = 0; i < g->group_count; i++) {
            int32_t b = kv_alloc(p, i);
            td_assert(b >= 0);
            t->page[i][t->page_count] = b;
        }
    }
    return true;
}

void kv_table_leave(kv_table *t, kv_pool *p, int32_t pos)
{
    const kv_geometry *g = kv_pool_geometry(p);
    for (int32_t i = 0; i < g->group_count; i++) {
        int32_t first = TD_MIN(prefix_first_page(g, i, pos), t->page_count);
        for (; t->live_from[i] < first; t->live_from[i]++) {
            kv_unref(p, t->page[i][t->live_from[i]]);
            t->page[i][t->live_from[i]] = -1;
        }
    }
}

void kv_table_publish(kv_table *t, kv_pool *p, const prefix_chain *c, int32_t tok_count)
{
    const kv_geometry *g = kv_pool_geometry(p);
    int32_t full = TD_MIN(tok_count / g->block_tok, t->page_count);
    for (; t->published < full; t->published++) {
        const kv_key *key = prefix_page_key(c, g->block_tok, t->published);
        if (!key)
            return;
        for (int32_t i = 0; i < g->group_count; i++)
            if (t->page[i][t->published] >= 0)
                kv_publish(p, t->page[i][t->published], key);
    }
}

bool kv_table_fork(kv_table *to, const kv_table *from, kv_pool *p, int32_t tok_count)
{
    const kv_geometry *g = kv_pool_geometry(p);
    int32_t full = tok_count / g->block_tok, tail = tok_count % g->block_tok;
    td_assert(to->page_count == 0 && pages_for(g, tok_count) <= from->page_count);
    if (tail && kv_available(p) < g->group_count)
        return false;
    for (int32_t i = 0; i < g->group_count; i++) {
        for (int32_t k = 0; k < full; k++) {
            to->page[i][k] = from->page[i][k];
            if (to->page[i][k] >= 0)
                kv_ref(p, to->page[i][k]);
        }
        to->live_from[i] = TD_MIN(from->live_from[i], full);
        if (tail) {
            to->page[i][full] = kv_alloc(p, i);
            kv_copy_block(p, i, to->page[i][full], from->page[i][full], tail);
        }
    }
    to->page_count = full + (tail > 0);
    to->published = TD_MIN(from->published, full);
    return true;
}

void kv_table_clear(kv_table *t, kv_pool *p)
{
    const kv_geometry *g = kv_pool_geometry(p);
    for (int32_t k = t->page_count - 1; k >= 0; k--)
        for (int32_t i = 0; i < g->group_count; i++)
            if (t->page[i][k] >= 0)
                kv_unref(p, t->page[i][k]);
    for (int32_t i = 0; i < g->group_count; i++)
        t->live_from[i] = 0;
    t->page_count = t->published = 0;
}
