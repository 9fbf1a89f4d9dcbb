/* What people read: --help, the list of verbs, --print-config. */
#include "base/flags.h"

#include "base/check.h"
#include "base/flags_int.h"
#include "base/flags_text.h"
#include "base/utf8.h"

#include <string.h>

enum { COLUMNS = 80, HELP_COLUMN = 30 };

/* Columns of UTF-8 text, one a character: our own help texts hold no wide ones. */
static size_t columns_of(const char *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; n++) {
        size_t step = td_utf8_len(s + i, len - i);
        i += step ? step : 1;
    }
    return n;
}

void flags_text_wrap(td_buf *out, const char *text, size_t at, size_t indent)
{
    size_t column = at;
    bool first = true;
    while (*text) {
        if (*text == '\n') { // paragraph
            td_buf_fmt(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
            text++;
            continue;
        }
        size_t n = strcspn(text, " \n"), width = columns_of(text, n);
        if (!first && column + 1 + width > COLUMNS) {
            td_buf_fmt(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        if (!first)
            td_buf_char(out, ' ');
        td_buf_add(out, text, n);
        column += width + !first;
        first = false;
        text += n;
        text += strspn(text, " ");
    }
    td_buf_char(out, '\n');
}

void flags_text_name(td_buf *out, const flags_def *d)
{
    if (d->letter)
        td_buf_fmt(out, "-%c, ", d->letter);
    bool on = d->type == FLAG_BOOL && d->dflt && !strcmp(d->dflt, "true");
    td_buf_fmt(out, "--%s%s", on ? "no-" : "", d->name);
    if (d->type != FLAG_BOOL)
        td_buf_fmt(out, " %s", d->arg ? d->arg : d->choices ? d->choices : "VALUE");
    if (d->traits & FLAG_MANY)
        td_buf_str(out, "…");
}

void flags_text_help(td_buf *out, const flags_def *d)
{
    if (d->help)
        td_buf_str(out, d->help);
    if (d->traits & (FLAG_IGNORED | FLAG_REFUSED))
        td_buf_fmt(out, "%s: %s.", d->traits & FLAG_REFUSED ? "Refused" : "Accepted without effect", d->why);
    else if (d->why)
        td_buf_fmt(out, " (%s)", d->why);
    if (d->choices && d->arg)
        td_buf_fmt(out, " One of %s.", d->choices);
    if (d->dflt && d->type != FLAG_BOOL && *d->dflt)
        td_buf_fmt(out, " [%s]", d->dflt);
}

static bool holds(const char *text, const char *word) { return text && strcasestr(text, word); }

bool flags_text_shown(const flags_table *t, const flags_def *d, size_t verb, const char *word)
{
    if (!flags_def_of(d, verb))
        return false;
    if (!word)
        return !(d->traits & (FLAG_IGNORED | FLAG_REFUSED));
    return !strcmp(word, "all") || holds(d->name, word) || holds(d->help, word) || holds(t->groups[d->group], word);
}

static void help_flag(td_buf *out, const flags_def *d)
{
    td_buf left = TD_BUF_INIT, text = TD_BUF_INIT;
    td_buf_str(&left, "  ");
    flags_text_name(&left, d);
    flags_text_help(&text, d);
    size_t width = columns_of(td_buf_cstr(&left), left.len);
    td_buf_str(out, td_buf_cstr(&left));
    if (width + 2 > HELP_COLUMN)
        td_buf_fmt(out, "\n%*s", HELP_COLUMN, "");
    else
        td_buf_fmt(out, "%*s", (int)(HELP_COLUMN - width), "");
    flags_text_wrap(out, td_buf_cstr(&text), HELP_COLUMN, HELP_COLUMN);
    out->failed |= left.failed || text.failed;
    td_buf_free(&left);
    td_buf_free(&text);
}

static void help_notes(const flags_table *t, td_buf *out)
{
    td_buf text = TD_BUF_INIT;
    td_buf_fmt(&text,
               "Numbers: 1k = 1000, 1K = 1024, 25.6k; bytes also 4GiB, 4GB. Every flag may stand in the environment "
               "(%sMAX_MODEL_LEN=8k) or in --config FILE. --help WORD searches, --help=all shows flags known from "
               "other engines too.",
               t->env_prefix);
    td_buf_char(out, '\n');
    flags_text_wrap(out, td_buf_cstr(&text), 0, 0);
    td_buf_free(&text);
}

bool flags_help(const flags_table *t, size_t verb, const char *word, td_buf *out, size_t *hits)
{
    const flags_verb *v = &t->verbs[verb];
    *hits = 0;
    if (!word || !strcmp(word, "all")) {
        td_buf_fmt(out, "usage: %s %s %s%s[flags]\n\n", t->program, v->name, v->operands, *v->operands ? " " : "");
        flags_text_wrap(out, v->detail ? v->detail : v->summary, 0, 0);
    }
    for (int g = 0; t->groups[g]; g++) {
        bool titled = false;
        for (size_t i = 0; i < t->def_count; i++) {
            const flags_def *d = &t->defs[i];
            if (d->group != g || !flags_text_shown(t, d, verb, word))
                continue;
            if (!titled)
                td_buf_fmt(out, "\n%s\n", t->groups[g]);
            titled = true;
            help_flag(out, d);
            ++*hits;
        }
    }
    if (!word)
        help_notes(t, out);
    return !out->failed;
}

bool flags_help_verbs(const flags_table *t, td_buf *out)
{
    td_buf_fmt(out, "%s: %s\n\nusage: %s VERB [flags]\n\n", t->program, t->summary, t->program);
    for (size_t i = 0; i < t->verb_count; i++) {
        td_buf left = TD_BUF_INIT;
        td_buf_fmt(&left, "  %s %s", t->verbs[i].name, t->verbs[i].operands);
        td_buf_fmt(out, "%-26s", td_buf_cstr(&left));
        flags_text_wrap(out, t->verbs[i].summary, 26, 26);
        td_buf_free(&left);
    }
    td_buf_fmt(out, "\n`%s VERB --help` shows a verb's flags.\n", t->program);
    return !out->failed;
}

/* ------------------------------------------------------------------ --print-config */

static void print_value(td_buf *out, const flags_def *d, const flags_slot *s)
{
    if (d->traits & FLAG_SECRET && s->count) {
        td_buf_str(out, "(hidden)");
    } else if (!s->set) {
        td_buf_str(out, "(not set)");
    } else if (d->type == FLAG_BOOL) {
        td_buf_str(out, s->b ? "true" : "false");
    } else if ((d->type == FLAG_INT || d->type == FLAG_BYTES) && s->i == 0 && d->dflt && !strcmp(d->dflt, "auto")) {
        td_buf_str(out, "auto");
    } else if (d->type == FLAG_INT || d->type == FLAG_BYTES) {
        td_buf_fmt(out, "%lld", (long long)s->i);
    } else if (d->type == FLAG_NUM) {
        td_buf_fmt(out, "%.9g", s->num);
    } else if (d->type == FLAG_INTS) {
        for (size_t i = 0; i < s->count; i++)
            td_buf_fmt(out, "%s%lld", i ? "," : "", (long long)s->ints[i]);
    } else {
        for (size_t i = 0; i < s->count; i++) {
            td_buf_str(out, i ? ", " : "");
            td_buf_json_str(out, s->items[i], strlen(s->items[i]));
        }
    }
}

bool flags_print(const flags *f, td_buf *out)
{
    for (size_t i = 0; i < f->table->def_count; i++) {
        const flags_def *d = &f->table->defs[i];
        const flags_slot *s = &f->slot[i];
        if (!flags_def_of(d, f->verb) || d->traits & (FLAG_IGNORED | FLAG_REFUSED | FLAG_ARGV))
            continue;
        size_t start = out->len;
        td_buf_fmt(out, "%s = ", d->name);
        print_value(out, d, s);
        size_t width = out->len - start;
        const char *origin = s->where ? s->where : s->set && s->origin == FLAGS_ARGV ? "command line" : "default";
        td_buf_fmt(out, "%*s # %s\n", (int)(width < 48 ? 48 - width : 0), "", origin);
    }
    return !out->failed;
}
