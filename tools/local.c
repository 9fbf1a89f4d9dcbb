#include "tools/local.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/thread.h"
#include "server/server.h"
#include "tools/open.h"
#include "tools/progress.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 10, ANSWER_BYTES_MAX = 1 << 20 };
#define WEEK_S (7 * 86400.0)

struct local {
    char dir[64], name[80]; // of the socket in the file system; dir: "" once both are gone from there
    int socket_fd;          // O_PATH
    char socket[80];        // what to connect to
    server *server;
    pthread_t thread;
    bool has_thread;
    atomic_bool ended;
    progress bar;
    td_buf path;
    const char **names;
    td_err err; // why the server ended
};

static void on_progress(void *ctx, double done) { progress_at(&((local *)ctx)->bar, done, NULL); }

static size_t ignore(char *p, size_t size, size_t count, void *ctx)
{
    (void)p, (void)ctx;
    return size * count;
}

/* Whether /health says that the model is loaded. */
static bool is_healthy(CURL *easy)
{
    long status = 0;
    return curl_easy_perform(easy) == CURLE_OK && !curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status) &&
           status == 200;
}

td_rc local_ended(const local *l, td_err *err)
{
    if (!atomic_load(&l->ended))
        return TD_OK;
    return td_fail_param(err, l->err.rc ? l->err.rc : TD_E_INTERNAL, l->err.param, "%s",
                         l->err.msg[0] ? l->err.msg : "the server inside this process ended by itself");
}

static CURL *request(const local *l, const char *url)
{
    CURL *easy = curl_easy_init();
    if (!easy)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, l->socket);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    return easy;
}

static td_rc wait_loaded(local *l, td_err *err)
{
    CURL *easy = request(l, "http://local/health");
    if (!easy)
        return td_fail(err, TD_E_NOMEM, "no memory for a request");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore);
    while (!atomic_load(&l->ended) && !is_healthy(easy))
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    curl_easy_cleanup(easy);
    return local_ended(l, err);
}

static size_t on_answer(char *p, size_t size, size_t count, void *ctx)
{
    return td_buf_add(ctx, p, size * count) ? size * count : 0;
}

/* One token after the first id there is: any model answers that, one without a tokenizer too. */
td_rc local_fingerprint(const local *l, char *out, size_t size, td_err *err)
{
    td_buf answer = {.max_bytes = ANSWER_BYTES_MAX};
    td_json *j = NULL;
    CURL *easy = request(l, "http://local/v1/completions");
    struct curl_slist *headers = curl_slist_append(NULL, "content-type: application/json");
    if (easy) {
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "{\"prompt\":[0],\"max_tokens\":1}");
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
        curl_easy_perform(easy);
        curl_easy_cleanup(easy);
    }
    td_json_parse(td_buf_cstr(&answer), answer.len, &td_json_request_limits, &j, NULL);
    snprintf(out, size, "%s", td_json_get_str(j, "system_fingerprint", ""));
    td_json_free(j);
    td_buf_free(&answer);
    curl_slist_free_all(headers);
    return *out ? TD_OK : td_fail(err, TD_E_INTERNAL, "the model does not tell its fingerprint");
}

static void *run(void *ctx)
{
    local *l = ctx;
    open_model_rc(server_run(l->server, &l->err), &l->err);
    atomic_store(&l->ended, true);
    return NULL;
}

/* MODEL as given, its base name, then --served-model-name: the first is what answers report. */
static td_rc names_of(local *l, const flags *f, server_opts *o, td_err *err)
{
    const char *const *given, *model = flags_operand(f, 0), *slash = strrchr(model, '/');
    size_t count = flags_list(f, "served-model-name", &given), n = 0;
    l->names = td_alloc((count + 2) * sizeof *l->names);
    if (!l->names)
        return td_fail(err, TD_E_NOMEM, "no memory for model names");
    for (size_t i = 0; i < count; i++)
        l->names[n++] = given[i];
    if (slash && slash[1])
        l->names[n++] = slash + 1;
    l->names[n++] = model;
    o->served_names = l->names;
    o->served_name_count = (int32_t)n;
    return TD_OK;
}

static td_rc socket_dir(local *l, td_err *err)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(l->dir, sizeof l->dir, "%.40s/tandem-XXXXXX", tmp && *tmp && strlen(tmp) <= 40 ? tmp : "/tmp");
    if (!mkdtemp(l->dir)) {
        l->dir[0] = 0;
        return td_fail(err, TD_E_IO, "cannot make a directory for a socket: %s", strerror(errno));
    }
    snprintf(l->name, sizeof l->name, "%s/s", l->dir);
    memcpy(l->socket, l->name, sizeof l->socket);
    return TD_OK;
}

static void remove_dir(local *l)
{
    unlink(l->name);
    rmdir(l->dir);
    l->dir[0] = 0;
}

/* The socket is reached through a descriptor from now on, so that its name can go before the work begins and a kill
 * leaves nothing. Where that cannot be, the name stays until the end. */
static void hide_socket(local *l)
{
    char path[sizeof l->socket];
    struct stat named, seen;
    l->socket_fd = open(l->name, O_PATH | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", l->socket_fd);
    if (l->socket_fd < 0 || fstat(l->socket_fd, &named) || stat(path, &seen) || named.st_ino != seen.st_ino)
        return;
    memcpy(l->socket, path, sizeof path);
    remove_dir(l);
}

static td_rc start(local *l, server_opts *o, td_err *err)
{
    o->uds = l->name;
    td_rc rc = server_open(o, &l->server, err);
    if (!rc)
        hide_socket(l);
    if (!rc && td_thread_start(&l->thread, run, l))
        rc = td_fail(err, TD_E_NOMEM, "cannot start a thread");
    if (rc)
        return rc;
    l->has_thread = true;
    rc = wait_loaded(l, err);
    progress_end(&l->bar);
    return rc;
}

td_rc local_open(const flags *f, local **out, td_err *err)
{
    local *l = td_alloc(sizeof *l);
    if (!l)
        return td_fail(err, TD_E_NOMEM, "no memory");
    l->socket_fd = -1;
    progress_begin(&l->bar, "loading");
    server_opts o = {
        .progress = on_progress,
        .progress_ctx = l,
        .shutdown_timeout_s = 1,
        .health_stall_s = (double)flags_int(f, "health-stall"),
        .request_timeout_s = WEEK_S, // a long line waits its turn
        .stream_stall_s = WEEK_S,
        .no_access_log = true,
    };
    open_engine_opts(f, &o.engine);
    td_rc rc = open_model_path(flags_operand(f, 0), &l->path, err);
    o.engine.model = td_buf_cstr(&l->path);
    if (!rc)
        rc = names_of(l, f, &o, err);
    if (!rc)
        rc = socket_dir(l, err);
    if (!rc)
        rc = start(l, &o, err);
    if (rc)
        local_close(l);
    else
        *out = l;
    return rc;
}

const char *local_socket(const local *l) { return l->socket; }

void local_close(local *l)
{
    if (!l)
        return;
    if (l->has_thread) {
        server_stop(l->server);
        pthread_join(l->thread, NULL);
    }
    server_close(l->server);
    if (l->dir[0])
        remove_dir(l);
    if (l->socket_fd >= 0)
        close(l->socket_fd);
    td_buf_free(&l->path);
    td_free(l->names);
    td_free(l);
}
