#include "server/conn.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "server/access_log.h"
#include "server/call.h"
#include "server/http.h"
#include "server/state.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    KEEP_BYTES = 16 << 10, // a buffer that grew beyond it is given back when it empties
    RESERVE = 32,          // connections beyond the limit that probes may use
    RESERVE_SECONDS = 2,   // for which they are lent
    REFUSED_MAX = 256,     // connections beyond these that are still being told so
};

static void pump(conn *c);
static void refuse(conn *c, int status, const char *reason);

static uint64_t seconds_from(uint64_t now, double s) { return now + (uint64_t)(s * (double)TD_NS_PER_S); }

static void set_deadline(conn *c, double s)
{
    c->deadline_ns = seconds_from(td_now_ns(), s);
    loop_at(&c->server->loop, c->deadline_ns);
}

/* ------------------------------------------------------------------ buffers and interest */

static void buf_spent(td_buf *b, size_t *done)
{
    *done = 0;
    if (b->cap > KEEP_BYTES)
        td_buf_free(b);
    else
        td_buf_clear(b);
}

static bool out_empty(const conn *c) { return c->out_done == c->out.len; }
static bool in_empty(const conn *c) { return c->in_done == c->in.len; }

static void update_interest(conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    bool reads = c->state == CONN_HEAD || c->state == CONN_LINGER || (c->state == CONN_BODY && c->pass == 0);
    uint32_t net = (reads && !c->eof ? EPOLLIN : 0u) | (c->rdhup ? 0u : EPOLLRDHUP) |
                   (!out_empty(c) || transport_wants_write(&c->t) ? EPOLLOUT : 0u);
    loop_set(&c->server->loop, &c->net, net);
    if (c->pair.fd >= 0)
        loop_set(&c->server->loop, &c->pair, (out_empty(c) ? EPOLLIN : 0u) | (c->pass > 0 ? EPOLLOUT : 0u));
}

/* ------------------------------------------------------------------ endings */

static void pair_close(conn *c)
{
    if (c->pair.fd < 0)
        return;
    loop_del(&c->server->loop, &c->pair);
    close(c->pair.fd);
    c->pair.fd = -1;
    c->server->http_due = true; // the library must notice
}

static void unlink_conn(conn *c)
{
    struct server *s = c->server;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->next = s->dead;
    c->prev = NULL;
    s->dead = c;
}

void conn_kill(conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    c->state = CONN_DEAD;
    loop_del(&c->server->loop, &c->net);
    transport_close(&c->t);
    pair_close(c);
    c->server->conn_count--;
    if (c->call)
        call_gone(c->call);
    if (!c->library_open)
        unlink_conn(c);
}

void conn_library_closed(conn *c)
{
    c->library_open = false;
    c->call = NULL;
    if (c->state == CONN_DEAD)
        unlink_conn(c);
}

void conn_reap(struct server *s)
{
    while (s->dead) {
        conn *c = s->dead;
        s->dead = c->next;
        td_buf_free(&c->in);
        td_buf_free(&c->out);
        td_free(c);
    }
}

/* Nothing of what the client still sends is wanted, but closing at once could make its system drop our answer. */
static void linger(conn *c)
{
    c->state = CONN_LINGER;
    c->pass = 0;
    buf_spent(&c->in, &c->in_done);
    set_deadline(c, TD_HTTP_LINGER_SECONDS);
}

/* All that will ever be sent was sent. */
static void all_sent(conn *c)
{
    if (c->state != CONN_LINGER || c->eof)
        conn_kill(c);
    else
        transport_end(&c->t);
}

static void flush(conn *c)
{
    while (!out_empty(c)) {
        ssize_t n = transport_write(&c->t, c->out.data + c->out_done, c->out.len - c->out_done);
        if (n == TRANSPORT_FAILED) {
            conn_kill(c);
            return;
        }
        if (n <= 0)
            break;
        c->out_done += (size_t)n;
        c->stall_ns = 0;
    }
    if (!out_empty(c)) {
        if (!c->stall_ns) {
            c->stall_ns = td_now_ns();
            loop_at(&c->server->loop, seconds_from(c->stall_ns, c->server->opts.stream_stall_s));
        }
        return;
    }
    c->stall_ns = 0;
    buf_spent(&c->out, &c->out_done);
    if (c->answer_last)
        all_sent(c);
}

