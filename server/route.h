/* route.h - the table of paths. Deny by default: a path needs the API key unless its row says otherwise. */
#ifndef TD_SERVER_ROUTE_H
#define TD_SERVER_ROUTE_H

#include "base/err.h"

#include <stdbool.h>

struct call;
struct server;

enum {
    ROUTE_OPEN = 1,     // no key needed
    ROUTE_METRICS = 2,  // open unless --metrics-require-key
    ROUTE_RENDER = 4,   // open with --render-open
    ROUTE_WORK = 8,     // runs on a worker, needs the engine, is counted by admission
    ROUTE_LEAF = 16,    // the path goes on with one more element
    ROUTE_DEBUG = 32,   // runs on a worker, only with --enable-debug
};

typedef struct route {
    const char *method, *path;
    unsigned flags;
    td_rc (*run)(struct call *c, td_err *err); // fills c->answer or c->gen, or fails
} route;

/* NULL: TD_E_NOTFOUND or TD_E_METHOD, and then *allow lists the methods of the path. */
const route *route_find(const char *method, const char *path, bool debug, const char **allow, td_err *err);
bool route_takes_body(const route *r);
bool route_needs_key(const struct server *s, const route *r);

#endif
