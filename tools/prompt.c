#include "tools/prompt.h"

#include "base/arena.h"
#include "base/log.h"
#include "tools/editor.h"
#include "tools/interrupt.h"
#include "tools/lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 16 << 20 };

struct prompt {
    bool terminal;
    editor *editor; // NULL: lines as they come
    lines in;
    td_buf line;
};

/* ------------------------------------------------------------------ where the history is */

static bool make_dirs(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        bool ok = !mkdir(path, 0700) || errno == EEXIST;
        *p = '/';
        if (!ok)
            return false;
    }
    return true;
}

/* XDG's place for what a program remembers; false where there is none. */
static bool history_path(const char *wanted, td_buf *out)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (!strcmp(wanted, "none"))
        return false;
    if (strcmp(wanted, "auto"))
        return td_buf_str(out, wanted);
    if (state && *state == '/')
        td_buf_fmt(out, "%s/tandem/chat_history", state);
    else if (home && *home == '/')
        td_buf_fmt(out, "%s/.local/state/tandem/chat_history", home);
    if (!out->len || out->failed)
        return false;
    if (!make_dirs(out->data)) {
        td_debug("no history: %s: %s", out->data, strerror(errno));
        return false;
    }
    return true;
}

td_rc prompt_open(const char *history, prompt **out, td_err *err)
{
    prompt *p = td_alloc(sizeof *p);
    if (!p)
        return td_fail(err, TD_E_NOMEM, "no memory for a prompt");
    p->terminal = isatty(STDIN_FILENO);
    if (p->terminal) {
        td_buf path = TD_BUF_INIT;
        p->editor = editor_open(history_path(history, &path) ? td_buf_cstr(&path) : NULL);
        td_buf_free(&path);
    }
    lines_init(&p->in, STDIN_FILENO, LINE_BYTES_MAX);
    *out = p;
    return TD_OK;
}

void prompt_close(prompt *p)
{
    if (!p)
        return;
    editor_close(p->editor);
    lines_free(&p->in);
    td_buf_free(&p->line);
    td_free(p);
}

bool prompt_is_terminal(const prompt *p) { return p->terminal; }

/* ------------------------------------------------------------------ lines */

static prompt_result plain_line(prompt *p, const char *text, td_err *err)
{
    if (p->terminal)
        fputs(text, stderr);
    while (p->in.chunk_at == p->in.chunk_len && !p->in.ended && !interrupt_wait(STDIN_FILENO))
        if (interrupt_count()) {
            fputs(p->terminal ? "\n" : "", stderr);
            return PROMPT_INTERRUPTED;
        }
    switch (lines_next(&p->in, err)) {
    case LINES_OK:
        return td_buf_add(&p->line, td_buf_cstr(&p->in.line), p->in.line.len) ? PROMPT_TEXT : PROMPT_ERROR;
    case LINES_END:
        return PROMPT_END;
    case LINES_TOO_LONG:
        td_fail(err, TD_E_INPUT, "line %llu is longer than %d bytes", (unsigned long long)p->in.number, LINE_BYTES_MAX);
        return PROMPT_ERROR;
    default:
        return PROMPT_ERROR;
    }
}

static prompt_result one_line(prompt *p, const char *text, td_err *err)
{
    td_buf_clear(&p->line);
    prompt_result got = p->editor ? editor_read(p->editor, text, &p->line) : plain_line(p, text, err);
    while (got == PROMPT_TEXT && p->line.len && strchr("\r\n", p->line.data[p->line.len - 1]))
        p->line.data[--p->line.len] = 0;
    return got;
}

prompt_result prompt_next(prompt *p, td_buf *message, td_err *err)
{
    td_buf_clear(message);
    prompt_result got = one_line(p, "> ", err);
    while (got == PROMPT_TEXT && p->line.len && p->line.data[p->line.len - 1] == '\\') {
        p->line.data[p->line.len - 1] = '\n';
        td_buf_add(message, p->line.data, p->line.len);
        got = one_line(p, ". ", err);
    }
    if (got == PROMPT_TEXT || (got == PROMPT_END && message->len)) {
        td_buf_add(message, td_buf_cstr(&p->line), p->line.len);
        got = PROMPT_TEXT;
    }
    if (got == PROMPT_ERROR || message->failed) {
        td_fail(err, TD_E_NOMEM, "no memory for a message"); // an earlier message stays
        return PROMPT_ERROR;
    }
    if (got == PROMPT_TEXT && message->len && p->editor)
        editor_remember(p->editor, message->data);
    return got;
}
