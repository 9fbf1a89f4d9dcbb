#include "server/api_openai.h"
#include "server/call.h"
#include "server/sse.h"
#include "server/state.h"

#include <string.h>

static void model_json(const struct server *s, td_buf *out, const char *name)
{
    const char *root = s->info->model_path ? s->info->model_path : name;
    sse_lit(out, "{\"id\":");
    td_buf_json_str(out, name, strlen(name));
    sse_lit(out, ",\"object\":\"model\",\"created\":");
    sse_int(out, (int64_t)s->start_wall_s);
    sse_lit(out, ",\"owned_by\":\"tandem\",\"root\":");
    td_buf_json_str(out, root, strlen(root));
    sse_lit(out, ",\"parent\":null,\"max_model_len\":");
    sse_int(out, s->info->max_model_len);
    td_buf_char(out, '}');
}

td_rc api_models(call *c, td_err *err)
{
    const struct server *s = c->server;
    td_rc rc = server_ready(s, err);
    if (rc)
        return rc;
    sse_lit(&c->answer, "{\"object\":\"list\",\"data\":[");
    for (int32_t i = 0; i < s->opts.served_name_count; i++) {
        if (i)
            td_buf_char(&c->answer, ',');
        model_json(s, &c->answer, s->opts.served_names[i]);
    }
    sse_lit(&c->answer, "]}");
    return TD_OK;
}

static int hex_digit(char ch)
{
    return ch >= '0' && ch <= '9'   ? ch - '0'
           : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
           : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                    : -1;
}

/* Is the path's last part, with its %XX undone, this name? Clients escape the slash in org/name. */
static bool leaf_is(const char *leaf, const char *name)
{
    while (*leaf && *name) {
        unsigned char ch = (unsigned char)*leaf++;
        if (ch == '%') {
            int hi = hex_digit(leaf[0]), lo = hi < 0 ? -1 : hex_digit(leaf[1]);
            if (lo < 0)
                return false;
            ch = (unsigned char)(hi * 16 + lo);
            leaf += 2;
        }
        if (ch != (unsigned char)*name++)
            return false;
    }
    return !*leaf && !*name;
}

td_rc api_model(call *c, td_err *err)
{
    const struct server *s = c->server;
    const char *leaf = c->path + sizeof "/v1/models/" - 1;
    td_rc rc = server_ready(s, err);
    if (rc)
        return rc;
    for (int32_t i = 0; i < s->opts.served_name_count; i++) {
        if (leaf_is(leaf, s->opts.served_names[i])) {
            model_json(s, &c->answer, s->opts.served_names[i]);
            return TD_OK;
        }
    }
    c->err_code = "model_not_found";
    return td_fail_param(err, TD_E_NOTFOUND, "model", "that model is not served here; GET /v1/models lists what is");
}
