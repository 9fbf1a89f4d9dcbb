#include "server/access_log.h"

#include "base/clock.h"
#include "base/log.h"
#include "server/call.h"
#include "server/gen.h"
#include "server/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool hidden(const server_opts *o, const char *path)
{
    if (o->no_access_log)
        return true;
    for (int32_t i = 0; i < o->no_access_log_path_count; i++)
        if (!strcmp(o->no_access_log_paths[i], path))
            return true;
    return false;
}

static void json_line(const call *c, double seconds, const gen_usage *u)
{
    char when[40];
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    when[strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm)] = 0;
    td_buf b = TD_BUF_INIT;
    td_buf_fmt(&b, "{\"time\":\"%s.%03dZ\",\"level\":\"info\",\"msg\":\"request\",\"id\":", when,
               (int)(ts.tv_nsec / 1000000));
    td_buf_json_str(&b, c->id, strlen(c->id));
    td_buf_str(&b, ",\"peer\":");
    td_buf_json_str(&b, c->peer, strlen(c->peer));
    td_buf_fmt(&b, ",\"method\":\"%s\",\"path\":", c->method);
    td_buf_json_str(&b, c->path_shown, strlen(c->path_shown));
    td_buf_fmt(&b, ",\"status\":%d,\"seconds\":%.6f,\"bytes\":%" PRIu64, c->status, seconds, c->sent_bytes);
    if (u->prompt)
        td_buf_fmt(&b, ",\"prompt_tokens\":%" PRId64 ",\"cached_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64,
                   u->prompt, u->cached, u->output);
    td_buf_str(&b, "}\n");
    if (!b.failed) {
        ssize_t ignored = write(STDERR_FILENO, b.data, b.len);
        (void)ignored;
    }
    td_buf_free(&b);
}

void access_log_call(const call *c)
{
    const server_opts *o = &c->server->opts;
    if (!td_log_on(TD_LOG_INFO) || hidden(o, c->path_shown))
        return;
    double seconds = (double)(td_now_ns() - c->start_ns) / (double)TD_NS_PER_S;
    gen_usage u = {0};
    if (c->stage != CALL_WORK && c->gen) // until then it is the worker's
        u = gen_get_usage(c->gen);
    if (o->log_json) {
        json_line(c, seconds, &u);
        return;
    }
    char tokens[96] = "";
    if (u.prompt)
        snprintf(tokens, sizeof tokens, ", tokens %" PRId64 " (%" PRId64 " cached) + %" PRId64, u.prompt, u.cached,
                 u.output);
    td_info("%s %s \"%s %s\" %d, %.3f s, %" PRIu64 " bytes%s", c->peer, c->id, c->method, c->path_shown, c->status,
            seconds, c->sent_bytes, tokens);
}

void access_log_refused(const conn *c, int status, const char *reason)
{
    if (!c->server->opts.no_access_log)
        td_info("%s - refused with %d: %s", c->peer, status, reason);
}
