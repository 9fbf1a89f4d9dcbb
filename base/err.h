/* err.h - result codes and error context.
 *
 * Every fallible function returns a td_rc (0 or negative) and takes a `td_err *` last. The layer that knows what went
 * wrong fills it once through td_fail(); the others pass it up. It is untouched on success and may be NULL.
 * Each message says what was wrong, where, and what to do. Bugs are td_assert(), always on: they abort.
 * Thread: any; an error object belongs to the caller's stack. */
#ifndef TD_BASE_ERR_H
#define TD_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

/* X(name, code, HTTP status, process exit code, text) */
#define TD_RC_TABLE(X)                                                     \
    X(OK, 0, 200, 0, "ok")                                                 \
    X(E_NOMEM, -1, 503, 4, "not enough memory")                            \
    X(E_IO, -2, 500, 1, "input or output failed")                          \
    X(E_USAGE, -3, 400, 2, "wrong usage")                                  \
    X(E_MODEL, -4, 500, 3, "model invalid")                                \
    X(E_UNSUPPORTED, -5, 501, 3, "not supported")                          \
    X(E_DEVICE, -6, 500, 4, "device missing")                              \
    X(E_BIND, -7, 500, 5, "cannot bind")                                   \
    X(E_INPUT, -8, 400, 1, "invalid request")                              \
    X(E_AUTH, -9, 401, 1, "not authorised")                                \
    X(E_NOTFOUND, -10, 404, 1, "not found")                                \
    X(E_METHOD, -11, 405, 1, "method not allowed")                         \
    X(E_SLOW, -12, 408, 1, "client too slow")                              \
    X(E_TOOBIG, -13, 413, 1, "too large")                                  \
    X(E_URI, -14, 414, 1, "path too long")                                 \
    X(E_MEDIA, -15, 415, 1, "unsupported media type")                      \
    X(E_HEADERS, -16, 431, 1, "headers too large")                         \
    X(E_BUSY, -17, 429, 1, "too many requests")                            \
    X(E_CANCELED, -18, 499, 1, "canceled")                                 \
    X(E_INTERNAL, -19, 500, 70, "internal error")                          \
    X(E_UNAVAILABLE, -20, 503, 1, "unavailable")                           \
    X(E_DEADLINE, -21, 504, 1, "deadline passed")                          \
    X(E_FAULT, -22, 503, 70, "the engine failed")

typedef enum td_rc {
#define X(name, code, http, exit, text) TD_##name = code,
    TD_RC_TABLE(X)
#undef X
} td_rc;

enum { TD_ERR_MSG_MAX = 384, TD_ERR_PARAM_MAX = 64 };

typedef struct td_err {
    td_rc rc;
    int line;
    const char *file;
    char msg[TD_ERR_MSG_MAX];     // what happened and what to do, no newline
    char param[TD_ERR_PARAM_MAX]; // request field or flag at fault, or ""
} td_err;

#define TD_ERR_INIT {.rc = TD_OK}

/* Fills *err (when not NULL) and returns rc. An error already set is kept: the first layer knows best. */
#define td_fail(err, rc, ...) td_err_code((rc), td_err_set((err), (rc), NULL, __FILE__, __LINE__, __VA_ARGS__))
/* The same, naming the request field or flag at fault. */
#define td_fail_param(err, rc, param, ...) \
    td_err_code((rc), td_err_set((err), (rc), (param), __FILE__, __LINE__, __VA_ARGS__))
td_rc td_err_set(td_err *err, td_rc rc, const char *param, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* Lets the compiler see that a failure's code is not 0, so that it does not warn of outputs that were not set. */
static inline td_rc td_err_code(td_rc rc, td_rc same)
{
    (void)same;
    return rc;
}
/* Puts "prefix: " before the message, e.g. the name of the file that was being read. */
void td_err_prefix(td_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *td_rc_name(td_rc rc);
const char *td_rc_text(td_rc rc);
int td_rc_http(td_rc rc);
int td_rc_exit(td_rc rc);

#define td_assert(cond) ((cond) ? (void)0 : td_bug(#cond, __FILE__, __LINE__))
__attribute__((noreturn)) void td_bug(const char *what, const char *file, int line);

#endif
