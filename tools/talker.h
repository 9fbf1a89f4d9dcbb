/* talker.h - who answers in a chat: the engine of this process, or a server. One turn at a time; main thread. */
#ifndef TD_TOOLS_TALKER_H
#define TD_TOOLS_TALKER_H

#include "base/flags.h"
#include "base/json.h"

typedef struct talker talker;

/* With --url the server there, else MODEL in this process. */
td_rc talker_open(const flags *f, talker **out, td_err *err);
void talker_close(talker *t);
/* Streams the answer to a conversation (array of {role, content}) to stdout and appends it to *said. An interrupt ends
 * the answer and is no error: *said holds what was said until then. */
td_rc talker_answer(talker *t, const td_json *messages, td_buf *said, td_err *err);

/* What both kinds give; talker_open chooses. */
typedef struct talker_kind {
    const char *name;
    td_rc (*open)(const flags *f, void **state, td_err *err); // leaves *state closeable when it fails
    td_rc (*answer)(void *state, const td_json *messages, td_buf *said, td_err *err);
    void (*close)(void *state);                               // NULL is harmless
} talker_kind;
extern const talker_kind talker_local, talker_remote;

#endif
