/* What is written: event streams, log probabilities, metrics; and who may come in. */
#include "base/arena.h"
#include "fake_engine.h"
#include "server/auth.h"
#include "server/logprobs.h"
#include "server/metrics_text.h"
#include "server/route.h"
#include "server/sse.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_sse(void **state)
{
    (void)state;
    const struct {
        int64_t n;
        const char *text;
    } numbers[] = {
        {0, "0"}, {7, "7"}, {-1, "-1"}, {INT64_MAX, "9223372036854775807"}, {INT64_MIN, "-9223372036854775808"}};
    td_buf b = TD_BUF_INIT;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        td_buf_clear(&b);
        sse_int(&b, numbers[i].n);
        assert_string_equal(b.data, numbers[i].text);
    }
    td_buf_clear(&b);
    sse_comment(&b, "ping");
    td_err err = {.rc = TD_E_DEADLINE, .msg = "too \"late\"\n"};
    sse_error(&b, &err);
    sse_done(&b);
    assert_string_equal(b.data,
                        ": ping\n\ndata: {\"error\":{\"message\":\"too \\\"late\\\"\\n\",\"type\":\"timeout_error\","
                        "\"param\":null,\"code\":\"deadline_exceeded\"}}\n\ndata: [DONE]\n\n");
    td_buf_free(&b);
}

static void test_logprobs(void **state)
{
    (void)state;
    td_buf b = TD_BUF_INIT, part[4] = {TD_BUF_INIT, TD_BUF_INIT, TD_BUF_INIT, TD_BUF_INIT};
    td_token_logprobs lp[2] = {
        {.token = {'"', 1, -0.5f}, .top_count = 2, .top = {{'"', 1, -0.5f}, {'"', 2, -INFINITY}}},
        {.token = {0xc3, 3, NAN}}},
        odd = {.token = {300, 9, -4}, .top_count = 3, .top = {{301, 1, -1}, {302, 2, -2}, {'a', 3, -3}}};
    int64_t chars = 4;
    logprobs_chat(&b, NULL, lp, 2);
    assert_string_equal(b.data,
                        "{\"token\":\"\\\"\",\"logprob\":-0.5,\"bytes\":[34],\"top_logprobs\":[{\"token\":\"\\\"\","
                        "\"logprob\":-0.5,\"bytes\":[34]},{\"token\":\"\\\"\",\"logprob\":-9999.0,\"bytes\":[34]}]},"
                        "{\"token\":\"\xEF\xBF\xBD\",\"logprob\":-9999.0,\"bytes\":[195],\"top_logprobs\":[]}");
    logprobs_completion(part, NULL, lp, 1, 2, &chars);
    logprobs_completion(part, NULL, lp + 1, 1, 0, &chars);
    td_buf_clear(&b);
    logprobs_completion_json(&b, part);
    assert_string_equal(b.data,
                        "{\"tokens\":[\"\\\"\",\"\xEF\xBF\xBD\"],\"token_logprobs\":[-0.5,-9999.0],"
                        "\"top_logprobs\":[{\"\\\"\":-0.5},{\"\xEF\xBF\xBD\":-9999.0}],"
                        "\"text_offset\":[4,5]}"); // equal texts: one stays
    for (int k = 0; k < 4; k++)
        td_buf_clear(&part[k]);
    logprobs_completion(part, NULL, &odd, 1, 2, &chars); // tokens without text, and one that is not among the top
    logprobs_completion(part, NULL, &odd, 1, 3, &chars);
    td_buf_clear(&b);
    logprobs_completion_json(&b, part);
    assert_string_equal(b.data,
                        "{\"tokens\":[\"token_id:300\",\"token_id:300\"],\"token_logprobs\":[-4,-4],\"top_logprobs\":"
                        "[{\"token_id:300\":-4,\"token_id:301\":-1,\"token_id:302\":-2},"
                        "{\"token_id:300\":-4,\"token_id:301\":-1,\"token_id:302\":-2,\"a\":-3}],"
                        "\"text_offset\":[6,6]}");
    td_buf_clear(&b);
    logprobs_prompt(&b, NULL, lp, 1);
    assert_string_equal(b.data, "[null,{\"34\":{\"logprob\":-0.5,\"rank\":1,\"decoded_token\":\"\\\"\"}}]");
    for (int k = 0; k < 4; k++)
        td_buf_free(&part[k]);
    td_buf_free(&b);
}

static bool has_line(const td_buf *b, const char *line)
{
    const char *p = strstr(b->data, line);
    return p && (p == b->data || p[-1] == '\n') && p[strlen(line)] == '\n';
}

