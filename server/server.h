/* server.h - the life of the HTTP server behind `tandem serve`.
 *
 * server_open() binds and listens; server_run() loads the model on a thread of its own while /health already answers,
 * serves until it is told to end, and drains. One thread runs all sockets and answers; a few workers parse, render and
 * tokenize; the engine has its own thread. server_drain(), server_stop() and server_reload() may be called from a
 * signal handler: they only write to an eventfd. Nothing here installs handlers, prints usage or exits. */
#ifndef TD_SERVER_SERVER_H
#define TD_SERVER_SERVER_H

#include "base/err.h"
#include "engine/tandem.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct server server;

typedef struct server_opts { // zero-initialised, each field has a sensible default; strings are borrowed until close
    td_engine_opts engine;         // its progress callback belongs to the server: see `progress`
    void (*progress)(void *ctx, double done /* 0…1 */); // while loading, from the loading thread; 1 when ready
    void *progress_ctx;

    const char *host;              // NULL = 127.0.0.1; a name, IPv4 or IPv6 address
    uint16_t port;                 // 0 = a free one, see server_port()
    const char *uds;               // path of a unix socket: instead of host and port

    const char *const *served_names; // [served_name_count]; none = the model's base name
    int32_t served_name_count;

    const char *const *api_keys;   // [api_key_count]; none and no file = open
    int32_t api_key_count;
    const char *api_key_file;      // one key a line, '#' begins a comment; read again by server_reload()
    bool metrics_require_key;
    bool render_open;              // the render paths without a key

    bool debug;                    // the paths below /debug/; wants keys, or a socket that only this machine reaches

    const char *ssl_certfile, *ssl_keyfile; // PEM; both or none
    const char *ssl_ca_certs;      // PEM: clients must show a certificate signed by one of these
    bool ssl_refresh;              // load them again when the files change, not only by server_reload()

    double shutdown_timeout_s;     // 0 = 45: what runs when draining begins may go on for that long; < 0: not at all
    double health_stall_s;         // 0 = 60: work queued, but no step for that long makes /health 503; after
                                   // TD_HTTP_WATCHDOG_STALLS times that the run ends with TD_E_FAULT
    double stream_stall_s;         // 0 = TD_HTTP_STALL_SECONDS
    double header_timeout_s;       // 0 = TD_HTTP_HEADER_SECONDS
    double body_timeout_s;         // 0 = TD_HTTP_BODY_SECONDS
    double request_timeout_s;      // 0 = TD_HTTP_REQUEST_SECONDS
    double answer_rate;            // 0 = TD_HTTP_ANSWER_BYTES_PER_SECOND_MIN
    double ping_s;                 // 0 = 15: a comment line on a silent stream
    int32_t connections_max;       // 0 = TD_HTTP_CONNECTIONS_MAX
    int32_t workers;               // 0 = 2: threads that parse, render and tokenize

    const char *version, *commit;  // of the program, for /version and /metrics; NULL = unknown

    bool no_access_log;
    const char *const *no_access_log_paths; // [no_access_log_path_count]
    int32_t no_access_log_path_count;
    bool log_json;                 // access log lines as JSON; td_log_setup() is the caller's
} server_opts;

/* Binds and listens. TD_E_BIND when the address is taken or bad, TD_E_USAGE for certificates or keys that do not fit.
 */
td_rc server_open(const server_opts *opts, server **out, td_err *err);
/* Loads, serves, drains, closes the engine. TD_OK after a drain or stop; otherwise why the model could not be loaded.
 * TD_E_FAULT: the engine stands still or lost its device. It was left as it is, its threads with it: the process should
 * end without tidying up. */
td_rc server_run(server *s, td_err *err);
/* After run has returned, and after the signal handlers that know of it were taken back. NULL is fine. */
void server_close(server *s);

/* Readiness turns 503, new work is refused, what runs goes on until the shutdown timeout; then run returns. */
void server_drain(server *s);
void server_stop(server *s);   // run returns as soon as everything is cancelled
void server_reload(server *s); // certificates and the API key file are read again; a bad file keeps the old ones

uint16_t server_port(const server *s); // the port listened on; 0 for a unix socket

#endif
