/* jinja.h - the subset of Jinja2 that chat templates use, safe by construction.
 *
 * A template is parsed once into an immutable tree (any thread may render it) and rendered against JSON data. There is
 * no access to anything but that data. Fuel, depth, range and output are bounded by base/limits.h; exceeding one, an
 * undefined operation or raise_exception() is TD_E_INPUT with the template's line number. Semantics are those of
 * Hugging Face's renderer: trim_blocks and lstrip_blocks on, loop controls, tojson without HTML escaping. */
#ifndef TD_MODEL_JINJA_H
#define TD_MODEL_JINJA_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

typedef struct jinja jinja;

td_rc jinja_parse(const char *source, size_t len, jinja **out, td_err *err);
void jinja_free(jinja *t);
/* vars: an object whose members are the template's global names. Appends to *out. `now` = seconds since 1970 for
 * strftime_now. */
td_rc jinja_render(const jinja *t, const td_json *vars, uint64_t now, td_buf *out, td_err *err);

#endif
