#include "server/admit.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "server/call.h"
#include "server/route.h"
#include "server/state.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* "application/json", with or without parameters */
static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;
    if (!type || strncasecmp(type, json, n))
        return false;
    type += n;
    while (*type == ' ' || *type == '\t')
        type++;
    return *type == 0 || *type == ';';
}

static td_rc check_media(const call *c, td_err *err)
{
    const call_headers *h = &c->headers;
    if (h->content_encoding && strcasecmp(h->content_encoding, "identity"))
        return td_fail(err, TD_E_MEDIA, "Content-Encoding is not accepted: send the body as it is");
    if ((c->route->flags & (ROUTE_WORK | ROUTE_DEBUG)) && !is_json(h->content_type))
        return td_fail(err, TD_E_MEDIA, "send Content-Type: application/json");
    return TD_OK;
}

static bool is_local_origin(const char *origin)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *host = strstr(origin, "://");
    host = host ? host + 3 : origin;
    for (size_t i = 0; i < TD_COUNT(hosts); i++) {
        size_t n = strlen(hosts[i]);
        if (!strncasecmp(host, hosts[i], n) && (host[n] == 0 || host[n] == ':'))
            return true;
    }
    return false;
}

/* A page from elsewhere whose name was made to point at this machine could use a server that trusts everybody here.
 * Only browsers send Origin. */
static td_rc check_origin(const call *c, td_err *err)
{
    const char *origin = c->headers.origin;
    if (!origin || c->server->keys || !c->server->loopback || is_local_origin(origin))
        return TD_OK;
    return td_fail(err, TD_E_AUTH, "web pages of other origins are not served without an API key; set --api-key-file");
}

static td_rc check_key(const call *c, td_err *err)
{
    const char *header = c->headers.authorization_count == 1 ? c->headers.authorization : NULL;
    if (!route_needs_key(c->server, c->route) || auth_allows(c->server->keys, header))
        return TD_OK;
    return td_fail(err, TD_E_AUTH, "send a valid API key as Authorization: Bearer KEY");
}

/* Requests that run and wait in the engine, and as many again on their way to it: beyond that the queue is full for
 * sure, and parsing the request to find out would cost more than the refusal. */
static td_rc check_queue(struct server *s, td_err *err)
{
    td_metrics m;
    td_engine_metrics(s->engine, &m);
    int64_t queue_max = s->info->max_num_queued, running_max = s->info->max_num_seqs;
    if (m.waiting < queue_max && s->heavy_count < running_max + queue_max + TD_HTTP_WORKERS)
        return TD_OK;
    return td_fail(err, TD_E_BUSY, "the queue is full: %lld requests run and %lld wait, try again later",
                   (long long)m.running, (long long)m.waiting);
}

/* The plan keeps within the bound; what requests hold beside it is only known now. */
static td_rc check_memory(const struct server *s, td_err *err)
{
    uint64_t bound = s->opts.engine.max_rss;
    if (!bound || td_memory_resident() <= bound / 100 * TD_MEMORY_ADMIT_PERCENT)
        return TD_OK;
    return td_fail(err, TD_E_NOMEM, "the server's memory is nearly used up, try again later");
}

static td_rc read_timeout(call *c, td_err *err)
{
    if (!c->headers.timeout)
        return TD_OK;
    static const char decimal[] = "0123456789.";
    const char *text = c->headers.timeout;
    char *end;
    double s = strtod(text, &end); // which would take 0x10, 1e3, inf and nan as well
    if (end == text || text[strspn(text, decimal)] || *end || !(s > 0) || s > 1e6)
        return td_fail_param(err, TD_E_INPUT, "x-request-timeout",
                             "x-request-timeout must be a number of seconds above 0");
    if (s < c->server->opts.request_timeout_s)
        c->deadline_ns = c->start_ns + (uint64_t)(s * (double)TD_NS_PER_S);
    loop_at(&c->server->loop, c->deadline_ns);
    return TD_OK;
}

static td_rc check_bodyless(const call *c, td_err *err)
{
    if (route_takes_body(c->route) || c->headers.content_length <= TD_HTTP_IGNORED_BODY_BYTES)
        return TD_OK;
    return td_fail(err, TD_E_TOOBIG, "this path takes no body");
}

td_rc admit_enter(call *c, td_err *err)
{
    struct server *s = c->server;
    td_rc rc = check_key(c, err);
    if (!rc)
        rc = check_origin(c, err);
    if (!rc)
        rc = check_bodyless(c, err);
    if (!rc && !strcmp(c->method, "POST"))
        rc = check_media(c, err);
    if (!rc && (c->route->flags & ROUTE_DEBUG) && !s->engine) // a full queue must not hide what fills it
        rc = server_ready(s, err);
    if (rc || !(c->route->flags & ROUTE_WORK))
        return rc;
    rc = server_ready(s, err);
    if (!rc)
        rc = read_timeout(c, err);
    if (!rc)
        rc = check_queue(s, err);
    if (!rc)
        rc = check_memory(s, err);
    if (!rc) {
        c->heavy = true;
        s->heavy_count++;
    }
    return rc;
}

void admit_leave(call *c)
{
    if (c->heavy)
        c->server->heavy_count--;
    c->heavy = false;
}

bool admit_body(call *c, uint64_t bytes)
{
    struct server *s = c->server;
    bool small = c->body_charged + bytes <= TD_HTTP_BODY_SMALL_BYTES;
    uint64_t max = TD_HTTP_BODIES_BYTES_MAX - (small ? 0 : TD_HTTP_BODIES_SMALL_BYTES_MAX);
    if (s->body_bytes > max || bytes > max - s->body_bytes)
        return false;
    s->body_bytes += bytes;
    c->body_charged += bytes;
    return true;
}

bool admit_answer(call *c, uint64_t bytes)
{
    struct server *s = c->server;
    uint64_t others = s->answer_bytes - c->answer_charged;
    if (bytes > TD_HTTP_ANSWER_SMALL_BYTES && others + bytes > TD_HTTP_ANSWERS_BYTES_MAX)
        return false;
    s->answer_bytes = others + bytes;
    c->answer_charged = bytes;
    return true;
}

/* How long what waits now will take at the pace of the requests so far, between 1 and 60 s, spread by a quarter so that
 * those refused together do not come back together. */
int32_t admit_retry_after_s(struct server *s)
{
    double seconds = 1;
    if (s->engine && s->phase == SERVER_SERVING) {
        td_metrics m;
        td_engine_metrics(s->engine, &m);
        double each = m.inference.count ? m.inference.sum / (double)m.inference.count : 1;
        double running = m.running > 0 ? (double)m.running : 1;
        seconds = each * (double)(m.waiting + 1) / running;
    } else if (s->phase == SERVER_LOADING) {
        seconds = 5;
    }
    double jitter = (double)(td_mix64(td_now_ns()) >> 40) / (double)(1 << 24); // 0…1
    seconds *= 0.875 + 0.25 * jitter;
    return seconds < 1 ? 1 : seconds > 60 ? 60 : (int32_t)(seconds + 0.5);
}
