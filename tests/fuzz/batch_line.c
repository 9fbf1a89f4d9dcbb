/* Lines of batch files: any bytes are refused, or give a body that is a JSON object inside the line. */
#include "base/json.h"
#include "tools/batch_line.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    td_buf text = TD_BUF_INIT; // lines come NUL terminated
    td_buf_add(&text, data, len);
    batch_line line;
    td_err err = TD_ERR_INIT;
    td_rc rc = batch_line_read(td_buf_cstr(&text), text.len, &line, &err);
    if (!rc) {
        td_assert(line.body >= text.data && line.body + line.body_len <= text.data + text.len);
        td_assert(!td_json_scan(line.body, line.body_len, &td_json_request_limits, NULL));
        td_assert(line.body[0] == '{' && line.url && line.has_custom_id);
    } else {
        td_assert(err.msg[0]);
    }
    td_buf_free(&text);
    return 0;
}
