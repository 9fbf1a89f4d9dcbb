/* Messages as a request brings them, made into what a template expects.
 *
 * Content is a string, null or a list of text parts; tool calls carry their arguments as JSON text, as OpenAI's API
 * has it, or as an object. Nothing is copied that need not change: items of the new array refer to the request's. */
#include "model/chat_int.h"

#include "base/check.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>

typedef struct convert {
    const chat_caps *caps;
    const char *tag;     // for this message, or NULL
    const char **last;
    size_t index;        // of the message
    td_err *err;
} convert;

static td_rc nomem(td_err *err) { return td_fail(err, TD_E_NOMEM, "not enough memory for the messages of a chat"); }

static td_rc bad(const convert *c, const char *what)
{
    char param[TD_ERR_PARAM_MAX];
    snprintf(param, sizeof param, "messages[%zu]", c->index);
    return td_fail_param(c->err, TD_E_INPUT, param, "messages[%zu]: %s", c->index, what);
}

static bool add(td_json *obj, const char *key, td_json *value) // takes value, which may be NULL for lack of memory
{
    if (value && cJSON_AddItemToObject(obj, key, value))
        return true;
    td_json_free(value);
    return false;
}

/* cJSON's own function loses the reference when there is no memory for the key. */
bool chat_add_ref(td_json *obj, const char *key, const td_json *item)
{
    if (cJSON_IsObject(item))
        return add(obj, key, cJSON_CreateObjectReference(item->child));
    if (cJSON_IsArray(item))
        return add(obj, key, cJSON_CreateArrayReference(item->child));
    if (cJSON_IsString(item))
        return add(obj, key, cJSON_CreateStringReference(item->valuestring));
    return add(obj, key, cJSON_Duplicate(item, false));
}

static bool append(td_json *list, td_json *value)
{
    if (value && cJSON_AddItemToArray(list, value))
        return true;
    td_json_free(value);
    return false;
}

static td_json *tagged(const char *text, const char *tag)
{
    if (!tag)
        return cJSON_CreateStringReference(text);
    td_buf b = TD_BUF_INIT;
    td_buf_str(&b, text);
    td_json *j = td_buf_str(&b, tag) ? cJSON_CreateString(td_buf_cstr(&b)) : NULL;
    td_buf_free(&b);
    return j;
}

static td_json *text_part(const char *text, const char *tag)
{
    td_json *part = cJSON_CreateObject();
    if (part && add(part, "type", cJSON_CreateString("text")) && add(part, "text", tagged(text, tag)))
        return part;
    td_json_free(part);
    return NULL;
}

/* ---- content ---- */

static td_rc check_parts(const convert *c, const td_json *parts, const char **last_text)
{
    size_t n = 0;
    *last_text = NULL;
    td_json_each(part, parts)
    {
        const char *type = td_json_get_str(part, "type", "text");
        const char *text = td_json_get_str(part, "text", NULL);
        if (strcmp(type, "text") || !text)
            return bad(c, "content parts must be {\"type\": \"text\", \"text\": …}; this model takes no others");
        if (++n > TD_CONTENT_PARTS_MAX)
            return bad(c, "too many content parts");
        *last_text = text;
    }
    return TD_OK;
}

/* The texts with newlines between them, for templates that know strings only. */
static td_json *join_parts(const td_json *parts, const char *tag)
{
    td_buf b = TD_BUF_INIT;
    td_json_each(part, parts)
    {
        if (part != parts->child)
            td_buf_char(&b, '\n');
        td_buf_str(&b, td_json_get_str(part, "text", ""));
    }
    td_json *j = b.failed ? NULL : tagged(td_buf_cstr(&b), tag ? tag : "");
    td_buf_free(&b);
    return j;
}

static td_json *list_parts(const td_json *parts, const char *tag)
{
    td_json *list = cJSON_CreateArray();
    td_json_each(part, list ? parts : NULL)
    {
        bool ok = append(list, text_part(td_json_get_str(part, "text", ""), part->next ? NULL : tag));
        if (!ok) {
            td_json_free(list);
            return NULL;
        }
    }
    return list;
}

