/* conn.h - one client connection: its socket on one side, the HTTP library on the other.
 *
 *     client ── transport (TCP, unix, TLS) ── conn + http_guard ── socket pair ── libmicrohttpd ── call
 *
 * The library never touches a socket from outside. What the client sends is checked by http_guard, one request at a
 * time: the next one on the same connection is held back until the answer to this one is done. Deadlines for heads and
 * bodies, the linger after a refusal, a client that leaves and one that does not read are all noticed here.
 * Owned by the loop thread; freed when both sides have ended. */
#ifndef TD_SERVER_CONN_H
#define TD_SERVER_CONN_H

#include "base/buf.h"
#include "server/http_guard.h"
#include "server/loop.h"
#include "server/transport.h"

struct call;
struct server;

typedef enum conn_state {
    CONN_HEAD,   // reading a request head, or idle between requests
    CONN_BODY,   // passing a body on
    CONN_WAIT,   // the request is with the library; nothing is read
    CONN_LINGER, // an answer that ends the connection is out; reading on for a moment so that the client gets it
    CONN_DEAD,   // the client's side is closed
} conn_state;

typedef struct conn {
    struct server *server;
    struct conn *prev, *next;     // of all connections
    loop_fd net, pair;            // towards the client, towards the library (-1: not opened)
    transport t;
    conn_state state;
    http_guard guard;
    td_buf in;                    // from the client, [in_done … len) not passed on
    size_t in_done, pass;         // pass: bytes from in_done on that may go to the library
    bool request_end;             // nothing of this request comes after them
    td_buf out;                   // to the client, [out_done … len) not taken yet
    size_t out_done;
    bool rdhup, eof;              // the client announced, and we read, the end of what it sends
    bool answering;               // the library has said something to this request
    bool reserve;                 // came when there were too many: for probes only
    bool idle;                    // kept alive, between requests
    bool library_open;            // the library holds its end of the pair
    bool answer_last;             // close once `out` is empty
    uint64_t deadline_ns;         // of head, body, idle time or linger; 0 = none
    uint64_t body_start_ns, body_bytes;
    uint64_t stall_ns;            // since when `out` has not moved; 0 = empty
    struct call *call;            // being answered
    char peer[64];                // address as text
} conn;

/* A new client; takes fd. */
void conn_accept(struct server *s, int fd, const char *peer);
/* The library has sent the whole answer: the next request may come. */
void conn_answered(conn *c);
/* The library closed its end. */
void conn_library_closed(conn *c);
/* Answers in place of the library, while the request is still being read. */
void conn_refuse(conn *c, int status, const char *reason);
/* The client is not wanted any more. */
void conn_kill(conn *c);
void conn_tick(conn *c, uint64_t now_ns); // looks at deadlines, arms the next
void conn_reap(struct server *s);         // frees those whose two sides have ended
bool conn_all_sent(conn *c);              // moves what it can towards the client; true when nothing waits

#endif
