#include "server/call.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/access_log.h"
#include "server/admit.h"
#include "server/gen.h"
#include "server/http.h"
#include "server/route.h"
#include "server/sse.h"
#include "server/state.h"

#include <stdio.h>
#include <string.h>

static void on_events(loop_task *t);
static void on_work_done(loop_task *t);
static void on_worker(work_job *j);

static uint64_t after(uint64_t from_ns, double s) { return from_ns + (uint64_t)(s * (double)TD_NS_PER_S); }

/* ------------------------------------------------------------------ life */

call *call_new(struct server *s, struct conn *from, struct MHD_Connection *http, const char *url, const char *method)
{
    call *c = td_alloc(sizeof *c);
    if (!c)
        return NULL;
    c->server = s;
    c->conn = from;
    c->http = http;
    c->path = url;
    snprintf(c->method, sizeof c->method, "%s", method);
    snprintf(c->path_shown, sizeof c->path_shown, "%s", url);
    snprintf(c->peer, sizeof c->peer, "%s", from->peer);
    c->start_ns = td_now_ns();
    c->events.run = on_events;
    c->work_done.run = on_work_done;
    c->job.run = on_worker;
    c->content_type = "application/json";
    c->body.max_bytes = TD_HTTP_BODY_BYTES_MAX;
    td_arena_init(&c->arena, 0);
    c->next = s->calls;
    if (s->calls)
        s->calls->prev = c;
    s->calls = c;
    s->call_count++;
    return c;
}

static void call_free(call *c)
{
    gen_free(c->gen);
    td_arena_free(&c->arena);
    td_buf_free(&c->body);
    td_buf_free(&c->answer);
    td_free(c);
}

void call_drop_body(call *c)
{
    td_buf_free(&c->body);
    c->server->body_bytes -= c->body_charged;
    c->body_charged = 0;
}

static void unlink_call(call *c)
{
    struct server *s = c->server;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->call_count--;
    admit_leave(c);
}

/* What still holds it: a worker, whose work_done will come, or events that were posted and have not run. */
static bool still_referred_to(call *c) { return c->stage == CALL_WORK || atomic_load(&c->events.queued); }

static void let_go(call *c)
{
    unlink_call(c);
    call_free(c);
}

void call_end(call *c)
{
    access_log_call(c);
    c->library_done = true;
    c->http = NULL;
    admit_answer(c, 0);
    atomic_store(&c->gone, true);
    if (c->stage != CALL_WORK) {
        call_drop_body(c);
        gen_free(c->gen); // cancels; after it the engine notifies no more
        c->gen = NULL;
    }
    if (!still_referred_to(c))
        let_go(c);
}

/* ------------------------------------------------------------------ library */

void call_suspend(call *c)
{
    if (!c->suspended) {
        c->suspended = true;
        MHD_suspend_connection(c->http);
    }
}

void call_resume(call *c)
{
    if (c->suspended) {
        c->suspended = false;
        MHD_resume_connection(c->http);
    }
    c->server->http_due = true;
}

bool call_waits_for_engine(const call *c)
{
    return c->stage == CALL_WORK || c->stage == CALL_ENGINE || (c->stage == CALL_SENDING && c->stream);
}

void call_gone(call *c)
{
    c->conn = NULL;
    atomic_store(&c->gone, true);
    if (c->stage != CALL_WORK && c->gen) // until then it is the worker's, which looks at `gone`
        gen_cancel(c->gen);
    if (c->stage != CALL_ANSWER && c->stage != CALL_SENDING)
        c->status = 499;
    if (c->stage == CALL_SENDING && c->stream && !gen_ended(c->gen))
        c->status = 499;
    call_resume(c);
}

/* ------------------------------------------------------------------ stages */

/* What a client may read. Of an error of ours the log has the cause, the client an id to ask with. */
static void public_error(const call *c, td_err *err)
{
    if (!err->msg[0])
        snprintf(err->msg, sizeof err->msg, "%s", td_rc_text(err->rc));
    if (td_rc_http(err->rc) != 500)
        return;
    td_error("request %s: %s", c->id, err->msg);
    snprintf(err->msg, sizeof err->msg, "internal error; the server's log has request id %s", c->id);
}

void call_stream_error(const call *c, td_buf *out, const td_err *cause)
{
    td_err err = *cause;
    public_error(c, &err);
    sse_error(out, &err);
}

void call_fail(call *c)
{
    public_error(c, &c->err);
    c->status = td_rc_http(c->err.rc);
    if (c->status == 429 || c->status == 503)
        c->retry_after_s = admit_retry_after_s(c->server);
    td_buf_clear(&c->answer);
    http_error_json(&c->answer, c->status, c->err.msg, c->err.param, c->err_code);
    c->content_type = "application/json";
    c->stream = false;
    c->stage = CALL_ANSWER;
}

void call_work(call *c)
{
    c->stage = CALL_WORK;
    c->job.large = c->body.len > TD_HTTP_LARGE_JOB_BYTES;
    call_suspend(c);
    work_submit(c->server->work, &c->job);
}

static void on_worker(work_job *j)
{
    call *c = (call *)((char *)j - offsetof(call, job));
    loop *l = &c->server->loop;
    if (!atomic_load(&c->gone))
        c->route->run(c, &c->err);
    loop_post(l, &c->work_done);
}

static void begin_answer(call *c)
{
    if (!c->status)
        c->status = 200;
    c->stage = CALL_ANSWER;
    call_resume(c);
}

static void engine_failed(call *c)
{
    c->err = *gen_error(c->gen);
    call_fail(c);
    call_resume(c);
}

