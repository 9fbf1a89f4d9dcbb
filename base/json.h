/* json.h - JSON from outside: cJSON behind a strict scanner.
 *
 * The scanner refuses what cJSON lets through: bytes that are not UTF-8, lone surrogates, \u0000, raw control
 * characters, duplicate keys, leading zeros, numbers out of range, trailing garbage, too much depth or too many nodes.
 * Only then does cJSON build the tree. Integers beyond 2^53 keep their exact value, see td_json_int(); those beyond 64
 * bits are numbers, but no integers.
 * Thread: any; a tree belongs to its caller (td_json_free). Errors are TD_E_INPUT with the byte offset. */
#ifndef TD_BASE_JSON_H
#define TD_BASE_JSON_H

#include "base/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

typedef cJSON td_json;

typedef struct td_json_limits {
    int depth_max;
    int64_t nodes_max;
} td_json_limits;

extern const td_json_limits td_json_request_limits; // for a request body
extern const td_json_limits td_json_file_limits;    // for a model's own files

td_rc td_json_scan(const char *s, size_t len, const td_json_limits *lim, td_err *err); // check only
td_rc td_json_parse(const char *s, size_t len, const td_json_limits *lim, td_json **out, td_err *err);
void td_json_free(td_json *j);

/* Access. A missing key or another type gives NULL or false, never an abort. `null` counts as missing in
 * td_json_get. */
td_json *td_json_get(const td_json *obj, const char *key);
const char *td_json_str(const td_json *j);              // NULL unless a string
bool td_json_int(const td_json *j, int64_t *out);       // whole numbers only, exact over all of int64; false beyond
bool td_json_is_float(const td_json *j); // a number with a point or an exponent: 1.0 is one, 1 is not
bool td_json_num(const td_json *j, double *out);
bool td_json_bool(const td_json *j, bool *out);
/* The same by key with a default for a missing key. */
const char *td_json_get_str(const td_json *obj, const char *key, const char *dflt);
int64_t td_json_get_int(const td_json *obj, const char *key, int64_t dflt);
double td_json_get_num(const td_json *obj, const char *key, double dflt);
bool td_json_get_bool(const td_json *obj, const char *key, bool dflt);

#define td_json_each(item, parent) \
    for (td_json *item = (parent) ? (parent)->child : NULL; item; item = item->next)

#endif
