/* params.h - the fields of a request body: one table says for each its type, its range and where it goes.
 *
 * Every violation is TD_E_INPUT naming the field and the limit. `null` is the same as leaving the field out, and what
 * the table does not know is ignored. Pure: no engine, no I/O; strings and JSON nodes are borrowed from the body's
 * tree, arrays live in the arena. Any thread. */
#ifndef TD_SERVER_PARAMS_H
#define TD_SERVER_PARAMS_H

#include "base/arena.h"
#include "base/json.h"
#include "engine/tandem.h"

typedef enum api_kind { // which endpoint; bits of a mask in the table
    API_COMPLETIONS = 1,
    API_CHAT = 2,
    API_GENERATE = 4,
    API_RENDER = 8,     // beside one of the others: only the prompt matters
} api_kind;

typedef struct params_env { // what the ranges depend on
    int32_t max_model_len, vocab_count, max_num_seqs;
    double request_timeout_s;
} params_env;

typedef struct api_params {
    td_sampling sampling;
    const char *model;          // NULL = the served one
    const td_json *prompt;      // completions: checked for shape by prompt_count and friends
    const td_json *token_ids;   // generate
    td_json *messages;          // chat; content parts are joined to strings
    const td_json *tools, *documents, *template_kwargs;
    bool stream, include_usage, continuous_usage;
    bool echo;                  // completions
    bool prompt_only;           // max_tokens 0: what is generated is not shown
    bool asked_prompt_logprobs; // by the client; an echo with log probabilities needs them as well
    bool add_special;           // BOS as the model wants
    bool no_generation_prompt, continue_final_message;
    int32_t default_max_tokens; // where max_tokens is not given: that many, if the context has room; 0 = all it has
    int32_t priority;
    double timeout_s;           // 0 = none given
    const char *cache_salt;
    const char *const *bad_words; // [bad_word_count] text, tokenized later
    int32_t bad_word_count;
} params;

td_rc params_parse(td_json *body, unsigned kind, const params_env *env, const params *defaults, td_arena *a,
                   params *out, td_err *err);

/* Token ids out of a JSON array: whole numbers in [0, vocab). */
td_rc params_ids(const td_json *array, const char *field, int32_t vocab_count, int64_t count_max, td_arena *a,
                 const int32_t **ids, int32_t *count, td_err *err);

#endif
