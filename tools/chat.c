/* chat: a conversation in the terminal, with a model here or with a server (talker.h). Answers are on stdout, prompts
 * and notes on stderr, so a transcript can be piped. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/clock.h"
#include "tools/interrupt.h"
#include "tools/output.h"
#include "tools/prompt.h"
#include "tools/talker.h"

#include <stdio.h>
#include <string.h>

typedef struct chat {
    talker *talker;
    td_json *messages; // array of {role, content}
    prompt *prompt;
    bool ended;        // /exit
    bool failed;       // a turn
    uint64_t interrupted_ns; // when a Ctrl-C last dropped a line; 0 once something was said
} chat;

#define TWICE_NS (2 * TD_NS_PER_S) // two Ctrl-C within that time end

/* ------------------------------------------------------------------ the conversation */

static td_rc add_message(chat *c, const char *role, const char *content, td_err *err)
{
    td_json *m = cJSON_CreateObject();
    bool ok = m && cJSON_AddStringToObject(m, "role", role) && cJSON_AddStringToObject(m, "content", content) &&
              cJSON_AddItemToArray(c->messages, m);
    if (!ok)
        cJSON_Delete(m);
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for the conversation");
}

static const char *last_role(const chat *c)
{
    return td_json_get_str(cJSON_GetArrayItem(c->messages, cJSON_GetArraySize(c->messages) - 1), "role", "");
}

static void drop_last(chat *c) { cJSON_DeleteItemFromArray(c->messages, cJSON_GetArraySize(c->messages) - 1); }

/* Forgets all but a system message: the one given, or the one that was there. */
static td_rc begin(chat *c, const char *system, td_err *err)
{
    td_json *old = c->messages, *first = cJSON_GetArrayItem(old, 0);
    if (!system && !strcmp(td_json_get_str(first, "role", ""), "system"))
        system = td_json_get_str(first, "content", NULL);
    c->messages = cJSON_CreateArray();
    td_rc rc = !c->messages ? td_fail(err, TD_E_NOMEM, "no memory for the conversation")
               : system && *system ? add_message(c, "system", system, err)
                                   : TD_OK;
    td_json_free(old);
    return rc;
}

/* Answers what the conversation ends with. A turn that fails, or is stopped before its first word, is taken back. */
static td_rc turn(chat *c, td_err *err)
{
    td_buf said = TD_BUF_INIT;
    interrupt_reset();
    td_rc rc = talker_answer(c->talker, c->messages, &said, err);
    if (said.len || !rc) {
        td_rc written = output_text("\n", 1, rc ? NULL : err);
        rc = rc ? rc : written;
    }
    if (!rc && said.len)
        rc = add_message(c, "assistant", said.data, err);
    else
        drop_last(c);
    td_buf_free(&said);
    return rc;
}

/* ------------------------------------------------------------------ commands */

static td_rc do_help(chat *c, const char *rest, td_err *err);

static td_rc do_exit(chat *c, const char *rest, td_err *err)
{
    (void)rest, (void)err;
    c->ended = true;
    return TD_OK;
}

static td_rc do_reset(chat *c, const char *rest, td_err *err)
{
    (void)rest;
    return begin(c, NULL, err);
}

static td_rc do_retry(chat *c, const char *rest, td_err *err)
{
    (void)rest;
    if (strcmp(last_role(c), "assistant"))
        return td_fail(err, TD_E_INPUT, "there is no answer yet to try again");
    drop_last(c);
    return turn(c, err);
}

static td_rc do_system(chat *c, const char *rest, td_err *err) { return begin(c, rest, err); }

static const struct {
    const char *name, *help;
    td_rc (*run)(chat *c, const char *rest, td_err *err);
} commands[] = {
    {"/help", "this list", do_help},
    {"/reset", "forget the conversation; the system message stays", do_reset},
    {"/retry", "another answer to the last message", do_retry},
    {"/system TEXT", "forget the conversation and begin one with this system message; no TEXT: with none", do_system},
    {"/exit", "end, as Ctrl-D does", do_exit},
};

static td_rc do_help(chat *c, const char *rest, td_err *err)
{
    (void)c, (void)rest, (void)err;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(stderr, "%-14s %s\n", commands[i].name, commands[i].help);
    fputs("Ctrl-C stops an answer. A line that ends with \\ goes on in the next one; Alt-Enter breaks a line.\n",
          stderr);
    return TD_OK;
}

