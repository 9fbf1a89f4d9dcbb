/* tandem.h - the public C API: open a model, submit requests, read their events.
 *
 * An engine owns the model, its KV cache and one engine thread that schedules and computes; everything below may be
 * called from any thread unless it says otherwise. A request belongs to the caller that submitted it: it reads events
 * from one thread at a time, may cancel at any moment, and frees it at any moment (which cancels). No call installs
 * signal handlers, prints or exits. Rules of result codes: base/err.h. */
#ifndef TANDEM_H
#define TANDEM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/limits.h"

#include <stdbool.h>
#include <stdint.h>

#define TD_API __attribute__((visibility("default")))

/* ------------------------------------------------------------------ engine */

typedef struct td_engine td_engine;

typedef struct td_engine_opts { // zero-initialised, each field has a sensible default
    const char *model;           // .gguf file or Hugging Face directory
    const char *device;          // NULL = "auto"
    const char *cpu_isa;         // NULL = "auto"
    int32_t threads;             // 0 = what the machine leaves
    int32_t max_model_len;       // tokens of prompt and answer; 0 = the model's own, capped by the cache
    int32_t max_num_seqs;        // requests in one step; 0 = 256
    int32_t max_num_batched_tokens; // tokens in one step; 0 = measured at start, on a GPU 8192
    int32_t max_num_queued;      // waiting requests; 0 = 4 × max_num_seqs
    int32_t block_size;          // tokens in a KV block; 0 = 16, on a GPU 64
    const char *kv_cache_dtype;  // NULL = "auto"; float32, float16, bfloat16, q8_0
    uint64_t kv_cache_memory;    // bytes; 0 = planned from free memory
    uint64_t max_rss;            // bytes of resident memory that the plan keeps within; 0 = what bounds the process
    double gpu_memory_utilization; // share of a GPU's memory for all of it, in (0, 1]; 0 = 0.9
    bool low_memory;             // weights are used as they lie in the mapped file: little memory, slower, same answers
    bool no_prefix_caching;
    const char *dtype;           // NULL = "auto"
    const char *load_format;     // NULL = "auto"; "dummy" = random weights of the config's shape
    const char *chat_template;   // file, or NULL
    uint64_t seed;               // of seeds drawn for requests without one, and of dummy weights
    bool seed_set;               // false: from the system
    bool tokenizer_only;         // no weights, no engine thread: tokenize, detokenize, render
    bool quick_start;            // for a process that serves nobody else: weights are not hashed while they load, so
                                 // that model_fp is all zero, and the step's size is not measured. Same answers
    void (*progress)(void *ctx, double done /* 0…1 */); // while loading, from the opening thread
    void *progress_ctx;
    bool (*canceled)(void *ctx); // while loading, with progress_ctx, any thread: true ends it with TD_E_CANCELED
} td_engine_opts;

TD_API td_rc td_engine_open(const td_engine_opts *opts, td_engine **out, td_err *err);
/* Cancels what runs, ends the engine thread, frees everything. No request may be used after it. */
TD_API void td_engine_close(td_engine *e);
/* From now on submits fail with TD_E_UNAVAILABLE; what runs goes on. */
TD_API void td_engine_drain(td_engine *e);
TD_API bool td_engine_idle(td_engine *e); // nothing running, nothing waiting
/* Nanoseconds since the step loop last advanced, by a step or a layer, while there was work; 0 when idle. */
TD_API uint64_t td_engine_stall_ns(td_engine *e);
/* Why the engine will never step again (its device is lost), or NULL. Its requests end and new ones fail with
 * TD_E_FAULT; only another process helps. */
TD_API const char *td_engine_fault(td_engine *e);

/* What the engine holds, as JSON: for people who look for a fault, not an interface that stays. Taken between two
 * steps, so that it fits together; waits for that, TD_E_UNAVAILABLE after two seconds. */
typedef enum td_debug {
    TD_DEBUG_REQUESTS, // running and waiting sequences, at most `count` of each
    TD_DEBUG_BLOCKS,   // KV blocks that are not free, from block `from` on, at most `count`
    TD_DEBUG_BLOCK,    // block `from` and the SHA-256 of its bytes. Full blocks of equal content have equal ones
    TD_DEBUG_AUDIT,    // counts again who holds which block and asserts that the blocks agree. Slow: for tests
} td_debug;
TD_API td_rc td_engine_debug(td_engine *e, td_debug what, int32_t from, int32_t count, td_buf *out, td_err *err);

