/* logprobs.h - log probabilities in the three shapes that clients know. Pure but for the vocabulary; any thread. */
#ifndef TD_SERVER_LOGPROBS_H
#define TD_SERVER_LOGPROBS_H

#include "base/buf.h"
#include "engine/tandem.h"

void logprob_number(td_buf *out, float v); // JSON has no infinity: -9999 stands for it
/* chat: {"token":…,"logprob":…,"bytes":[…],"top_logprobs":[…]}; elements are separated by commas. */
void logprobs_chat(td_buf *out, const td_engine *e, const td_token_logprobs *lp, int32_t count);
/* completions: the inside of the four parallel arrays tokens, token_logprobs, top_logprobs, text_offset. `chars` counts
 * code points of the text so far and goes on. Of the most probable tokens `top` are shown, and the token itself. */
void logprobs_completion(td_buf out[4], const td_engine *e, const td_token_logprobs *lp, int32_t count, int32_t top,
                         int64_t *chars);
void logprobs_completion_json(td_buf *out, const td_buf part[4]); // the four together as an object
/* prompt_logprobs: [null,{"id":{"logprob":…,"rank":…,"decoded_token":…},…},…] */
void logprobs_prompt(td_buf *out, const td_engine *e, const td_token_logprobs *lp, int32_t count);

#endif