/* A slash and one lower-case word: /usr/bin and "/ 2" are messages. */
static bool is_command(const char *text)
{
    size_t n = text[0] == '/' ? strspn(text + 1, "abcdefghijklmnopqrstuvwxyz") : 0;
    return n && strchr(" \t\n", text[1 + n]); // the end of the text is one of them
}

static td_rc command(chat *c, const char *text, td_err *err)
{
    size_t n = strcspn(text, " \t\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *name = commands[i].name;
        if (strcspn(name, " ") == n && !strncmp(name, text, n))
            return commands[i].run(c, text + n + strspn(text + n, " \t\n"), err);
    }
    return td_fail(err, TD_E_INPUT, "no command %.*s; /help lists them, and a space before the slash sends it as text",
                   (int)(n < 40 ? n : 40), text);
}

/* ------------------------------------------------------------------ the loop */

static td_rc take(chat *c, const char *text, td_err *err)
{
    if (is_command(text))
        return command(c, text, err);
    td_rc rc = add_message(c, "user", text, err);
    return rc ? rc : turn(c, err);
}

/* An interrupt at the prompt drops what was typed, and not the conversation; one more at once ends it. A SIGTERM ends,
 * as does Ctrl-C where nobody types. */
static bool goes_on(chat *c)
{
    uint64_t now = td_now_ns(), before = c->interrupted_ns;
    if (interrupt_terminated() || !prompt_is_terminal(c->prompt) || (before && now - before < TWICE_NS))
        return false;
    c->interrupted_ns = now;
    interrupt_reset();
    fputs("Ctrl-C once more, /exit or Ctrl-D ends\n", stderr);
    return true;
}

/* What is wrong with one turn does not end the conversation. The words may be a server's. */
static void complain(chat *c, const td_err *bad)
{
    td_buf text = TD_BUF_INIT;
    td_buf_fmt(&text, "tandem: %s", bad->msg);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            text.data[i] = ' ';
    fprintf(stderr, "%s\n", td_buf_cstr(&text));
    td_buf_free(&text);
    c->failed = true;
}

static td_rc converse(chat *c, td_err *err)
{
    td_buf text = TD_BUF_INIT;
    td_rc rc = TD_OK;
    if (prompt_is_terminal(c->prompt))
        fputs("/help lists the commands, Ctrl-C stops an answer, Ctrl-D ends\n", stderr);
    while (!rc && !c->ended && !interrupt_terminated()) {
        interrupt_reset();
        prompt_result got = prompt_next(c->prompt, &text, err);
        if (got == PROMPT_END || (got == PROMPT_INTERRUPTED && !goes_on(c)))
            break;
        if (got == PROMPT_TEXT)
            c->interrupted_ns = 0;
        if (got == PROMPT_ERROR)
            rc = err->rc ? err->rc : td_fail(err, TD_E_IO, "cannot read from stdin");
        if (got != PROMPT_TEXT || !text.len)
            continue;
        td_err bad = TD_ERR_INIT;
        if (!take(c, td_buf_cstr(&text), &bad))
            continue;
        if (bad.rc == TD_E_NOMEM || bad.rc == TD_E_USAGE || output_broken()) { // so would be each turn after it
            rc = td_fail(err, bad.rc, "%s", bad.msg);
            break;
        }
        complain(c, &bad);
    }
    td_buf_free(&text);
    return rc;
}

static td_rc one_by_one(chat *c, const char *const *prompts, size_t count, td_err *err)
{
    td_rc rc = TD_OK;
    for (size_t i = 0; !rc && i < count && !interrupt_count(); i++) {
        rc = add_message(c, "user", prompts[i], err);
        if (!rc)
            rc = turn(c, err);
    }
    return rc;
}

td_rc verb_chat(const flags *f, int *exit_status, td_err *err)
{
    chat c = {.talker = NULL};
    const char *const *prompts;
    size_t turns = flags_list(f, "prompt", &prompts);
    td_rc rc = begin(&c, flags_str(f, "system"), err);
    if (!rc)
        rc = talker_open(f, &c.talker, err);
    interrupt_watch(NULL);
    if (!rc && turns)
        rc = one_by_one(&c, prompts, turns, err);
    else if (!rc)
        rc = prompt_open(flags_str(f, "history"), &c.prompt, err);
    if (!rc && !turns)
        rc = converse(&c, err);
    if (c.failed && !prompt_is_terminal(c.prompt)) // nobody saw it
        *exit_status = td_rc_exit(TD_E_INPUT);
    prompt_close(c.prompt);
    interrupt_restore();
    td_json_free(c.messages);
    talker_close(c.talker);
    return rc;
}
