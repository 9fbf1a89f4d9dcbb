#include "model/json_model.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/limits.h"

#include <stdio.h>

enum { PATH_BYTES_MAX = 4096 };

td_rc model_json_parse(const char *text, size_t len, td_json **out, td_err *err)
{
    td_rc rc = td_json_parse(text, len, &td_json_file_limits, out, err);
    if (rc != TD_E_INPUT)
        return rc;
    if (err)
        err->rc = TD_E_MODEL;
    return TD_E_MODEL;
}

td_rc model_json_read(const char *path, const char *file, td_json **out, td_err *err)
{
    char joined[PATH_BYTES_MAX];
    int n = snprintf(joined, sizeof joined, "%s%s%s", path, file ? "/" : "", file ? file : "");
    if (n < 0 || n >= PATH_BYTES_MAX)
        return td_fail(err, TD_E_USAGE, "the path %.60s… is too long", path);
    char *text;
    size_t len;
    td_rc rc = td_file_read(joined, TD_MODEL_HEADER_BYTES_MAX, &text, &len, err);
    if (rc != TD_OK)
        return rc;
    rc = model_json_parse(text, len, out, err);
    td_free(text);
    if (rc != TD_OK)
        td_err_prefix(err, "%s", joined);
    return rc;
}