static td_rc convert_content(const convert *c, const td_json *content, bool calls, td_json **out)
{
    const char *text = td_json_str(content);
    if (cJSON_IsArray(content)) {
        td_rc rc = check_parts(c, content, &text);
        if (rc != TD_OK)
            return rc;
        *c->last = text;
        *out = c->caps->parts ? list_parts(content, c->tag) : join_parts(content, c->tag);
    } else if (text) {
        *c->last = text;
        *out = tagged(text, c->tag);
        if (c->caps->only_parts && *out) {
            td_json *list = cJSON_CreateArray();
            td_json *part = text_part(td_json_str(*out), ""); // its own copy
            td_json_free(*out);
            *out = list && append(list, part) ? list : NULL;
            if (!*out)
                td_json_free(list);
        }
    } else if (!content || cJSON_IsNull(content)) {
        *c->last = NULL;
        *out = calls && !c->caps->null_content ? cJSON_CreateString("") : cJSON_CreateNull();
    } else {
        return bad(c, "content must be a string, null or a list of parts");
    }
    return *out ? TD_OK : nomem(c->err);
}

/* ---- tool calls ---- */

static td_rc convert_arguments(const convert *c, const td_json *args, td_json **out)
{
    const char *text = td_json_str(args);
    if (text && !c->caps->string_arguments) {
        td_err why = TD_ERR_INIT;
        if (!*text) {
            *out = cJSON_CreateObject();
        } else if (td_json_parse(text, strlen(text), &td_json_request_limits, out, &why) != TD_OK) {
            char what[200];
            snprintf(what, sizeof what, "the arguments of a tool call: %.120s", why.msg);
            return why.rc == TD_E_NOMEM ? nomem(c->err) : bad(c, what);
        }
    } else if (c->caps->string_arguments && (cJSON_IsObject(args) || cJSON_IsArray(args))) {
        char *printed = cJSON_PrintUnformatted(args);
        *out = printed ? cJSON_CreateString(printed) : NULL;
        cJSON_free(printed);
    } else if (!args || cJSON_IsNull(args)) {
        *out = c->caps->string_arguments ? cJSON_CreateString("{}") : cJSON_CreateObject();
    } else {
        *out = cJSON_Duplicate(args, true);
    }
    return *out ? TD_OK : nomem(c->err);
}

/* A copy of the object in which `key` has another value; takes value. */
static td_json *with_member(const td_json *obj, const char *key, td_json *value)
{
    td_json *copy = cJSON_CreateObject();
    bool done = false, ok = copy && value;
    td_json_each(member, ok ? obj : NULL)
    {
        bool same = !strcmp(member->string, key);
        ok = ok && (same ? chat_add_ref(copy, key, value)
                         : chat_add_ref(copy, member->string, member));
        done |= same;
    }
    ok = ok && (done || chat_add_ref(copy, key, value));
    if (ok)
        return copy;
    td_json_free(copy);
    return NULL;
}

static td_rc convert_call(const convert *c, const td_json *call, td_json *list, td_json *keep)
{
    td_json *function = cJSON_GetObjectItemCaseSensitive(call, "function");
    if (!cJSON_IsObject(call) || !cJSON_IsObject(function))
        return bad(c, "a tool call must be an object with a function");
    if (!td_json_get_str(function, "name", NULL))
        return bad(c, "the function of a tool call needs a name");
    td_json *args = NULL;
    td_rc rc = convert_arguments(c, cJSON_GetObjectItemCaseSensitive(function, "arguments"), &args);
    if (rc != TD_OK)
        return rc;
    if (!append(keep, args))
        return nomem(c->err);
    td_json *f = with_member(function, "arguments", args);
    if (!append(keep, f))
        return nomem(c->err);
    return append(list, with_member(call, "function", f)) ? TD_OK : nomem(c->err);
}

