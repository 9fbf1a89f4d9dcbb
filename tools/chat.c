/* chat: a conversation in the terminal. The whole history goes through the chat template each turn; the prefix cache
 * makes that cheap. Results are on stdout, prompts and notes on stderr, so a transcript can be piped. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/log.h"
#include "tools/interrupt.h"
#include "tools/open.h"
#include "tools/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 100 };

typedef struct chat {
    const flags *f;
    td_engine *engine;
    open_sampling sampling;
    td_json *messages; // array of {role, content}
} chat;

static td_rc add_message(chat *c, const char *role, const char *content, td_err *err)
{
    td_json *m = cJSON_CreateObject();
    bool ok = m && cJSON_AddStringToObject(m, "role", role) && cJSON_AddStringToObject(m, "content", content) &&
              cJSON_AddItemToArray(c->messages, m);
    if (!ok)
        cJSON_Delete(m);
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for the conversation");
}

static void drop_last_message(chat *c) { cJSON_DeleteItemFromArray(c->messages, cJSON_GetArraySize(c->messages) - 1); }

static td_rc reset(chat *c, td_err *err)
{
    td_json_free(c->messages);
    c->messages = cJSON_CreateArray();
    if (!c->messages)
        return td_fail(err, TD_E_NOMEM, "no memory for the conversation");
    const char *system = flags_str(c->f, "system");
    return system ? add_message(c, "system", system, err) : TD_OK;
}

/* Streams one answer to stdout and keeps it in *said. */
static td_rc stream(td_request *r, td_buf *said, td_err *err)
{
    for (;;) {
        if (interrupt_count())
            td_request_cancel(r);
        td_request_wait(r, WAIT_MS);
        td_event e;
        while (td_request_next(r, &e)) {
            td_rc rc = TD_OK;
            if ((e.kind == TD_EVENT_TOKENS || e.kind == TD_EVENT_DONE) && e.text_len) {
                td_buf_add(said, e.text, e.text_len);
                rc = output_text(e.text, e.text_len, err);
            }
            if (rc)
                return rc;
            if (e.kind == TD_EVENT_END)
                return e.rc && e.rc != TD_E_CANCELED
                           ? td_fail(err, e.rc, "%s", e.message ? e.message : td_rc_text(e.rc))
                           : output_text("\n", 1, err);
        }
    }
}

/* One turn: the user's message is in the history already. */
static td_rc answer(chat *c, td_err *err)
{
    td_chat in = {.messages = c->messages};
    td_tokens tokens = {NULL, 0};
    td_request *r = NULL;
    td_buf said = TD_BUF_INIT;
    td_rc rc = td_tokenize_chat(c->engine, &in, &tokens, err);
    if (!rc) {
        td_request_opts o = {.prompt = tokens.ids, .prompt_count = tokens.count, .sampling = c->sampling.s};
        rc = td_request_submit(c->engine, &o, &r, err);
    }
    if (!rc) {
        interrupt_reset();
        rc = stream(r, &said, err);
    }
    if (!rc)
        rc = add_message(c, "assistant", td_buf_cstr(&said), err);
    td_request_free(r);
    td_tokens_free(&tokens);
    td_buf_free(&said);
    return rc;
}

static void note(const char *text)
{
    if (isatty(STDIN_FILENO))
        fputs(text, stderr);
}

/* Reads lines until /exit, the end of the input, or Ctrl-C at the prompt. A turn that fails is taken back. */
static td_rc converse(chat *c, td_err *err)
{
    char *line = NULL;
    size_t cap = 0;
    td_rc rc = TD_OK;
    note("/reset forgets the conversation, /exit ends, Ctrl-C stops an answer\n");
    while (!rc) {
        note("> ");
        interrupt_reset();
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0)
            break;
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = 0;
        if (!strcmp(line, "/exit"))
            break;
        if (!strcmp(line, "/reset")) {
            rc = reset(c, err);
        } else if (n) {
            td_err turn = TD_ERR_INIT;
            rc = add_message(c, "user", line, err);
            if (!rc && answer(c, &turn)) {
                drop_last_message(c);
                td_error("%s", turn.msg);
                rc = turn.rc == TD_E_IO ? td_fail(err, turn.rc, "%s", turn.msg) : TD_OK;
            }
        }
    }
    if (!rc && ferror(stdin) && errno != EINTR)
        rc = td_fail(err, TD_E_IO, "cannot read stdin: %s", strerror(errno));
    free(line);
    return rc;
}

td_rc verb_chat(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    chat c = {.f = f};
    const char *const *prompts;
    size_t turns = flags_list(f, "prompt", &prompts);
    td_rc rc = open_engine(f, &c.engine, err);
    if (!rc)
        rc = open_sampling_init(f, c.engine, &c.sampling, err);
    if (!rc)
        rc = reset(&c, err);
    interrupt_watch(NULL);
    for (size_t i = 0; !rc && i < turns && !interrupt_count(); i++) {
        rc = add_message(&c, "user", prompts[i], err);
        if (!rc)
            rc = answer(&c, err);
    }
    if (!rc && !turns)
        rc = converse(&c, err);
    interrupt_restore();
    td_json_free(c.messages);
    open_sampling_free(&c.sampling);
    td_engine_close(c.engine);
    return rc;
}
