/* tok_int.h - what a tokenizer is made of; private to model/tokenizer.c, detok.c and the readers.
 *
 *     text -> added tokens cut out -> normalizer -> added tokens again -> pre-tokenizer -> model -> ids
 *     ids  -> stored texts -> decoder steps -> bytes -> UTF-8
 *
 * A reader (tok_gguf, tok_json, tok_dir) fills in the parts; each part is one module with its own header. */
#ifndef TD_MODEL_TOK_INT_H
#define TD_MODEL_TOK_INT_H

#include "model/pretok.h"
#include "model/spm_wrap.h"
#include "model/tok_added.h"
#include "model/tok_bpe.h"
#include "model/tok_decode.h"
#include "model/tok_norm.h"
#include "model/tok_spm.h"
#include "model/tok_unigram.h"
#include "model/tok_vocab.h"
#include "model/tokenizer.h"

typedef enum tok_model {
    TOK_MODEL_BPE, TOK_MODEL_SPM, TOK_MODEL_UNIGRAM, TOK_MODEL_SPM_LIB,
    TOK_MODEL_TEKKEN // ranks as scores: the merge loop of TOK_MODEL_SPM
} tok_model;

struct tokenizer {
    tok_vocab vocab;
    tok_model model;
    tok_added added;            // found in the text as it came
    tok_added added_normalized; // found in the normalized text
    tok_norm norm;
    pretok pre;
    tok_bpe bpe;                // the one of `model`
    tok_spm spm;
    tok_unigram unigram;
    spm_lib *lib;               // with the space that SentencePiece puts in front of a text
    spm_lib *lib_inside;        // without it, for text behind a special token; NULL: `lib` serves there too
    tok_decode decode;
    token_id bos, eos, unk, pad; // -1: none
    token_list prefix, suffix;   // what TOK_ADD_SPECIAL puts around a text
    token_list stop;             // ascending, no duplicates
    size_t piece_bytes_max;
};

/* A tokenizer with no ids at all; NULL: out of memory. */
tokenizer *tokenizer_new(void);
/* Finds the tokens that end a turn or a text by the names that models known to us give them, makes them control tokens
 * and stop ids. Needs the vocabulary and eos; before the added tokens are collected. */
td_rc tokenizer_find_ends(tokenizer *t, td_err *err);
/* Last, when a reader filled everything in: checks ids, sorts the stop ids, sizes. */
td_rc tokenizer_finish(tokenizer *t, td_err *err);

/* Readers. The file's name is put before their messages by the caller. */
td_rc tok_json_read(tokenizer *t, const char *text, size_t len, td_err *err); // tokenizer.json
td_rc tok_tekken_read(tokenizer *t, char *text, size_t len, td_err *err); // tekken.json; writes to text
typedef struct tok_spm_options {
    int64_t extra_ids; // room for ids up to this, for added tokens
    bool legacy;       // the space in front also behind special tokens
} tok_spm_options;
/* tokenizer.model */
td_rc tok_spm_read(tokenizer *t, const char *bytes, size_t len, const tok_spm_options *o, td_err *err);

#endif
