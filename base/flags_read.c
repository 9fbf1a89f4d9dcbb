/* The layers that are lists of strings: the command line and the environment. */
#include "base/flags.h"

#include "base/check.h"
#include "base/flags_int.h"
#include "base/log.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_MAX = 160 };

typedef struct reader {
    flags *f;
    int argc, at;
    char *const *argv;
} reader;

static td_rc operand_add(flags *f, const char *word, td_err *err)
{
    if (f->operand_count == f->operand_cap) {
        size_t cap = f->operand_cap ? f->operand_cap * 2 : 4;
        const char **grown = td_arena_calloc(&f->arena, cap, sizeof *grown);
        if (!grown)
            return td_fail(err, TD_E_NOMEM, "too many words on the command line");
        if (f->operand_count)
            memcpy(grown, f->operands, f->operand_count * sizeof *grown);
        f->operands = grown;
        f->operand_cap = cap;
    }
    f->operands[f->operand_count++] = word;
    return TD_OK;
}

static bool looks_like_flag(const char *word) { return word[0] == '-' && word[1] == '-' && word[2]; }

/* The value that stands in the next word. Words that begin with one dash are values: -1, and - for stdin. */
static td_rc next_value(reader *r, const flags_def *d, const char *label, const char **value, td_err *err)
{
    if (r->at >= r->argc || looks_like_flag(r->argv[r->at]))
        return td_fail_param(err, TD_E_USAGE, d->name, "%s needs a value%s%s", label, d->arg ? ": " : "",
                             d->arg ? d->arg : "");
    *value = r->argv[r->at++];
    return TD_OK;
}

static td_rc of_other_verb(const flags *f, const flags_def *d, const char *label, td_err *err)
{
    for (size_t v = 0; v < f->table->verb_count; v++)
        if (flags_def_of(d, v))
            return td_fail_param(err, TD_E_USAGE, d->name, "%s is a flag of `%s`, not of `%s`", label,
                                 f->table->verbs[v].name, f->table->verbs[f->verb].name);
    return td_fail_param(err, TD_E_USAGE, d->name, "%s belongs to no verb", label);
}

static td_rc take(reader *r, const flags_def *d, const char *label, const char *value, bool negated, td_err *err)
{
    if (!flags_def_of(d, r->f->verb))
        return of_other_verb(r->f, d, label, err);
    td_rc rc = TD_OK;
    if (!value && d->type != FLAG_BOOL)
        rc = next_value(r, d, label, &value, err);
    flags_site site = {FLAGS_ARGV, label, NULL};
    if (!rc)
        rc = flags_set(r->f, d, &site, value, negated, true, err);
    while (!rc && d->traits & FLAG_MANY && r->at < r->argc && r->argv[r->at][0] != '-')
        rc = flags_set(r->f, d, &site, r->argv[r->at++], false, true, err);
    return rc;
}

static td_rc read_long(reader *r, const char *word, td_err *err)
{
    char label[LABEL_MAX];
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    snprintf(label, sizeof label, "%.*s", (int)TD_MIN(len, sizeof label - 1), word);
    bool negated;
    const flags_def *d = flags_find(r->f->table, label + 2, &negated);
    if (!d)
        return flags_unknown(r->f->table, r->f->verb, label, label + 2, err);
    return take(r, d, label, equals ? equals + 1 : NULL, negated, err);
}

static td_rc read_letter(reader *r, const char *word, td_err *err)
{
    char label[3] = {'-', word[1], 0};
    const flags_table *t = r->f->table;
    const flags_def *d = NULL;
    for (size_t i = 0; i < t->def_count; i++)
        if (t->defs[i].letter == word[1] && (!d || flags_def_of(&t->defs[i], r->f->verb)))
            d = &t->defs[i];
    if (!d)
        return flags_unknown(t, r->f->verb, label, word + 1, err);
    if (d->type == FLAG_BOOL && word[2])
        return td_fail_param(err, TD_E_USAGE, d->name, "%s takes no value; write letters apart", label);
    const char *value = !word[2] ? NULL : word[2] == '=' ? word + 3 : word + 2;
    return take(r, d, label, value, false, err);
}

td_rc flags_read_argv(flags *f, int argc, char *const *argv, td_err *err)
{
    reader r = {.f = f, .argc = argc, .argv = argv};
    bool only_operands = false;
    td_rc rc = TD_OK;
    while (!rc && r.at < argc) {
        const char *word = argv[r.at++];
        if (only_operands || word[0] != '-' || !word[1])
            rc = operand_add(f, word, err);
        else if (!strcmp(word, "--"))
            only_operands = true;
        else
            rc = word[1] == '-' ? read_long(&r, word, err) : read_letter(&r, word, err);
    }
    return rc;
}

/* ------------------------------------------------------------------ environment */

static bool begins(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

/* _PORT_8000_TCP, _PORT_8000_TCP_ADDR … at the end of a name */
static bool has_port_link(const char *name)
{
    for (const char *p = name; (p = strstr(p, "_PORT_")) != NULL; p += 6) {
        const char *q = p + 6;
        while (isdigit((unsigned char)*q))
            q++;
        if (q > p + 6 && (begins(q, "_TCP") || begins(q, "_UDP") || begins(q, "_SCTP")))
            return true;
    }
    return false;
}

/* Kubernetes sets names for every service of the namespace; a service called "tandem" or "tandem-x" makes ours. */
static bool is_service_link(const flags_table *t, const char *name, const char *value)
{
    for (const char *const *p = t->env_ignored; p && *p; p++)
        if (begins(name, *p))
            return true;
    return begins(value, "tcp://") || begins(value, "udp://") || begins(value, "sctp://") ||
           strstr(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT") || has_port_link(name);
}

static td_rc read_one_env(flags *f, const char *label, const char *value, td_err *err)
{
    char name[LABEL_MAX];
    size_t n = 0, skip = strlen(f->table->env_prefix);
    for (const char *p = label + skip; *p && n + 1 < sizeof name; p++)
        name[n++] = *p == '_' ? '-' : (char)tolower((unsigned char)*p);
    name[n] = 0;
    bool negated, upper = true;
    for (const char *p = label + skip; *p; p++)
        upper &= !islower((unsigned char)*p);
    const flags_def *d = upper ? flags_find(f->table, name, &negated) : NULL;
    if (!d)
        return flags_unknown(f->table, FLAGS_ANY_VERB, label, name, err);
    if (!flags_def_of(d, f->verb) || !*value)
        return TD_OK;
    flags_site site = {FLAGS_ENV, label, label};
    return flags_set(f, d, &site, value, negated, false, err);
}

td_rc flags_read_env(flags *f, char *const *environ_names, td_err *err)
{
    const char *prefix = f->table->env_prefix;
    char ignored[LABEL_MAX];
    size_t ignored_count = 0;
    td_rc rc = TD_OK;
    for (char *const *e = environ_names; !rc && *e; e++) {
        const char *equals = strchr(*e, '=');
        if (!begins(*e, prefix) || !equals)
            continue;
        char label[LABEL_MAX];
        size_t len = (size_t)(equals - *e);
        snprintf(label, sizeof label, "%.*s", (int)TD_MIN(len, sizeof label - 1), *e);
        if (!is_service_link(f->table, label, equals + 1))
            rc = read_one_env(f, label, equals + 1, err);
        else if (!ignored_count++)
            memcpy(ignored, label, sizeof ignored);
    }
    if (!rc && ignored_count)
        td_info("environment: passed over %zu names of Kubernetes service links, %s first", ignored_count, ignored);
    return rc;
}
