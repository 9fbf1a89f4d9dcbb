/* What a template can take, found by rendering small conversations when the model is loaded.
 *
 * Templates differ in whether content may be a list, whether it may be null beside tool calls, and whether the
 * arguments of a call should be an object or JSON text. Nothing in the template says so; but what comes out does:
 * the text of a message shows up, and not as the print of a Python list. */
#include "model/chat_int.h"

#include <string.h>

#define NEEDLE "n33dle"

typedef struct probe {
    const char *messages;  // JSON
    const char *needle;    // must be in the output
    const char *forbidden[3]; // in the output
} probe;

static bool passes(const chat_template *t, const probe *p, td_rc *rc)
{
    td_json *messages = NULL;
    td_buf out = TD_BUF_INIT;
    td_err err = TD_ERR_INIT;
    chat_args args = {.add_generation_prompt = false};
    bool ok = td_json_parse(p->messages, strlen(p->messages), &td_json_request_limits, &messages, &err) == TD_OK &&
              chat_render_messages(t, messages, &args, &out, &err) == TD_OK && strstr(td_buf_cstr(&out), p->needle);
    if (err.rc == TD_E_NOMEM)
        *rc = err.rc;
    for (int i = 0; i < 3 && p->forbidden[i]; i++)
        ok = ok && !strstr(td_buf_cstr(&out), p->forbidden[i]);
    td_json_free(messages);
    td_buf_free(&out);
    return ok;
}

static const probe plain = {"[{\"role\":\"user\",\"content\":\"" NEEDLE "\"}]", NEEDLE, {NULL}};
static const probe listed = {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"" NEEDLE "\"}]}]", NEEDLE,
                             {"'type'", "\"type\"", NULL}};

#define CALLS(content, arguments)                                                                               \
    "[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":" content                      \
    ",\"tool_calls\":[{\"id\":\"call00001\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":" \
    arguments "}}]}]"
#define OBJECT "{\"key\":\"" NEEDLE "\"}"
#define TEXT "\"{\\\"key\\\":\\\"" NEEDLE "\\\"}\""

static const struct {
    probe p;
    bool null_content, string_arguments;
} calls[] = { // the first that passes; a dict printed as Python does is not JSON for the model
    {{CALLS("null", OBJECT), NEEDLE, {"None", "'key'", NULL}}, true, false},
    {{CALLS("\"\"", OBJECT), NEEDLE, {"'key'", NULL}}, false, false},
    {{CALLS("null", TEXT), NEEDLE, {"None", NULL}}, true, true},
    {{CALLS("\"\"", TEXT), NEEDLE, {NULL}}, false, true},
    // templates that do not know tool calls
    {{CALLS("null", OBJECT), "hi", {"None", NULL}}, true, false},
    {{CALLS("\"\"", OBJECT), "hi", {NULL}}, false, false},
};

td_rc chat_probe(chat_template *t, td_err *err)
{
    td_rc rc = TD_OK;
    t->caps = (chat_caps){.null_content = true};
    t->caps.parts = passes(t, &listed, &rc);
    t->caps.only_parts = t->caps.parts && !passes(t, &plain, &rc);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        if (!passes(t, &calls[i].p, &rc))
            continue;
        t->caps.null_content = calls[i].null_content;
        t->caps.string_arguments = calls[i].string_arguments;
        break;
    }
    return rc == TD_OK ? rc : td_fail(err, rc, "not enough memory for a chat template");
}
