/* messages and tools of a chat request: checked for shape and size here, turned into text by the template. */
#include "base/buf.h"
#include "server/params_impl.h"

#include <string.h>

static td_rc bad_message(params_ctx *x, int32_t i, const char *what)
{
    return td_fail_param(x->err, TD_E_INPUT, "messages", "messages[%d]%s", (int)i, what);
}

/* The text parts become one string, joined by line feeds: templates that iterate over parts are rare, those that print
 * the content are the rule. */
static td_rc join_parts(params_ctx *x, int32_t i, td_json *message, td_json *parts)
{
    td_buf text = TD_BUF_INIT;
    td_rc rc = TD_OK;
    int32_t count = 0;
    td_json_each(part, parts)
    {
        const char *type = td_json_get_str(part, "type", NULL), *s = td_json_get_str(part, "text", NULL);
        if (++count > TD_CONTENT_PARTS_MAX)
            rc = bad_message(x, i, ".content has more than 1024 parts");
        else if (!type || strcmp(type, "text"))
            rc = bad_message(x, i,
                             ".content has a part that is not of type text; images, audio and files are not supported");
        else if (!s)
            rc = bad_message(x, i, ".content has a part of type text without a text string");
        if (rc)
            break;
        if (count > 1)
            td_buf_char(&text, '\n');
        td_buf_str(&text, s);
    }
    td_json *joined = rc || text.failed ? NULL : cJSON_CreateString(td_buf_cstr(&text));
    td_buf_free(&text);
    if (rc)
        return rc;
    if (!joined)
        return params_no_memory(x);
    td_assert(cJSON_ReplaceItemInObjectCaseSensitive(message, "content", joined));
    return TD_OK;
}

/* Templates want the arguments of earlier calls as an object; clients send them as a string of JSON. */
static void open_arguments(td_json *call)
{
    td_json *function = td_json_get(call, "function");
    const char *text = td_json_str(td_json_get(function, "arguments"));
    td_json *arguments = NULL;
    if (!text || td_json_parse(text, strlen(text), &td_json_request_limits, &arguments, NULL))
        return;
    if (cJSON_IsObject(arguments))
        td_assert(cJSON_ReplaceItemInObjectCaseSensitive(function, "arguments", arguments));
    else
        td_json_free(arguments);
}

static td_rc check_tool_calls(params_ctx *x, int32_t i, const td_json *calls)
{
    int32_t count = 0;
    if (!cJSON_IsArray(calls))
        return bad_message(x, i, ".tool_calls must be an array");
    td_json_each(call, calls)
    {
        if (++count > TD_TOOLS_MAX)
            return bad_message(x, i, ".tool_calls has more than 128 calls");
        if (!td_json_get_str(td_json_get(call, "function"), "name", NULL))
            return bad_message(x, i, ".tool_calls has a call without function.name");
        open_arguments(call);
    }
    return TD_OK;
}

static td_rc check_content(params_ctx *x, int32_t i, td_json *message, bool may_lack)
{
    td_json *content = td_json_get(message, "content");
    if (cJSON_IsArray(content))
        return join_parts(x, i, message, content);
    if (cJSON_IsString(content) || (!content && may_lack))
        return TD_OK;
    return bad_message(x, i,
                       content ? ".content must be a string or an array of parts"
                               : ".content is missing or null; only an assistant message with tool_calls may lack it");
}

static td_rc check_message(params_ctx *x, int32_t i, td_json *m)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", "function", NULL};
    const char *role = td_json_get_str(m, "role", NULL);
    const char *const *r = roles;
    if (!cJSON_IsObject(m))
        return bad_message(x, i, " must be an object");
    while (*r && (!role || strcmp(*r, role)))
        r++;
    if (!*r)
        return bad_message(x, i, ".role must be system, developer, user, assistant, tool or function");
    td_json *calls = td_json_get(m, "tool_calls");
    td_rc rc = calls ? check_tool_calls(x, i, calls) : TD_OK;
    if (!rc && !strcmp(role, "tool") && !td_json_get_str(m, "tool_call_id", NULL))
        rc = bad_message(x, i, ".tool_call_id is missing: which call does this result answer?");
    return rc ? rc : check_content(x, i, m, calls && !strcmp(role, "assistant"));
}

td_rc field_messages(params_ctx *x, const char *name, td_json *v)
{
    if (!cJSON_IsArray(v))
        return td_fail_param(x->err, TD_E_INPUT, name, "messages must be an array, not %s", params_type(v));
    int32_t i = 0;
    td_json_each(m, v)
    {
        if (i == TD_MESSAGES_MAX)
            return td_fail_param(x->err, TD_E_INPUT, name, "messages may have at most %d messages", TD_MESSAGES_MAX);
        td_rc rc = check_message(x, i++, m);
        if (rc)
            return rc;
    }
    if (i == 0)
        return td_fail_param(x->err, TD_E_INPUT, name, "messages is empty");
    x->out->messages = v;
    return TD_OK;
}

static bool tool_too_large(const td_json *tool)
{
    char *text = cJSON_PrintUnformatted(tool);
    bool large = !text || strlen(text) > TD_TOOL_BYTES_MAX;
    cJSON_free(text);
    return large;
}

td_rc field_tools(params_ctx *x, const char *name, td_json *v)
{
    int32_t i = 0;
    if (!cJSON_IsArray(v))
        return td_fail_param(x->err, TD_E_INPUT, name, "tools must be an array, not %s", params_type(v));
    td_json_each(tool, v)
    {
        const char *type = td_json_get_str(tool, "type", NULL);
        const td_json *function = td_json_get(tool, "function");
        const td_json *parameters = td_json_get(function, "parameters");
        if (i == TD_TOOLS_MAX)
            return td_fail_param(x->err, TD_E_INPUT, name, "tools may have at most %d tools", TD_TOOLS_MAX);
        if (!type || strcmp(type, "function") || !td_json_get_str(function, "name", NULL))
            return td_fail_param(x->err, TD_E_INPUT, name, "tools[%d] must have type function and function.name",
                                 (int)i);
        if (parameters && !cJSON_IsObject(parameters))
            return td_fail_param(x->err, TD_E_INPUT, name, "tools[%d].function.parameters must be a JSON schema",
                                 (int)i);
        if (tool_too_large(tool))
            return td_fail_param(x->err, TD_E_INPUT, name, "tools[%d] has more than %u bytes", (int)i,
                                 TD_TOOL_BYTES_MAX);
        i++;
    }
    x->out->tools = i ? v : NULL;
    return TD_OK;
}
