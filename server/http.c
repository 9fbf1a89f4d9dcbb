#include "server/http.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "server/admit.h"
#include "server/api_openai.h"
#include "server/call.h"
#include "server/gen.h"
#include "server/route.h"
#include "server/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    LIBRARY_POOL_BYTES = 96 << 10, // for one connection: the head at its largest, and a chunk of a stream
    RUNS_PER_TURN = 8,
};

/* ------------------------------------------------------------------ error shape */

typedef struct status_text {
    int status;
    const char *reason, *type, *code;
} status_text;

static const status_text status_table[] = {
    {400, "Bad Request", "invalid_request_error", NULL},
    {401, "Unauthorized", "invalid_request_error", "invalid_api_key"},
    {404, "Not Found", "invalid_request_error", "not_found"},
    {405, "Method Not Allowed", "invalid_request_error", "method_not_allowed"},
    {408, "Request Timeout", "invalid_request_error", "request_timeout"},
    {413, "Payload Too Large", "invalid_request_error", "request_too_large"},
    {414, "URI Too Long", "invalid_request_error", "uri_too_long"},
    {415, "Unsupported Media Type", "invalid_request_error", "unsupported_media_type"},
    {429, "Too Many Requests", "rate_limit_error", "rate_limit_exceeded"},
    {431, "Request Header Fields Too Large", "invalid_request_error", "headers_too_large"},
    {499, "Client Closed Request", "invalid_request_error", "client_closed"},
    {501, "Not Implemented", "invalid_request_error", "not_supported"},
    {503, "Service Unavailable", "service_unavailable_error", "service_unavailable"},
    {504, "Gateway Timeout", "timeout_error", "deadline_exceeded"},
    {500, "Internal Server Error", "server_error", "internal_error"}, // last: of every other status too
};

static const status_text *status_find(int status)
{
    const status_text *t = status_table;
    while (t->status != status && t->status != 500)
        t++;
    return t;
}

void http_error_json(td_buf *out, int status, const char *message, const char *param, const char *code)
{
    const status_text *t = status_find(status);
    code = code ? code : t->code;
    td_buf_str(out, "{\"error\":{\"message\":");
    td_buf_json_str(out, message, strlen(message));
    td_buf_fmt(out, ",\"type\":\"%s\",\"param\":", t->type);
    if (param && *param)
        td_buf_json_str(out, param, strlen(param));
    else
        td_buf_str(out, "null");
    td_buf_str(out, ",\"code\":");
    if (code)
        td_buf_json_str(out, code, strlen(code));
    else
        td_buf_str(out, "null");
    td_buf_str(out, "}}");
}

void http_plain_error(td_buf *out, int status, const char *reason)
{
    td_buf json = TD_BUF_INIT;
    http_error_json(&json, status, reason, NULL, NULL);
    td_buf_fmt(out,
               "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
               status, status_find(status)->reason, json.len, status == 503 ? "Retry-After: 5\r\n" : "");
    td_buf_add(out, td_buf_cstr(&json), json.len);
    td_buf_free(&json);
}

/* ------------------------------------------------------------------ answers */

static void add_header(struct MHD_Response *r, const char *name, const char *value)
{
    td_assert(MHD_add_response_header(r, name, value) == MHD_YES);
}

static void common_headers(const call *c, struct MHD_Response *r)
{
    char seconds[16];
    add_header(r, "Content-Type", c->content_type);
    add_header(r, "x-request-id", c->id);
    if (c->retry_after_s) {
        snprintf(seconds, sizeof seconds, "%" PRId32, c->retry_after_s);
        add_header(r, "Retry-After", seconds);
    }
    if (c->status == 401)
        add_header(r, "WWW-Authenticate", "Bearer");
    if (c->status == 405)
        add_header(r, "Allow", c->allow);
}

static enum MHD_Result queue(call *c, struct MHD_Response *r)
{
    common_headers(c, r);
    enum MHD_Result ok = MHD_queue_response(c->http, (unsigned)c->status, r);
    MHD_destroy_response(r);
    c->stage = CALL_SENDING;
    return ok;
}

static enum MHD_Result queue_answer(call *c)
{
    size_t len;
    if (c->answer.failed || !admit_answer(c, c->answer.cap)) {
        bool full = !c->answer.failed;
        td_buf_free(&c->answer);
        c->err = (td_err)TD_ERR_INIT;
        td_fail(&c->err, TD_E_NOMEM, full ? "the server holds too many answers that their clients do not read"
                                          : "not enough memory for the answer");
        call_fail(c);
    }
    char *data = td_buf_take(&c->answer, &len);
    c->sent_bytes = len;
    call_read_within(c, len);
    struct MHD_Response *r = MHD_create_response_from_buffer_with_free_callback(len, data, td_free);
    if (r)
        return queue(c, r);
    td_free(data);
    return MHD_NO;
}

