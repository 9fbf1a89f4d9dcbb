/* tok_added.h - tokens that are cut out of the text before it is normalized or split: <|im_end|>, <image>, "\n\n".
 *
 * The longest token that begins leftmost wins, as in the reference library. A special one counts only where the caller
 * asked for it; else its text is ordinary text (and nothing inside it is looked for). */
#ifndef TD_MODEL_TOK_ADDED_H
#define TD_MODEL_TOK_ADDED_H

#include "model/tok_trie.h"
#include "model/token_list.h"

typedef struct added_token {
    token_id id;
    bool special;     // only where special tokens are parsed
    bool lstrip;      // takes the white space before it in
    bool rstrip;      // and the one behind it
    bool single_word; // not inside a word
} added_token;

typedef struct tok_added {
    tok_trie trie; // text to index in token
    added_token *token;
    size_t count, cap;
} tok_added;

typedef struct added_hit {
    token_id id;
    size_t begin, end; // bytes of the text that it stands for
} added_hit;

bool tok_added_put(tok_added *a, const char *text, size_t len, added_token token); // false: out of memory
void tok_added_free(tok_added *a);
/* The next token at or after *at, which moves behind it; `done`: where the last hit ended. false: none any more. */
bool tok_added_next(const tok_added *a, const char *s, size_t len, size_t done, bool special, size_t *at,
                    added_hit *hit);

#endif
