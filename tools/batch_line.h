/* batch_line.h - one line of a batch file: {"custom_id":…,"method":"POST","url":…,"body":{…}}. Pure; any thread. */
#ifndef TD_TOOLS_BATCH_LINE_H
#define TD_TOOLS_BATCH_LINE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum { BATCH_CUSTOM_ID_MAX = 512, BATCH_LINE_BYTES_MAX = (16 << 20) + (64 << 10) };

typedef struct batch_line {
    char custom_id[BATCH_CUSTOM_ID_MAX + 1]; // as far as it could be read, also when the line is refused
    bool has_custom_id;
    const char *url;                         // a literal
    const char *body;                        // within the text, as written there
    size_t body_len;
} batch_line;

/* text must outlive *out. TD_E_INPUT says what is wrong with the line. */
td_rc batch_line_read(const char *text, size_t len, batch_line *out, td_err *err);

/* What tells a line from every other one: 64 bits of its SHA-256. */
uint64_t batch_line_digest(const char *text, size_t len);

#endif
