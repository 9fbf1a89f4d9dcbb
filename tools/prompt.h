/* prompt.h - what a person types, message by message. On a terminal with line editing and a history where the build has
 * libedit; lines as the terminal gives them without it; lines of a pipe without any prompt.
 *
 * A message is one line, or several: a line that ends with \ goes on in the next one, and on an edited line Alt-Enter
 * and pasted text bring line breaks of their own. Main thread; interrupt_watch() must be on. */
#ifndef TD_TOOLS_PROMPT_H
#define TD_TOOLS_PROMPT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>

typedef enum prompt_result {
    PROMPT_TEXT,
    PROMPT_END,         // end of input, Ctrl-D
    PROMPT_INTERRUPTED, // a signal; what was typed is gone
    PROMPT_ERROR,
} prompt_result;

typedef struct prompt prompt;

/* history: a file's name; "none"; "auto" for tandem/chat_history in the user's state directory. */
td_rc prompt_open(const char *history, prompt **out, td_err *err);
void prompt_close(prompt *p);
bool prompt_is_terminal(const prompt *p);
/* PROMPT_TEXT: the next message, without its last newline, in *message. */
prompt_result prompt_next(prompt *p, td_buf *message, td_err *err);

#endif
