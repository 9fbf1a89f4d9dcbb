/* state.h - what all parts of the server share. Loop thread unless a field says otherwise. */
#ifndef TD_SERVER_STATE_H
#define TD_SERVER_STATE_H

#include "server/auth.h"
#include "server/conn.h"
#include "server/loader.h"
#include "server/loop.h"
#include "server/server.h"
#include "server/watchdog.h"
#include "server/work.h"

#include <microhttpd.h>
#include <stdatomic.h>

enum { SCRATCH_BYTES = 64 << 10 };

typedef enum server_phase { SERVER_LOADING, SERVER_SERVING, SERVER_DRAINING, SERVER_STOPPING } server_phase;

struct server {
    server_opts opts;             // defaults filled in
    char id_prefix[17];           // random hex of this run, for ids
    uint64_t id_count;
    uint64_t start_wall_s;        // "created" of models

    loop loop;
    struct MHD_Daemon *http;
    loop_fd http_fd;              // the library's own epoll descriptor
    bool http_due;                // it has something to do
    conn *adopting;               // while MHD_add_connection runs
    loop_fd listen_fd;
    loop_fd watch_fd;             // inotify on the certificate's folders; fd -1: not watched
    uint64_t reload_ns;           // files changed: load them then; 0 = nothing to do
    uint16_t port;
    bool loopback;                // only this machine reaches it
    tls_context *tls;             // NULL = plain HTTP
    char *scratch;                // [SCRATCH_BYTES]
    conn *conns;
    conn *dead;                   // to be freed at the end of the turn
    int32_t conn_count;
    uint64_t accept_again_ns;     // out of descriptors: try then
    auth_keys *keys;              // NULL = open
    work_pool *work;

    server_phase phase;
    uint64_t phase_end_ns;        // of draining or stopping
    uint64_t bodies_end_ns;       // draining: until then bodies may hold up the end
    int32_t call_count;           // requests being answered
    int32_t heavy_count;          // of them those that want the engine or a worker
    uint64_t body_bytes;          // held by all of them
    uint64_t answer_bytes;        // made for clients that have not taken them
    struct call *calls;           // list

    loader *loader;
    td_engine *engine;            // NULL until it is loaded
    const td_engine_info *info;
    td_err load_err;              // why it could not be
    watchdog watchdog;
    td_err fault;                 // why the engine is beyond help
    const char *base_name;        // of the model: its default served name

    atomic_bool want_drain, want_stop, want_reload; // from signal handlers
};

/* A status of server's readiness: TD_OK, or TD_E_UNAVAILABLE while loading or draining. */
td_rc server_ready(const struct server *s, td_err *err);
/* Does `name` name the served model? NULL does. */
bool server_serves(const struct server *s, const char *name);
const char *server_model_name(const struct server *s);

#endif
