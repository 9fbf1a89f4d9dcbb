#include "tools/batch_line.h"

#include "base/hash.h"
#include "base/json.h"

#include <string.h>

static const char *const urls[] = {"/v1/chat/completions", "/v1/completions"};

static const char *skip_space(const char *p) { return p + strspn(p, " \t\r\n"); }

static const char *skip_string(const char *p) // p at the quote
{
    for (p++; *p != '"'; p++)
        p += *p == '\\';
    return p + 1;
}

static const char *skip_value(const char *p)
{
    int depth = 0;
    do {
        p = skip_space(p);
        if (*p == '"') {
            p = skip_string(p);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        p++;
        if (!depth) // a number or a word ends before the next structural character
            p += strcspn(p, " \t\r\n,]}");
    } while (depth);
    return p;
}

/* The bytes of a member of the outermost object. The text was scanned strictly before, so its form can be trusted. The
 * body goes on as it was written: a tree printed again would change numbers. */
static void find_member(const char *p, const char *name, const char **from, size_t *len)
{
    size_t n = strlen(name);
    for (p = skip_space(p) + 1; *(p = skip_space(p)) == '"';) {
        const char *key = p + 1;
        p = skip_string(p);
        bool hit = (size_t)(p - key - 1) == n && !memcmp(key, name, n);
        p = skip_space(skip_space(p) + 1); // the colon
        const char *value = p;
        p = skip_value(p);
        if (hit) {
            *from = value;
            *len = (size_t)(p - value);
            return;
        }
        p = skip_space(p);
        p += *p == ',';
    }
}

static td_rc check(const td_json *line, batch_line *out, td_err *err)
{
    if (!cJSON_IsObject(line))
        return td_fail(err, TD_E_INPUT, "a line must be a JSON object");
    const char *id = td_json_str(td_json_get(line, "custom_id"));
    if (!id)
        return td_fail_param(err, TD_E_INPUT, "custom_id", "custom_id must be a string");
    size_t len = strlen(id);
    if (!len || len > BATCH_CUSTOM_ID_MAX)
        return td_fail_param(err, TD_E_INPUT, "custom_id", "custom_id must have 1 to %d bytes", BATCH_CUSTOM_ID_MAX);
    memcpy(out->custom_id, id, len + 1);
    out->has_custom_id = true;
    const char *method = td_json_get_str(line, "method", "POST"), *url = td_json_get_str(line, "url", "");
    if (strcmp(method, "POST"))
        return td_fail_param(err, TD_E_INPUT, "method", "method must be POST");
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        if (!strcmp(url, urls[i]))
            out->url = urls[i];
    if (!out->url)
        return td_fail_param(err, TD_E_INPUT, "url", "url must be %s or %s", urls[0], urls[1]);
    const td_json *body = td_json_get(line, "body");
    if (!cJSON_IsObject(body))
        return td_fail_param(err, TD_E_INPUT, "body", "body must be an object");
    if (td_json_get_bool(body, "stream", false))
        return td_fail_param(err, TD_E_INPUT, "stream", "a batch line cannot stream");
    return TD_OK;
}

td_rc batch_line_read(const char *text, size_t len, batch_line *out, td_err *err)
{
    *out = (batch_line){.url = NULL};
    td_json *line = NULL;
    td_rc rc = td_json_parse(text, len, &td_json_request_limits, &line, err);
    if (!rc)
        rc = check(line, out, err);
    if (!rc)
        find_member(text, "body", &out->body, &out->body_len);
    td_json_free(line);
    if (!rc && !out->body) // "body" written with an escape
        return td_fail_param(err, TD_E_INPUT, "body", "body must be written without escapes in its name");
    return rc;
}

uint64_t batch_line_digest(const char *text, size_t len)
{
    td_sha256 all = td_sha256_of(text, len);
    uint64_t first = 0;
    for (int i = 0; i < 8; i++)
        first = first << 8 | all.b[i];
    return first;
}
