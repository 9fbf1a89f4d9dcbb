/* The configuration file: one flat YAML map from flag names to scalars or lists of scalars. Read event by event, so
 * nothing is built from it; anchors, aliases, tags, nested maps and second documents are refused. */
#include "base/flags.h"

#include "base/flags_int.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { LABEL_MAX = 256 };

typedef struct config {
    flags *f;
    const char *name; // of the file
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
} config;

static unsigned long line_of(const config *c) { return (unsigned long)c->event.start_mark.line + 1; }

static td_rc next_event(config *c, td_err *err)
{
    if (c->has_event)
        yaml_event_delete(&c->event);
    c->has_event = yaml_parser_parse(&c->parser, &c->event);
    if (c->has_event)
        return TD_OK;
    if (c->parser.error == YAML_MEMORY_ERROR)
        return td_fail(err, TD_E_NOMEM, "%s: no memory", c->name);
    return td_fail(err, TD_E_USAGE, "%s:%lu: not YAML: %s", c->name, (unsigned long)c->parser.problem_mark.line + 1,
                   c->parser.problem ? c->parser.problem : "cannot be read");
}

static td_rc refuse(const config *c, const char *what, td_err *err)
{
    return td_fail(err, TD_E_USAGE, "%s:%lu: %s; write one `flag: value` a line", c->name, line_of(c), what);
}

/* A scalar without NUL, anchor or tag; else NULL. */
static const char *scalar_text(const config *c)
{
    if (c->event.type != YAML_SCALAR_EVENT || c->event.data.scalar.anchor || c->event.data.scalar.tag)
        return NULL;
    const char *text = (const char *)c->event.data.scalar.value;
    return strlen(text) == c->event.data.scalar.length ? text : NULL;
}

static bool is_null(const config *c, const char *text)
{
    return c->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || !strcmp(text, "~") || !strcmp(text, "null"));
}

static td_rc set_scalar(config *c, const flags_def *d, const char *label, bool negated, bool more, td_err *err)
{
    const char *text = scalar_text(c);
    if (!text)
        return refuse(c, "a value must be a plain scalar or a list of them", err);
    if (!flags_def_of(d, c->f->verb) || is_null(c, text))
        return TD_OK;
    char where[LABEL_MAX];
    snprintf(where, sizeof where, "%.200s:%lu", c->name, line_of(c));
    flags_site site = {FLAGS_CONFIG, label, where};
    return flags_set(c->f, d, &site, text, negated, more, err);
}

static td_rc read_list(config *c, const flags_def *d, const char *label, td_err *err)
{
    if (d->type != FLAG_LIST)
        return refuse(c, "this flag takes one value, not a list", err);
    bool more = false;
    for (;;) {
        td_rc rc = next_event(c, err);
        if (rc || c->event.type == YAML_SEQUENCE_END_EVENT)
            return rc;
        rc = set_scalar(c, d, label, false, more, err);
        if (rc)
            return rc;
        more = true;
    }
}

static td_rc read_pair(config *c, bool *seen, td_err *err)
{
    const char *key = scalar_text(c);
    if (!key)
        return refuse(c, "a key must be the name of a flag", err);
    char label[LABEL_MAX];
    snprintf(label, sizeof label, "%.120s:%lu: %.80s", c->name, line_of(c), key);
    bool negated;
    const flags_def *d = flags_find(c->f->table, key, &negated);
    if (!d)
        return flags_unknown(c->f->table, FLAGS_ANY_VERB, label, key, err);
    size_t index = (size_t)(d - c->f->table->defs);
    if (seen[index])
        return refuse(c, "a flag stands here for the second time", err);
    seen[index] = true;
    td_rc rc = next_event(c, err);
    if (rc)
        return rc;
    bool list = c->event.type == YAML_SEQUENCE_START_EVENT && !c->event.data.sequence_start.anchor &&
                !c->event.data.sequence_start.tag;
    return list ? read_list(c, d, label, err) : set_scalar(c, d, label, negated, false, err);
}

static td_rc read_map(config *c, td_err *err)
{
    bool *seen = td_arena_calloc(&c->f->arena, c->f->table->def_count, sizeof *seen);
    if (!seen)
        return td_fail(err, TD_E_NOMEM, "%s: no memory", c->name);
    for (;;) {
        td_rc rc = next_event(c, err);
        if (rc || c->event.type == YAML_MAPPING_END_EVENT)
            return rc;
        rc = read_pair(c, seen, err);
        if (rc)
            return rc;
    }
}

static td_rc read_document(config *c, td_err *err)
{
    td_rc rc = next_event(c, err);
    if (!rc && c->event.type == YAML_STREAM_START_EVENT)
        rc = next_event(c, err);
    if (rc || c->event.type == YAML_STREAM_END_EVENT)
        return rc; // an empty file sets nothing
    rc = next_event(c, err);
    if (rc)
        return rc;
    if (c->event.type == YAML_MAPPING_START_EVENT)
        rc = read_map(c, err);
    else if (c->event.type != YAML_SCALAR_EVENT || c->event.data.scalar.length)
        rc = refuse(c, "the file must be a map", err);
    for (int i = 0; !rc && i < 2; i++) // end of the document, end of the stream
        rc = next_event(c, err);
    if (!rc && c->event.type != YAML_STREAM_END_EVENT)
        rc = refuse(c, "more than one document", err);
    return rc;
}

td_rc flags_read_config(flags *f, const char *text, size_t len, const char *name, td_err *err)
{
    if (len > TD_CONFIG_BYTES_MAX)
        return td_fail(err, TD_E_USAGE, "%s: larger than %u bytes", name, TD_CONFIG_BYTES_MAX);
    config c = {.f = f, .name = name};
    if (!yaml_parser_initialize(&c.parser))
        return td_fail(err, TD_E_NOMEM, "%s: no memory", name);
    yaml_parser_set_input_string(&c.parser, (const unsigned char *)text, len);
    td_rc rc = read_document(&c, err);
    if (c.has_event)
        yaml_event_delete(&c.event);
    yaml_parser_delete(&c.parser);
    return rc;
}
