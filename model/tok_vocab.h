/* tok_vocab.h - the entries of a vocabulary: id to stored text, score and kind, and back from text to id.
 *
 * Built once by one of the readers (tok_gguf, tok_json, tok_files), then read-only. Texts live in the vocabulary's own
 * arena, so it does not depend on the file it came from. A text that two ids share is found as the first of them. */
#ifndef TD_MODEL_TOK_VOCAB_H
#define TD_MODEL_TOK_VOCAB_H

#include "base/arena.h"
#include "base/err.h"
#include "base/map.h"
#include "model/token_list.h"

typedef enum tok_kind_of { // what one entry is
    TOK_GAP,          // no entry has this id
    TOK_NORMAL,
    TOK_UNKNOWN,      // stands for what has no token
    TOK_CONTROL,      // never text: <s>, <|im_end|>
    TOK_USER_DEFINED, // found in the text before anything else, but ordinary text
    TOK_UNUSED,
    TOK_BYTE          // <0x0A>
} tok_kind_of;

typedef struct tok_entry {
    const char *text; // NUL terminated
    uint32_t len;
    float score;      // SentencePiece: log probability or minus the merge rank
    uint8_t kind;     // tok_kind_of
} tok_entry;

typedef struct tok_vocab {
    td_arena mem;
    tok_entry *entry; // [count]
    int32_t count;
    td_map by_text;   // only entries whose kind is not TOK_GAP and whose text is not empty
    size_t len_max;   // longest text in bytes
} tok_vocab;

/* count ids, all gaps. */
td_rc tok_vocab_init(tok_vocab *v, int64_t count, td_err *err);
void tok_vocab_free(tok_vocab *v);
/* Fills a gap. TD_E_MODEL when the id is out of range or taken by another text, or the text is too long. A text that is
 * there already under another id is kept as this id's text but not found by it: *twice is set when not NULL. */
td_rc tok_vocab_put(tok_vocab *v, int64_t id, const char *text, size_t len, float score, tok_kind_of kind, bool *twice,
                    td_err *err);
token_id tok_vocab_find(const tok_vocab *v, const char *text, size_t len); // -1: none
/* The same, but never a control, unknown or byte entry: what plain text may become. */
token_id tok_vocab_find_plain(const tok_vocab *v, const char *text, size_t len);
/* "<0x0A>" gives 10; -1 for anything else. */
int tok_byte_value(const char *text, size_t len);
token_id tok_vocab_find_byte(const tok_vocab *v, uint8_t byte); // the entry "<0xHH>", -1: none

/* Where a text with visible spaces can be cut so that no entry reaches across: bridge[b] says that some entry holds the
 * byte b followed by U+2581. The next cut behind `from`, or len. */
void tok_vocab_bridges(const tok_vocab *v, bool bridge[256]);
size_t tok_vocab_cut(const bool bridge[256], const char *s, size_t len, size_t from);

#define TOK_SPACE "\xE2\x96\x81" // U+2581, SentencePiece's visible space

static inline bool tok_vocab_has(const tok_vocab *v, int64_t id)
{
    return id >= 0 && id < v->count && v->entry[id].kind != TOK_GAP;
}

#endif
