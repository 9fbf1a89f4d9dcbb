/* Renders a chat template: one JSON object a line in, {"prompt": …} or {"error": …} a line out.
 *
 *   render_cli TEMPLATE.jinja < requests.jsonl
 *
 * The members of a line are the template's variables; `now` sets the clock of strftime_now. */
#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "model/jinja.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(td_rc rc, const td_buf *text, const td_err *err)
{
    td_buf line = TD_BUF_INIT;
    td_buf_str(&line, rc == TD_OK ? "{\"prompt\": " : "{\"error\": ");
    if (rc == TD_OK)
        td_buf_json_str(&line, td_buf_cstr(text), text->len);
    else
        td_buf_json_str(&line, err->msg, strlen(err->msg));
    td_buf_str(&line, "}");
    puts(td_buf_cstr(&line));
    td_buf_free(&line);
}

static void render_line(const jinja *t, const char *s, size_t len)
{
    td_err err = TD_ERR_INIT;
    td_json *vars = NULL;
    td_buf text = TD_BUF_INIT;
    td_rc rc = td_json_parse(s, len, &td_json_request_limits, &vars, &err);
    if (rc == TD_OK)
        rc = jinja_render(t, vars, (uint64_t)td_json_get_int(vars, "now", 0), &text, &err);
    answer(rc, &text, &err);
    td_json_free(vars);
    td_buf_free(&text);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: render_cli TEMPLATE < LINES\n");
        return 2;
    }
    char *source = NULL, *line = NULL;
    size_t len = 0, cap = 0;
    td_err err = TD_ERR_INIT;
    jinja *t = NULL;
    if (td_file_read(argv[1], TD_JINJA_SOURCE_BYTES_MAX, &source, &len, &err) != TD_OK ||
        jinja_parse(source, len, &t, &err) != TD_OK) {
        answer(err.rc, NULL, &err);
        td_free(source);
        return 3;
    }
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;)
        render_line(t, line, (size_t)n - (line[n - 1] == '\n'));
    free(line);
    td_free(source);
    jinja_free(t);
    return 0;
}
