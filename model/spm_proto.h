/* spm_proto.h - a walk over the protobuf of a SentencePiece model that trusts nothing.
 *
 * Reads the pieces and the few settings that matter, checks what libsentencepiece itself does not check (lengths,
 * finite scores, how many pieces begin each other, every link and value of the character table), and gives the
 * sections that were checked as clean bytes for the library: nothing else of the file reaches it. */
#ifndef TD_MODEL_SPM_PROTO_H
#define TD_MODEL_SPM_PROTO_H

#include "base/buf.h"
#include "base/err.h"

typedef struct spm_piece { // borrowed from the file's bytes
    const char *text;
    size_t len;
    float score;
    int32_t type;          // as in the file: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
} spm_piece;

typedef struct spm_model {
    spm_piece *piece; // owned
    size_t count;
    int32_t unk_id, bos_id, eos_id, pad_id; // -1: none
    bool unigram, byte_fallback;
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
    bool charsmap;    // there is a character table
    td_buf clean;     // owned; the same model, only checked fields
} spm_model;

td_rc spm_model_read(const char *bytes, size_t len, spm_model *m, td_err *err);
void spm_model_free(spm_model *m);

#endif