/* The library wants the next piece of a stream. */
static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    call *c = cls;
    (void)pos;
    if (atomic_load(&c->gone))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    gen_pump(c->gen);
    size_t n = gen_read(c->gen, buf, max);
    admit_answer(c, gen_pending(c->gen));
    if (gen_ended(c->gen))
        call_read_within(c, gen_pending(c->gen));
    if (n == 0) {
        if (gen_ended(c->gen))
            return MHD_CONTENT_READER_END_OF_STREAM;
        call_suspend(c);
        return 0;
    }
    c->sent_bytes += n;
    c->stream_ns = td_now_ns();
    return (ssize_t)n;
}

static enum MHD_Result queue_stream(call *c)
{
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 << 10, stream_read, c, NULL);
    if (!r)
        return MHD_NO;
    c->content_type = "text/event-stream; charset=utf-8";
    add_header(r, "Cache-Control", "no-cache");
    add_header(r, "X-Accel-Buffering", "no");
    return queue(c, r);
}

/* ------------------------------------------------------------------ requests */

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    call_headers *h = cls;
    (void)kind;
    value = value ? value : "";
    if (!strcasecmp(name, "authorization"))
        h->authorization = value, h->authorization_count++;
    else if (!strcasecmp(name, "content-type"))
        h->content_type = value;
    else if (!strcasecmp(name, "content-encoding"))
        h->content_encoding = value;
    else if (!strcasecmp(name, "x-request-id"))
        h->request_id = value; // the last one wins: it is the one both legs of a split request share
    else if (!strcasecmp(name, "x-request-timeout"))
        h->timeout = value;
    else if (!strcasecmp(name, "origin"))
        h->origin = value;
    else if (!strcasecmp(name, "expect"))
        h->expect = value;
    else if (!strcasecmp(name, "content-length"))
        h->content_length = strtoull(value, NULL, 10);
    return MHD_YES;
}

/* The client's id if it is short and printable, else one of ours. */
static void choose_id(call *c)
{
    const char *id = c->headers.request_id;
    size_t len = id ? strlen(id) : 0;
    bool good = len > 0 && len <= TD_REQUEST_ID_BYTES_MAX;
    for (size_t i = 0; good && i < len; i++)
        good = id[i] > 0x20 && id[i] < 0x7f && id[i] != '"' && id[i] != '\\';
    if (good)
        memcpy(c->id, id, len + 1);
    else
        snprintf(c->id, sizeof c->id, "%s%08" PRIx64, c->server->id_prefix, ++c->server->id_count);
}

/* All that can be said before the body is there. An error is kept for the answer. */
static void begin(call *c)
{
    MHD_get_connection_values(c->http, MHD_HEADER_KIND, take_header, &c->headers);
    choose_id(c);
    c->deadline_ns = c->start_ns + (uint64_t)(c->server->opts.request_timeout_s * (double)TD_NS_PER_S);
    loop_at(&c->server->loop, c->deadline_ns);
    c->route = route_find(c->method, c->path, c->server->opts.debug, &c->allow, &c->err);
    if (c->route && (c->route->flags & ROUTE_DEBUG))
        c->number = api_debug_number(c->path, MHD_lookup_connection_value(c->http, MHD_GET_ARGUMENT_KIND, "from"));
    if (c->route)
        admit_enter(c, &c->err);
}

static bool answer_early(const call *c)
{
    return c->err.rc && (c->headers.content_length > TD_HTTP_IGNORED_BODY_BYTES || c->headers.expect);
}

static enum MHD_Result fail_now(call *c)
{
    call_fail(c);
    return queue_answer(c);
}

/* The request is complete. */
static enum MHD_Result dispatch(call *c)
{
    if (c->err.rc)
        return fail_now(c);
    if (c->route->flags & (ROUTE_WORK | ROUTE_DEBUG)) {
        call_work(c);
        return MHD_YES;
    }
    c->status = 200;
    if (c->route->run(c, &c->err))
        return fail_now(c);
    c->stage = CALL_ANSWER;
    return queue_answer(c);
}

