/* A server answers: any that speaks the OpenAI API, streaming. Only what was asked for on the command line is sent, so
 * that the server's own defaults hold. */
#include "base/arena.h"
#include "base/log.h"
#include "tools/interrupt.h"
#include "tools/output.h"
#include "tools/remote.h"
#include "tools/events.h"
#include "tools/talker.h"

#include <string.h>

enum { POLL_MS = 100 };

typedef struct remote_state {
    remote server;
    CURLM *multi;    // keeps the connection between turns
    td_buf model;
    td_buf sampling; // ,"temperature":0 … as members of a request
} remote_state;

typedef struct turn { // one answer as it comes
    CURL *easy;
    events stream;
    td_buf *said;
    bool finished;   // the server gave a reason for the end
    td_err err;      // what went wrong inside a callback
} turn;

/* ------------------------------------------------------------------ request */

/* The flags that were given, under the names that the API and vLLM have for them. */
static void sampling_members(const flags *f, td_buf *b)
{
    static const struct {
        const char *flag, *field;
        bool whole;
    } rows[] = {
        {"temperature", "temperature", false},
        {"top-p", "top_p", false},
        {"top-k", "top_k", true},
        {"min-p", "min_p", false},
        {"typical-p", "typical_p", false},
        {"repetition-penalty", "repetition_penalty", false},
        {"presence-penalty", "presence_penalty", false},
        {"frequency-penalty", "frequency_penalty", false},
        {"max-tokens", "max_tokens", true},
        {"min-tokens", "min_tokens", true},
        {"seed", "seed", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!flags_given(f, rows[i].flag))
            continue;
        td_buf_fmt(b, ",\"%s\":", rows[i].field);
        if (rows[i].whole)
            td_buf_fmt(b, "%lld", (long long)flags_int(f, rows[i].flag));
        else
            td_buf_json_num(b, flags_num(f, rows[i].flag), 9);
    }
    if (flags_bool(f, "ignore-eos"))
        td_buf_str(b, ",\"ignore_eos\":true");
}

static void stop_members(const flags *f, td_buf *b)
{
    const char *const *stops;
    const int64_t *ids;
    size_t count = flags_list(f, "stop", &stops), id_count = flags_ints(f, "stop-token-ids", &ids);
    for (size_t i = 0; i < count; i++) {
        td_buf_str(b, i ? "," : ",\"stop\":[");
        td_buf_json_str(b, stops[i], strlen(stops[i]));
    }
    td_buf_str(b, count ? "]" : "");
    for (size_t i = 0; i < id_count; i++)
        td_buf_fmt(b, "%s%lld", i ? "," : ",\"stop_token_ids\":[", (long long)ids[i]);
    td_buf_str(b, id_count ? "]" : "");
}

static void put_body(const remote_state *r, const td_json *messages, td_buf *b)
{
    td_buf_str(b, "{\"model\":");
    td_buf_json_str(b, td_buf_cstr(&r->model), r->model.len);
    td_buf_str(b, ",\"stream\":true,\"messages\":[");
    for (const td_json *m = messages->child; m; m = m->next) {
        const char *role = td_json_get_str(m, "role", ""), *content = td_json_get_str(m, "content", "");
        td_buf_fmt(b, "%s{\"role\":\"%s\",\"content\":", m == messages->child ? "" : ",", role);
        td_buf_json_str(b, content, strlen(content));
        td_buf_char(b, '}');
    }
    td_buf_char(b, ']');
    td_buf_add(b, td_buf_cstr(&r->sampling), r->sampling.len);
    td_buf_char(b, '}');
}

/* ------------------------------------------------------------------ answer */

static td_rc say(turn *t, const td_json *choice, const char *part)
{
    const char *text = td_json_get_str(td_json_get(choice, part), "content", NULL);
    if (!text || t->err.rc)
        return t->err.rc;
    td_buf_str(t->said, text);
    return output_text(text, strlen(text), &t->err);
}

static void on_data(void *ctx, const char *text, size_t len)
{
    turn *t = ctx;
    td_json *j = NULL;
    if (t->err.rc || td_json_parse(text, len, &td_json_request_limits, &j, &t->err))
        return;
    const td_json *error = td_json_get(j, "error");
    if (error)
        td_fail(&t->err, TD_E_IO, "the server broke off: %.250s",
                td_json_str(error) ? td_json_str(error) : td_json_get_str(error, "message", "no reason given"));
    const td_json *choice = cJSON_GetArrayItem(td_json_get(j, "choices"), 0);
    t->finished |= td_json_get(choice, "finish_reason") != NULL;
    say(t, choice, "delta");
    td_json_free(j);
}

static size_t on_bytes(char *p, size_t size, size_t count, void *ctx)
{
    turn *t = ctx;
    return events_feed(&t->stream, p, size * count) && !t->err.rc ? size * count : 0;
}

