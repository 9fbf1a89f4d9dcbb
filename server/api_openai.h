/* api_openai.h - the endpoints. Each takes a complete request (route.h) and sets the answer, starts the engine, or
 * fails. Those marked W run on a worker and must not touch what belongs to the loop thread. */
#ifndef TD_SERVER_API_OPENAI_H
#define TD_SERVER_API_OPENAI_H

#include "base/err.h"
#include "base/json.h"
#include "server/gen.h"
#include "server/params.h"

struct call;

td_rc api_completions(struct call *c, td_err *err);        // W
td_rc api_completions_render(struct call *c, td_err *err); // W
td_rc api_chat(struct call *c, td_err *err);               // W
td_rc api_chat_render(struct call *c, td_err *err);        // W
td_rc api_generate(struct call *c, td_err *err);           // W
td_rc api_tokenize(struct call *c, td_err *err);           // W
td_rc api_detokenize(struct call *c, td_err *err);         // W
td_rc api_models(struct call *c, td_err *err);
td_rc api_model(struct call *c, td_err *err);
td_rc api_health(struct call *c, td_err *err);
td_rc api_live(struct call *c, td_err *err);
td_rc api_ready(struct call *c, td_err *err);
td_rc api_version(struct call *c, td_err *err);
td_rc api_load(struct call *c, td_err *err);
td_rc api_metrics(struct call *c, td_err *err);
td_rc api_debug_requests(struct call *c, td_err *err); // W
td_rc api_debug_blocks(struct call *c, td_err *err);   // W
td_rc api_debug_block(struct call *c, td_err *err);    // W
td_rc api_debug_fault(struct call *c, td_err *err);    // W
/* The number at the end of /debug/blocks/N, or the argument `from` (NULL: 0); -1 where that is no number. */
int32_t api_debug_number(const char *path, const char *from);

/* ---- shared by the workers' endpoints (api_common.c) */

/* Parses the body and its fields, and checks the model's name. *body is the caller's, also when it fails. */
td_rc api_parse(struct call *c, unsigned kind, td_json **body, params **out, td_err *err);
/* Prompt against the context: prompt + max_tokens must fit. `field` is what the client called the prompt. */
td_rc api_fits(struct call *c, const params *p, const char *field, int64_t prompt_count, td_err *err);
/* Refuses text that cannot fit before it is tokenized. */
td_rc api_text_fits(struct call *c, const char *field, size_t bytes, td_err *err);
td_rc api_bad_words(struct call *c, params *p, td_err *err); // text → token sequences
/* Takes the ids into the call's arena. */
td_rc api_keep_ids(struct call *c, td_tokens *t, gen_prompt *out, td_err *err);
/* The prompts of a completions body: a string, token ids, or an array of either. */
td_rc api_prompts(struct call *c, const params *p, gen_prompt **out, int32_t *count, td_err *err);
td_rc api_chat_prompt(struct call *c, const params *p, gen_prompt *out, td_err *err);
void api_ids_json(td_buf *out, const int32_t *ids, int32_t count);

#endif
