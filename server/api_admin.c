/* Probes and figures: answered by the loop thread from memory, whatever the engine is busy with. */
#include "base/clock.h"
#include "server/api_openai.h"
#include "server/call.h"
#include "server/metrics_text.h"
#include "server/sse.h"
#include "server/state.h"

#include <string.h>

static td_rc loading(call *c)
{
    td_buf_fmt(&c->answer, "{\"status\":\"loading\",\"progress\":%.4g}", loader_progress(c->server->loader));
    c->status = 503;
    c->retry_after_s = 1;
    return TD_OK;
}

static td_rc say(call *c, int status, const char *what)
{
    td_buf_fmt(&c->answer, "{\"status\":\"%s\"}", what);
    c->status = status;
    return TD_OK;
}

static bool stalled(const struct server *s)
{
    return (double)td_engine_stall_ns(s->engine) > s->opts.health_stall_s * (double)TD_NS_PER_S;
}

/* All three of a serving platform's probes may point here: loading must fail it, draining must not. */
td_rc api_health(call *c, td_err *err)
{
    struct server *s = c->server;
    (void)err;
    if (!s->engine)
        return loading(c);
    if (td_engine_fault(s->engine) || stalled(s))
        return say(c, 503, td_engine_fault(s->engine) ? "failed" : "stalled");
    return say(c, 200, s->phase == SERVER_SERVING ? "ok" : "draining");
}

td_rc api_live(call *c, td_err *err)
{
    (void)err;
    return say(c, 200, "ok");
}

td_rc api_ready(call *c, td_err *err)
{
    struct server *s = c->server;
    (void)err;
    if (!s->engine)
        return loading(c);
    if (s->phase != SERVER_SERVING)
        return say(c, 503, "draining");
    return stalled(s) ? say(c, 503, "stalled") : say(c, 200, "ok");
}

td_rc api_version(call *c, td_err *err)
{
    const server_opts *o = &c->server->opts;
    (void)err;
    sse_lit(&c->answer, "{\"version\":");
    td_buf_json_str(&c->answer, o->version, strlen(o->version));
    sse_lit(&c->answer, ",\"commit\":");
    td_buf_json_str(&c->answer, o->commit, strlen(o->commit));
    td_buf_char(&c->answer, '}');
    return TD_OK;
}

td_rc api_load(call *c, td_err *err)
{
    (void)err;
    sse_lit(&c->answer, "{\"server_load\":");
    sse_int(&c->answer, c->server->heavy_count);
    td_buf_char(&c->answer, '}');
    return TD_OK;
}

td_rc api_metrics(call *c, td_err *err)
{
    struct server *s = c->server;
    td_metrics m = {0};
    (void)err;
    if (s->engine)
        td_engine_metrics(s->engine, &m);
    metrics_source src = {
        .model_name = server_model_name(s),
        .version = s->opts.version,
        .commit = s->opts.commit,
        .info = s->engine ? s->info : NULL,
        .engine = s->engine ? &m : NULL,
        .connections = s->conn_count,
        .requests_open = s->heavy_count,
    };
    metrics_text(&src, &c->answer);
    c->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return TD_OK;
}
