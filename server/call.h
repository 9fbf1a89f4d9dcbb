/* call.h - one HTTP request from its head to the last byte of its answer.
 *
 *     BODY ──► WORK (a worker parses, renders, submits) ──► ENGINE (events arrive) ──► ANSWER
 *       └──────────────── light routes, refusals ─────────────────────────────────────┘
 *
 * Owned by the loop thread, which alone moves it between stages; during WORK the worker owns body, arena, err, answer
 * and gen. A client that leaves sets `gone`: what the engine does for it is cancelled at once. Freed when the HTTP
 * library is done with the request and no worker or engine can refer to it. */
#ifndef TD_SERVER_CALL_H
#define TD_SERVER_CALL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "server/loop.h"
#include "server/work.h"

#include <microhttpd.h>
#include <stdatomic.h>

struct conn;
struct gen;
struct route;
struct server;

typedef enum call_stage { CALL_BODY, CALL_WORK, CALL_ENGINE, CALL_ANSWER, CALL_SENDING } call_stage;

typedef struct call_headers { // borrowed from the library while the request lasts
    const char *authorization;
    int32_t authorization_count;
    const char *content_type, *content_encoding, *request_id, *timeout, *expect, *origin;
    uint64_t content_length;
} call_headers;

typedef struct call {
    struct server *server;
    struct call *prev, *next;    // of all calls
    struct conn *conn;           // NULL once the client is gone
    struct MHD_Connection *http;
    const struct route *route;   // NULL: no such path
    const char *allow;           // methods of the path, when it was asked with another
    const char *path;            // as sent, without the query; the library's
    char path_shown[128];        // its beginning, for the log
    char peer[64];               // the client's address, for the log
    char method[18];
    int32_t number;              // that a path below /debug/ names; -1: not a number
    char id[TD_REQUEST_ID_BYTES_MAX + 1];
    call_headers headers;
    uint64_t start_ns;
    uint64_t deadline_ns;        // of the whole request
    call_stage stage;
    bool heavy;                  // counted by admission
    bool suspended;              // in the library
    bool library_done;           // the library has let go of it
    bool stream;                 // the answer is an event stream
    atomic_bool gone;            // the client left: stop
    loop_task work_done;         // from the worker: its last touch
    loop_task events;            // from the engine: something to pump
    work_job job;
    td_arena arena;              // of the request
    td_buf body;
    uint64_t body_charged;       // of server.body_bytes

    int status;                  // of the answer; 0 = none yet
    td_err err;                  // when it is an error
    const char *err_code;        // OpenAI's "code", or NULL: from the status
    td_rc abort_rc;              // ended by us while a worker had it
    td_buf answer;
    const char *content_type;    // of the answer
    int32_t retry_after_s;
    uint64_t sent_bytes;
    uint64_t answer_charged;     // of server.answer_bytes
    uint64_t read_end_ns;        // the answer is complete: by then the client must have taken it; 0 = it is not yet
    struct gen *gen;             // what the engine does for it
    uint64_t stream_ns;          // when the stream last said something
} call;

call *call_new(struct server *s, struct conn *c, struct MHD_Connection *http, const char *url, const char *method);
void call_drop_body(call *c);    // gives its memory back
void call_end(call *c);          // the library is done with it
void call_gone(call *c);         // the client left
bool call_waits_for_engine(const call *c);
/* Ends the request in the middle, as far as it is: 503 or 504 before the answer began, an error event in a stream. */
void call_abort(call *c, td_rc rc, const char *why);
void call_fail(call *c);         // the answer is c->err
void call_stream_error(const call *c, td_buf *out, const td_err *cause); // as the last event of a stream
void call_work(call *c);         // route->run on a worker
void call_resume(call *c);       // the library shall look at it again
void call_suspend(call *c);
void call_read_within(call *c, uint64_t bytes); // the answer is complete, and so much of it is not taken
void call_tick(call *c, uint64_t now_ns); // deadlines and pings; arms the next

#endif
