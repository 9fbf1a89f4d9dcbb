/* pretok_names.h - the pre-tokenizers that GGUF files name in tokenizer.ggml.pre. */
#ifndef TD_MODEL_PRETOK_NAMES_H
#define TD_MODEL_PRETOK_NAMES_H

#include "model/pretok.h"

enum {
    PRETOK_NAME_ADD_BOS = 1,       // unless the file says otherwise
    PRETOK_NAME_IGNORE_MERGES = 2, // a word that is an entry is that entry
    PRETOK_NAME_SPACES = 4,        // no byte alphabet: spaces are U+2581, unknown characters <0xHH>
    PRETOK_NAME_NEWLINES = 8       // a run of newlines that is an entry is that entry
};

typedef struct pretok_name {
    const char *names; // separated by spaces
    unsigned flags;
    const char *pattern[6];
} pretok_name;

const pretok_name *pretok_name_find(const char *name); // NULL: not known
td_rc pretok_add_named(pretok *p, const pretok_name *n, td_err *err);

#endif
