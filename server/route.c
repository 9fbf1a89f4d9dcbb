#include "server/route.h"

#include "base/check.h"
#include "server/api_openai.h"
#include "server/state.h"

#include <string.h>

static const route table[] = {
    {"POST", "/v1/completions", ROUTE_WORK, api_completions},
    {"POST", "/v1/chat/completions", ROUTE_WORK, api_chat},
    {"POST", "/v1/completions/render", ROUTE_WORK | ROUTE_RENDER, api_completions_render},
    {"POST", "/v1/chat/completions/render", ROUTE_WORK | ROUTE_RENDER, api_chat_render},
    {"POST", "/inference/v1/generate", ROUTE_WORK, api_generate},
    {"POST", "/tokenize", ROUTE_WORK, api_tokenize},
    {"POST", "/detokenize", ROUTE_WORK, api_detokenize},
    {"GET", "/v1/models", ROUTE_OPEN, api_models},
    {"GET", "/v1/models/", ROUTE_OPEN | ROUTE_LEAF, api_model},
    {"GET", "/metrics", ROUTE_METRICS, api_metrics},
    {"GET", "/health", ROUTE_OPEN, api_health},
    {"GET", "/live", ROUTE_OPEN, api_live},
    {"GET", "/ready", ROUTE_OPEN, api_ready},
    {"GET", "/ping", ROUTE_OPEN, api_live},
    {"POST", "/ping", ROUTE_OPEN, api_live},
    {"GET", "/version", 0, api_version},
    {"GET", "/load", 0, api_load},
    {"GET", "/debug/requests", ROUTE_DEBUG, api_debug_requests},
    {"GET", "/debug/blocks", ROUTE_DEBUG, api_debug_blocks},
    {"GET", "/debug/blocks/", ROUTE_DEBUG | ROUTE_LEAF, api_debug_block},
    {"POST", "/debug/fault", ROUTE_DEBUG, api_debug_fault},
};

static bool path_is(const route *r, const char *path)
{
    size_t n = strlen(r->path);
    if (r->flags & ROUTE_LEAF) // model ids may hold slashes: org/name
        return !strncmp(path, r->path, n) && path[n];
    return !strcmp(path, r->path);
}

/* HEAD is GET without the body; the library leaves that out. */
static bool method_is(const route *r, const char *method)
{
    return !strcmp(method, r->method) || (!strcmp(method, "HEAD") && !strcmp(r->method, "GET"));
}

const route *route_find(const char *method, const char *path, bool debug, const char **allow, td_err *err)
{
    const route *other = NULL;
    for (size_t i = 0; i < TD_COUNT(table); i++) {
        if (!path_is(&table[i], path) || ((table[i].flags & ROUTE_DEBUG) && !debug))
            continue;
        if (method_is(&table[i], method))
            return &table[i];
        other = &table[i];
    }
    if (other) {
        *allow = !strcmp(path, "/ping") ? "GET, HEAD, POST" : !strcmp(other->method, "GET") ? "GET, HEAD" : "POST";
        td_fail(err, TD_E_METHOD, "this path answers %s only", *allow);
    } else {
        td_fail(err, TD_E_NOTFOUND, "no such path; generation is POST /v1/chat/completions and /v1/completions, GET "
                                       "/v1/models names the model");
    }
    return NULL;
}

bool route_takes_body(const route *r) { return !strcmp(r->method, "POST") && (r->flags & (ROUTE_WORK | ROUTE_DEBUG)); }

bool route_needs_key(const struct server *s, const route *r)
{
    if (r->flags & ROUTE_OPEN)
        return false;
    if (r->flags & ROUTE_METRICS)
        return s->opts.metrics_require_key;
    return !((r->flags & ROUTE_RENDER) && s->opts.render_open);
}
