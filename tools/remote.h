/* remote.h - an OpenAI-compatible server elsewhere, as --url, --api-key and --api-key-file name it: what `chat --url`
 * and `bench serve` share. One thread; libcurl must have been set up by curl_global_init. */
#ifndef TD_TOOLS_REMOTE_H
#define TD_TOOLS_REMOTE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/flags.h"

#include <curl/curl.h>

typedef struct remote {
    td_buf url;                 // without a slash or /v1 at its end
    const char *name;           // as the user wrote it, for messages; the flags'
    const char *socket;         // path of a unix socket; NULL: TCP
    struct curl_slist *headers; // content type, and the key where there is one
    const char *ca_certs;       // file, borrowed; NULL: the system's
} remote;

/* TD_E_USAGE when --url is no http or https address nor a unix socket. The flags must outlive r. */
td_rc remote_init(remote *r, const flags *f, td_err *err);
void remote_free(remote *r);
/* A request to url + path with the headers; redirects are not followed, so a key goes nowhere else. */
td_rc remote_request(const remote *r, const char *path, CURL **out, td_err *err);
/* Name of the server's first model. */
td_rc remote_find_model(const remote *r, td_buf *model, td_err *err);
/* Why there is no answer, as *err. */
td_rc remote_unreached(const remote *r, CURLcode code, td_err *err);
/* What an answer other than 200 says, as *err: the API's message, or the status alone. */
td_rc remote_refused(const remote *r, long status, const char *body, size_t len, td_err *err);

#endif
