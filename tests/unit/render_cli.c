/* Renders a chat template: one JSON object a line in, {"prompt": …} or {"error": …} a line out.
 *
 *   render_cli TEMPLATE.jinja < requests.jsonl    the members of a line are the template's variables
 *   render_cli --batch < requests.jsonl           each line is {"template": …, "vars": {…}}
 *
 * The variable `now` sets the clock of strftime_now. */
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

static td_rc render(const jinja *t, const td_json *vars, td_buf *text, td_err *err)
{
    return jinja_render(t, vars, (uint64_t)td_json_get_int(vars, "now", 0), text, err);
}

static td_rc render_batch(const td_json *line, td_buf *text, td_err *err)
{
    const char *source = td_json_get_str(line, "template", "");
    jinja *t = NULL;
    td_rc rc = jinja_parse(source, strlen(source), &t, err);
    if (rc == TD_OK)
        rc = render(t, td_json_get(line, "vars"), text, err);
    jinja_free(t);
    return rc;
}

/* t NULL: the line brings its own template. */
static void render_line(const jinja *t, const char *s, size_t len)
{
    td_err err = TD_ERR_INIT;
    td_json *line = NULL;
    td_buf text = TD_BUF_INIT;
    td_rc rc = td_json_parse(s, len, &td_json_request_limits, &line, &err);
    if (rc == TD_OK)
        rc = t ? render(t, line, &text, &err) : render_batch(line, &text, &err);
    answer(rc, &text, &err);
    td_json_free(line);
    td_buf_free(&text);
}

static td_rc load(const char *path, jinja **t, td_err *err)
{
    char *source;
    size_t len;
    td_rc rc = td_file_read(path, TD_JINJA_SOURCE_BYTES_MAX, &source, &len, err);
    if (rc != TD_OK)
        return rc;
    rc = jinja_parse(source, len, t, err);
    td_free(source);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: render_cli TEMPLATE|--batch < LINES\n");
        return 2;
    }
    char *line = NULL;
    size_t cap = 0;
    td_err err = TD_ERR_INIT;
    jinja *t = NULL;
    if (strcmp(argv[1], "--batch") && load(argv[1], &t, &err) != TD_OK) {
        answer(err.rc, NULL, &err);
        return 3;
    }
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;)
        render_line(t, line, (size_t)n - (line[n - 1] == '\n'));
    free(line);
    jinja_free(t);
    return 0;
}
