/* open.h - from flags to an open engine and to sampling parameters, the same way for every verb. Main thread. */
#ifndef TD_TOOLS_OPEN_H
#define TD_TOOLS_OPEN_H

#include "base/flags.h"
#include "engine/tandem.h"

/* MODEL as a path: a file, a directory, or org/name[@revision] in the hub cache. TD_E_NOTFOUND says where it looked. */
td_rc open_model_path(const char *model, td_buf *path, td_err *err);

/* A model that lacks a file is an invalid model: the exit status tells what the user named, not how it was found out.
 */
td_rc open_model_rc(td_rc rc, td_err *err);

/* Fills what the verb's flags say; o->model stays NULL. Strings live as long as f. */
void open_engine_opts(const flags *f, td_engine_opts *o);
/* Opens MODEL, the first operand, with a progress bar. */
td_rc open_engine(const flags *f, td_engine **out, td_err *err);
/* The same for verbs that begin to answer at once and for themselves alone: steps have a size that is not measured, and
 * weights are not hashed. The answers are the same. */
td_rc open_engine_quick(const flags *f, td_engine **out, td_err *err);
/* Tokenizer and chat template only; a GGUF that holds nothing but a vocabulary is enough. */
td_rc open_tokenizer(const flags *f, td_engine **out, td_err *err);

/* A value of a flag that the engine refuses with a request is wrong usage. */
td_rc open_submit_rc(td_rc rc, td_err *err);

typedef struct open_sampling {
    td_sampling s;
    int32_t *stop_ids; // owned
} open_sampling;
/* Defaults, the model's own over them, the flags over those. */
td_rc open_sampling_init(const flags *f, const td_engine *e, open_sampling *out, td_err *err);
void open_sampling_free(open_sampling *s);

#endif