static enum MHD_Result take_body(call *c, const char *data, size_t *len)
{
    bool wanted = !c->err.rc && route_takes_body(c->route);
    if (wanted && (!admit_body(c, *len) || !td_buf_add(&c->body, data, *len))) {
        td_fail(&c->err, TD_E_NOMEM, "the server holds too many request bodies, try again later");
        call_drop_body(c);
    }
    *len = 0;
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *http, const char *url, const char *method,
                                  const char *version, const char *data, size_t *len, void **state)
{
    struct server *s = cls;
    call *c = *state;
    (void)version;
    if (!c) {
        conn *k = MHD_get_connection_info(http, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
        if (k->state == CONN_DEAD || k->state == CONN_LINGER || !(c = call_new(s, k, http, url, method)))
            return MHD_NO;
        *state = c;
        k->call = c;
        begin(c);
        return answer_early(c) ? fail_now(c) : MHD_YES;
    }
    if (atomic_load(&c->gone) && c->stage != CALL_ANSWER)
        return MHD_NO;
    if (*len)
        return take_body(c, data, len);
    if (c->stage == CALL_BODY)
        return dispatch(c);
    if (c->stage == CALL_ANSWER)
        return c->stream ? queue_stream(c) : queue_answer(c);
    call_suspend(c); // woken for nothing
    return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *http, void **state, enum MHD_RequestTerminationCode toe)
{
    call *c = *state;
    (void)cls;
    (void)http;
    if (!c)
        return;
    *state = NULL;
    conn *k = c->conn;
    if (toe != MHD_REQUEST_TERMINATED_COMPLETED_OK && !c->status)
        c->status = 499;
    call_end(c);
    if (k) {
        k->call = NULL;
        if (toe == MHD_REQUEST_TERMINATED_COMPLETED_OK)
            conn_answered(k);
    }
}

static void on_connection(void *cls, struct MHD_Connection *http, void **context, enum MHD_ConnectionNotificationCode n)
{
    struct server *s = cls;
    (void)http;
    if (n == MHD_CONNECTION_NOTIFY_STARTED)
        *context = s->adopting;
    else if (*context)
        conn_library_closed(*context);
}

/* Paths are compared as they were sent: what would need unescaping is not one of ours. */
static size_t keep_escapes(void *cls, struct MHD_Connection *http, char *s)
{
    (void)cls;
    (void)http;
    return strlen(s);
}

static void on_library_log(void *cls, const char *fmt, va_list ap)
{
    char line[512];
    (void)cls;
    vsnprintf(line, sizeof line, fmt, ap);
    line[strcspn(line, "\n")] = 0;
    td_debug("http: %s", line);
}

/* ------------------------------------------------------------------ the library in our loop */

static void library_ready(loop_fd *f, uint32_t events)
{
    struct server *s = (struct server *)((char *)f - offsetof(struct server, http_fd));
    (void)events;
    s->http_due = true;
}

td_rc http_open(struct server *s, td_err *err)
{
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    s->http = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s,
                               MHD_OPTION_EXTERNAL_LOGGER, on_library_log, s,
                               MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                               MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
                               MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, s,
                               MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->opts.connections_max + 64,
                               MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)LIBRARY_POOL_BYTES,
                               MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    const union MHD_DaemonInfo *info = s->http ? MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info)
        return td_fail(err, TD_E_INTERNAL, "cannot start libmicrohttpd with epoll");
    s->http_fd = (loop_fd){.fd = info->epoll_fd, .events = EPOLLIN, .ready = library_ready};
    return loop_add(&s->loop, &s->http_fd, err);
}

void http_close(struct server *s)
{
    if (!s->http)
        return;
    for (call *c = s->calls; c; c = c->next)
        if (c->suspended)
            call_resume(c);
    http_run(s);
    MHD_stop_daemon(s->http);
    s->http = NULL;
}

bool http_adopt(struct server *s, struct conn *c, int fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    s->adopting = c;
    enum MHD_Result ok = MHD_add_connection(s->http, fd, (struct sockaddr *)&addr, sizeof addr);
    s->adopting = NULL;
    s->http_due = true;
    return ok == MHD_YES; // on failure the library has closed fd
}

/* A connection that the library gives up while it reads is closed by its next run only, which it does not ask for: so
 * there is always one more run than it wanted. */
void http_run(struct server *s)
{
    bool more = s->http_due;
    for (int i = 0; more && i < RUNS_PER_TURN; i++) {
        MHD_UNSIGNED_LONG_LONG ms;
        more = s->http_due;
        s->http_due = false;
        MHD_run(s->http);
        if (MHD_get_timeout(s->http, &ms) == MHD_YES && ms == 0)
            s->http_due = true;
        more = more || s->http_due;
    }
    if (s->http_due) // let sockets and tasks have their turn in between
        s->loop.again = true;
}
