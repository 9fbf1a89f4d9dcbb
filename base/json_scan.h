/* json_scan.h - the strict scanner in front of cJSON; private to base/json.c and its tests.
 *
 * One pass, one state stack, no recursion. Stops at the first fault with its byte offset. When the text holds integers
 * beyond 2^53 (exact in int64) or whole numbers with a point or exponent (1.0), `*rewritten` gets the text with each of
 * them as a string "\xFF<number as written>". */
#ifndef TD_BASE_JSON_SCAN_H
#define TD_BASE_JSON_SCAN_H

#include "base/buf.h"
#include "base/json.h"

enum { TD_JSON_STACK_MAX = 1024 };

td_rc td_json_scan_rewrite(const char *s, size_t len, const td_json_limits *lim, td_buf *rewritten, td_err *err);

#endif
