#include "server/auth.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/limits.h"

#include <string.h>
#include <strings.h>

struct auth_keys {
    int32_t count;
    td_sha256 digest[TD_API_KEYS_MAX];
};

static td_rc add_key(auth_keys *a, const char *key, size_t len, td_err *err)
{
    if (len == 0 || len > TD_API_KEY_BYTES_MAX)
        return td_fail_param(err, TD_E_USAGE, "api-key", "an API key must have 1 to %d bytes", TD_API_KEY_BYTES_MAX);
    if (a->count == TD_API_KEYS_MAX)
        return td_fail_param(err, TD_E_USAGE, "api-key", "more than %d API keys", TD_API_KEYS_MAX);
    a->digest[a->count++] = td_sha256_of(key, len);
    return TD_OK;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static td_rc add_file(auth_keys *a, const char *path, td_err *err)
{
    char *data;
    size_t len;
    td_rc rc = td_file_read(path, (uint64_t)TD_API_KEYS_MAX * (TD_API_KEY_BYTES_MAX + 1), &data, &len, err);
    if (rc)
        return rc;
    int32_t before = a->count;
    if (memchr(data, 0, len)) // no header could hold it: a key that lets nobody in, or a file cut short
        rc = td_fail_param(err, TD_E_USAGE, "api-key-file", "%s holds a NUL byte: it must be text",
                           path);
    for (size_t at = 0; at < len && !rc;) {
        const char *line = data + at, *nl = memchr(line, '\n', len - at);
        const char *end = nl ? nl : data + len;
        at = (size_t)(end - data) + 1;
        while (line < end && is_blank(*line))
            line++;
        while (end > line && is_blank(end[-1]))
            end--;
        if (line < end && *line != '#')
            rc = add_key(a, line, (size_t)(end - line), err);
    }
    if (!rc && a->count == before)
        rc = td_fail_param(err, TD_E_USAGE, "api-key-file", "%s holds no key; put one on each line", path);
    explicit_bzero(data, len);
    td_free(data);
    return rc;
}

td_rc auth_load(const char *const *keys, int32_t key_count, const char *file, auth_keys **out, td_err *err)
{
    *out = NULL;
    if (key_count == 0 && !file)
        return TD_OK;
    auth_keys *a = td_alloc(sizeof *a);
    if (!a)
        return td_fail(err, TD_E_NOMEM, "not enough memory for API keys");
    td_rc rc = TD_OK;
    for (int32_t i = 0; i < key_count && !rc; i++)
        rc = add_key(a, keys[i], strlen(keys[i]), err);
    if (!rc && file)
        rc = add_file(a, file, err);
    if (rc)
        auth_free(a);
    else
        *out = a;
    return rc;
}

void auth_free(auth_keys *a) { td_free(a); }

bool auth_allows(const auth_keys *a, const char *header)
{
    static const char scheme[] = "bearer ";
    if (!a)
        return true;
    if (!header || strncasecmp(header, scheme, sizeof scheme - 1))
        return false;
    const char *key = header + sizeof scheme - 1;
    td_sha256 given = td_sha256_of(key, strlen(key));
    int found = 0;
    for (int32_t i = 0; i < a->count; i++)
        found |= td_sha256_equal(&given, &a->digest[i]);
    return found != 0;
}
