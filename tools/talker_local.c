/* The engine in this process answers. The whole conversation goes through the chat template each turn; the prefix cache
 * makes that cheap. */
#include "base/arena.h"
#include "tools/interrupt.h"
#include "tools/open.h"
#include "tools/output.h"
#include "tools/talker.h"

enum { WAIT_MS = 100 };

typedef struct local_state {
    td_engine *engine;
    open_sampling sampling;
} local_state;

static td_rc open_local(const flags *f, void **state, td_err *err)
{
    local_state *l = td_alloc(sizeof *l);
    if (!l)
        return td_fail(err, TD_E_NOMEM, "no memory for a chat");
    *state = l;
    td_rc rc = open_engine_quick(f, &l->engine, err);
    return rc ? rc : open_sampling_init(f, l->engine, &l->sampling, err);
}

static void close_local(void *state)
{
    local_state *l = state;
    if (!l)
        return;
    open_sampling_free(&l->sampling);
    td_engine_close(l->engine);
    td_free(l);
}

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
                           : TD_OK;
        }
    }
}

static td_rc answer_local(void *state, const td_json *messages, td_buf *said, td_err *err)
{
    local_state *l = state;
    td_chat in = {.messages = messages};
    td_tokens tokens = {NULL, 0};
    td_request *r = NULL;
    td_rc rc = td_tokenize_chat(l->engine, &in, &tokens, err);
    if (!rc) {
        td_request_opts o = {.prompt = tokens.ids, .prompt_count = tokens.count, .sampling = l->sampling.s};
        rc = open_submit_rc(td_request_submit(l->engine, &o, &r, err), err);
    }
    if (!rc)
        rc = stream(r, said, err);
    td_request_free(r);
    td_tokens_free(&tokens);
    return rc;
}

const talker_kind talker_local = {"model", open_local, answer_local, close_local};
