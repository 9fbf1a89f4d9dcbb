#include "tools/load.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "tools/interrupt.h"
#include "tools/events.h"

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { POLL_MS_MAX = 200 };

typedef struct client { // one request under way
    struct client *prev, *next; // of all under way
    load_sample *sample;
    CURL *easy;
    td_buf body;        // of the request
    events stream;
} client;

typedef struct driver {
    const load_plan *plan;
    load_run *run;
    CURLM *multi;
    client *clients;
    uint64_t start_ns, random;
    int32_t next, running, ended;
} driver;

/* ------------------------------------------------------------------ random numbers */

static uint64_t next_random(driver *d)
{
    d->random += 0x9e3779b97f4a7c15u;
    return td_mix64(d->random);
}

static double uniform(driver *d) { return ((double)(next_random(d) >> 11) + 0.5) / 9007199254740992.0; }

static double normal(driver *d) { return sqrt(-2 * log(uniform(d))) * cos(2 * M_PI * uniform(d)); }

/* Gamma distributed with mean 1 (Marsaglia and Tsang 2000); shape 1 is the exponential gap of a Poisson process. */
static double gamma_gap(driver *d, double shape)
{
    if (shape == 1)
        return -log(uniform(d));
    double a = shape < 1 ? shape + 1 : shape, e = a - 1.0 / 3, c = 1 / sqrt(9 * e);
    for (;;) {
        double x = normal(d), v = 1 + c * x;
        v = v * v * v;
        if (v > 0 && log(uniform(d)) < 0.5 * x * x + e - e * v + e * log(v))
            return e * v * (shape < 1 ? pow(uniform(d), 1 / shape) : 1) / shape;
    }
}

/* ------------------------------------------------------------------ what is sent */

/* Common short words: about a token each in any vocabulary. */
static const char *const words[] = {"time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child",
                                    "world", "school", "state", "family", "student", "group", "country", "problem",
                                    "hand", "part", "place", "case", "week", "company", "system", "program", "question",
                                    "work", "number", "night", "point", "home"};

static void add_words(td_buf *b, uint64_t *random, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        *random += 0x9e3779b97f4a7c15u;
        td_buf_fmt(b, "%s%s", i ? " " : "", words[td_mix64(*random) % TD_COUNT(words)]);
    }
}

static void add_prompt(driver *d, td_buf *b)
{
    uint64_t shared = d->plan->seed ^ 0x70726566u; // the same for every request
    add_words(b, &shared, d->plan->prefix_len);
    td_buf_str(b, d->plan->prefix_len ? " " : "");
    add_words(b, &d->random, d->plan->input_len);
}

static void make_body(driver *d, td_buf *b)
{
    td_buf_str(b, "{\"model\":");
    td_buf_json_str(b, d->plan->model, strlen(d->plan->model));
    td_buf_str(b, d->plan->chat ? ",\"messages\":[{\"role\":\"user\",\"content\":\"" : ",\"prompt\":\"");
    add_prompt(d, b);
    td_buf_str(b, d->plan->chat ? "\"}]" : "\"");
    td_buf_fmt(b, ",\"max_tokens\":%d,\"temperature\":0,\"ignore_eos\":true,\"stream\":true,"
                  "\"stream_options\":{\"include_usage\":true}}", d->plan->output_len);
}

/* ------------------------------------------------------------------ what comes back */

static void fail(load_sample *s, const char *what)
{
    if (!s->error[0])
        snprintf(s->error, sizeof s->error, "%s", what);
}

static void chunk_seen(load_sample *s)
{
    uint64_t now = td_now_ns();
    if (!s->first_ns) {
        s->first_ns = s->last_ns = now;
        return;
    }
    if (s->gap_count == s->gap_cap) {
        int32_t cap = s->gap_cap ? s->gap_cap * 2 : 64;
        double *grown = td_realloc(s->gaps_s, (size_t)cap * sizeof *grown);
        if (!grown) {
            fail(s, "no memory");
            return;
        }
        s->gaps_s = grown;
        s->gap_cap = cap;
    }
    s->gaps_s[s->gap_count++] = (double)(now - s->last_ns) / 1e9;
    s->last_ns = now;
}

static void take_data(void *ctx, const char *text, size_t len)
{
    client *c = ctx;
    td_json *j = NULL;
    td_err err = TD_ERR_INIT;
    if (td_json_parse(text, len, &td_json_request_limits, &j, &err)) {
        fail(c->sample, err.msg);
        return;
    }
    const td_json *choice = cJSON_GetArrayItem(td_json_get(j, "choices"), 0);
    const char *said = td_json_get_str(choice, "text", NULL);
    if (!said)
        said = td_json_get_str(td_json_get(choice, "delta"), "content", NULL);
    if (said && *said)
        chunk_seen(c->sample);
    const td_json *usage = td_json_get(j, "usage");
    if (usage) {
        c->sample->prompt_tokens = (int32_t)td_json_get_int(usage, "prompt_tokens", 0);
        c->sample->output_tokens = (int32_t)td_json_get_int(usage, "completion_tokens", 0);
    }
    const char *message = td_json_get_str(td_json_get(j, "error"), "message", NULL);
    if (message)
        fail(c->sample, message);
    td_json_free(j);
}

