/* complete: continues texts. All prompts run in one batch; answers come out in the order of the prompts and, inside, of
 * the choices: the one whose turn it is streams, the others are held until theirs comes. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "tools/interrupt.h"
#include "tools/lines.h"
#include "tools/open.h"
#include "tools/output.h"

#include <string.h>
#include <unistd.h>

enum { STDIN_BYTES_MAX = 256 << 20, WAIT_MS = 100 };

typedef struct answer { // one choice
    td_buf held;        // text, or ids as text, that is not printed yet
    bool headed, done;
} answer;

typedef struct job {    // one prompt
    td_request *request;
    answer *answers;    // [n]
    bool ended;
} job;

typedef struct complete {
    const flags *f;
    td_engine *engine;
    open_sampling sampling;
    job *jobs;
    size_t job_count, submitted;
    size_t turn_job;    // whose answer streams
    int32_t turn_choice;
    bool ids;
} complete;

static td_rc prompt_text(const complete *c, size_t i, td_buf *text, td_err *err)
{
    const char *const *prompts;
    size_t count = flags_list(c->f, "prompt", &prompts);
    if (!count || !strcmp(prompts[i], "-"))
        return lines_read_all(STDIN_FILENO, STDIN_BYTES_MAX, text, err);
    return td_buf_str(text, prompts[i]) ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for the prompt");
}

static td_rc submit(complete *c, size_t i, td_err *err)
{
    td_buf text = TD_BUF_INIT;
    td_tokens tokens = {NULL, 0};
    unsigned how = (flags_bool(c->f, "add-special") ? TD_TEXT_ADD_SPECIAL : 0) |
                   (flags_bool(c->f, "parse-special") ? TD_TEXT_PARSE_SPECIAL : 0);
    td_rc rc = prompt_text(c, i, &text, err);
    if (!rc)
        rc = td_tokenize(c->engine, td_buf_cstr(&text), text.len, how, &tokens, err);
    if (!rc) {
        td_request_opts o = {.prompt = tokens.ids, .prompt_count = tokens.count, .sampling = c->sampling.s};
        rc = open_submit_rc(td_request_submit(c->engine, &o, &c->jobs[i].request, err), err);
    }
    td_tokens_free(&tokens);
    td_buf_free(&text);
    return rc;
}

/* As many as the queue takes; at least one when nothing is under way. */
static td_rc submit_more(complete *c, td_err *err)
{
    while (c->submitted < c->job_count) {
        td_err busy = TD_ERR_INIT;
        td_rc rc = submit(c, c->submitted, &busy);
        if (rc == TD_E_BUSY && c->submitted > c->turn_job)
            return TD_OK;
        if (rc) {
            *err = busy;
            if (c->job_count > 1)
                td_err_prefix(err, "prompt %zu", c->submitted + 1);
            return rc;
        }
        c->submitted++;
    }
    return TD_OK;
}

static td_rc flush(complete *c, answer *a, td_err *err)
{
    td_rc rc = a->held.failed ? td_fail(err, TD_E_NOMEM, "no memory for an answer")
                              : output_text(td_buf_cstr(&a->held), a->held.len, err);
    td_buf_clear(&a->held);
    (void)c;
    return rc;
}

/* On a terminal a reader has to see where one of several answers ends; what is piped stays the answers alone. */
static td_rc head(const complete *c, answer *a, td_err *err)
{
    bool several = c->job_count > 1 || c->sampling.s.n > 1;
    if (a->headed || !several || c->ids || !isatty(STDOUT_FILENO))
        return TD_OK;
    a->headed = true;
    td_buf line = TD_BUF_INIT;
    td_buf_fmt(&line, "%s== ", c->turn_job || c->turn_choice ? "\n" : "");
    if (c->job_count > 1)
        td_buf_fmt(&line, "prompt %zu%s", c->turn_job + 1, c->sampling.s.n > 1 ? ", " : "");
    if (c->sampling.s.n > 1)
        td_buf_fmt(&line, "answer %d", (int)c->turn_choice + 1);
    td_buf_str(&line, " ==\n");
    td_rc rc = output_buf(&line, err);
    td_buf_free(&line);
    return rc;
}

