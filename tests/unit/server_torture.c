/* Every allocation of a request fails once: the first, the second, … until none is left to fail. Whatever the client
 * gets is HTTP or a closed connection, and the next request is answered as if nothing had been. */
#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "server/server.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static server *running;
static char answer[1 << 18];

static void *serve(void *arg)
{
    (void)arg;
    assert_int_equal(server_run(running, NULL), TD_OK);
    return NULL;
}

/* The whole answer as text; the server closes after it. */
static const char *ask(const char *request)
{
    size_t have = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct timeval patience = {.tv_sec = 20};
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    ssize_t n = send(fd, request, strlen(request), MSG_NOSIGNAL);
    while (n > 0 && have < sizeof answer - 1 && (n = recv(fd, answer + have, sizeof answer - 1 - have, 0)) > 0)
        have += (size_t)n;
    answer[have] = 0;
    close(fd);
    return answer;
}

static const char *get(const char *path)
{
    char request[256];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);
    return ask(request);
}

static const char *post(const char *path, const char *body)
{
    char request[2048];
    snprintf(request, sizeof request,
             "POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             path, strlen(body), body);
    return ask(request);
}

static bool ok(const char *text) { return !strncmp(text, "HTTP/1.1 200", 12); }

static const struct {
    const char *path, *body;
} requests[] = {
    {"/v1/models", NULL},
    {"/metrics", NULL},
    {"/health", NULL},
    {"/v1/completions", "{\"prompt\":[\"ab\",\"c\"],\"n\":2,\"max_tokens\":4,\"logprobs\":2,\"echo\":true,\"stop\":["
                        "\"zz\"],"
                        "\"bad_words\":[\"q\"],\"logit_bias\":{\"5\":1}}"},
    {"/v1/completions", "{\"prompt\":[1,2,3],\"max_tokens\":3,\"stream\":true,\"stream_options\":{\"include_usage\":"
                        "true}}"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}],"
                             "\"max_tokens\":3,\"logprobs\":true,\"top_logprobs\":1,\"stream\":true}"},
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":3,\"n\":2}"},
    {"/inference/v1/generate", "{\"token_ids\":[1,2],\"sampling_params\":{\"max_tokens\":3}}"},
    {"/tokenize", "{\"prompt\":\"ab\",\"return_token_strs\":true}"},
    {"/detokenize", "{\"tokens\":[97]}"},
};

static const char *send_request(size_t i)
{
    return requests[i].body ? post(requests[i].path, requests[i].body) : get(requests[i].path);
}

static bool is_json(const char *text, size_t len)
{
    td_json *j = NULL;
    td_rc rc = td_json_parse(text, len, &td_json_request_limits, &j, NULL);
    td_json_free(j);
    return rc == TD_OK;
}

/* No half of an answer looks like a whole one. */
static bool is_whole(const char *text)
{
    const char *body = strstr(text, "\r\n\r\n");
    if (!*text || strstr(text, "text/plain"))
        return true;
    if (!body)
        return false;
    if (!strstr(text, "text/event-stream"))
        return is_json(body + 4, strlen(body + 4));
    for (const char *p = strstr(body, "data: "); p; p = strstr(p, "data: ")) {
        p += 6;
        if (strncmp(p, "[DONE]", 6) && !is_json(p, strcspn(p, "\n")))
            return false;
    }
    return true;
}

static void test_allocations(void **state)
{
    (void)state;
    for (size_t i = 0; i < TD_COUNT(requests); i++) {
        uint64_t hits = 1, failures = 0;
        assert_true(ok(send_request(i)));
        for (uint64_t nth = 1; hits && nth < 400; nth++) {
            td_fault_arm(TD_FAULT_ALLOC, nth, false);
            const char *text = send_request(i);
            hits = td_fault_count(TD_FAULT_ALLOC);
            td_fault_arm(TD_FAULT_ALLOC, 0, false);
            failures += hits;
            if ((*text && strncmp(text, "HTTP/1.1 ", 9)) || !is_whole(text))
                fail_msg("%s, allocation %d: %s", requests[i].path, (int)nth, text);
        }
        assert_int_equal(hits, 0);     // it reached the end
        assert_true(failures > 0);     // and did fail on the way
        assert_true(ok(send_request(i)));
    }
    assert_non_null(strstr(get("/metrics"), "state=\"held\"} 0\n"));
    assert_non_null(strstr(get("/metrics"), "tandem_requests_open{model_name=\"fake\"} 0\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocations)};
    server_opts o = {.engine.model = "fake", .uds = address.sun_path, .no_access_log = true};
    pthread_t thread;
    td_log_setup(TD_LOG_ERROR, false);
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/server_torture_%d.sock", (int)getpid());
    if (server_open(&o, &running, NULL) || pthread_create(&thread, NULL, serve, NULL))
        return 1;
    while (!ok(get("/ready")))
        usleep(1000);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    server_stop(running);
    pthread_join(thread, NULL);
    server_close(running);
    return failed;
}
