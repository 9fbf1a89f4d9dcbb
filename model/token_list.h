/* token_list.h - token ids, and a list of them that grows. Owned by whoever declared it. */
#ifndef TD_MODEL_TOKEN_LIST_H
#define TD_MODEL_TOKEN_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int32_t token_id;

typedef struct token_list { // grows; zero-initialised is empty; token_list_free
    token_id *ids;
    size_t count, cap;
} token_list;
bool token_list_add(token_list *l, token_id id); // false: out of memory
void token_list_free(token_list *l);

#endif
