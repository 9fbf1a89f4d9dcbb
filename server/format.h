/* format.h - what the JSON of the three generation endpoints has in common. Loop thread. */
#ifndef TD_SERVER_FORMAT_H
#define TD_SERVER_FORMAT_H

#include "server/gen.h"

/* {"id":"PREFIX…","object":"OBJECT","created":…,"model":…,"system_fingerprint":… — left open */
void format_open(gen *g, td_buf *out, const char *id_prefix, const char *object);
void format_usage(td_buf *out, const gen_usage *u);        // {"prompt_tokens":…}
/* ,"choices":[…],"usage":{…} of a whole answer; write gives one choice's object. */
void format_choices(gen *g, td_buf *out, void (*write)(gen *g, td_buf *out, const gen_choice *c));
void format_finish(td_buf *out, const gen_choice *c);      // ,"finish_reason":…,"stop_reason":…
void format_chunk_end(gen *g, const gen_choice *c);        // usage when asked for in every chunk, then the end
void format_usage_chunk(gen *g);                           // an event with no choices, but the usage
void format_prompt_logprobs(gen *g, gen_prompt *p, const td_event *ev);

/* The log probabilities of chat and generate. */
void format_event_logprobs(gen *g, const td_event *ev);    // ,"logprobs":{"content":[…],"refusal":null} or null
void format_collect_logprobs(gen *g, gen_choice *c, const td_event *ev);
void format_choice_logprobs(gen *g, td_buf *out, const gen_choice *c); // the same of all that was collected
void format_prompt_end(td_buf *out, const gen_prompt *p);  // ,"prompt_logprobs":…}

#endif