static td_rc drive(remote_state *r, CURLcode *code, bool *ended, td_err *err)
{
    while (!*ended && !interrupt_count()) {
        int running, left;
        if (curl_multi_perform(r->multi, &running) || (running && curl_multi_poll(r->multi, NULL, 0, POLL_MS, NULL)))
            return td_fail(err, TD_E_IO, "libcurl cannot wait for its sockets");
        for (CURLMsg *m; (m = curl_multi_info_read(r->multi, &left));)
            if (m->msg == CURLMSG_DONE) {
                *code = m->data.result;
                *ended = true;
            }
    }
    return TD_OK;
}

/* A server that does not stream answers with one object; one that refuses, with an error. */
static td_rc judge(remote_state *r, turn *t, CURLcode code, td_err *err)
{
    const td_buf *other = &t->stream.other;
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->err.rc)
        return td_fail(err, t->err.rc, "%s", t->err.msg);
    if (code && t->said->len)
        return td_fail(err, TD_E_IO, "%s: %s; the answer is not complete", td_buf_cstr(&r->server.url),
                       curl_easy_strerror(code));
    if (code)
        return remote_unreached(&r->server, code, err);
    if (status != 200)
        return remote_refused(&r->server, status, td_buf_cstr(other), other->len, err);
    td_json *j = NULL;
    if (other->len && !t->said->len && !td_json_parse(other->data, other->len, &td_json_request_limits, &j, NULL))
        say(t, cJSON_GetArrayItem(td_json_get(j, "choices"), 0), "message");
    bool answered = t->stream.done || t->said->len;
    if (t->said->len && !j && !t->stream.done && !t->finished)
        td_warn("%s ended without a word of why; the answer may not be complete", td_buf_cstr(&r->server.url));
    td_json_free(j);
    if (t->err.rc)
        return td_fail(err, t->err.rc, "%s", t->err.msg);
    return answered ? TD_OK
                    : td_fail(err, TD_E_IO, "%s sent no answer; is it an OpenAI-compatible server?",
                              td_buf_cstr(&r->server.url));
}

static td_rc answer_remote(void *state, const td_json *messages, td_buf *said, td_err *err)
{
    remote_state *r = state;
    turn t = {.said = said, .err = TD_ERR_INIT};
    td_buf body = TD_BUF_INIT;
    CURLcode code = CURLE_OK;
    bool ended = false;
    events_init(&t.stream, on_data, &t);
    put_body(r, messages, &body);
    td_rc rc = body.failed ? td_fail(err, TD_E_NOMEM, "no memory for a request")
                           : remote_request(&r->server, "/v1/chat/completions", &t.easy, err);
    if (!rc) {
        curl_easy_setopt(t.easy, CURLOPT_POSTFIELDS, body.data);
        curl_easy_setopt(t.easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        curl_easy_setopt(t.easy, CURLOPT_WRITEFUNCTION, on_bytes);
        curl_easy_setopt(t.easy, CURLOPT_WRITEDATA, &t);
        curl_multi_add_handle(r->multi, t.easy);
        rc = drive(r, &code, &ended, err);
        if (!rc && ended)
            rc = events_end(&t.stream) ? judge(r, &t, code, err) : td_fail(err, TD_E_NOMEM, "no memory for an answer");
        curl_multi_remove_handle(r->multi, t.easy); // an answer that goes on is cut off, and the server stops
        curl_easy_cleanup(t.easy);
    }
    events_free(&t.stream);
    td_buf_free(&body);
    return rc;
}

/* ------------------------------------------------------------------ open and close */

static td_rc open_remote(const flags *f, void **state, td_err *err)
{
    remote_state *r = td_alloc(sizeof *r);
    if (!r)
        return td_fail(err, TD_E_NOMEM, "no memory for a chat");
    *state = r;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    td_rc rc = remote_init(&r->server, f, err);
    r->multi = curl_multi_init();
    sampling_members(f, &r->sampling);
    stop_members(f, &r->sampling);
    if (!rc && flags_given(f, "model"))
        td_buf_str(&r->model, flags_str(f, "model"));
    else if (!rc)
        rc = remote_find_model(&r->server, &r->model, err);
    if (!rc && (!r->multi || r->sampling.failed || r->model.failed))
        rc = td_fail(err, TD_E_NOMEM, "no memory for a chat");
    return rc;
}

static void close_remote(void *state)
{
    remote_state *r = state;
    if (!r)
        return;
    if (r->multi)
        curl_multi_cleanup(r->multi);
    remote_free(&r->server);
    td_buf_free(&r->model);
    td_buf_free(&r->sampling);
    curl_global_cleanup();
    td_free(r);
}

const talker_kind talker_remote = {"server", open_remote, answer_remote, close_remote};
