/* The loop thread owns everything here. Loading, workers and the engine report to it by posting tasks or waking it, and
 * signal handlers by setting a flag and waking it; what there is to do is found in turn(), after each round of events.
 */
#include "server/server.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "server/call.h"
#include "server/http.h"
#include "server/listen.h"
#include "server/reload.h"
#include "server/state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { ACCEPTS_PER_ROUND = 64, STOP_SECONDS = 1, ACCEPT_PAUSE_MS = 100, IDLE_POLL_MS = 5 };

static uint64_t in_seconds(double s) { return td_now_ns() + (uint64_t)(s * (double)TD_NS_PER_S); }

/* ------------------------------------------------------------------ what others ask */

td_rc server_ready(const server *s, td_err *err)
{
    if (!s->engine)
        return td_fail(err, TD_E_UNAVAILABLE, "the model is still loading, try again later");
    if (s->phase != SERVER_SERVING)
        return td_fail(err, TD_E_UNAVAILABLE, "the server is shutting down, send the request to another one");
    return TD_OK;
}

const char *server_model_name(const server *s)
{
    return s->opts.served_name_count ? s->opts.served_names[0] : s->base_name;
}

bool server_serves(const server *s, const char *name)
{
    if (!name || !strcmp(name, s->base_name) || (s->opts.engine.model && !strcmp(name, s->opts.engine.model)))
        return true;
    for (int32_t i = 0; i < s->opts.served_name_count; i++)
        if (!strcmp(name, s->opts.served_names[i]))
            return true;
    return false;
}

uint16_t server_port(const server *s) { return s->port; }

/* ------------------------------------------------------------------ accepting */

static void stop_listening(server *s)
{
    if (s->listen_fd.fd < 0)
        return;
    loop_del(&s->loop, &s->listen_fd);
    close(s->listen_fd.fd);
    s->listen_fd.fd = -1;
    if (s->opts.uds)
        unlink(s->opts.uds);
}