typedef struct td_engine_info { // constant after open; strings live as long as the engine
    const char *model_path, *architecture, *device, *numerics_id, *kv_dtype, *chat_template, *chat_template_origin;
    const char *weight_types;    // "Q4_1 Q8_0": formats of the matrices
    int32_t max_model_len, vocab_count, hidden, layer_count, threads;
    int32_t max_num_seqs, max_num_batched_tokens, max_num_queued;
    int32_t block_tok, block_count;
    int32_t bos_id, eos_id;      // -1 = none
    uint64_t weight_bytes, kv_bytes, step_bytes, param_count;
    uint64_t mapped_bytes;       // with low_memory: weights in the page cache, beside weight_bytes
    uint8_t model_fp[32];        // fingerprint of what decides the values; all zero with quick_start
} td_engine_info;
TD_API const td_engine_info *td_engine_get_info(const td_engine *e);

/* ------------------------------------------------------------------ text */

typedef struct td_tokens { // ids owned by the caller: td_tokens_free
    int32_t *ids;
    int32_t count;
} td_tokens;
TD_API void td_tokens_free(td_tokens *t);

enum { TD_TEXT_ADD_SPECIAL = 1, TD_TEXT_PARSE_SPECIAL = 2 }; // BOS/EOS as the model wants; special tokens in the text
TD_API td_rc td_tokenize(const td_engine *e, const char *text, size_t len, unsigned flags, td_tokens *out, td_err *err);
TD_API td_rc td_detokenize(const td_engine *e, const int32_t *ids, int32_t count, bool skip_special, td_buf *out,
                           td_err *err);
/* One id as it looks inside running text, and as the vocabulary stores it. false: no such id. */
TD_API bool td_token_text(const td_engine *e, int32_t id, td_buf *out);
TD_API bool td_token_raw(const td_engine *e, int32_t id, td_buf *out);

typedef struct td_chat { // borrowed JSON, as in the OpenAI request; NULL where absent
    const td_json *messages, *tools, *documents, *template_kwargs;
    bool no_generation_prompt, continue_final_message;
} td_chat;
TD_API td_rc td_render_chat(const td_engine *e, const td_chat *chat, td_buf *out, td_err *err);
/* Renders and tokenizes: special tokens of the template count, and BOS is not doubled. */
TD_API td_rc td_tokenize_chat(const td_engine *e, const td_chat *chat, td_tokens *out, td_err *err);

/* ------------------------------------------------------------------ requests */

typedef struct td_logit_bias {
    int32_t id;
    float bias;
} td_logit_bias;

typedef struct td_sampling { // start from td_sampling_default()
    float temperature, top_p, min_p, typical_p; // 1, 1, 0, 1
    int32_t top_k;                              // 0 = off
    float repetition_penalty, presence_penalty, frequency_penalty; // 1, 0, 0
    bool seed_set;
    uint64_t seed;
    int32_t n;                  // choices
    int32_t max_tokens;         // 0 = up to max_model_len
    int32_t min_tokens;         // no stop id before that many
    bool ignore_eos;
    bool include_stop_str;      // the stop string stays in the text
    bool keep_special;          // special tokens' text appears (skip_special_tokens: false)
    const char *const *stop;    // [stop_count] strings
    int32_t stop_count;
    const int32_t *stop_ids;    // [stop_id_count]
    int32_t stop_id_count;
    const td_logit_bias *logit_bias;
    int32_t logit_bias_count;
    const int32_t *allowed_ids; // only these may be drawn; NULL = all
    int32_t allowed_id_count;
    const int32_t *const *bad_words; // token sequences that may not be completed
    const int32_t *bad_word_lens;
    int32_t bad_word_count;
    bool logprobs;              // log probability of each token
    int32_t top_logprobs;       // and of that many others, ≤ TD_LOGPROBS_MAX
    int32_t prompt_logprobs;    // -1 = none; else of every prompt token and that many others
} td_sampling;
TD_API td_sampling td_sampling_default(void);
/* The model's own generation_config, where it has one, over `s`. */
TD_API void td_sampling_model_defaults(const td_engine *e, td_sampling *s);

typedef struct td_request td_request;

