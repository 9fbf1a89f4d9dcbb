/* Documents made from the table: the man page and the Markdown reference. */
#include "base/flags.h"

#include "base/flags_int.h"
#include "base/flags_text.h"

#include <ctype.h>
#include <string.h>

/* ------------------------------------------------------------------ man page */

/* Text as troff: backslashes and dashes escaped, no line that begins as a request, paragraphs at newlines. */
static void roff(td_buf *out, const char *s)
{
    bool line_start = true;
    for (; *s; s++) {
        if (line_start && (*s == '.' || *s == '\''))
            td_buf_str(out, "\\&");
        line_start = *s == '\n';
        if (*s == '\\')
            td_buf_str(out, "\\e");
        else if (*s == '-')
            td_buf_str(out, "\\-");
        else if (*s == '\n')
            td_buf_str(out, "\n.PP\n");
        else
            td_buf_char(out, *s);
    }
}

static bool same_for_all(const flags_table *t, const flags_def *d)
{
    return d->verbs == (t->verb_count == 64 ? UINT64_MAX : (1ull << t->verb_count) - 1);
}

static void put_verbs(td_buf *out, const flags_table *t, const flags_def *d)
{
    const char *comma = "";
    for (size_t v = 0; v < t->verb_count; v++)
        if (flags_def_of(d, v)) {
            td_buf_fmt(out, "%s%s", comma, t->verbs[v].name);
            comma = ", ";
        }
}

static void roff_flag(td_buf *out, const flags_table *t, const flags_def *d)
{
    td_buf name = TD_BUF_INIT, help = TD_BUF_INIT;
    flags_text_name(&name, d);
    flags_text_help(&help, d);
    td_buf_str(out, ".TP\n.B ");
    roff(out, td_buf_cstr(&name));
    td_buf_char(out, '\n');
    roff(out, td_buf_cstr(&help));
    td_buf_char(out, '\n');
    if (!same_for_all(t, d)) {
        td_buf_clear(&name);
        put_verbs(&name, t, d);
        td_buf_str(out, ".br\n.I ");
        roff(out, td_buf_cstr(&name));
        td_buf_char(out, '\n');
    }
    out->failed |= name.failed || help.failed;
    td_buf_free(&name);
    td_buf_free(&help);
}

static void roff_verb(td_buf *out, const flags_table *t, const flags_verb *v)
{
    td_buf_str(out, ".TP\n.B ");
    roff(out, t->program);
    td_buf_char(out, ' ');
    roff(out, v->name);
    td_buf_fmt(out, " %s\n", v->operands);
    roff(out, v->summary);
    td_buf_char(out, '\n');
}

bool flags_man(const flags_table *t, const char *version, td_buf *out)
{
    td_buf_str(out, ".TH ");
    for (const char *p = t->program; *p; p++)
        td_buf_char(out, (char)toupper((unsigned char)*p));
    td_buf_fmt(out, " 1 \"\" \"%s %s\" \"User commands\"\n.SH NAME\n%s \\- ", t->program, version, t->program);
    roff(out, t->summary);
    td_buf_fmt(out, "\n.SH SYNOPSIS\n.B %s\n.I VERB\n[\\fIflags\\fR]\n.SH VERBS\n", t->program);
    for (size_t v = 0; v < t->verb_count; v++)
        roff_verb(out, t, &t->verbs[v]);
    td_buf_str(out, ".SH FLAGS\nNumbers may be written 1k (1000), 1K (1024), 25.6k, and bytes also 4GiB or 4GB.\n");
    td_buf_str(out, "The verbs that take a flag stand below it; without any, all do.\n");
    for (int g = 0; t->groups[g]; g++) {
        bool titled = false;
        for (size_t i = 0; i < t->def_count; i++) {
            if (t->defs[i].group != g || t->defs[i].traits & (FLAG_IGNORED | FLAG_REFUSED))
                continue;
            if (!titled) {
                td_buf_str(out, ".SS ");
                roff(out, t->groups[g]);
                td_buf_char(out, '\n');
            }
            titled = true;
            roff_flag(out, t, &t->defs[i]);
        }
    }
    for (const char *const *n = t->notes; n && *n; n += 2) {
        td_buf_str(out, ".SH ");
        roff(out, n[0]);
        td_buf_char(out, '\n');
        roff(out, n[1]);
        td_buf_char(out, '\n');
    }
    return !out->failed;
}

/* ------------------------------------------------------------------ Markdown */

static void markdown_cell(td_buf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '|' || *s == '<')
            td_buf_char(out, '\\');
        td_buf_char(out, *s == '\n' ? ' ' : *s);
    }
}

static void markdown_flag(td_buf *out, const flags_table *t, const flags_def *d)
{
    td_buf name = TD_BUF_INIT, help = TD_BUF_INIT;
    flags_text_name(&name, d);
    flags_text_help(&help, d);
    td_buf_str(out, "| `");
    markdown_cell(out, td_buf_cstr(&name));
    td_buf_str(out, "` | ");
    markdown_cell(out, td_buf_cstr(&help));
    td_buf_str(out, " | ");
    if (same_for_all(t, d))
        td_buf_str(out, "all");
    else
        put_verbs(out, t, d);
    td_buf_str(out, " |\n");
    out->failed |= name.failed || help.failed;
    td_buf_free(&name);
    td_buf_free(&help);
}

bool flags_markdown(const flags_table *t, td_buf *out)
{
    td_buf_fmt(out,
               "# Flags of %s\n\nMade by `%s help --markdown`; do not edit. Defaults stand in brackets.\n\n"
               "Precedence: command line, environment (`%sMAX_MODEL_LEN` for `--max-model-len`), `--config FILE` "
               "(YAML, `max-model-len: 8k`), %s%sdefault.\nNumbers may be written 1k (1000), 1K (1024), 25.6k, and "
               "bytes also 4GiB or 4GB.\n",
               t->program, t->program, t->env_prefix, t->layers ? t->layers : "", t->layers ? ", " : "");
    for (int g = 0; t->groups[g]; g++) {
        bool titled = false;
        for (size_t i = 0; i < t->def_count; i++) {
            if (t->defs[i].group != g)
                continue;
            if (!titled)
                td_buf_fmt(out, "\n## %s\n\n| flag | what it does | verbs |\n|---|---|---|\n", t->groups[g]);
            titled = true;
            markdown_flag(out, t, &t->defs[i]);
        }
    }
    return !out->failed;
}
