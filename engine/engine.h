/* engine.h - the engine's parts; private to engine/. Who writes what: the engine thread everything from `sched` on, any
 * thread what stands under "shared" while it holds the lock. */
#ifndef TD_ENGINE_ENGINE_H
#define TD_ENGINE_ENGINE_H

#include "engine/batch.h"
#include "engine/debug.h"
#include "engine/metrics.h"
#include "engine/sched.h"
#include "engine/tandem.h"
#include "model/chat.h"
#include "model/model.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SAMPLE_ROWS_MAX = 64 }; // rows handed to the sampling kernel at once

struct td_engine {
    td_engine_opts opts;
    td_engine_info info;
    td_arena arena;            // strings of info
    uint64_t seed;             // of seeds for requests that bring none

    /* constant after open: any thread reads */
    gguf *gguf;                // NULL for a directory, and after loading
    tokenizer *tok;            // NULL: the model speaks token ids only
    chat_template *chat;       // NULL where there is no tokenizer
    model_generation generation;
    kern_dev *dev;
    model *model;

    /* engine thread */
    kv_pool *pool;
    kern_kv_layer *kv_layers;  // [L]
    sched sched;
    batch batch;
    model_step step;
    kern_stage batch_stage;    // a step's description, host → device
    kern_stage logits;         // float [logit_rows][V]; pulled where the host wants to see them
    int32_t logit_rows;
    kern_stage sample_io;      // rows there, kern_sample_out [SAMPLE_ROWS_MAX] back
    void *sample_scratch;
    void *step_mem;            // device: what a step works in
    size_t step_mem_bytes;
    void *plan_mem;            // host: the scheduler's plan and what its tokens are for
    size_t step_bytes;         // of all of these
    metrics metrics;
    td_request *touched;       // requests with news for their callers, until the end of the step

    /* shared */
    pthread_t thread;
    bool thread_started;
    pthread_mutex_t lock;      // inbox, stop, asks
    pthread_cond_t wake;
    td_request *inbox_head, *inbox_tail;
    bool stop;
    debug_ask *asks;           // of td_engine_debug()
    pthread_cond_t answered;
    atomic_bool draining;
    atomic_int queued;         // submitted, not yet running
    atomic_int live;           // submitted, not yet ended
    atomic_int cancels;        // cancels asked for since the loop last looked
    atomic_int step_open;      // requests of the running step that are not cancelled
    atomic_int step_cancel;    // the running step's cancel word: set when step_open reaches 0
    atomic_ullong order;       // arrivals
    atomic_ullong step_ns;     // when the loop last advanced, by a step or by a layer
    _Atomic(const char *) fault; // why no step can be computed any more; set once, by the engine thread
};

/* Whether whoever opens the engine wants it no more. */
bool engine_canceled(const td_engine *e);
/* plan.c: how much memory what gets; opens the pool and reserves the step's memory. */
td_rc engine_plan(td_engine *e, td_err *err);
void engine_unplan(td_engine *e);
/* Tokens of a step that takes ENGINE_STEP_MS, as a power of two of ENGINE_STEP_TOK_MIN … tok_max, by probes of
 * probe_tok tokens that took so many ns each. The shortest counts: what else the machine did only ever adds. */
enum { ENGINE_STEP_MS = 100, ENGINE_STEP_TOK_MIN = 64 };
int32_t engine_step_tok(const uint64_t *probe_ns, int32_t count, int32_t probe_tok, int32_t tok_max);
/* step.c: one step over the scheduler's plan: batch, forward, sampling, events. */
void engine_step(td_engine *e);
/* loop.c */
void *engine_thread(void *engine);
/* mailbox.c: the engine takes a ref of a submitted request and moves it to the scheduler in its own time. */
td_rc engine_submit(td_engine *e, td_request *r, td_err *err);
void engine_take_inbox(td_engine *e);
void engine_cancel(td_engine *e, td_request *r);
/* The request counts no longer among those that the running step is for; without any the step is abandoned. */
void engine_leave_step(td_engine *e, td_request *r);
/* Whether the device is lost, by now or already before. Engine thread. */
bool engine_faulty(td_engine *e);

#endif
