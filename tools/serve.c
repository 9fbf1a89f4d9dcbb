/* serve: flags to server_opts, signals to drain, stop and reload. */
#include "tools/verbs.h"

#include "base/log.h"
#include "server/server.h"
#include "tools/interrupt.h"
#include "tools/open.h"
#include "tools/progress.h"
#include "tools/version.h"

#include <signal.h>
#include <string.h>

static server *_Atomic running; // what the signal handlers act on; NULL before it is open: run() makes up for it then

/* First signal: drain. Second: stop now. */
static void on_interrupt(int count)
{
    server *s = running;
    if (!s && count > 1)
        interrupt_die(); // it does not even get to open the port
    else if (s && count == 1)
        server_drain(s);
    else if (s)
        server_stop(s);
}

static void on_reload(int signal_number)
{
    server *s = running;
    (void)signal_number;
    if (s) // until then the files have not been read
        server_reload(s);
}

/* Before anything else: who starts a server may signal it at once. */
static void watch_signals(void)
{
    interrupt_watch(on_interrupt);
    struct sigaction hup = {.sa_handler = on_reload, .sa_flags = SA_RESTART};
    sigaction(SIGHUP, &hup, NULL);
    signal(SIGUSR1, SIG_IGN); // other servers open their logs again; here it must not end one
    signal(SIGUSR2, SIG_IGN);
}

static void fill(const flags *f, server_opts *o)
{
    const char *const *names;
    o->host = flags_str(f, "host");
    o->port = (uint16_t)flags_int(f, "port");
    o->uds = flags_str(f, "uds");
    o->served_name_count = (int32_t)flags_list(f, "served-model-name", &names);
    o->served_names = names;
    o->api_key_count = (int32_t)flags_list(f, "api-key", &names);
    o->api_keys = names;
    o->api_key_file = flags_str(f, "api-key-file");
    o->metrics_require_key = flags_bool(f, "metrics-require-key");
    o->render_open = flags_bool(f, "render-open");
    o->debug = flags_bool(f, "enable-debug");
    o->ssl_certfile = flags_str(f, "ssl-certfile");
    o->ssl_keyfile = flags_str(f, "ssl-keyfile");
    o->ssl_ca_certs = flags_str(f, "ssl-ca-certs");
    o->ssl_refresh = flags_bool(f, "enable-ssl-refresh");
    int64_t shutdown_s = flags_int(f, "shutdown-timeout");
    o->shutdown_timeout_s = shutdown_s ? (double)shutdown_s : -1; // to the server 0 means its default
    o->health_stall_s = (double)flags_int(f, "health-stall");
    o->no_access_log_path_count = (int32_t)flags_list(f, "disable-access-log-for-endpoints", &names);
    o->no_access_log_paths = names;
    o->log_json = flags_choice(f, "log-format") == 1;
    o->version = version_text();
    o->commit = version_commit();
}

/* A key in front of a port that others reach is worth a word. */
static void warn_if_open(const flags *f, const server_opts *o)
{
    bool local = o->uds || !strcmp(o->host, "127.0.0.1") || !strcmp(o->host, "::1") || !strcmp(o->host, "localhost");
    if (!local && !o->api_key_count && !o->api_key_file)
        td_warn("anyone who reaches %s port %lld may use this server; --api-key-file FILE asks for a key", o->host,
                (long long)flags_int(f, "port"));
}

static td_rc run(const server_opts *o, td_err *err)
{
    server *opened;
    td_rc rc = server_open(o, &opened, err);
    if (rc)
        return rc;
    running = opened;
    if (interrupt_count())
        on_interrupt(interrupt_count());
    rc = open_model_rc(server_run(opened, err), err);
    interrupt_watch(NULL); // it ends already: one signal more changes nothing, and must not meet a closed server
    signal(SIGHUP, SIG_IGN);
    server_close(opened);
    return rc;
}

td_rc verb_serve(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    server_opts o = {.progress = progress_part};
    td_buf path = TD_BUF_INIT;
    progress bar;
    watch_signals();
    progress_begin(&bar, "loading");
    o.progress_ctx = &bar;
    open_engine_opts(f, &o.engine);
    fill(f, &o);
    td_rc rc = TD_OK;
    if (o.host && !*o.host)
        rc = td_fail_param(err, TD_E_USAGE, "host", "--host is empty; a shell variable that is not set? 127.0.0.1 is "
                           "this machine alone, 0.0.0.0 every address");
    if (!rc)
        rc = open_model_path(flags_operand(f, 0), &path, err);
    o.engine.model = td_buf_cstr(&path);
    if (!rc) {
        warn_if_open(f, &o);
        rc = run(&o, err);
        progress_end(&bar);
    }
    td_buf_free(&path);
    return rc;
}
