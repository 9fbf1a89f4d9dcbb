/* sampler.h - a choice's sampling state: from the request's parameters and the tokens so far to one kern_sample_row.
 * What depends on the tokens' order lives here; what depends on the logits is the kernel's. Engine thread only, but for
 * sampler_init(), which the submitting thread calls before the engine knows the request. */
#ifndef TD_ENGINE_SAMPLER_H
#define TD_ENGINE_SAMPLER_H

#include "engine/request.h"

/* Reserves and fills the state from the prompt. stop_ids: those that min_tokens bans. */
td_rc sampler_init(seq *q, const int32_t *stop_ids, int32_t stop_id_count, td_err *err);
/* The row for drawing the token at position q->count. Refreshes the bans of this step. */
void sampler_row(seq *q, int32_t logit_row, kern_sample_row *out);
/* Whether the request's own rules leave no token that could be drawn at position q->count. */
bool sampler_leaves_nothing(seq *q);
/* A token was appended. */
void sampler_note(seq *q, int32_t id);

/* Whether the model's or the request's rules end a choice at this id. */
bool sampler_stops_at(const td_request *r, int32_t id, bool *by_request);

#endif
