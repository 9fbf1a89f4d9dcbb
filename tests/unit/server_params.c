/* The table of request fields: defaults, where values go, and what is said of those that are out of range. */
#include "base/check.h"
#include "server/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const params_env env = {.max_model_len = 1000, .vocab_count = 100, .max_num_seqs = 8, .request_timeout_s = 600};

typedef struct parsed {
    td_rc rc;
    td_err err;
    params p;
    td_arena arena;
    td_json *body;
} parsed;

static parsed *parse(unsigned kind, const char *text)
{
    static parsed r;
    r = (parsed){.err = TD_ERR_INIT};
    td_arena_init(&r.arena, 0);
    params dflt = {.sampling = {.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .n = 1,
                                .prompt_logprobs = -1},
                   .add_special = true};
    assert_int_equal(td_json_parse(text, strlen(text), &td_json_request_limits, &r.body, &r.err), TD_OK);
    r.rc = params_parse(r.body, kind, &env, &dflt, &r.arena, &r.p, &r.err);
    return &r;
}

static void done(parsed *r)
{
    td_json_free(r->body);
    td_arena_free(&r->arena);
}

static void test_values(void **state)
{
    (void)state;
    parsed *r =
        parse(API_COMPLETIONS,
              "{\"model\":\"m\",\"prompt\":\"x\",\"temperature\":0.5,\"top_p\":0.25,\"min_p\":0.125,\"typical_p\":0.75,"
              "\"top_k\":-1,\"repetition_penalty\":1.5,\"presence_penalty\":-2,\"frequency_penalty\":2,"
              "\"seed\":-9223372036854775808,\"n\":8,\"max_tokens\":1000,\"min_tokens\":3,\"ignore_eos\":true,"
              "\"skip_special_tokens\":false,\"stop\":[\"a\",\"b\"],\"stop_token_ids\":[0,99],\"logprobs\":20,"
              "\"logit_bias\":{\"5\":-100,\"99\":1.5},\"allowed_token_ids\":[1,2,3],\"bad_words\":\"w\","
              "\"echo\":true,\"priority\":-7,\"timeout\":2.5,\"cache_salt\":\"s\",\"stream\":true,"
              "\"stream_options\":{\"include_usage\":true},\"add_special_tokens\":false}");
    const td_sampling *s = &r->p.sampling;
    assert_int_equal(r->rc, TD_OK);
    assert_string_equal(r->p.model, "m");
    assert_true(s->temperature == 0.5f && s->top_p == 0.25f && s->min_p == 0.125f && s->typical_p == 0.75f);
    assert_true(s->repetition_penalty == 1.5f && s->presence_penalty == -2 && s->frequency_penalty == 2);
    assert_int_equal(s->top_k, 0);
    assert_true(s->seed_set && s->seed == 1ull << 63);
    assert_true(s->n == 8 && s->max_tokens == 1000 && s->min_tokens == 3 && s->ignore_eos && s->keep_special);
    assert_true(s->stop_count == 2 && !strcmp(s->stop[1], "b") && s->stop_id_count == 2 && s->stop_ids[1] == 99);
    assert_true(s->logprobs && s->top_logprobs == 20);
    assert_true(s->logit_bias_count == 2 && s->logit_bias[0].id == 5 && s->logit_bias[0].bias == -100);
    assert_true(s->allowed_id_count == 3 && s->allowed_ids[2] == 3);
    assert_true(r->p.bad_word_count == 1 && !strcmp(r->p.bad_words[0], "w"));
    assert_true(r->p.echo && r->p.priority == -7 && r->p.timeout_s == 2.5 && !strcmp(r->p.cache_salt, "s"));
    assert_true(r->p.stream && r->p.include_usage && !r->p.continuous_usage && !r->p.add_special);
    done(r);
}

static void test_chat_values(void **state)
{
    (void)state;
    parsed *r =
        parse(API_CHAT,
              "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
              "\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"function\":"
              "{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"1\","
              "\"content\":\"r\"}],\"max_completion_tokens\":5,\"logprobs\":true,\"top_logprobs\":2,"
              "\"add_generation_prompt\":false,\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
              "\"chat_template_kwargs\":{\"enable_thinking\":false}}");
    assert_int_equal(r->rc, TD_OK);
    assert_true(r->p.sampling.max_tokens == 5 && r->p.sampling.top_logprobs == 2 && r->p.no_generation_prompt);
    assert_non_null(r->p.tools);
    assert_non_null(r->p.template_kwargs);
    const td_json *first = r->p.messages->child;
    assert_string_equal(td_json_get_str(first, "content", ""), "a\nb");
    const td_json *call = td_json_get(first->next, "tool_calls")->child;
    assert_int_equal(td_json_get_int(td_json_get(td_json_get(call, "function"), "arguments"), "x", 0), 1);
    done(r);
    r = parse(API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"continue_final_message\":true}");
    assert_true(!r->rc && r->p.no_generation_prompt && r->p.continue_final_message);
    done(r);
    r = parse(API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tool_choice\":\"none\",\"tools\":"
                        "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}");
    assert_true(!r->rc && !r->p.tools);
    done(r);
}

