/* tokenizer.h - text to token ids and back, exactly as the model's own tokenizer does.
 *
 * One immutable object, made from a GGUF's metadata or from a Hugging Face directory (tokenizer.json, tokenizer.model
 * or tekken.json, with tokenizer_config.json and the like). Byte-level BPE and SentencePiece (BPE and Unigram) behind
 * one face. Read-only after it was made: any number of threads encode at once.
 * Errors: TD_E_MODEL for a bad tokenizer file, TD_E_INPUT for text that is not UTF-8 or too long, TD_E_NOMEM. */
#ifndef TD_MODEL_TOKENIZER_H
#define TD_MODEL_TOKENIZER_H

#include "base/err.h"
#include "base/buf.h"
#include "model/gguf.h"
#include "model/token_list.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tokenizer tokenizer;

enum {
    TOK_ADD_SPECIAL = 1,   // add BOS/EOS as the model's own tokenizer would
    TOK_PARSE_SPECIAL = 2, // special tokens written out in the text become their ids; else they are plain text
};

td_rc tokenizer_from_gguf(const gguf *g, tokenizer **out, td_err *err);
td_rc tokenizer_from_dir(const char *dir, tokenizer **out, td_err *err); // TD_E_NOTFOUND: the directory has none
void tokenizer_free(tokenizer *t);

/* Appends to *out. Time is O(n log n) in len for every input. */
td_rc tokenizer_encode(const tokenizer *t, const char *text, size_t len, unsigned flags, token_list *out, td_err *err);

/* One id's bytes appended to *out, as inside running text (no space is stripped). A special token gives its text only
 * when `special`. false: id out of range, nothing appended. */
bool tokenizer_piece(const tokenizer *t, token_id id, bool special, td_buf *out);
/* The whole text, as the reference library's decode gives it; bytes that are not UTF-8 become U+FFFD. */
td_rc tokenizer_decode(const tokenizer *t, const token_id *ids, size_t count, bool skip_special, td_buf *out,
                       td_err *err);

int32_t tokenizer_vocab_count(const tokenizer *t); // ids are 0 … count-1, gaps included
const char *tokenizer_raw(const tokenizer *t, token_id id, size_t *len); // entry as stored ("Ġthe", "▁the", "<0x0A>")
bool tokenizer_is_special(const tokenizer *t, token_id id);
token_id tokenizer_find(const tokenizer *t, const char *raw, size_t len); // by stored entry; -1 when absent
/* -1 where the model has none. */
token_id tokenizer_bos(const tokenizer *t);
token_id tokenizer_eos(const tokenizer *t);
token_id tokenizer_unk(const tokenizer *t);
token_id tokenizer_pad(const tokenizer *t);
bool tokenizer_adds_bos(const tokenizer *t);
bool tokenizer_adds_eos(const tokenizer *t);
/* Every id that ends a generation: EOS, EOT, EOM and what the files list. */
size_t tokenizer_stop_ids(const tokenizer *t, const token_id **ids);
const char *tokenizer_kind(const tokenizer *t); // "bpe", "spm", "unigram": for `inspect`
size_t tokenizer_piece_bytes_max(const tokenizer *t); // longest piece in bytes

#endif
