/* help, completion: texts made from the table. */
#include "tools/verbs.h"

#include "tools/output.h"
#include "tools/version.h"

#include <stdio.h>
#include <string.h>

/* `help bench latency` has two operands, `help serve` one. */
static td_rc help_of(const flags *f, td_buf *out, td_err *err)
{
    char name[128];
    bool two = flags_operand_count(f) > 1;
    snprintf(name, sizeof name, "%.60s%s%.60s", flags_operand(f, 0), two ? " " : "", two ? flags_operand(f, 1) : "");
    size_t hits = 0;
    for (size_t v = 0; v < VERB_COUNT; v++) {
        size_t n = strlen(name);
        const char *verb = verbs_table.verbs[v].name;
        if (!strncmp(verb, name, n) && (!verb[n] || verb[n] == ' ')) {
            td_buf_str(out, out->len ? "\n" : "");
            flags_help(&verbs_table, v, NULL, out, &hits);
        }
    }
    return hits ? TD_OK : td_fail(err, TD_E_USAGE, "'%s' is no verb; `tandem help` lists them", name);
}

td_rc verb_help(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    td_buf out = TD_BUF_INIT;
    td_rc rc = TD_OK;
    if (flags_bool(f, "man"))
        flags_man(&verbs_table, version_text(), &out);
    else if (flags_bool(f, "markdown"))
        flags_markdown(&verbs_table, &out);
    else if (flags_operand_count(f))
        rc = help_of(f, &out, err);
    else
        flags_help_verbs(&verbs_table, &out);
    if (!rc)
        rc = output_buf(&out, err);
    td_buf_free(&out);
    return rc;
}

td_rc verb_completion(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    td_buf out = TD_BUF_INIT;
    td_rc rc = flags_completion(&verbs_table, flags_operand(f, 0), &out)
                   ? output_buf(&out, err)
                   : td_fail(err, TD_E_USAGE, "'%.40s' is no shell that is known here: bash, zsh or fish",
                             flags_operand(f, 0));
    td_buf_free(&out);
    return rc;
}
