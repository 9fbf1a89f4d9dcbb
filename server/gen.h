/* gen.h - what the engine generates for one call: prompts × n choices, their events, and the text of the answer.
 *
 * Built by a worker (gen_start submits), then the loop thread's. The engine's notifications post the call's task; each
 * gen_pump() takes what is there. A format says how events look on the wire: as pieces of an event stream appended to
 * `out`, or collected per choice and written as one JSON object at the end. */
#ifndef TD_SERVER_GEN_H
#define TD_SERVER_GEN_H

#include "base/buf.h"
#include "engine/tandem.h"
#include "server/params.h"

struct call;
typedef struct gen gen;
typedef struct gen_format gen_format;

typedef struct gen_usage {
    int64_t prompt, cached, output; // tokens
} gen_usage;

typedef struct gen_prompt {
    const int32_t *ids;      // [count] in the call's arena
    int32_t count;
    const char *echo;        // text to put before the answer, or NULL
    size_t echo_len;
    td_request *request;
    int32_t cached, output;
    bool ended;
    td_buf logprobs;         // JSON of prompt_logprobs, or empty
    td_token_logprobs *echo_logprobs; // [echo_logprob_count] of ids 1…, when the echo shows them
    int32_t echo_logprob_count;
} gen_prompt;

typedef struct gen_choice {
    int32_t index;           // over all prompts
    gen_prompt *prompt;
    bool started, done;
    int32_t output;          // tokens
    td_buf text, ids;        // not streamed: so far; ids as JSON numbers
    td_buf lp[4];            // log probabilities as JSON, by format
    int64_t text_chars;      // code points of the tokens so far, for text_offset
    td_finish finish;
    int32_t stop_id;
    char *stop_string;       // of the call's arena, or NULL
} gen_choice;

struct gen {
    struct call *call;
    td_engine *engine;
    const gen_format *format;
    const params *params;    // in the call's arena
    const char *model;       // as the client called it
    uint64_t created_s;
    char fingerprint[64];    // of weights and arithmetic
    gen_prompt *prompts;     // [prompt_count]
    int32_t prompt_count;
    gen_choice *choices;     // [prompt_count × n]
    int32_t choice_count, open_count; // open: prompts that have not ended
    td_buf out;              // event stream, [taken … len) not handed on
    size_t taken;
    size_t enough, largest;  // bytes of `out`: while there are so many no events are taken; of one event
    td_buf head;             // of each event of the stream, made once
    bool finished;           // everything is in `out`, or collected
    td_err err;              // why it failed
};

struct gen_format {
    const char *name;
    void (*begin)(gen *g);                                        // makes g->head
    void (*event)(gen *g, gen_choice *c, const td_event *ev);     // stream: TOKENS or DONE
    void (*prompt_logprobs)(gen *g, gen_prompt *p, const td_event *ev); // PROMPT, when asked for; may be NULL
    void (*collect)(gen *g, gen_choice *c, const td_event *ev);   // not streamed
    void (*usage)(gen *g);                                        // stream: the last event, when asked for
    void (*write)(gen *g, td_buf *out);                           // not streamed: the answer
};

extern const gen_format format_chat, format_completions, format_generate;

/* Submits prompts (ids, count and echo are set) and gives the call its gen. On failure nothing runs. */
td_rc gen_start(struct call *c, const gen_format *format, const params *p, gen_prompt *prompts, int32_t prompt_count,
                td_err *err);
void gen_free(gen *g);       // cancels; NULL is fine
void gen_cancel(gen *g);     // the client left
void gen_fail(gen *g, td_rc rc, const char *why); // ends it with an error, which a stream will show
void gen_pump(gen *g);       // takes events, as long as `out` is short
void gen_hold(gen *g);       // takes all there are, for a client that does not read
size_t gen_room(const gen *g); // how much of a stream may be held
bool gen_ended(const gen *g);
const td_err *gen_error(const gen *g);
size_t gen_pending(const gen *g); // bytes of stream not handed on
size_t gen_read(gen *g, char *buf, size_t max);
void gen_ping(gen *g);
void gen_write(gen *g, td_buf *out);
gen_usage gen_get_usage(const gen *g);

#endif
