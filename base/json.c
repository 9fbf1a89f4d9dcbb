#include "base/json.h"

#include "base/arena.h"
#include "base/json_scan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* cJSON's memory goes through the fault seam as well. Before main, since the hooks are global. */
__attribute__((constructor)) static void use_td_memory(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = td_alloc, .free_fn = td_free});
}

void td_json_free(td_json *j) { cJSON_Delete(j); }

/* The scanner hands over integers beyond 2^53, and whole numbers written as 1.0 or 1e3, as strings that begin with
 * 0xFF, a byte that no checked text holds. Here they become numbers again that carry their text. Iterative: depth
 * is bounded, width is not. */
static void restore_numbers(td_json *root)
{
    td_json *stack[TD_JSON_STACK_MAX];
    int depth = 0;
    for (td_json *j = root; j || depth;) {
        if (!j) {
            j = stack[--depth]->next;
            continue;
        }
        if (cJSON_IsString(j) && (unsigned char)j->valuestring[0] == 0xFF) {
            memmove(j->valuestring, j->valuestring + 1, strlen(j->valuestring));
            j->type = cJSON_Number;
            j->valuedouble = strtod(j->valuestring, NULL);
        }
        if (j->child && depth < TD_JSON_STACK_MAX) {
            stack[depth++] = j;
            j = j->child;
        } else if (depth) {
            j = j->next;
        } else {
            break;
        }
    }
}

td_rc td_json_parse(const char *s, size_t len, const td_json_limits *lim, td_json **out, td_err *err)
{
    td_buf fixed = TD_BUF_INIT; // the text again when it holds big integers
    td_rc rc = td_json_scan_rewrite(s, len, lim, &fixed, err);
    if (rc == TD_OK) {
        bool rewritten = fixed.len > 0;
        td_json *j = rewritten ? cJSON_ParseWithLength(fixed.data, fixed.len) : cJSON_ParseWithLength(s, len);
        if (!j) {
            rc = td_fail(err, TD_E_NOMEM, "not enough memory for a JSON text of %zu bytes", len);
        } else {
            if (rewritten)
                restore_numbers(j);
            *out = j;
        }
    }
    td_buf_free(&fixed);
    return rc;
}

td_json *td_json_get(const td_json *obj, const char *key)
{
    td_json *j = cJSON_IsObject(obj) ? cJSON_GetObjectItemCaseSensitive(obj, key) : NULL;
    return cJSON_IsNull(j) ? NULL : j;
}

const char *td_json_str(const td_json *j) { return cJSON_IsString(j) ? j->valuestring : NULL; }

bool td_json_is_float(const td_json *j)
{
    return cJSON_IsNumber(j) && (j->valuestring ? strpbrk(j->valuestring, ".eE") != NULL
                                                : j->valuedouble != floor(j->valuedouble));
}

bool td_json_int(const td_json *j, int64_t *out)
{
    if (!cJSON_IsNumber(j))
        return false;
    if (j->valuestring && !td_json_is_float(j)) {
        errno = 0;
        long long v = strtoll(j->valuestring, NULL, 10);
        *out = v;
        return errno != ERANGE;
    }
    double v = j->valuedouble;
    if (v != floor(v) || fabs(v) > 9007199254740992.0)
        return false;
    *out = (int64_t)v;
    return true;
}

bool td_json_num(const td_json *j, double *out)
{
    if (!cJSON_IsNumber(j))
        return false;
    *out = j->valuedouble;
    return true;
}

bool td_json_bool(const td_json *j, bool *out)
{
    if (!cJSON_IsBool(j))
        return false;
    *out = cJSON_IsTrue(j);
    return true;
}

const char *td_json_get_str(const td_json *obj, const char *key, const char *dflt)
{
    const char *s = td_json_str(td_json_get(obj, key));
    return s ? s : dflt;
}

int64_t td_json_get_int(const td_json *obj, const char *key, int64_t dflt)
{
    int64_t v;
    return td_json_int(td_json_get(obj, key), &v) ? v : dflt;
}

double td_json_get_num(const td_json *obj, const char *key, double dflt)
{
    double v;
    return td_json_num(td_json_get(obj, key), &v) ? v : dflt;
}

bool td_json_get_bool(const td_json *obj, const char *key, bool dflt)
{
    bool v;
    return td_json_bool(td_json_get(obj, key), &v) ? v : dflt;
}
