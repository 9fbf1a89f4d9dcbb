#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

td_rc td_err_set(td_err *err, td_rc rc, const char *param, const char *file, int line, const char *fmt, ...)
{
    if (!err || err->rc != TD_OK)
        return rc;
    err->rc = rc;
    err->file = file;
    err->line = line;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    snprintf(err->param, sizeof err->param, "%s", param ? param : "");
    return rc;
}

void td_err_prefix(td_err *err, const char *fmt, ...)
{
    if (!err || err->rc == TD_OK)
        return;
    char old[TD_ERR_MSG_MAX];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (len >= 0 && (size_t)len < sizeof err->msg)
        snprintf(err->msg + len, sizeof err->msg - (size_t)len, ": %s", old);
}

typedef struct rc_row {
    td_rc rc;
    int http, exit;
    const char *name, *text;
} rc_row;

static const rc_row rc_rows[] = {
#define X(name, code, http, exit, text) {TD_##name, http, exit, #name, text},
    TD_RC_TABLE(X)
#undef X
};

static const rc_row *rc_find(td_rc rc)
{
    for (size_t i = 0; i < sizeof rc_rows / sizeof *rc_rows; i++)
        if (rc_rows[i].rc == rc)
            return &rc_rows[i];
    td_bug("unknown td_rc", __FILE__, __LINE__);
}

const char *td_rc_name(td_rc rc) { return rc_find(rc)->name; }
const char *td_rc_text(td_rc rc) { return rc_find(rc)->text; }
int td_rc_http(td_rc rc) { return rc_find(rc)->http; }
int td_rc_exit(td_rc rc) { return rc_find(rc)->exit; }

__attribute__((noreturn)) void td_bug(const char *what, const char *file, int line)
{
    fprintf(stderr, "tandem: bug: %s at %s:%d\n", what, file, line);
    abort();
}
