#include "tools/talker.h"

#include "base/arena.h"
#include "tools/output.h"

struct talker {
    const talker_kind *kind;
    void *state;
};

/* A model's name that is taken for an address, a URL given as MODEL: said before anything is loaded. */
static td_rc choose(const flags *f, const talker_kind **kind, td_err *err)
{
    bool url = flags_str(f, "url");
    const char *model = flags_operand_count(f) ? flags_operand(f, 0) : NULL;
    if (url && model)
        return td_fail_param(err, TD_E_USAGE, "url", "'%.100s' and --url: talk to a model here or to a server, not "
                             "both; a server's model is named with --model", model);
    if (!url && !model)
        return td_fail(err, TD_E_USAGE, "usage: tandem chat MODEL [flags], or tandem chat --url URL [flags]");
    if (!url && flags_given(f, "model"))
        return td_fail_param(err, TD_E_USAGE, "model", "--model names a model of the server that --url names; a model "
                             "here is given without a flag");
    *kind = url ? &talker_remote : &talker_local;
    return TD_OK;
}

td_rc talker_open(const flags *f, talker **out, td_err *err)
{
    talker *t = td_alloc(sizeof *t);
    if (!t)
        return td_fail(err, TD_E_NOMEM, "no memory for a chat");
    td_rc rc = choose(f, &t->kind, err);
    if (!rc)
        rc = t->kind->open(f, &t->state, err);
    if (rc)
        talker_close(t);
    else
        *out = t;
    return rc;
}

void talker_close(talker *t)
{
    if (!t)
        return;
    if (t->kind)
        t->kind->close(t->state);
    td_free(t);
}

td_rc talker_answer(talker *t, const td_json *messages, td_buf *said, td_err *err)
{
    td_rc rc = t->kind->answer(t->state, messages, said, err);
    if (!rc && said->failed)
        rc = td_fail(err, TD_E_NOMEM, "no memory for an answer");
    return rc;
}