/* Events came. A stream begins with the first of them, so that until then a failure has its own status. */
static void engine_step(call *c)
{
    gen_pump(c->gen);
    if (c->stream) {
        if (gen_pending(c->gen) > 0)
            begin_answer(c);
        else if (gen_ended(c->gen))
            engine_failed(c);
    } else if (gen_ended(c->gen)) {
        if (gen_error(c->gen)->rc) {
            engine_failed(c);
        } else {
            gen_write(c->gen, &c->answer);
            begin_answer(c);
        }
    }
}

/* Events for a client that takes no data: held for it up to a bound, then there is no point in making more. */
static void unread_step(call *c)
{
    gen_hold(c->gen);
    size_t waits = gen_pending(c->gen);
    if (gen_ended(c->gen))
        call_read_within(c, waits);
    if (waits <= gen_room(c->gen) && admit_answer(c, waits))
        return;
    td_info("request %s cut: its client does not take the stream, %zu bytes wait", c->id, waits);
    conn_kill(c->conn);
}

static void work_finished(call *c)
{
    call_drop_body(c);
    if (c->abort_rc) {
        gen_free(c->gen);
        c->gen = NULL;
        c->err = (td_err)TD_ERR_INIT;
        td_fail(&c->err, c->abort_rc, "the request was ended before it reached the engine: %s",
                td_rc_text(c->abort_rc));
        call_fail(c);
        call_resume(c);
    } else if (c->err.rc) {
        call_fail(c);
        call_resume(c);
    } else if (c->gen) {
        c->stage = CALL_ENGINE;
        loop_at(&c->server->loop, after(c->start_ns, c->server->opts.ping_s));
        if (c->conn && c->conn->rdhup)
            conn_kill(c->conn); // it left meanwhile
        else
            engine_step(c);
    } else {
        begin_answer(c);
    }
}

static void on_work_done(loop_task *t)
{
    call *c = (call *)((char *)t - offsetof(call, work_done));
    if (!c->library_done) {
        work_finished(c);
        return;
    }
    call_drop_body(c);
    c->stage = CALL_ENGINE; // the worker is out of it
    gen_free(c->gen);
    c->gen = NULL;
    if (!still_referred_to(c))
        let_go(c);
}

static void on_events(loop_task *t)
{
    call *c = (call *)((char *)t - offsetof(call, events));
    if (c->stage == CALL_WORK)
        return; // work_finished() will look
    if (c->library_done)
        let_go(c);
    else if (c->stage == CALL_ENGINE)
        engine_step(c);
    else if (c->stage == CALL_SENDING && c->suspended)
        call_resume(c);
    else if (c->stage == CALL_SENDING && c->stream && c->conn && c->conn->stall_ns)
        unread_step(c);
}

/* ------------------------------------------------------------------ deadlines */

void call_abort(call *c, td_rc rc, const char *why)
{
    switch (c->stage) {
    case CALL_BODY:
        c->status = td_rc_http(rc);
        if (c->conn)
            conn_refuse(c->conn, c->status, why);
        break;
    case CALL_WORK:
        c->abort_rc = rc;
        atomic_store(&c->gone, true);
        break;
    case CALL_ENGINE:
    case CALL_SENDING:
        if (c->gen && !gen_ended(c->gen)) {
            gen_fail(c->gen, rc, why);
            if (c->stage == CALL_ENGINE)
                engine_step(c);
            else
                call_resume(c);
        }
        break;
    case CALL_ANSWER: break;
    }
}

/* A comment line keeps proxies from closing a stream that waits, and finds clients that vanished. */
static void ping(call *c, uint64_t now)
{
    bool running = c->stage == CALL_ENGINE || c->stage == CALL_SENDING; // before, `stream` is the worker's
    if (!running || !c->stream || gen_ended(c->gen))
        return;
    uint64_t due = after(c->stream_ns ? c->stream_ns : c->start_ns, c->server->opts.ping_s);
    if (now < due) {
        loop_at(&c->server->loop, due);
        return;
    }
    c->stream_ns = now;
    loop_at(&c->server->loop, after(now, c->server->opts.ping_s));
    if (c->stage == CALL_SENDING && !c->suspended)
        return; // it is the client that does not read
    gen_ping(c->gen);
    if (c->stage == CALL_ENGINE)
        begin_answer(c);
    else
        call_resume(c);
}

void call_read_within(call *c, uint64_t bytes)
{
    if (c->read_end_ns)
        return;
    double s = c->server->opts.stream_stall_s + (double)bytes / c->server->opts.answer_rate;
    c->read_end_ns = after(td_now_ns(), s);
    loop_at(&c->server->loop, c->read_end_ns);
}

static bool reads_too_slowly(const call *c, uint64_t now)
{
    return c->stage == CALL_SENDING && c->conn && c->read_end_ns && now >= c->read_end_ns;
}

void call_tick(call *c, uint64_t now)
{
    if (c->library_done || atomic_load(&c->gone))
        return;
    if (reads_too_slowly(c, now)) {
        td_info("request %s cut: its client takes the answer too slowly", c->id);
        conn_kill(c->conn);
        return;
    }
    loop_at(&c->server->loop, c->read_end_ns);
    if (c->deadline_ns && now >= c->deadline_ns) {
        c->deadline_ns = 0;
        call_abort(c, TD_E_DEADLINE, "the request did not end before its deadline");
        return;
    }
    loop_at(&c->server->loop, c->deadline_ns);
    ping(c, now);
}