static void listen_ready(loop_fd *f, uint32_t events)
{
    server *s = (server *)((char *)f - offsetof(server, listen_fd));
    char peer[64];
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
        int fd = listen_accept(f->fd, peer, sizeof peer);
        if (fd >= 0) {
            conn_accept(s, fd, peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            td_warn("no more connections for the moment: %s; raise the limit of open files", strerror(errno));
            loop_set(&s->loop, f, 0); // it would announce itself without end
            s->accept_again_ns = td_now_ns() + ACCEPT_PAUSE_MS * TD_NS_PER_MS;
            loop_at(&s->loop, s->accept_again_ns);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

/* ------------------------------------------------------------------ phases */

static void begin_drain(server *s)
{
    if (s->phase >= SERVER_DRAINING)
        return;
    td_info("draining: %d requests go on for at most %g s", (int)s->call_count, s->opts.shutdown_timeout_s);
    s->phase = SERVER_DRAINING;
    s->phase_end_ns = in_seconds(s->opts.shutdown_timeout_s);
    s->bodies_end_ns = in_seconds(TD_HTTP_DRAIN_BODY_SECONDS);
    loop_at(&s->loop, s->phase_end_ns);
    loop_at(&s->loop, s->bodies_end_ns);
}

static void begin_stop(server *s, td_rc rc, const char *why)
{
    if (s->phase >= SERVER_STOPPING)
        return;
    if (s->call_count)
        td_info("stopping: %d requests are cut off", (int)s->call_count);
    s->phase = SERVER_STOPPING;
    s->phase_end_ns = in_seconds(STOP_SECONDS);
    loop_at(&s->loop, s->phase_end_ns);
    stop_listening(s);
    for (call *c = s->calls, *next; c; c = next) {
        next = c->next;
        call_abort(c, rc, why);
    }
}

static void stop(server *s) { begin_stop(s, TD_E_UNAVAILABLE, "the server is shutting down"); }

/* ------------------------------------------------------------------ an engine beyond help */

static void give_up(server *s, const char *what)
{
    td_metrics m;
    td_engine_metrics(s->engine, &m);
    td_fail(&s->fault, TD_E_FAULT,
            "%s, with %lld requests running and %lld waiting; the process has to be started again", what,
            (long long)m.running, (long long)m.waiting);
    td_error("%s", s->fault.msg);
    begin_stop(s, TD_E_FAULT, "the engine of this server has failed; send the request to another one");
}

static void watch(server *s, uint64_t now)
{
    char what[96];
    const char *fault = td_engine_fault(s->engine);
    uint64_t stall_ns = td_engine_stall_ns(s->engine);
    if (s->fault.rc)
        return;
    if (fault) {
        snprintf(what, sizeof what, "the engine lost its device: %.60s", fault);
        give_up(s, what);
    } else if (watchdog_look(&s->watchdog, now, !td_engine_idle(s->engine), stall_ns)) {
        snprintf(what, sizeof what, "the engine has stood still for %.3g s", (double)stall_ns / (double)TD_NS_PER_S);
        give_up(s, what);
    }
    loop_at(&s->loop, s->watchdog.next_ns);
}

/* Requests whose bodies are not there yet are no reason to stay when everything else is done. */
static void end_bodies(server *s)
{
    for (call *c = s->calls; c; c = c->next)
        if (c->stage != CALL_BODY)
            return;
    for (call *c = s->calls, *next; c; c = next) {
        next = c->next;
        call_abort(c, TD_E_UNAVAILABLE, "the server is shutting down, send the request to another one");
    }
}

/* At the end: an engine that is only slow gets the time after which /health would have called it stalled. */
static bool engine_ends(server *s)
{
    uint64_t end = in_seconds(s->opts.health_stall_s);
    while (!td_engine_idle(s->engine) && td_now_ns() < end)
        nanosleep(&(struct timespec){.tv_nsec = IDLE_POLL_MS * 1000000}, NULL);
    return td_engine_idle(s->engine);
}

static bool everything_sent(server *s)
{
    bool all = true;
    for (conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        all = conn_all_sent(c) && all;
    }
    return all;
}

/* Where it listens, in the form that a client is given. */
static const char *address(const server *s, char *out, size_t cap)
{
    char name[96];
    if (s->opts.uds)
        snprintf(out, cap, "unix:%s", s->opts.uds);
    else
        snprintf(out, cap, "http%s://%s", s->opts.ssl_certfile ? "s" : "",
                 listen_name(s->listen_fd.fd, name, sizeof name));
    return out;
}

static void take_model(server *s)
{
    td_engine *engine;
    if (s->phase != SERVER_LOADING || !loader_result(s->loader, &engine, &s->load_err))
        return;
    if (!engine) {
        s->loop.quit = true;
        return;
    }
    s->engine = engine;
    s->info = td_engine_get_info(engine);
    watchdog_init(&s->watchdog, s->opts.health_stall_s * TD_HTTP_WATCHDOG_STALLS);
    s->phase = SERVER_SERVING;
    if (s->opts.progress)
        s->opts.progress(s->opts.progress_ctx, 1);
    char where[128];
    td_info("serving %s on %s", server_model_name(s), address(s, where, sizeof where));
}

static void take_signals(server *s)
{
    if (atomic_exchange(&s->want_drain, false))
        begin_drain(s);
    if (atomic_exchange(&s->want_stop, false))
        stop(s);
    if (atomic_exchange(&s->want_reload, false))
        reload_now(s);
}

static void turn(void *ctx)
{
    server *s = ctx;
    take_model(s);
    take_signals(s);
    http_run(s);
    if (s->engine && (td_engine_fault(s->engine) || (!s->watchdog.next_ns && !td_engine_idle(s->engine))))
        watch(s, td_now_ns());
    if (s->phase == SERVER_DRAINING && td_now_ns() >= s->bodies_end_ns)
        end_bodies(s);
    if (s->phase >= SERVER_DRAINING && s->call_count == 0 && everything_sent(s))
        s->loop.quit = true;
    conn_reap(s);
}

static void tick(void *ctx, uint64_t now)
{
    server *s = ctx;
    for (conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        conn_tick(c, now);
    }
    for (call *c = s->calls, *next; c; c = next) {
        next = c->next;
        call_tick(c, now);
    }
    if (s->accept_again_ns && now >= s->accept_again_ns) {
        s->accept_again_ns = 0;
        if (s->listen_fd.fd >= 0)
            loop_set(&s->loop, &s->listen_fd, EPOLLIN);
    }
    loop_at(&s->loop, s->accept_again_ns);
    reload_tick(s, now);
    if (s->watchdog.next_ns && now >= s->watchdog.next_ns)
        watch(s, now);
    loop_at(&s->loop, s->watchdog.next_ns);
    if (s->phase >= SERVER_DRAINING && now >= s->phase_end_ns) {
        if (s->phase == SERVER_STOPPING)
            s->loop.quit = true;
        stop(s);
    } else if (s->phase >= SERVER_DRAINING) {
        loop_at(&s->loop, s->phase_end_ns);
        loop_at(&s->loop, now < s->bodies_end_ns ? s->bodies_end_ns : 0);
    }
}

/* ------------------------------------------------------------------ opening */

static double or_default(double v, double dflt) { return v > 0 ? v : dflt; }

static void fill_defaults(server *s, const server_opts *given)
{
    server_opts *o = &s->opts;
    *o = *given;
    o->host = o->host ? o->host : "127.0.0.1";
    o->version = o->version ? o->version : "unknown";
    o->commit = o->commit ? o->commit : "unknown";
    o->shutdown_timeout_s = o->shutdown_timeout_s < 0 ? 0 : or_default(o->shutdown_timeout_s, TD_HTTP_SHUTDOWN_SECONDS);
    o->health_stall_s = or_default(o->health_stall_s, TD_HTTP_HEALTH_STALL_SECONDS);
    o->stream_stall_s = or_default(o->stream_stall_s, TD_HTTP_STALL_SECONDS);
    o->header_timeout_s = or_default(o->header_timeout_s, TD_HTTP_HEADER_SECONDS);
    o->body_timeout_s = or_default(o->body_timeout_s, TD_HTTP_BODY_SECONDS);
    o->request_timeout_s = or_default(o->request_timeout_s, TD_HTTP_REQUEST_SECONDS);
    o->answer_rate = or_default(o->answer_rate, TD_HTTP_ANSWER_BYTES_PER_SECOND_MIN);
    o->ping_s = or_default(o->ping_s, TD_HTTP_PING_SECONDS);
    o->connections_max = o->connections_max > 0 ? o->connections_max : TD_HTTP_CONNECTIONS_MAX;
    o->workers = o->workers > 0 ? o->workers : TD_HTTP_WORKERS;
    const char *model = o->engine.model ? o->engine.model : "";
    const char *slash = strrchr(model, '/');
    s->base_name = slash && slash[1] ? slash + 1 : model;
    if (!o->served_name_count) {
        o->served_names = &s->base_name;
        o->served_name_count = 1;
    }
}

static bool is_loopback(const server_opts *o)
{
    return o->uds || !strcmp(o->host, "127.0.0.1") || !strcmp(o->host, "::1") || !strcmp(o->host, "localhost");
}

static td_rc check_opts(const server_opts *o, td_err *err)
{
    if (o->debug && !is_loopback(o) && !o->api_key_count && !o->api_key_file)
        return td_fail_param(err, TD_E_USAGE, "enable-debug",
                             "enable-debug would let anyone who reaches %s break this server; set api-key-file too",
                             o->host);
    if (!o->ssl_certfile != !o->ssl_keyfile)
        return td_fail_param(err, TD_E_USAGE, "ssl-certfile", "ssl-certfile and ssl-keyfile go together");
    if (o->ssl_ca_certs && !o->ssl_certfile)
        return td_fail_param(err, TD_E_USAGE, "ssl-ca-certs", "ssl-ca-certs needs ssl-certfile and ssl-keyfile");
    if (o->served_name_count > TD_SERVED_NAMES_MAX)
        return td_fail_param(err, TD_E_USAGE, "served-model-name", "more than %d served names", TD_SERVED_NAMES_MAX);
    return TD_OK;
}

/* Each client takes a socket and a pair towards the library. */
static void raise_file_limit(int32_t connections)
{
    struct rlimit r;
    rlim_t want = (rlim_t)connections * 3 + 256;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= want)
        return;
    r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
    setrlimit(RLIMIT_NOFILE, &r);
}

static td_rc open_listener(server *s, td_err *err)
{
    int fd = -1;
    td_rc rc = s->opts.uds ? listen_unix(s->opts.uds, &fd, err)
                           : listen_tcp(s->opts.host, s->opts.port, &fd, &s->port, err);
    if (rc)
        return rc;
    s->listen_fd = (loop_fd){.fd = fd, .events = EPOLLIN, .ready = listen_ready};
    return loop_add(&s->loop, &s->listen_fd, err);
}

static void make_id_prefix(server *s)
{
    uint8_t random[8];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        memcpy(random, &(uint64_t){td_now_ns()}, sizeof random);
    td_hex(random, sizeof random, s->id_prefix);
}

td_rc server_open(const server_opts *opts, server **out, td_err *err)
{
    server *s = td_alloc(sizeof *s);
    if (!s)
        return td_fail(err, TD_E_NOMEM, "not enough memory for a server");
    fill_defaults(s, opts);
    s->loopback = is_loopback(&s->opts);
    s->start_wall_s = td_wall_s();
    s->listen_fd.fd = s->watch_fd.fd = -1;
    s->loop = (loop){.epoll = -1, .wake.fd = -1};
    make_id_prefix(s);
    raise_file_limit(s->opts.connections_max);
    td_rc rc = check_opts(&s->opts, err);
    if (!rc)
        rc = auth_load(s->opts.api_keys, s->opts.api_key_count, s->opts.api_key_file, &s->keys, err);
    if (!rc && !(s->scratch = td_alloc(SCRATCH_BYTES)))
        rc = td_fail(err, TD_E_NOMEM, "not enough memory for a server");
    if (!rc)
        rc = loop_open(&s->loop, err);
    if (!rc)
        rc = reload_open(s, err);
    if (!rc)
        rc = http_open(s, err);
    if (!rc)
        rc = open_listener(s, err);
    s->loop.ctx = s;
    s->loop.tick = tick;
    s->loop.turn = turn;
    if (rc) {
        server_close(s);
        return rc;
    }
    *out = s;
    return TD_OK;
}

/* ------------------------------------------------------------------ running */

static void wake_up(void *ctx)
{
    server *s = ctx;
    loop_wake(&s->loop);
}

static void close_connections(server *s)
{
    stop_listening(s);
    for (conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        conn_kill(c);
    }
    http_close(s); // ends the calls that are left
    conn_reap(s);
    work_close(s->work);
    s->work = NULL;
    s->loop.quit = false;
    loop_run_tasks(&s->loop); // calls that a worker or the engine still held
}

td_rc server_run(server *s, td_err *err)
{
    loader_opts lo = {.engine = s->opts.engine, .progress = s->opts.progress, .progress_ctx = s->opts.progress_ctx,
                      .ready = wake_up, .ready_ctx = s};
    td_rc rc = work_open(s->opts.workers, &s->work, err);
    if (!rc)
        rc = loader_start(&lo, &s->loader, err);
    if (!rc)
        loop_run(&s->loop);
    close_connections(s);
    if (!loader_leave(s->loader, s->opts.shutdown_timeout_s))
        td_fail(&s->fault, TD_E_FAULT, "reading the model does not end; the process ends around it");
    s->loader = NULL;
    if (s->engine && !s->fault.rc && !engine_ends(s))
        give_up(s, "the engine stands still and does not end");
    if (s->engine && !s->fault.rc)
        td_engine_close(s->engine);
    s->engine = NULL;
    const td_err *why = s->load_err.rc ? &s->load_err : &s->fault;
    if (!rc && why->rc) {
        if (err)
            *err = *why;
        rc = why->rc;
    }
    return rc;
}

void server_close(server *s)
{
    if (!s)
        return;
    stop_listening(s);
    http_close(s);
    reload_close(s);
    auth_free(s->keys);
    tls_context_unref(s->tls);
    loop_close(&s->loop);
    td_free(s->scratch);
    td_free(s);
}

static void ask(server *s, atomic_bool *what)
{
    int saved = errno; // a signal handler must leave it alone
    atomic_store(what, true);
    loop_wake(&s->loop);
    errno = saved;
}

void server_drain(server *s) { ask(s, &s->want_drain); }
void server_stop(server *s) { ask(s, &s->want_stop); }
void server_reload(server *s) { ask(s, &s->want_reload); }