/* Prints what may be printed now and passes the turn on over answers that are done. */
static td_rc print_turn(complete *c, td_err *err)
{
    while (c->turn_job < c->submitted) {
        answer *a = &c->jobs[c->turn_job].answers[c->turn_choice];
        td_rc rc = head(c, a, err);
        rc = rc ? rc : flush(c, a, err);
        if (rc || !a->done)
            return rc;
        rc = output_text("\n", 1, err);
        if (rc)
            return rc;
        if (++c->turn_choice == c->sampling.s.n) {
            c->turn_choice = 0;
            c->turn_job++;
        }
    }
    return TD_OK;
}

static td_rc take_events(complete *c, job *j, td_err *err)
{
    td_event e;
    while (td_request_next(j->request, &e)) {
        answer *a = &j->answers[e.choice];
        if (e.kind == TD_EVENT_TOKENS || e.kind == TD_EVENT_DONE) {
            for (int32_t i = 0; c->ids && i < e.id_count; i++)
                td_buf_fmt(&a->held, "%d ", e.ids[i]);
            if (!c->ids)
                td_buf_add(&a->held, e.text, e.text_len);
        }
        if (e.kind == TD_EVENT_DONE)
            a->done = true;
        if (e.kind != TD_EVENT_END)
            continue;
        j->ended = true;
        for (int32_t i = 0; i < c->sampling.s.n; i++)
            j->answers[i].done = true;
        if (e.rc && !(e.rc == TD_E_CANCELED && interrupt_count()))
            return td_fail(err, e.rc, "%s", e.message ? e.message : td_rc_text(e.rc));
        return TD_OK;
    }
    return TD_OK;
}

static td_rc run(complete *c, td_err *err)
{
    while (c->turn_job < c->job_count && !interrupt_count()) {
        td_rc rc = submit_more(c, err);
        if (rc)
            return rc;
        job *turn = &c->jobs[c->turn_job];
        if (!turn->ended)
            td_request_wait(turn->request, WAIT_MS);
        for (size_t i = c->turn_job; !rc && i < c->submitted; i++)
            if (!c->jobs[i].ended)
                rc = take_events(c, &c->jobs[i], err);
        if (!rc)
            rc = print_turn(c, err);
        if (rc)
            return rc;
    }
    return interrupt_count() ? output_text("\n", 1, err) : TD_OK;
}

static td_rc setup(complete *c, td_err *err)
{
    const char *const *prompts;
    size_t count = flags_list(c->f, "prompt", &prompts), from_stdin = 0;
    for (size_t i = 0; i < count; i++)
        from_stdin += !strcmp(prompts[i], "-");
    if (from_stdin > 1)
        return td_fail_param(err, TD_E_USAGE, "prompt", "-p - may be given once");
    c->job_count = count ? count : 1;
    c->jobs = td_alloc(c->job_count * sizeof *c->jobs);
    td_rc rc = c->jobs ? open_engine_quick(c->f, &c->engine, err) : td_fail(err, TD_E_NOMEM, "no memory for prompts");
    if (!rc)
        rc = open_sampling_init(c->f, c->engine, &c->sampling, err);
    c->sampling.s.n = (int32_t)flags_int(c->f, "n");
    for (size_t i = 0; !rc && i < c->job_count; i++) {
        c->jobs[i].answers = td_alloc((size_t)c->sampling.s.n * sizeof *c->jobs[i].answers);
        rc = c->jobs[i].answers ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for answers");
    }
    return rc;
}

static void teardown(complete *c)
{
    for (size_t i = 0; c->jobs && i < c->job_count; i++) {
        td_request_free(c->jobs[i].request);
        for (int32_t k = 0; c->jobs[i].answers && k < c->sampling.s.n; k++)
            td_buf_free(&c->jobs[i].answers[k].held);
        td_free(c->jobs[i].answers);
    }
    td_free(c->jobs);
    open_sampling_free(&c->sampling);
    td_engine_close(c->engine);
}

td_rc verb_complete(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    complete c = {.f = f, .ids = flags_bool(f, "ids")};
    td_rc rc = setup(&c, err);
    if (!rc) {
        interrupt_watch(NULL);
        rc = run(&c, err);
        interrupt_restore();
    }
    teardown(&c);
    return rc;
}
