/* spm_wrap.h - libsentencepiece as C calls.
 *
 * The library does SentencePiece's own encoding for tokenizer.model files: it is the reference, so what ships equals
 * it by construction. What it does not do is look at its input with suspicion (a crafted model writes out of bounds in
 * the versions that distributions carry), so that only bytes that spm_proto.h checked and wrote anew get here.
 * An spm_lib is read-only after it was made: any thread. Nothing is thrown. */
#ifndef TD_MODEL_SPM_WRAP_H
#define TD_MODEL_SPM_WRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct spm_lib spm_lib;

/* NULL: the library refuses the model or has no memory; why[why_len] says it. */
spm_lib *spm_lib_new(const char *bytes, size_t len, char *why, size_t why_len);
void spm_lib_free(spm_lib *lib);
/* 0, or negative: out of memory or refused. *ids belongs to the caller: spm_lib_ids_free. */
int spm_lib_encode(const spm_lib *lib, const char *text, size_t len, int **ids, size_t *count);
void spm_lib_ids_free(int *ids);

#ifdef __cplusplus
}
#endif
#endif
