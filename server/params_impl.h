/* params_impl.h - between the table (api_params.c) and the fields that need more than a row (params_fields.c,
 * params_messages.c). Private to these. */
#ifndef TD_SERVER_PARAMS_IMPL_H
#define TD_SERVER_PARAMS_IMPL_H

#include "server/params.h"

typedef struct params_ctx {
    const params_env *env;
    unsigned kind;
    td_arena *arena;
    params *out;
    td_json *body;
    td_err *err;
} params_ctx;

/* One field that has a value other than null. `name` is the field's. */
typedef td_rc params_fn(params_ctx *x, const char *name, td_json *v);

params_fn field_stop, field_stop_ids, field_logit_bias, field_allowed_ids, field_bad_words, field_stream_options,
    field_logprobs_count, field_logprobs_flag, field_top_logprobs, field_tools, field_tool_choice,
    field_response_format, field_best_of, field_messages;

td_rc params_no_memory(params_ctx *x);
const char *params_type(const td_json *v); // "a string", "an array", …

#endif
