/* emit.h - from drawn tokens to events: text, stop rules, finish reasons. Engine thread only. */
#ifndef TD_ENGINE_EMIT_H
#define TD_ENGINE_EMIT_H

#include "engine/engine.h"

/* The prompt of r is computed: the PROMPT event, once. */
void emit_prompt(td_engine *e, td_request *r);
/* A token was drawn for q: appends it, gives its text out, ends the choice where a rule says so. true: q goes on. */
bool emit_token(td_engine *e, seq *q, const kern_sample_out *out);
/* Ends one choice that nothing more will be drawn for; its blocks go back. */
void emit_done(td_engine *e, seq *q, td_finish finish, int32_t stop_id, const char *stop_string);
/* Ends the whole request: every open choice is done, then the END event. rc TD_OK is the normal end. */
void emit_end(td_engine *e, td_request *r, td_rc rc, const char *message);

/* At the end of a step: tells the callers, and lets go of requests that ended. */
void emit_flush(td_engine *e);

#endif
