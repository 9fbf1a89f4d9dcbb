/* Any bytes as a chat template: it parses or is refused; what parsed renders or fails within its limits, the same way
 * twice, and leaves what was in the output before. */
#include "base/json.h"
#include "model/jinja.h"

#include <stdlib.h>
#include <string.h>

static const char vars_text[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"Hello \\u00e9\"},"
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"c1\", \"type\": \"function\","
    "\"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1.0, \"b\": [true, null, \"x\"]}}}]},"
    "{\"role\": \"tool\", \"content\": \"{}\"}], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\","
    "\"parameters\": {\"type\": \"object\","
    "\"properties\": {\"a\": {\"type\": \"number\"}}}}}], \"add_generation_prompt\": true, \"bos_token\": \"<s>\","
    "\"eos_token\": \"</s>\", \"n\": 7, \"f\": 2.5, \"big\": 9223372036854775807, \"s\": \"  a,b ,c\\n\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static td_json *vars;
    td_err err = TD_ERR_INIT;
    if (!vars && td_json_parse(vars_text, sizeof vars_text - 1, &td_json_request_limits, &vars, &err) != TD_OK)
        abort();
    jinja *t;
    if (jinja_parse((const char *)data, size, &t, &err) != TD_OK) {
        if (err.rc == TD_OK || !err.msg[0])
            abort();
        return 0;
    }
    td_buf a = TD_BUF_INIT, b = TD_BUF_INIT;
    td_buf_str(&a, "before");
    td_rc rc = jinja_render(t, vars, 1700000000, &a, &err);
    if (rc != TD_OK && (a.len != 6 || err.rc != rc))
        abort();
    // Not every failing render twice: those that use up all their steps are slow.
    if (rc == TD_OK && (jinja_render(t, vars, 1700000000, &b, NULL) != TD_OK || a.len != b.len + 6 ||
                        (b.len && memcmp(a.data + 6, b.data, b.len))))
        abort();
    td_buf_free(&a);
    td_buf_free(&b);
    jinja_free(t);
    return 0;
}