static td_rc convert_calls(const convert *c, const td_json *calls, td_json *keep, td_json **out)
{
    *out = NULL;
    if (!calls || cJSON_IsNull(calls) || (cJSON_IsArray(calls) && !calls->child))
        return TD_OK; // as if it were not there
    if (!cJSON_IsArray(calls))
        return bad(c, "tool_calls must be a list");
    td_json *list = cJSON_CreateArray();
    if (!append(keep, list))
        return nomem(c->err);
    td_json_each(call, calls)
    {
        td_rc rc = convert_call(c, call, list, keep);
        if (rc != TD_OK)
            return rc;
    }
    *out = list;
    return TD_OK;
}

/* ---- messages ---- */

/* Reasoning has three names in use; templates read the first or the second. */
static td_json *reasoning_of(const td_json *msg)
{
    td_json *r = td_json_get(msg, "reasoning_content");
    r = r ? r : td_json_get(msg, "thinking");
    return r ? r : td_json_get(msg, "reasoning");
}

static bool add_reasoning(td_json *out, const td_json *msg)
{
    td_json *item = reasoning_of(msg);
    if (!item)
        return true;
    return (td_json_get(msg, "thinking") || chat_add_ref(out, "thinking", item)) &&
           chat_add_ref(out, "reasoning_content", item);
}

/* Everything in its place; content and tool calls in their new form (calls NULL: left out). */
static bool copy_members(td_json *out, const td_json *msg, td_json *content, td_json *calls)
{
    bool reasons = reasoning_of(msg) != NULL, done = false;
    td_json_each(member, msg)
    {
        const char *key = member->string;
        td_json *value = member;
        if (reasons && !strcmp(key, "reasoning_content"))
            continue;
        if (!strcmp(key, "tool_calls"))
            value = calls;
        else if (!strcmp(key, "content"))
            value = content, done = true;
        if (value && !chat_add_ref(out, key, value))
            return false;
    }
    return done || chat_add_ref(out, "content", content);
}

static td_rc convert_message(const convert *c, const td_json *msg, chat_built *b)
{
    td_json *calls = NULL, *content = NULL, *out = NULL;
    if (!cJSON_IsObject(msg) || !td_json_get_str(msg, "role", NULL))
        return bad(c, "a message must be an object with a role");
    td_rc rc = convert_calls(c, cJSON_GetObjectItemCaseSensitive(msg, "tool_calls"), b->keep, &calls);
    if (rc == TD_OK)
        rc = convert_content(c, cJSON_GetObjectItemCaseSensitive(msg, "content"), calls != NULL, &content);
    if (rc != TD_OK)
        return rc;
    bool ok = append(b->keep, content) && append(b->messages, out = cJSON_CreateObject()) &&
              copy_members(out, msg, content, calls) && add_reasoning(out, msg);
    return ok ? TD_OK : nomem(c->err);
}

void chat_built_free(chat_built *b)
{
    td_json_free(b->messages);
    td_json_free(b->keep);
    *b = (chat_built){0};
}

td_rc chat_build(const chat_args *args, const chat_caps *caps, const char *tag, chat_built *b, td_err *err)
{
    *b = (chat_built){0};
    if (!cJSON_IsArray(args->messages))
        return td_fail_param(err, TD_E_INPUT, "messages", "messages must be a list");
    b->messages = cJSON_CreateArray();
    b->keep = cJSON_CreateArray();
    convert c = {.caps = caps, .last = &b->last, .err = err};
    td_rc rc = b->messages && b->keep ? TD_OK : nomem(err);
    td_json_each(msg, args->messages)
    {
        c.tag = msg->next ? NULL : tag;
        if (rc == TD_OK && c.index >= TD_MESSAGES_MAX)
            rc = td_fail_param(err, TD_E_INPUT, "messages", "more than %d messages", TD_MESSAGES_MAX);
        if (rc == TD_OK)
            rc = convert_message(&c, msg, b);
        c.index++;
    }
    if (rc != TD_OK)
        chat_built_free(b);
    return rc;
}
