/* safetensors_parse.h - the header of one safetensors file; private to model/safetensors*.c. */
#ifndef TD_MODEL_SAFETENSORS_PARSE_H
#define TD_MODEL_SAFETENSORS_PARSE_H

#include "base/arena.h"
#include "base/file.h"
#include "model/safetensors.h"

/* Checks the header and leaves its tensors, in the order of their offsets, in the arena; `part` is not set. Messages do
 * not name the file: the caller prefixes it. */
td_rc safetensors_parse(const td_file *f, td_arena *arena, st_tensor **tensors, size_t *count, td_err *err);

#endif
