/* chat_history.h - what was typed in chats: a file of JSON strings, one a line, oldest first. Several programs may add
 * to it at once, since each entry is one write at the end; only its owner may read it. A line that cannot be read is
 * passed over. Main thread. */
#ifndef TD_TOOLS_CHAT_HISTORY_H
#define TD_TOOLS_CHAT_HISTORY_H

#include "base/err.h"

enum { CHAT_HISTORY_MAX = 1000 };

/* Hands each of the last CHAT_HISTORY_MAX entries to `take`, oldest first, and shortens a file that has grown to twice
 * as many. A file that is not there is an empty one. */
td_rc chat_history_load(const char *path, void (*take)(void *ctx, const char *text), void *ctx, td_err *err);
td_rc chat_history_add(const char *path, const char *text, td_err *err);

#endif
