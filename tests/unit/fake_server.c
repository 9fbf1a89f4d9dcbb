/* fake_server - the HTTP server with the scripted engine, for end-to-end tests and the stream benchmark. Takes those of
 * `tandem serve`'s flags that its tests use. */
#include "base/check.h"
#include "base/log.h"
#include "server/server.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static server *running;
static atomic_int terminated; // two signals may come to two threads at once

static void on_signal(int sig)
{
    if (sig == SIGHUP)
        server_reload(running);
    else if (atomic_fetch_add(&terminated, 1))
        server_stop(running);
    else
        server_drain(running);
}

static void handle_signals(void (*handler)(int))
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
    const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < TD_COUNT(signals); i++)
        sigaction(signals[i], &sa, NULL);
}

enum { LIST_MAX = 16 };
static const char *keys[LIST_MAX], *names[LIST_MAX], *quiet[LIST_MAX];

static bool number(const char *s, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(s, &end);
    return !errno && end != s && !*end;
}

static const struct option table[] = {
    {"host", 1, NULL, 'h'},           {"port", 1, NULL, 'p'},          {"uds", 1, NULL, 'u'},
    {"api-key", 1, NULL, 'k'},        {"api-key-file", 1, NULL, 'K'},  {"served-model-name", 1, NULL, 'n'},
    {"ssl-certfile", 1, NULL, 'c'},   {"ssl-keyfile", 1, NULL, 'e'},   {"ssl-ca-certs", 1, NULL, 'a'},
    {"enable-ssl-refresh", 0, NULL, 'r'}, {"shutdown-timeout", 1, NULL, 's'}, {"health-stall", 1, NULL, 'H'},
    {"stream-stall", 1, NULL, 'S'},   {"header-timeout", 1, NULL, 't'}, {"body-timeout", 1, NULL, 'b'},
    {"ping", 1, NULL, 'P'},           {"answer-rate", 1, NULL, 5},
             {"connections-max", 1, NULL, 'C'}, {"log-format", 1, NULL, 'l'},
    {"render-open", 0, NULL, 'R'},    {"metrics-require-key", 0, NULL, 'm'}, {"no-access-log", 0, NULL, 'q'},
    {"request-timeout", 1, NULL, 'T'}, {"max-num-seqs", 1, NULL, 1}, {"max-num-queued-reqs", 1, NULL, 2},
    {"max-model-len", 1, NULL, 3},    {"enable-debug", 0, NULL, 'd'},    {"max-rss", 1, NULL, 4},
    {"disable-access-log-for-endpoints", 1, NULL, 'D'}, {NULL, 0, NULL, 0},
};

static bool take_number(server_opts *o, int flag, double v)
{
    switch (flag) {
    case 'p': o->port = (uint16_t)v; return true;
    case 's': o->shutdown_timeout_s = v > 0 ? v : -1; return true; // as tools/serve.c
    case 'H': o->health_stall_s = v; return true;
    case 'S': o->stream_stall_s = v; return true;
    case 't': o->header_timeout_s = v; return true;
    case 'b': o->body_timeout_s = v; return true;
    case 'T': o->request_timeout_s = v; return true;
    case 'P': o->ping_s = v; return true;
    case 'C': o->connections_max = (int32_t)v; return true;
    case 1: o->engine.max_num_seqs = (int32_t)v; return true;
    case 2: o->engine.max_num_queued = (int32_t)v; return true;
    case 3: o->engine.max_model_len = (int32_t)v; return true;
    case 4: o->engine.max_rss = (uint64_t)v; return true;
    case 5: o->answer_rate = v; return true;
    default: return false;
    }
}

static bool take_flag(server_opts *o, int flag, const char *arg)
{
    double v;
    switch (flag) {
    case 'h': o->host = arg; return true;
    case 'u': o->uds = arg; return true;
    case 'k': return o->api_key_count < LIST_MAX && (keys[o->api_key_count++] = arg);
    case 'K': o->api_key_file = arg; return true;
    case 'n': return o->served_name_count < LIST_MAX && (names[o->served_name_count++] = arg);
    case 'c': o->ssl_certfile = arg; return true;
    case 'e': o->ssl_keyfile = arg; return true;
    case 'a': o->ssl_ca_certs = arg; return true;
    case 'r': o->ssl_refresh = true; return true;
    case 'D': return o->no_access_log_path_count < LIST_MAX && (quiet[o->no_access_log_path_count++] = arg);
    case 'l': o->log_json = !strcmp(arg, "json"); return true;
    case 'R': o->render_open = true; return true;
    case 'd': o->debug = true; return true;
    case 'm': o->metrics_require_key = true; return true;
    case 'q': o->no_access_log = true; return true;
    default: return arg && number(arg, &v) && take_number(o, flag, v);
    }
}

int main(int argc, char **argv)
{
    server_opts o = {.api_keys = keys, .served_names = names, .no_access_log_paths = quiet};
    td_err err = TD_ERR_INIT;
    for (int flag; (flag = getopt_long(argc, argv, "", table, NULL)) != -1;)
        if (!take_flag(&o, flag, optarg))
            return 2;
    // `serve MODEL`, so that the same command line starts the real one
    if (argc - optind != 2 || strcmp(argv[optind], "serve"))
        return 2;
    o.engine.model = argv[optind + 1];
    td_log_setup(TD_LOG_INFO, o.log_json);
    td_rc rc = server_open(&o, &running, &err);
    if (!rc) {
        handle_signals(on_signal);
        rc = server_run(running, &err);
        handle_signals(SIG_IGN);
        server_close(running);
    }
    if (rc)
        fprintf(stderr, "fake_server: %s\n", err.msg);
    if (rc == TD_E_FAULT)
        _exit(td_rc_exit(rc));
    return td_rc_exit(rc);
}
