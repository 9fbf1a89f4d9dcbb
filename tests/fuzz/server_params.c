/* Any bytes as a request body, for each endpoint: it is refused with a message, or every value is in its range. */
#include "server/params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const params_env env = {.max_model_len = 1000, .vocab_count = 100, .max_num_seqs = 8, .request_timeout_s = 600};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_values(const params *p)
{
    const td_sampling *s = &p->sampling;
    check(isfinite(s->temperature) && s->temperature >= 0 && s->temperature <= 100 && s->top_p > 0 && s->top_p <= 1);
    check(s->min_p >= 0 && s->min_p <= 1 && s->typical_p > 0 && s->typical_p <= 1 && s->top_k >= 0);
    check(s->repetition_penalty > 0 && s->repetition_penalty <= 10 && fabsf(s->presence_penalty) <= 2);
    check(s->n >= 1 && s->n <= 8 && s->max_tokens >= 0 && s->max_tokens <= 1000 && s->min_tokens >= 0);
    check(s->stop_count >= 0 && s->stop_count <= TD_STOP_STRINGS_MAX && s->top_logprobs <= TD_LOGPROBS_MAX);
    for (int32_t i = 0; i < s->stop_count; i++)
        check(*s->stop[i] && strlen(s->stop[i]) <= TD_STOP_STRING_BYTES_MAX);
    for (int32_t i = 0; i < s->stop_id_count; i++)
        check(s->stop_ids[i] >= 0 && s->stop_ids[i] < env.vocab_count);
    for (int32_t i = 0; i < s->logit_bias_count; i++)
        check(s->logit_bias[i].id < env.vocab_count && fabsf(s->logit_bias[i].bias) <= 100);
}

static void one(const uint8_t *data, size_t size, unsigned kind)
{
    td_json *body = NULL;
    td_err err = TD_ERR_INIT;
    td_arena arena;
    params p, dflt = {.sampling = {.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .n = 1,
                                   .prompt_logprobs = -1}};
    td_arena_init(&arena, 0);
    if (!td_json_parse((const char *)data, size, &td_json_request_limits, &body, &err)) {
        if (params_parse(body, kind, &env, &dflt, &arena, &p, &err))
            check(err.rc && err.msg[0]);
        else
            check_values(&p);
        td_json_free(body);
    }
    td_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    one(data, size, API_CHAT);
    one(data, size, API_COMPLETIONS);
    one(data, size, API_GENERATE);
    return 0;
}
