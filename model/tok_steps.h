/* tok_steps.h - the normalizer, pre_tokenizer, decoder and post_processor objects of a tokenizer.json, turned into the
 * steps of tok_norm, pretok, tok_decode and the ids around a text. Private to tok_json. A kind that is not known, or
 * that cannot be done token by token, is TD_E_UNSUPPORTED by name; NULL or null adds nothing. */
#ifndef TD_MODEL_TOK_STEPS_H
#define TD_MODEL_TOK_STEPS_H

#include "base/json.h"
#include "model/tok_int.h"

td_rc tok_steps_norm(tokenizer *t, const td_json *j, td_err *err);
td_rc tok_steps_pre(tokenizer *t, const td_json *j, td_err *err);
td_rc tok_steps_decode(tokenizer *t, const td_json *j, td_err *err);
td_rc tok_steps_post(tokenizer *t, const td_json *j, td_err *err);

/* {"String": …} or {"Regex": …}; *literal tells which. NULL: neither. */
const char *tok_steps_pattern(const td_json *j, bool *literal);

#endif
