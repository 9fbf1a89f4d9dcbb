/* libedit does the editing; reading is ours, because its own reader knows no way to stop for a signal without ending
 * the program:
 *
 *   terminal ──> read_char ──> libedit's keys ──> line
 *   signals ───────┘  Ctrl-C and SIGTERM end the line; a new window size redraws it; after Ctrl-Z and fg the terminal
 *                     is set up again
 *
 * The terminal is asked to mark pasted text (bracketed paste), so that a pasted newline is text and not Enter. */
#include "tools/editor.h"

#include "base/arena.h"
#include "base/log.h"
#include "tools/chat_history.h"
#include "tools/interrupt.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PASTE_CHARS_MAX = 1 << 17 };
#define PASTE_ON "\033[?2004h"
#define PASTE_OFF "\033[?2004l"

struct editor {
    EditLine *el;
    History *history;
    td_buf path;        // of the history; empty: kept nowhere
    const char *prompt; // of the line being read
    char bytes[4096];   // read, not yet decoded
    size_t at, len;
};

static editor *self(EditLine *el)
{
    void *e = NULL;
    el_get(el, EL_CLIENTDATA, &e);
    return e;
}

static char *prompt_of(EditLine *el) { return (char *)(uintptr_t)self(el)->prompt; }

/* ------------------------------------------------------------------ reading */

/* After a resize the line is drawn again; after a stop the terminal is first taken over again. */
static void redraw(EditLine *el)
{
    if (interrupt_continued()) {
        el_set(el, EL_PREP_TERM, 0);
        el_set(el, EL_PREP_TERM, 1);
        el_set(el, EL_REFRESH);
    }
    if (interrupt_resized()) {
        el_resize(el);
        el_set(el, EL_REFRESH);
    }
}

/* One byte: 1, 0 at the end, -1 for a signal that ends the line or an error. */
static int read_byte(EditLine *el, editor *e, unsigned char *out)
{
    while (e->at == e->len) {
        if (interrupt_count())
            return -1;
        redraw(el);
        if (!interrupt_wait(STDIN_FILENO))
            continue;
        ssize_t n = read(STDIN_FILENO, e->bytes, sizeof e->bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        e->at = 0;
        e->len = (size_t)n;
    }
    *out = (unsigned char)e->bytes[e->at++];
    return 1;
}

/* One character of the locale's encoding; bytes that are none of it count one by one as U+FFFD. */
static int read_char(EditLine *el, wchar_t *out)
{
    editor *e = self(el);
    mbstate_t state = {0};
    for (;;) {
        unsigned char byte;
        int got = read_byte(el, e, &byte);
        if (got <= 0)
            return got;
        size_t n = mbrtowc(out, (const char *)&byte, 1, &state);
        if (n == (size_t)-2)
            continue;
        if (n == (size_t)-1)
            *out = 0xfffd;
        if (!*out)
            *out = 4; // Ctrl-D typed during an answer, when the terminal itself made an end of file of it
        return 1;
    }
}

/* ------------------------------------------------------------------ keys */

static unsigned char break_line(EditLine *el, int c)
{
    (void)c;
    return el_winsertstr(el, L"\n") ? CC_ERROR : CC_REFRESH;
}

/* The start of a paste was read as a key: all up to its end is text. One that is too long is read to its end as well,
 * since its rest would be taken for keys, and dropped with a beep. */
static unsigned char paste(EditLine *el, int c)
{
    static const wchar_t end[] = L"\033[201~";
    static const size_t end_len = sizeof end / sizeof *end - 1;
    size_t n = 0, cap = PASTE_CHARS_MAX + 1;
    wchar_t *text = td_alloc(cap * sizeof *text);
    bool whole = true;
    (void)c;
    while (text && el_wgetc(el, &text[n]) == 1) {
        text[n] = text[n] == L'\r' ? L'\n' : text[n];
        n++;
        if (n >= end_len && !wmemcmp(text + n - end_len, end, end_len)) {
            text[n - end_len] = 0;
            whole = whole && !el_winsertstr(el, text);
            break;
        }
        if (n == PASTE_CHARS_MAX) {
            wmemmove(text, text + n - end_len, end_len);
            n = end_len;
            whole = false;
        }
    }
    td_free(text);
    return text && whole ? CC_REFRESH : CC_REFRESH_BEEP;
}

static void bind_keys(EditLine *el)
{
    static const char *const keys[][2] = {
        {"^R", "em-inc-search-prev"},     {"\\e\\r", "td-break-line"},      {"\\e\\n", "td-break-line"},
        {"\\e[200~", "td-paste"},         {"\\e[1;5C", "em-next-word"},     {"\\e[1;5D", "ed-prev-word"},
        {"\\e[3~", "ed-delete-next-char"}, {"\\e[H", "ed-move-to-beg"},     {"\\e[F", "ed-move-to-end"},
        {"\\e[1~", "ed-move-to-beg"},     {"\\e[4~", "ed-move-to-end"},
    };
    el_set(el, EL_EDITOR, "emacs");
    el_wset(el, EL_ADDFN, L"td-break-line", L"break the line", break_line); // el_set would leak copies of the names
    el_wset(el, EL_ADDFN, L"td-paste", L"insert pasted text", paste);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        el_set(el, EL_BIND, keys[i][0], keys[i][1], NULL);
    el_source(el, NULL); // ~/.editrc
}

/* ------------------------------------------------------------------ history */

static void take_entry(void *ctx, const char *text)
{
    HistEvent event;
    history(((editor *)ctx)->history, &event, H_ENTER, text);
}

/* A history that cannot be kept is no reason not to talk. */
static void give_up(editor *e, const td_err *err)
{
    td_warn("%s; nothing is kept (--history names another file, or none)", err->msg);
    td_buf_clear(&e->path);
}

static void load_history(editor *e)
{
    HistEvent event;
    td_err err = TD_ERR_INIT;
    history(e->history, &event, H_SETSIZE, CHAT_HISTORY_MAX);
    history(e->history, &event, H_SETUNIQUE, 1); // a line typed twice in a row counts once
    if (e->path.len && chat_history_load(e->path.data, take_entry, e, &err))
        give_up(e, &err);
}

void editor_remember(editor *e, const char *message)
{
    td_err err = TD_ERR_INIT;
    take_entry(e, message);
    if (e->path.len && chat_history_add(e->path.data, message, &err))
        give_up(e, &err);
}

/* ------------------------------------------------------------------ */

static bool use_locale(void)
{
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1 && !setlocale(LC_CTYPE, "C.UTF-8")) // models speak UTF-8 even where LANG is not set
        return false;
    return MB_CUR_MAX > 1;
}