/* ------------------------------------------------------------------ library → client */

/* Moves what the library wrote to the client, or into `out` when the client is not quick enough. */
static void drain_pair(conn *c)
{
    ssize_t n = recv(c->pair.fd, c->server->scratch, SCRATCH_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { // the library ended the connection: after an early answer, or because it was asked to
        pair_close(c);
        if (!c->answering && (c->state == CONN_BODY || c->state == CONN_WAIT)) {
            refuse(c, 500, "the server could not read this request");
            return;
        }
        c->answer_last = true;
        if (c->state == CONN_BODY || !in_empty(c))
            linger(c);
        if (out_empty(c))
            all_sent(c);
        return;
    }
    c->answering = true;
    size_t sent = 0;
    if (out_empty(c)) {
        ssize_t w = transport_write(&c->t, c->server->scratch, (size_t)n);
        if (w == TRANSPORT_FAILED) {
            conn_kill(c);
            return;
        }
        sent = w > 0 ? (size_t)w : 0;
    }
    if (sent == (size_t)n)
        return;
    if (!td_buf_add(&c->out, c->server->scratch + sent, (size_t)n - sent))
        conn_kill(c);
    else
        flush(c);
}

static void pair_ready(loop_fd *f, uint32_t events)
{
    conn *c = (conn *)((char *)f - offsetof(conn, pair));
    if (c->state == CONN_DEAD || c->pair.fd < 0)
        return;
    if ((events & EPOLLOUT) && c->pass > 0)
        pump(c);
    if (c->state != CONN_DEAD && c->pair.fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && out_empty(c))
        drain_pair(c);
    update_interest(c);
}

bool conn_all_sent(conn *c)
{
    int waiting = 0;
    flush(c);
    while (c->state != CONN_DEAD && c->pair.fd >= 0 && out_empty(c) && !ioctl(c->pair.fd, FIONREAD, &waiting) &&
           waiting)
        drain_pair(c);
    return c->state == CONN_DEAD || out_empty(c);
}

/* ------------------------------------------------------------------ refusals */

/* Answers in place of the library, which has not seen the request or never will see its end. */
static void refuse(conn *c, int status, const char *reason)
{
    while (c->pair.fd >= 0) { // what was answered to earlier requests goes first
        ssize_t n = recv(c->pair.fd, c->server->scratch, SCRATCH_BYTES, MSG_DONTWAIT);
        if (n <= 0)
            break;
        td_buf_add(&c->out, c->server->scratch, (size_t)n);
    }
    pair_close(c);
    http_plain_error(&c->out, status, reason);
    access_log_refused(c, status, reason);
    c->answer_last = true;
    linger(c);
    flush(c);
}

void conn_refuse(conn *c, int status, const char *reason)
{
    if (c->state != CONN_BODY && c->state != CONN_WAIT)
        return; // it has its answer already
    refuse(c, status, reason);
    update_interest(c);
}

/* ------------------------------------------------------------------ client → library */

static bool open_pair(conn *c)
{
    if (c->pair.fd >= 0)
        return true;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds))
        return false;
    c->pair = (loop_fd){.fd = fds[0], .events = EPOLLIN, .ready = pair_ready};
    if (loop_add(&c->server->loop, &c->pair, NULL)) {
        close(fds[0]);
        close(fds[1]);
        c->pair.fd = -1;
        return false;
    }
    c->library_open = http_adopt(c->server, c, fds[1]);
    if (!c->library_open)
        pair_close(c);
    return c->library_open;
}

/* Is this head one of those that a serving platform asks with, and that cost nothing? */
static bool is_probe(const char *head, size_t len)
{
    static const char *const probes[] = {"GET /health", "GET /live", "GET /ready", "GET /ping", "GET /metrics"};
    for (size_t i = 0; i < TD_COUNT(probes); i++) {
        size_t n = strlen(probes[i]);
        if (len > n && !memcmp(head, probes[i], n) && (head[n] == ' ' || head[n] == '?'))
            return true;
    }
    return false;
}