static void test_metrics(void **state)
{
    (void)state;
    static const double bounds[] = {0.5, 1};
    td_metrics m = {.running = 3,
                    .waiting = 4,
                    .blocks_free = 5,
                    .blocks_cached = 1,
                    .blocks_held = 2,
                    .blocks_leased = 1,
                    .blocks_quarantined = 1,
                    .blocks_total = 10,
                    .generation_tokens = UINT64_MAX,
                    .ttft = {.bounds = bounds, .bucket_count = 2, .counts = {1, 2, 3}, .sum = 7.25, .count = 6}};
    td_engine_info info = {
        .block_tok = 16, .block_count = 10, .kv_dtype = "float32", .device = "cpu", .numerics_id = "x"};
    metrics_source src = {.model_name = "a\"b\\c\nd", .version = "1", .info = &info, .engine = &m, .connections = 9};
    td_buf b = TD_BUF_INIT;
    metrics_text(&src, &b);
#define LABEL "{model_name=\"a\\\"b\\\\c\\nd\""
    assert_true(has_line(&b, "# TYPE vllm:num_requests_running gauge"));
    assert_true(has_line(&b, "vllm:num_requests_running" LABEL "} 3"));
    assert_true(has_line(&b, "vllm:kv_cache_usage_perc" LABEL "} 0.4"));
    assert_true(has_line(&b, "tandem_kv_blocks" LABEL ",state=\"total\"} 10"));
    assert_true(has_line(&b, "vllm:generation_tokens_total" LABEL "} 18446744073709551615"));
    assert_true(has_line(&b, "vllm:time_to_first_token_seconds_bucket" LABEL ",le=\"0.5\"} 1"));
    assert_true(has_line(&b, "vllm:time_to_first_token_seconds_bucket" LABEL ",le=\"1\"} 3"));
    assert_true(has_line(&b, "vllm:time_to_first_token_seconds_bucket" LABEL ",le=\"+Inf\"} 6"));
    assert_true(has_line(&b, "vllm:time_to_first_token_seconds_sum" LABEL "} 7.25"));
    assert_true(has_line(&b, "vllm:time_to_first_token_seconds_count" LABEL "} 6"));
    assert_true(has_line(&b, "tandem_connections" LABEL "} 9"));
    td_buf_clear(&b);
    src.engine = NULL, src.info = NULL; // while loading
    metrics_text(&src, &b);
    assert_true(has_line(&b, "tandem_connections" LABEL "} 9"));
    assert_null(strstr(b.data, "vllm:"));
    td_buf_free(&b);
}

static void test_auth(void **state)
{
    (void)state;
    const char *keys[] = {"one", "two"};
    auth_keys *a;
    assert_int_equal(auth_load(NULL, 0, NULL, &a, NULL), TD_OK);
    assert_true(auth_allows(a, NULL)); // open
    assert_int_equal(auth_load(keys, 2, NULL, &a, NULL), TD_OK);
    assert_true(auth_allows(a, "Bearer one") && auth_allows(a, "bearer two"));
    const char *wrong[] = {NULL,          "",    "Bearer",   "Bearer ", "Bearer onE", "Bearer one ",
                           "Bearer  one", "one", "Basic one"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(auth_allows(a, wrong[i]));
    auth_free(a);
    keys[0] = "";
    assert_int_equal(auth_load(keys, 1, NULL, &a, NULL), TD_E_USAGE);
    char path[] = "/tmp/server_text_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "# none\n\n", 8) == 8);
    assert_int_equal(auth_load(NULL, 0, path, &a, NULL), TD_E_USAGE);
    assert_true(write(fd, "\t three \r\nfour", 14) == 14);
    assert_int_equal(auth_load(NULL, 0, path, &a, NULL), TD_OK);
    assert_true(auth_allows(a, "Bearer three") && auth_allows(a, "Bearer four") && !auth_allows(a, "Bearer # none"));
    auth_free(a);
    assert_true(write(fd, "\nfi\0ve\n", 7) == 7);
    assert_int_equal(auth_load(NULL, 0, path, &a, NULL), TD_E_USAGE);
    close(fd);
    unlink(path);
}

static void test_routes(void **state)
{
    (void)state;
    const char *allow = NULL;
    td_err err = TD_ERR_INIT;
    assert_non_null(route_find("POST", "/v1/completions", false, &allow, &err));
    assert_non_null(route_find("HEAD", "/health", false, &allow, &err));
    assert_non_null(route_find("GET", "/v1/models/org/name", false, &allow, &err));
    assert_int_equal(err.rc, TD_OK);
    assert_null(route_find("GET", "/v1/completions", false, &allow, &err));
    assert_true(err.rc == TD_E_METHOD && !strcmp(allow, "POST"));
    err = (td_err)TD_ERR_INIT;
    assert_null(route_find("GET", "/v1/completions/", false, &allow, &err));
    assert_int_equal(err.rc, TD_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "/v1/models"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sse),  cmocka_unit_test(test_logprobs), cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_auth), cmocka_unit_test(test_routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
