/* What --enable-debug opens: looks into the engine, and faults on purpose. For people who look for a fault and for
 * tests; the answers may change with any version. */
#include "base/check.h"
#include "base/fault.h"
#include "server/api_openai.h"
#include "server/call.h"
#include "server/sse.h"
#include "server/state.h"

#include <string.h>

int32_t api_debug_number(const char *path, const char *from)
{
    const char *leaf = strrchr(path, '/') + 1, *p = from ? from : leaf;
    if (!from && (*leaf < '0' || *leaf > '9'))
        return strcmp(leaf, "blocks") ? -1 : 0;
    int64_t n = 0;
    for (; *p >= '0' && *p <= '9' && n <= INT32_MAX; p++)
        n = n * 10 + (*p - '0');
    return *p || n > INT32_MAX ? -1 : (int32_t)n;
}

td_rc api_debug_requests(call *c, td_err *err)
{
    return td_engine_debug(c->server->engine, TD_DEBUG_REQUESTS, 0, TD_DEBUG_ROWS_MAX, &c->answer, err);
}

td_rc api_debug_blocks(call *c, td_err *err)
{
    if (c->number < 0)
        return td_fail_param(err, TD_E_INPUT, "from", "from is a block's number, as `next` gave it");
    return td_engine_debug(c->server->engine, TD_DEBUG_BLOCKS, c->number, TD_DEBUG_ROWS_MAX, &c->answer, err);
}

td_rc api_debug_block(call *c, td_err *err)
{
    if (c->number < 0)
        return td_fail(err, TD_E_NOTFOUND, "a block is named by its number");
    return td_engine_debug(c->server->engine, TD_DEBUG_BLOCK, c->number, 1, &c->answer, err);
}

/* {"kind":"device","nth":1}: the nth call of that kind from now on fails, once; 0 takes it back. */
td_rc api_debug_fault(call *c, td_err *err)
{
    static const char *const kinds[TD_FAULT_KINDS] = {
        [TD_FAULT_ALLOC] = "alloc", [TD_FAULT_READ] = "read", [TD_FAULT_WRITE] = "write", [TD_FAULT_DEVICE] = "device"};
    td_json *body = NULL;
    td_rc rc = td_json_parse(td_buf_cstr(&c->body), c->body.len, &td_json_request_limits, &body, err);
    if (rc)
        return rc;
    const char *name = td_json_get_str(body, "kind", "");
    int64_t nth = td_json_get_int(body, "nth", 1);
    int kind = 0;
    while (kind < TD_FAULT_KINDS && strcmp(name, kinds[kind]))
        kind++;
    if (kind == TD_FAULT_KINDS)
        rc = td_fail_param(err, TD_E_INPUT, "kind", "kind is alloc, read, write or device");
    else if (nth < 0)
        rc = td_fail_param(err, TD_E_INPUT, "nth", "nth is 1 for the next call, 2 for the one after it, 0 for none");
    td_json_free(body);
    if (rc)
        return rc;
    td_buf_fmt(&c->answer, "{\"kind\":\"%s\",\"nth\":%lld}", kinds[kind], (long long)nth);
    td_fault_arm((td_fault_kind)kind, (uint64_t)nth, false); // last: the answer is made already
    return TD_OK;
}