/* True when a head was complete and clean. */
static bool take_head(conn *c)
{
    if (in_empty(c))
        return false;
    if (c->idle) {
        c->idle = false;
        set_deadline(c, c->reserve ? RESERVE_SECONDS : c->server->opts.header_timeout_s);
    }
    size_t head_len;
    switch (http_guard_head(&c->guard, c->in.data + c->in_done, c->in.len - c->in_done, &head_len)) {
    case HTTP_MORE: return false;
    case HTTP_BAD: refuse(c, c->guard.status, c->guard.reason); return false;
    case HTTP_OK: break;
    }
    const char *head = c->in.data + c->in_done + c->guard.skip;
    if ((c->reserve && !is_probe(head, head_len - c->guard.skip)) || !open_pair(c)) {
        refuse(c, 503, "the server has too many connections, try again later");
        return false;
    }
    size_t begin = http_guard_trim(&c->guard, c->in.data + c->in_done, head_len);
    c->in_done += begin;
    c->pass = head_len - begin;
    c->request_end = c->guard.body == HTTP_BODY_NONE;
    c->body_start_ns = td_now_ns();
    c->body_bytes = 0;
    c->answering = false;
    c->state = CONN_BODY;
    set_deadline(c, c->server->opts.body_timeout_s);
    return true;
}

/* Writes the bytes that were found clean; false when the library is not ready for more, or gone. */
static bool pass_on(conn *c)
{
    while (c->pass > 0) {
        ssize_t n = send(c->pair.fd, c->in.data + c->in_done, c->pass, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) // it answered early and closed; the answer is in the pair
            linger(c);
        if (n < 0)
            return false;
        c->in_done += (size_t)n;
        c->pass -= (size_t)n;
        c->server->http_due = true;
    }
    return true;
}

static bool take_body(conn *c)
{
    while (pass_on(c)) {
        if (c->request_end) {
            c->state = CONN_WAIT;
            set_deadline(c, TD_HTTP_PARSE_SECONDS);
            return true;
        }
        if (in_empty(c))
            return false;
        size_t used;
        http_verdict v = http_guard_body(&c->guard, c->in.data + c->in_done, c->in.len - c->in_done, &used);
        if (v == HTTP_BAD) {
            refuse(c, c->guard.status, c->guard.reason);
            return false;
        }
        c->pass = used;
        c->body_bytes += used;
        c->request_end = v == HTTP_OK;
    }
    return false;
}

static void pump(conn *c)
{
    while ((c->state == CONN_HEAD && take_head(c)) || (c->state == CONN_BODY && take_body(c)))
        ;
    if (c->state != CONN_DEAD && in_empty(c))
        buf_spent(&c->in, &c->in_done);
}

/* The client will send no more. A short answer that is under way still goes out; nothing is generated for nobody. */
static void client_eof(conn *c)
{
    c->eof = true;
    switch (c->state) {
    case CONN_HEAD:
        if (c->pair.fd < 0) {
            conn_kill(c);
        } else {
            shutdown(c->pair.fd, SHUT_WR);
            c->server->http_due = true;
            linger(c);
        }
        break;
    case CONN_LINGER:
        if (out_empty(c) && c->pair.fd < 0)
            conn_kill(c);
        break;
    case CONN_BODY: conn_kill(c); break;
    case CONN_WAIT:
    case CONN_DEAD: break;
    }
}

static void net_read(conn *c)
{
    do {
        ssize_t n = transport_read(&c->t, c->server->scratch, SCRATCH_BYTES);
        if (n == TRANSPORT_AGAIN)
            return;
        if (n == TRANSPORT_FAILED) {
            conn_kill(c);
            return;
        }
        if (n == 0) {
            client_eof(c);
            return;
        }
        if (c->state == CONN_LINGER)
            continue;
        if (!td_buf_add(&c->in, c->server->scratch, (size_t)n)) {
            conn_kill(c);
            return;
        }
        pump(c);
    } while (transport_pending(&c->t) && (c->state == CONN_HEAD || (c->state == CONN_BODY && c->pass == 0)));
}

static void net_ready(loop_fd *f, uint32_t events)
{
    conn *c = (conn *)((char *)f - offsetof(conn, net));
    if (c->state == CONN_DEAD)
        return;
    if (events & (EPOLLERR | EPOLLHUP)) {
        conn_kill(c);
        return;
    }
    if (events & EPOLLRDHUP) {
        c->rdhup = true;
        if (c->call && call_waits_for_engine(c->call)) {
            conn_kill(c);
            return;
        }
    }
    bool reads = c->state != CONN_WAIT && !c->eof;
    if (reads && ((events & (EPOLLIN | EPOLLRDHUP)) || c->t.handshaking))
        net_read(c);
    if (c->state != CONN_DEAD && (events & EPOLLOUT) && !out_empty(c))
        flush(c);
    update_interest(c);
}