typedef struct td_request_opts {
    const char *id;             // for logs, ≤ 128 bytes are kept; NULL = drawn
    const int32_t *prompt;      // [prompt_count] copied
    int32_t prompt_count;
    td_sampling sampling;       // arrays are copied
    int32_t priority;           // lower runs first
    uint64_t deadline_ns;       // absolute td_now_ns(); 0 = none. Queue time counts
    const char *cache_salt;     // prefix cache shared only among equal salts; NULL = none
    bool no_cache_read;         // do not reuse cached blocks
    bool want_logits_hash;      // accumulate a hash over the bits of every logits row sampled from
    void (*notify)(void *ctx);  // engine thread: events are there now; must not block or call back into the engine
    void *notify_ctx;
} td_request_opts;

/* Checks everything before any work: TD_E_INPUT names the field and the limit; TD_E_BUSY when the queue is full;
 * TD_E_UNAVAILABLE while draining. */
TD_API td_rc td_request_submit(td_engine *e, const td_request_opts *opts, td_request **out, td_err *err);
TD_API void td_request_cancel(td_request *r);
/* After it no notify comes any more. */
TD_API void td_request_free(td_request *r);

typedef enum td_finish {
    TD_FINISH_NONE, TD_FINISH_STOP, TD_FINISH_LENGTH, TD_FINISH_CANCELED, TD_FINISH_ERROR
} td_finish;

typedef struct td_logprob {
    int32_t id, rank;           // rank 1 = most probable
    float logprob;
} td_logprob;

typedef struct td_token_logprobs {
    td_logprob token;
    int32_t top_count;
    td_logprob top[TD_LOGPROBS_MAX]; // descending
} td_token_logprobs;

typedef enum td_event_kind {
    TD_EVENT_PROMPT,            // once, before the first token: the prompt is computed
    TD_EVENT_TOKENS,            // new tokens of a choice and the text that is certain now (may be empty)
    TD_EVENT_DONE,              // a choice ended; may carry last text
    TD_EVENT_END,               // last event of the request: all choices ended, or it failed (rc)
} td_event_kind;

typedef struct td_event { // pointers are valid until the next td_request_next or free of this request
    td_event_kind kind;
    int32_t choice;
    const int32_t *ids;         // [id_count]
    int32_t id_count;
    const char *text;           // UTF-8, whole characters
    size_t text_len;
    const td_token_logprobs *logprobs; // [id_count], or NULL. PROMPT: of prompt tokens 1…, [id_count]
    td_finish finish;           // DONE
    int32_t stop_id;            // DONE by a stop id: which; else -1
    const char *stop_string;    // DONE by a stop string: which; else NULL
    int32_t prompt_count, cached_count, output_count; // tokens so far; output over all choices at END
    uint64_t logits_hash;       // END, when asked for
    td_rc rc;                   // END: TD_OK or why the request failed
    const char *message;        // END: when rc is not TD_OK
} td_event;

/* The next event if there is one (true), without waiting. After TD_EVENT_END there are none. */
TD_API bool td_request_next(td_request *r, td_event *out);
/* Waits until an event is there, or timeout_ms passed (false); -1 = for ever. */
TD_API bool td_request_wait(td_request *r, int32_t timeout_ms);

/* ------------------------------------------------------------------ logits */

/* Teacher forcing: logits of the given positions of one token sequence, out[position_count][vocab]. Blocks. */
TD_API td_rc td_logits(td_engine *e, const int32_t *ids, int32_t count, const int32_t *positions,
                       int32_t position_count, float *out, td_err *err);

/* ------------------------------------------------------------------ metrics */

enum { TD_HIST_BUCKETS_MAX = 32 };
typedef struct td_hist {
    const double *bounds;       // [bucket_count] upper bounds, ascending; +Inf is implied
    int32_t bucket_count;
    uint64_t counts[TD_HIST_BUCKETS_MAX + 1]; // not cumulative
    double sum;
    uint64_t count;
} td_hist;

typedef struct td_metrics {
    int64_t running, waiting;
    int64_t blocks_free, blocks_cached, blocks_held, blocks_leased, blocks_quarantined, blocks_total;
    uint64_t prefix_queries, prefix_hits;        // tokens
    uint64_t prompt_tokens, generation_tokens;
    uint64_t finished_stop, finished_length, finished_abort, finished_error;
    uint64_t preemptions, steps;
    td_hist ttft, itl, e2e, queue, prefill, decode, inference; // seconds
    td_hist request_prompt_tokens, request_generation_tokens;  // tokens
    td_hist step_prefill, step_decode;           // seconds, by whether the step held prompt tokens
    td_hist step_tokens;                         // tokens
} td_metrics;
/* A consistent enough snapshot; never waits for a step. */
TD_API void td_engine_metrics(td_engine *e, td_metrics *out);

#endif
