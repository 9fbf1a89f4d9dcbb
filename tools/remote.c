#include "tools/remote.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"

#include <string.h>

enum { KEY_FILE_BYTES_MAX = 1 << 16, ANSWER_BYTES_MAX = 16 << 20, CONNECT_S = 10 };

/* The first --api-key, or the first line of --api-key-file, as a header. */
static td_rc key_header(const flags *f, td_buf *out, td_err *err)
{
    const char *const *keys;
    const char *path = flags_str(f, "api-key-file");
    if (flags_list(f, "api-key", &keys)) {
        td_buf_fmt(out, "authorization: Bearer %s", keys[0]);
    } else if (path) {
        char *text = NULL;
        size_t len;
        td_rc rc = td_file_read(path, KEY_FILE_BYTES_MAX, &text, &len, err);
        if (rc)
            return rc;
        td_buf_fmt(out, "authorization: Bearer %.*s", (int)strcspn(text, "\r\n"), text);
        td_free(text);
    }
    if (strpbrk(td_buf_cstr(out), "\r\n"))
        return td_fail_param(err, TD_E_USAGE, "api-key", "the API key holds a line break");
    return out->failed ? td_fail(err, TD_E_NOMEM, "no memory for a header") : TD_OK;
}

static bool add_header(remote *r, const char *text)
{
    struct curl_slist *grown = curl_slist_append(r->headers, text);
    if (grown)
        r->headers = grown;
    return grown;
}

/* Clients of the API take addresses with and without /v1; so do we. A unix socket is written as `serve` logs it. */
static td_rc base_url(const char *url, const char **socket, td_buf *out, td_err *err)
{
    if (!strncmp(url, "unix:", 5) && url[5]) {
        *socket = url + 5;
        return td_buf_str(out, "http://localhost") ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for an address");
    }
    if (strncmp(url, "http://", 7) && strncmp(url, "https://", 8))
        return td_fail_param(err, TD_E_USAGE, "url",
                             "--url '%.100s' is no address; write http://HOST:PORT, or unix:PATH for a socket", url);
    td_buf_str(out, url);
    for (int i = 0; i < 2 && !out->failed; i++) {
        while (out->len && out->data[out->len - 1] == '/')
            out->data[--out->len] = 0;
        if (!i && out->len > 3 && !strcmp(out->data + out->len - 3, "/v1"))
            out->data[out->len -= 3] = 0;
    }
    return out->failed ? td_fail(err, TD_E_NOMEM, "no memory for an address") : TD_OK;
}

td_rc remote_init(remote *r, const flags *f, td_err *err)
{
    *r = (remote){.ca_certs = flags_str(f, "ssl-ca-certs")};
    td_buf key = TD_BUF_INIT;
    r->name = flags_given(f, "url") ? flags_str(f, "url") : "http://127.0.0.1:8000";
    td_rc rc = base_url(r->name, &r->socket, &r->url, err);
    if (!rc)
        rc = key_header(f, &key, err);
    if (!rc && (!add_header(r, "content-type: application/json") || (key.len && !add_header(r, key.data))))
        rc = td_fail(err, TD_E_NOMEM, "no memory for a header");
    td_buf_free(&key);
    return rc;
}

void remote_free(remote *r)
{
    td_buf_free(&r->url);
    curl_slist_free_all(r->headers);
    r->headers = NULL;
}

td_rc remote_request(const remote *r, const char *path, CURL **out, td_err *err)
{
    td_buf url = TD_BUF_INIT;
    td_buf_fmt(&url, "%s%s", td_buf_cstr(&r->url), path);
    CURL *easy = url.failed ? NULL : curl_easy_init();
    if (!easy || curl_easy_setopt(easy, CURLOPT_URL, url.data)) {
        curl_easy_cleanup(easy);
        td_buf_free(&url);
        return td_fail(err, TD_E_NOMEM, "no memory for a request");
    }
    td_buf_free(&url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    if (r->ca_certs)
        curl_easy_setopt(easy, CURLOPT_CAINFO, r->ca_certs);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    if (r->socket) {
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, r->socket);
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
    *out = easy;
    return TD_OK;
}

td_rc remote_unreached(const remote *r, CURLcode code, td_err *err)
{
    bool tls = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    return td_fail(err, TD_E_IO, "%s: %s; %s", r->name, curl_easy_strerror(code),
                   tls ? "--ssl-ca-certs FILE says whose certificates to trust" : "is a server there?");
}

td_rc remote_refused(const remote *r, long status, const char *body, size_t len, td_err *err)
{
    td_json *j = NULL;
    td_json_parse(body, len, &td_json_request_limits, &j, NULL);
    const td_json *error = td_json_get(j, "error");
    const char *said = td_json_str(error) ? td_json_str(error) : td_json_get_str(error, "message", NULL);
    td_rc rc;
    if (status == 401 || status == 403)
        rc = td_fail(err, TD_E_AUTH, "%s does not let us in (%ld); is --api-key right?", r->name, status);
    else if (said)
        rc = td_fail(err, TD_E_IO, "%s (%ld): %.250s", r->name, status, said);
    else
        rc = td_fail(err, TD_E_IO, "%s answered with status %ld and no message; is it an OpenAI-compatible server?",
                     r->name, status);
    td_json_free(j);
    return rc;
}

static size_t on_answer(char *p, size_t size, size_t count, void *ctx)
{
    return td_buf_add(ctx, p, size * count) ? size * count : 0;
}

static td_rc first_model(const remote *r, const td_buf *answer, td_buf *model, td_err *err)
{
    td_json *j = NULL;
    td_json_parse(td_buf_cstr(answer), answer->len, &td_json_request_limits, &j, NULL);
    const char *id = td_json_get_str(cJSON_GetArrayItem(td_json_get(j, "data"), 0), "id", NULL);
    td_rc rc = !id ? td_fail(err, TD_E_IO, "%s/v1/models lists no model; name one with --model", r->name)
               : td_buf_str(model, id) ? TD_OK
                                       : td_fail(err, TD_E_NOMEM, "no memory for a name");
    td_json_free(j);
    return rc;
}

td_rc remote_find_model(const remote *r, td_buf *model, td_err *err)
{
    td_buf answer = {.max_bytes = ANSWER_BYTES_MAX};
    CURL *easy = NULL;
    td_rc rc = remote_request(r, "/v1/models", &easy, err);
    if (rc)
        return rc;
    long status = 0;
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code)
        rc = remote_unreached(r, code, err);
    else if (status != 200)
        rc = remote_refused(r, status, td_buf_cstr(&answer), answer.len, err);
    else
        rc = first_model(r, &answer, model, err);
    td_buf_free(&answer);
    curl_easy_cleanup(easy);
    return rc;
}