static size_t on_bytes(char *p, size_t size, size_t count, void *ctx)
{
    return events_feed(&((client *)ctx)->stream, p, size * count) ? size * count : 0;
}

/* ------------------------------------------------------------------ requests */

static void client_free(driver *d, client *c)
{
    if (c->easy) {
        curl_multi_remove_handle(d->multi, c->easy);
        curl_easy_cleanup(c->easy);
    }
    if (c->prev)
        c->prev->next = c->next;
    else
        d->clients = c->next;
    if (c->next)
        c->next->prev = c->prev;
    td_buf_free(&c->body);
    events_free(&c->stream);
    td_free(c);
}

static td_rc start_one(driver *d, td_err *err)
{
    client *c = td_alloc(sizeof *c);
    if (!c)
        return td_fail(err, TD_E_NOMEM, "no memory for a request");
    c->next = d->clients;
    if (c->next)
        c->next->prev = c;
    d->clients = c;
    c->sample = &d->run->samples[d->next++];
    events_init(&c->stream, take_data, c);
    make_body(d, &c->body);
    td_rc rc = c->body.failed ? td_fail(err, TD_E_NOMEM, "no memory for a request")
                              : remote_request(d->plan->server, d->plan->chat ? "/v1/chat/completions"
                                                                              : "/v1/completions", &c->easy, err);
    if (rc) {
        client_free(d, c);
        return rc;
    }
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, c->body.data);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE, (long)c->body.len);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
    c->sample->start_ns = td_now_ns();
    curl_multi_add_handle(d->multi, c->easy);
    d->running++;
    d->run->running_max = TD_MAX(d->run->running_max, d->running);
    return TD_OK;
}

static void end_one(driver *d, CURL *easy, CURLcode code)
{
    client *c = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &c);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    load_sample *s = c->sample;
    events_end(&c->stream);
    if (c->stream.other.len) // an error instead of a stream
        take_data(c, c->stream.other.data, c->stream.other.len);
    s->status = (int)status;
    if (code != CURLE_OK)
        fail(s, curl_easy_strerror(code));
    else if (status != 200)
        fail(s, "the server refused the request");
    else if (!c->stream.done)
        fail(s, "the stream ended without [DONE]");
    else if (!s->first_ns)
        fail(s, "an answer without text");
    if (!s->output_tokens)
        s->output_tokens = s->first_ns ? s->gap_count + 1 : 0;
    s->ok = !s->error[0];
    d->running--;
    d->ended++;
    client_free(d, c);
}

/* Starts what is due; returns milliseconds until the next is. */
static td_rc start_due(driver *d, int *wait_ms, td_err *err)
{
    *wait_ms = POLL_MS_MAX;
    int32_t bound = d->plan->concurrency_max ? d->plan->concurrency_max : INT32_MAX;
    while (d->next < d->plan->count && d->running < bound) {
        uint64_t now = td_now_ns() - d->start_ns, due = d->run->samples[d->next].at_ns;
        if (due > now) {
            *wait_ms = (int)TD_MIN((due - now) / TD_NS_PER_MS + 1, (uint64_t)POLL_MS_MAX);
            return TD_OK;
        }
        td_rc rc = start_one(d, err);
        if (rc)
            return rc;
    }
    return TD_OK;
}

static td_rc drive(driver *d, void (*progress)(void *ctx, int32_t done, int32_t count), void *ctx, td_err *err)
{
    d->start_ns = td_now_ns();
    while (d->ended < d->plan->count && !interrupt_count()) {
        int wait_ms, running, left;
        td_rc rc = start_due(d, &wait_ms, err);
        if (rc)
            return rc;
        if (curl_multi_perform(d->multi, &running) || curl_multi_poll(d->multi, NULL, 0, wait_ms, NULL))
            return td_fail(err, TD_E_IO, "libcurl cannot wait for its sockets");
        for (CURLMsg *m; (m = curl_multi_info_read(d->multi, &left));)
            if (m->msg == CURLMSG_DONE)
                end_one(d, m->easy_handle, m->data.result);
        if (progress)
            progress(ctx, d->ended, d->plan->count);
    }
    d->run->duration_s = (double)(td_now_ns() - d->start_ns) / 1e9;
    return TD_OK;
}

td_rc load_go(const load_plan *p, load_run *out, void (*progress)(void *ctx, int32_t done, int32_t count), void *ctx,
              td_err *err)
{
    *out = (load_run){.samples = td_alloc((size_t)p->count * sizeof *out->samples)};
    driver d = {.plan = p, .run = out, .multi = curl_multi_init(), .random = p->seed};
    td_rc rc = out->samples && d.multi ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for the run");
    double at_s = 0;
    for (int32_t i = 0; !rc && p->rate > 0 && i < p->count; i++) {
        out->samples[i].at_ns = (uint64_t)(at_s * 1e9);
        at_s += gamma_gap(&d, p->burstiness) / p->rate;
    }
    if (!rc)
        rc = drive(&d, progress, ctx, err);
    while (d.clients) // of an interrupted run
        client_free(&d, d.clients);
    if (d.multi)
        curl_multi_cleanup(d.multi);
    return rc;
}

void load_free(load_run *r, int32_t count)
{
    for (int32_t i = 0; r->samples && i < count; i++)
        td_free(r->samples[i].gaps_s);
    td_free(r->samples);
    r->samples = NULL;
}
