/* editor.h - one edited line on the terminal, where the build has libedit. Keys as in Emacs, or as ~/.editrc says;
 * Ctrl-R searches the history, Alt-Enter breaks the line, pasted text keeps its line breaks. The prompt and the line
 * are drawn on stderr, so that stdout holds answers only. One at a time; main thread. */
#ifndef TD_TOOLS_EDITOR_H
#define TD_TOOLS_EDITOR_H

#include "tools/prompt.h"

typedef struct editor editor;

#ifdef TANDEM_LIBEDIT
/* NULL when this terminal cannot be edited on. history: file, or NULL to keep nothing. */
editor *editor_open(const char *history);
void editor_close(editor *e);
prompt_result editor_read(editor *e, const char *prompt_text, td_buf *line);
/* Puts a whole message into the history, and at once into its file. */
void editor_remember(editor *e, const char *message);
const char *editor_version(void); // "3.1"
#else // the terminal's own line discipline has to do
static inline editor *editor_open(const char *history)
{
    (void)history;
    return NULL;
}
static inline void editor_close(editor *e) { (void)e; }
static inline prompt_result editor_read(editor *e, const char *prompt_text, td_buf *line)
{
    (void)e, (void)prompt_text, (void)line;
    return PROMPT_ERROR;
}
static inline void editor_remember(editor *e, const char *message) { (void)e, (void)message; }
static inline const char *editor_version(void) { return NULL; }
#endif

#endif