editor *editor_open(const char *history_path)
{
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO) || !term || !strcmp(term, "dumb") || !use_locale())
        return NULL;
    editor *e = td_alloc(sizeof *e);
    if (!e)
        return NULL;
    e->el = el_init("tandem", stdin, stderr, stderr);
    e->history = history_init();
    if (!e->el || !e->history || !td_buf_str(&e->path, history_path ? history_path : "")) {
        editor_close(e);
        return NULL;
    }
    load_history(e);
    el_set(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_SIGNAL, 0);
    el_set(e->el, EL_PROMPT, prompt_of);
    el_set(e->el, EL_HIST, history, e->history);
    el_wset(e->el, EL_GETCFN, read_char);
    bind_keys(e->el);
    interrupt_watch_terminal();
    return e;
}

void editor_close(editor *e)
{
    if (!e)
        return;
    if (e->el)
        el_end(e->el);
    if (e->history)
        history_end(e->history);
    td_buf_free(&e->path);
    td_free(e);
}

prompt_result editor_read(editor *e, const char *prompt_text, td_buf *line)
{
    int count = 0;
    e->prompt = prompt_text;
    fputs(PASTE_ON, stderr);
    el_resize(e->el);                // the window may have changed since the last line
    el_set(e->el, EL_PREP_TERM, 1);  // before the prompt is there, so that no key meets the terminal's own editing
    const char *text = el_gets(e->el, &count);
    fputs(PASTE_OFF, stderr);
    fflush(stderr);
    if (text && count > 0)
        return td_buf_add(line, text, strlen(text)) ? PROMPT_TEXT : PROMPT_ERROR;
    fputc('\n', stderr);
    return interrupt_count() ? PROMPT_INTERRUPTED : PROMPT_END;
}

const char *editor_version(void)
{
    static char text[16];
    snprintf(text, sizeof text, "%d.%d", LIBEDIT_MAJOR, LIBEDIT_MINOR);
    return text;
}
