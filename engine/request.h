/* request.h - a request and its sequences, as the engine keeps them; private to engine/.
 *
 * A td_request has one seq per choice. Everything a seq will ever need (ids, page table, hash chain, sampler state) is
 * reserved in the request's arena when it is submitted, so that the step loop cannot fail for lack of it. Two refs: the
 * caller's and the engine's; the last one frees. Events go through a queue of their own: the engine thread pushes, the
 * caller's thread takes. Fields are the engine thread's unless they stand under "shared". */
#ifndef TD_ENGINE_REQUEST_H
#define TD_ENGINE_REQUEST_H

#include "base/arena.h"
#include "engine/tandem.h"
#include "kvcache/table.h"
#include "model/detok.h"

#include <pthread.h>
#include <stdatomic.h>

typedef enum seq_state {
    SEQ_NEW,     // a further choice, waits for the first one's prompt
    SEQ_WAITING, // in the queue, holds no blocks
    SEQ_RUNNING, // holds blocks, is in every step
    SEQ_DONE
} seq_state;

typedef struct seq {
    td_request *req;
    int32_t choice;
    seq_state state;
    struct seq *next, *prev;  // in the scheduler's queue or running list
    int32_t *ids;             // [cap] prompt, then output
    int32_t prompt_count, count, cap;
    int32_t computed;         // tokens whose K and V are stored
    int32_t step_tok;         // tokens of the step being formed, 0 = not in it
    int32_t slot0;            // first of its token slots in the step being formed
    kv_table table;
    prefix_chain chain;

    kern_sample_adj *adj;     // [adj_count] what the sampler must know of single ids
    float *adj_base;          // [adj_count] bias that always holds; adj.bias adds this step's bans
    int32_t adj_count, adj_cap;
    int32_t *adj_index;       // [adj_index_cap] id → adj + 1, open addressing; 0 = empty
    int32_t adj_index_cap;

    detok detok;
    td_buf held;              // text that may still become a stop string
    uint64_t logits_hash;
    td_finish finish;
} seq;

typedef struct event_node {
    struct event_node *next;
    td_event ev;
    char data[];              // what ev points to: logprobs, ids, text
} event_node;

struct td_request {
    td_engine *engine;
    td_arena arena;
    char id[129];
    td_sampling sampling;     // arrays in the arena
    int32_t priority;
    uint64_t deadline_ns;
    uint64_t order;           // of arrival
    bool no_cache_read, want_logits_hash;
    int32_t prompt_count, max_total; // tokens; prompt + answer at most
    int32_t cached_count;
    kv_key root;
    uint32_t *mask;           // [ceil(V / 32)] ids that may be drawn, or NULL
    int32_t mask_count;       // of those
    const int32_t *positions; // score requests: positions whose logits are wanted, ascending
    int32_t position_count, position_done;
    float *score_out;         // [position_count][V]
    td_token_logprobs *prompt_logprobs; // [prompt_count - 1] or NULL
    seq *seqs;                // [sampling.n]
    int32_t done_count;
    int32_t output_count;     // over all choices
    bool prompt_done;         // PROMPT event pushed
    bool ended;               // END event pushed
    bool touched;             // has events that its caller was not told of; in the engine's list
    uint64_t arrived_ns, started_ns, first_token_ns, last_token_ns;
    struct td_request *inbox_next, *touched_next;

    /* shared */
    atomic_int refs;
    atomic_bool cancel;
    atomic_bool over;         // END was pushed
    atomic_bool in_step;      // counts among the running step's requests that are not cancelled
    pthread_mutex_t lock;     // queue, notify
    pthread_cond_t ready;
    event_node *head, *tail, *taken; // taken: the caller looks at it
    bool lost;                // an event could not be stored: the stream ends with TD_E_NOMEM
    void (*notify)(void *ctx);
    void *notify_ctx;
};

/* Checks opts against the engine's limits and builds the request. */
td_rc request_new(td_engine *e, const td_request_opts *opts, td_request **out, td_err *err);
void request_unref(td_request *r);
/* Appends an event (copied, with its ids, text and logprobs); the caller is told by request_flush(). */
void request_push(td_request *r, const td_event *ev);
void request_flush(td_request *r);

#endif