/* ------------------------------------------------------------------ life */

void conn_accept(struct server *s, int fd, const char *peer)
{
    conn *c = td_alloc(sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    *c = (conn){.server = s, .pair.fd = -1, .state = CONN_HEAD};
    http_guard_reset(&c->guard);
    c->net = (loop_fd){.fd = fd, .events = EPOLLIN | EPOLLRDHUP, .ready = net_ready};
    td_err err = TD_ERR_INIT;
    if (transport_open(&c->t, fd, s->tls, &err)) {
        td_warn("connection from %s dropped: %s", peer, err.msg);
        td_free(c);
        return;
    }
    if (loop_add(&s->loop, &c->net, &err)) {
        transport_close(&c->t);
        td_free(c);
        return;
    }
    td_buf_clear(&c->in);
    size_t n = strlen(peer);
    n = n < sizeof c->peer - 1 ? n : sizeof c->peer - 1;
    memcpy(c->peer, peer, n);
    c->next = s->conns;
    if (s->conns)
        s->conns->prev = c;
    s->conns = c;
    s->conn_count++;
    int32_t beyond = s->conn_count - s->opts.connections_max;
    c->reserve = beyond > 0;
    set_deadline(c, c->reserve ? RESERVE_SECONDS : s->opts.header_timeout_s);
    if (beyond > RESERVE + REFUSED_MAX) {
        conn_kill(c); // even the refusals are too many
    } else if (beyond > RESERVE) {
        refuse(c, 503, "the server has too many connections, try again later");
        if (c->state != CONN_DEAD)
            update_interest(c);
    }
}

void conn_answered(conn *c)
{
    c->call = NULL;
    if (c->state != CONN_WAIT)
        return;
    c->state = CONN_HEAD;
    c->idle = true;
    http_guard_reset(&c->guard);
    set_deadline(c, c->reserve ? RESERVE_SECONDS : TD_HTTP_IDLE_SECONDS);
    pump(c);
    if (c->state == CONN_HEAD && (c->rdhup || transport_pending(&c->t)))
        net_read(c);
    update_interest(c);
}

static bool body_too_slow(const conn *c, uint64_t now)
{
    double s = (double)(now - c->body_start_ns) / (double)TD_NS_PER_S;
    return s >= c->server->opts.header_timeout_s && (double)c->body_bytes < s * TD_HTTP_BODY_BYTES_PER_SECOND_MIN;
}

static void body_tick(conn *c, uint64_t now)
{
    if (c->pass > 0) // it is the library that is not ready
        return;
    if (body_too_slow(c, now) || now >= c->deadline_ns)
        refuse(c, 408, "the request body did not arrive in time");
    else
        loop_at(&c->server->loop, now + TD_NS_PER_S);
}

static void deadline_passed(conn *c)
{
    if (c->state == CONN_WAIT && c->call && c->call->stage != CALL_BODY)
        c->deadline_ns = 0; // it was dispatched: the call has its own deadlines
    else if (c->state == CONN_WAIT)
        refuse(c, 500, "the server could not read this request");
    else if (c->state != CONN_HEAD || c->idle || in_empty(c))
        conn_kill(c); // nothing was asked, or the refusal has been out for long enough
    else
        refuse(c, 408, "the request head did not arrive in time");
}

void conn_tick(conn *c, uint64_t now)
{
    uint64_t stalled = c->stall_ns ? seconds_from(c->stall_ns, c->server->opts.stream_stall_s) : 0;
    if (c->state == CONN_DEAD)
        return;
    if (stalled && now >= stalled) {
        td_info("connection from %s closed: it takes no data", c->peer);
        conn_kill(c);
        return;
    }
    loop_at(&c->server->loop, stalled);
    if (c->state == CONN_BODY)
        body_tick(c, now);
    else if (c->deadline_ns && now >= c->deadline_ns)
        deadline_passed(c);
    else
        loop_at(&c->server->loop, c->deadline_ns);
    if (c->state != CONN_DEAD)
        update_interest(c);
}
