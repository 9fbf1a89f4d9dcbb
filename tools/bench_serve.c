/* bench serve: a load generator for any OpenAI-compatible server. A table goes to stdout; --save-result writes the same
 * figures as JSON with the keys that vLLM's tool writes. */
#include "tools/verbs.h"

#include "tools/interrupt.h"
#include "tools/load.h"
#include "tools/output.h"
#include "tools/progress.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static td_rc goals_of(const flags *f, load_goals *g, td_err *err)
{
    const char *const *items;
    size_t count = flags_list(f, "goodput", &items);
    const struct {
        const char *name;
        double *to;
    } rows[] = {{"ttft:", &g->ttft}, {"tpot:", &g->tpot}, {"e2el:", &g->e2el}};
    for (size_t i = 0; i < count; i++) {
        bool known = false;
        for (size_t k = 0; k < 3; k++)
            if (!strncmp(items[i], rows[k].name, 5))
                known = flags_parse_num(items[i] + 5, rows[k].to) && *rows[k].to > 0;
        if (!known)
            return td_fail_param(err, TD_E_USAGE, "goodput", "--goodput '%.60s' is not ttft:MS, tpot:MS or e2el:MS",
                                 items[i]);
    }
    return TD_OK;
}

static td_rc save(const char *path, const td_buf *json, td_err *err)
{
    if (!strcmp(path, "-"))
        return output_buf(json, err);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno));
    td_rc rc = output_bytes(fd, td_buf_cstr(json), json->len, err);
    if (close(fd) && !rc)
        rc = td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno));
    return rc;
}

static void show(void *ctx, int32_t done, int32_t count)
{
    char note[48];
    snprintf(note, sizeof note, "%d/%d requests", done, count);
    progress_at(ctx, (double)done / count, note);
}

static td_rc report(const flags *f, const load_plan *p, const load_run *r, const load_goals *g, td_err *err)
{
    const char *path = flags_str(f, "save-result");
    td_buf text = TD_BUF_INIT, json = TD_BUF_INIT;
    bool ok = load_report_text(p, r, g, &text) && load_report_json(p, r, g, &json);
    td_rc rc = ok ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for the report");
    if (!rc && (!path || strcmp(path, "-")))
        rc = output_buf(&text, err);
    if (!rc && path)
        rc = save(path, &json, err);
    td_buf_free(&text);
    td_buf_free(&json);
    return rc;
}

static td_rc check_some(const load_plan *p, const load_run *r, td_err *err)
{
    for (int32_t i = 0; i < p->count; i++)
        if (r->samples[i].ok)
            return TD_OK;
    return td_fail(err, TD_E_IO, "no request was answered: %s",
                   r->samples[0].error[0] ? r->samples[0].error : "interrupted");
}

static td_rc run(const flags *f, load_plan *p, const load_goals *goals, td_err *err)
{
    load_run result = {.samples = NULL};
    progress bar;
    progress_begin(&bar, "requests");
    interrupt_watch(NULL);
    td_rc rc = load_go(p, &result, show, &bar, err);
    interrupt_restore();
    progress_end(&bar);
    if (!rc)
        rc = report(f, p, &result, goals, err);
    if (!rc)
        rc = check_some(p, &result, err);
    load_free(&result, p->count);
    return rc;
}

td_rc verb_bench_serve(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    load_goals goals = {0, 0, 0};
    td_buf model = TD_BUF_INIT;
    remote server;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    td_rc rc = remote_init(&server, f, err);
    if (!rc)
        rc = goals_of(f, &goals, err);
    load_plan p = {
        .server = &server,
        .chat = flags_choice(f, "endpoint") == 1,
        .count = (int32_t)flags_int(f, "num-prompts"),
        .concurrency_max = (int32_t)flags_int(f, "max-concurrency"),
        .rate = flags_given(f, "request-rate") ? flags_num(f, "request-rate") : 0,
        .burstiness = flags_num(f, "burstiness"),
        .input_len = (int32_t)flags_int(f, "input-len"),
        .output_len = (int32_t)flags_int(f, "output-len"),
        .prefix_len = (int32_t)flags_int(f, "prefix-len"),
        .seed = (uint64_t)flags_int(f, "seed"),
    };
    if (!rc && flags_given(f, "model"))
        td_buf_str(&model, flags_str(f, "model"));
    else if (!rc)
        rc = remote_find_model(&server, &model, err);
    p.model = td_buf_cstr(&model);
    if (!rc)
        rc = run(f, &p, &goals, err);
    remote_free(&server);
    curl_global_cleanup();
    td_buf_free(&model);
    return rc;
}
