#include "model/token_list.h"

#include "base/arena.h"

bool token_list_add(token_list *l, token_id id)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 32;
        token_id *p = td_realloc(l->ids, cap * sizeof *p);
        if (!p)
            return false;
        l->ids = p;
        l->cap = cap;
    }
    l->ids[l->count++] = id;
    return true;
}

void token_list_free(token_list *l)
{
    td_free(l->ids);
    *l = (token_list){0};
}