static void test_null_and_unknown_are_left_out(void **state)
{
    (void)state;
    parsed *r =
        parse(API_COMPLETIONS, "{\"temperature\":null,\"n\":null,\"stop\":null,\"suffix\":null,\"foo\":{\"n\":99}}");
    assert_int_equal(r->rc, TD_OK);
    assert_true(r->p.sampling.temperature == 1 && r->p.sampling.n == 1 && !r->p.sampling.stop_count &&
                r->p.add_special);
    done(r);
    r = parse(API_COMPLETIONS, "{\"echo\":true,\"max_tokens\":0}");
    assert_true(!r->rc && r->p.prompt_only && r->p.sampling.max_tokens == 1);
    done(r);
    r = parse(API_GENERATE, "{\"messages\":5,\"prompt\":5,\"echo\":5}"); // fields of other endpoints
    assert_int_equal(r->rc, TD_OK);
    done(r);
}

/* Each names its field, and the limit where there is one. */
static void test_refused(void **state)
{
    (void)state;
    const struct {
        const char *text, *field, *says;
    } bad[] = {
        {"{\"temperature\":100.5}", "temperature", "100"}, {"{\"temperature\":\"1\"}", "temperature", "a string"},
        {"{\"top_p\":0}", "top_p", "above 0"}, {"{\"top_p\":1e-60}", "top_p", "close"}, {"{\"n\":9}", "n", "8"},
        {"{\"n\":17}", "n", "16"}, {"{\"n\":true}", "n", "a boolean"}, {"{\"max_tokens\":0}", "max_tokens", "from 1"},
        {"{\"max_tokens\":1001}", "max_tokens", "1000"}, {"{\"max_tokens\":1.5}", "max_tokens", "whole"},
        {"{\"min_tokens\":6,\"max_tokens\":5}", "min_tokens", "5"}, {"{\"seed\":0.5}", "seed", "whole"},
        {"{\"seed\":9223372036854775808}", "seed", "9223372036854775807"},
        {"{\"n\":123456789012345678901234567890}", "n", "whole"},
        {"{\"echo\":false,\"max_tokens\":0}", "max_tokens", "from 1"},
        {"{\"echo\":true,\"max_tokens\":-1}", "max_tokens", "from 1"},
        {"{\"echo\":true,\"max_tokens\":1e30}", "max_tokens", "from 1"},
        {"{\"stop_token_ids\":[100]}", "stop_token_ids", "99"}, {"{\"logit_bias\":{\"100\":0}}", "logit_bias", "99"},
        {"{\"logit_bias\":{\"00000000000000000000000001e\":0}}", "logit_bias", "99"},
        {"{\"logit_bias\":{\"1\":100.5}}", "logit_bias", "100"}, {"{\"logprobs\":21}", "logprobs", "20"},
        {"{\"stop\":\"\"}", "stop", "256"}, {"{\"suffix\":\"x\"}", "suffix", "leave it out"},
        {"{\"guided_json\":{}}", "guided_json", "not supported"}, {"{\"best_of\":2}", "best_of", "use n"},
        {"{\"response_format\":{\"type\":\"json_object\"}}", "response_format", "not supported"},
        {"{\"stream_options\":{}}", "stream_options", "stream"}, {"[]", "", "an array"}, {"5", "", "a number"},
    };
    for (size_t i = 0; i < TD_COUNT(bad); i++) {
        parsed *r = parse(API_COMPLETIONS, bad[i].text);
        if (r->rc != TD_E_INPUT || strcmp(r->err.param, bad[i].field) || !strstr(r->err.msg, bad[i].says))
            print_error("%s: %d %s: %s\n", bad[i].text, r->rc, r->err.param, r->err.msg);
        assert_int_equal(r->rc, TD_E_INPUT);
        assert_string_equal(r->err.param, bad[i].field);
        assert_non_null(strstr(r->err.msg, bad[i].says));
        done(r);
    }
}

static void test_ids(void **state)
{
    (void)state;
    parsed *r = parse(0, "{\"a\":[0,99,5],\"b\":[100],\"c\":[],\"d\":[1,2,3,4]}");
    const int32_t *ids;
    int32_t n;
    assert_int_equal(params_ids(td_json_get(r->body, "a"), "a", 100, 3, &r->arena, &ids, &n, NULL), TD_OK);
    assert_true(n == 3 && ids[0] == 0 && ids[1] == 99 && ids[2] == 5);
    assert_int_equal(params_ids(td_json_get(r->body, "b"), "b", 100, 3, &r->arena, &ids, &n, NULL), TD_E_INPUT);
    assert_int_equal(params_ids(td_json_get(r->body, "c"), "c", 100, 3, &r->arena, &ids, &n, NULL), TD_OK);
    assert_int_equal(n, 0);
    assert_int_equal(params_ids(td_json_get(r->body, "d"), "d", 100, 3, &r->arena, &ids, &n, NULL), TD_E_INPUT);
    assert_int_equal(params_ids(NULL, "e", 100, 3, &r->arena, &ids, &n, NULL), TD_E_INPUT);
    done(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_chat_values),
        cmocka_unit_test(test_null_and_unknown_are_left_out),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
