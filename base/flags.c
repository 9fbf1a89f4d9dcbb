/* The table's rows become slots, one a row; every layer goes through flags_set(), which parses, checks the range and
 * keeps the value of the strongest layer. */
#include "base/flags.h"

#include "base/check.h"
#include "base/flags_int.h"
#include "base/log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_BYTES_MAX = 16 << 20, NAME_MAX_BYTES = 96 };

static size_t def_index(const flags *f, const flags_def *d) { return (size_t)(d - f->table->defs); }

static bool name_equal(const char *flag, const char *name)
{
    for (; *flag && *name; flag++, name++)
        if (*flag != *name && !(*flag == '-' && *name == '_'))
            return false;
    return *flag == *name;
}

const flags_def *flags_find(const flags_table *t, const char *name, bool *negated)
{
    *negated = false;
    for (size_t i = 0; i < t->def_count; i++)
        if (name_equal(t->defs[i].name, name))
            return &t->defs[i];
    if (strncmp(name, "no-", 3) && strncmp(name, "no_", 3))
        return NULL;
    for (size_t i = 0; i < t->def_count; i++)
        if (t->defs[i].type == FLAG_BOOL && name_equal(t->defs[i].name, name + 3)) {
            *negated = true;
            return &t->defs[i];
        }
    return NULL;
}

typedef struct usable {
    const flags_table *t;
    size_t verb;
} usable;

/* Name of the i-th flag that the verb takes and does not refuse; NULL past the last. */
static const char *usable_at(const void *ctx, size_t i)
{
    const usable *u = ctx;
    for (size_t k = 0; k < u->t->def_count; k++) {
        const flags_def *d = &u->t->defs[k];
        bool can = (u->verb == FLAGS_ANY_VERB || flags_def_of(d, u->verb)) && !(d->traits & FLAG_REFUSED);
        if (can && !i--)
            return d->name;
    }
    return NULL;
}

td_rc flags_unknown(const flags_table *t, size_t verb, const char *label, const char *name, td_err *err)
{
    usable u = {t, verb};
    size_t count = 0;
    while (usable_at(&u, count))
        count++;
    const char *near = flags_nearest(name, usable_at, &u, count);
    if (near)
        return td_fail_param(err, TD_E_USAGE, near, "%s is not known; did you mean '%s'?", label, near);
    return td_fail_param(err, TD_E_USAGE, "", "%s is not known; `%s help` lists verbs, `%s VERB --help` flags", label,
                         t->program, t->program);
}

td_rc flags_new(const flags_table *t, size_t verb, flags **out, td_err *err)
{
    td_assert(verb < t->verb_count && t->verb_count <= 64);
    flags *f = td_alloc(sizeof *f);
    if (!f)
        return td_fail(err, TD_E_NOMEM, "no memory for flags");
    f->table = t;
    f->verb = verb;
    td_arena_init(&f->arena, ARENA_BYTES_MAX);
    f->slot = td_arena_calloc(&f->arena, t->def_count, sizeof *f->slot);
    td_rc rc = f->slot ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for flags");
    for (size_t i = 0; !rc && i < t->def_count; i++) {
        const flags_def *d = &t->defs[i];
        flags_site site = {FLAGS_DEFAULT, d->name, NULL};
        if (d->dflt && !(d->traits & (FLAG_IGNORED | FLAG_REFUSED)))
            rc = flags_set(f, d, &site, d->dflt, false, false, err);
    }
    if (rc) {
        flags_free(f);
        return rc;
    }
    *out = f;
    return TD_OK;
}

void flags_free(flags *f)
{
    if (!f)
        return;
    td_arena_free(&f->arena);
    td_free(f);
}

/* ------------------------------------------------------------------ values */

static td_rc bad_value(const flags_def *d, const flags_site *site, const char *text, const char *want, td_err *err)
{
    return td_fail_param(err, TD_E_USAGE, d->name, "%s: '%.80s' is not %s%s%s", site->label,
                         d->traits & FLAG_SECRET ? "…" : text, want, d->why ? "; " : "", d->why ? d->why : "");
}

static bool parse_bool(const char *s, bool *out)
{
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (size_t i = 0; i < TD_COUNT(words); i++)
        if (!strcasecmp(s, words[i])) {
            *out = i & 1;
            return true;
        }
    return false;
}

static td_rc check_range(const flags_def *d, const flags_site *site, const char *text, double v, td_err *err)
{
    if ((d->min == 0 && d->max == 0) || (v >= d->min && v <= d->max))
        return TD_OK;
    char want[96];
    if (d->min == d->max)
        snprintf(want, sizeof want, "%.15g", d->min);
    else if (isinf(d->max))
        snprintf(want, sizeof want, "%.15g or more", d->min);
    else
        snprintf(want, sizeof want, "from %.15g to %.15g", d->min, d->max);
    return bad_value(d, site, text, want, err);
}

static bool choice_index(const char *choices, const char *text, int *index)
{
    size_t len = strlen(text);
    *index = 0;
    for (const char *p = choices; p; (*index)++) {
        const char *bar = strchr(p, '|');
        size_t n = bar ? (size_t)(bar - p) : strlen(p);
        if (n == len && !memcmp(p, text, len))
            return true;
        p = bar ? bar + 1 : NULL;
    }
    return false;
}

static td_rc set_int(const flags_def *d, const flags_site *site, const char *text, int64_t *out, td_err *err)
{
    if (d->dflt && !strcmp(d->dflt, "auto") && !strcmp(text, "auto")) {
        *out = 0;
        return TD_OK;
    }
    if (!flags_parse_int(text, d->type == FLAG_BYTES, out))
        return bad_value(d, site, text,
                         d->type == FLAG_BYTES ? "a number of bytes such as 4GiB" : "a whole number such as 12 or 8k",
                         err);
    return check_range(d, site, text, (double)*out, err);
}

static td_rc list_add(flags *f, flags_slot *s, const char *text, size_t len, td_err *err)
{
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        const char **grown = td_arena_calloc(&f->arena, cap, sizeof *grown);
        if (!grown)
            return td_fail(err, TD_E_NOMEM, "too many or too long flag values");
        if (s->count)
            memcpy(grown, s->items, s->count * sizeof *grown);
        s->items = grown;
        s->cap = cap;
    }
    char *copy = td_arena_strndup(&f->arena, text, len);
    if (!copy)
        return td_fail(err, TD_E_NOMEM, "too many or too long flag values");
    s->items[s->count++] = copy;
    return TD_OK;
}

static td_rc set_list(flags *f, const flags_def *d, flags_slot *s, const flags_site *site, const char *text,
                      td_err *err)
{
    const char *part = d->traits & FLAG_SPLIT ? "," : d->traits & FLAG_MANY && site->origin != FLAGS_ARGV ? " " : NULL;
    if (!part)
        return list_add(f, s, text, strlen(text), err);
    td_rc rc = TD_OK;
    while (!rc && *text) {
        size_t n = strcspn(text, part);
        if (n)
            rc = list_add(f, s, text, n, err);
        text += n + (text[n] != 0);
    }
    return rc;
}

static td_rc set_ints(flags *f, const flags_def *d, flags_slot *s, const flags_site *site, const char *text,
                      td_err *err)
{
    size_t count = 1;
    for (const char *p = text; *p; p++)
        count += *p == ',';
    s->ints = td_arena_calloc(&f->arena, count, sizeof *s->ints);
    if (!s->ints)
        return td_fail(err, TD_E_NOMEM, "too many flag values");
    s->count = 0;
    for (const char *p = text;; p++) {
        size_t n = strcspn(p, ",");
        char one[64];
        snprintf(one, sizeof one, "%.*s", (int)TD_MIN(n, sizeof one - 1), p);
        td_rc rc = set_int(d, site, one, &s->ints[s->count++], err);
        p += n;
        if (rc || !*p)
            return rc;
    }
}

static td_rc set_typed(flags *f, const flags_def *d, flags_slot *s, const flags_site *site, const char *text,
                       td_err *err)
{
    int index;
    switch (d->type) {
    case FLAG_BOOL:
        return parse_bool(text, &s->b) ? TD_OK : bad_value(d, site, text, "true or false", err);
    case FLAG_INT:
    case FLAG_BYTES:
        return set_int(d, site, text, &s->i, err);
    case FLAG_NUM:
        return flags_parse_num(text, &s->num) ? check_range(d, site, text, s->num, err)
                                              : bad_value(d, site, text, "a number", err);
    case FLAG_ENUM:
        if (!choice_index(d->choices, text, &index))
            return bad_value(d, site, text, d->choices, err);
        s->i = index;
        break;
    case FLAG_STR:
        break;
    case FLAG_LIST:
        return set_list(f, d, s, site, text, err);
    case FLAG_INTS:
        return set_ints(f, d, s, site, text, err);
    }
    s->count = 0;
    return list_add(f, s, text, strlen(text), err);
}

static td_rc set_foreign(const flags_def *d, const flags_site *site, const char *text, bool negated, td_err *err)
{
    bool on = true;
    if (d->type == FLAG_BOOL && text && !parse_bool(text, &on))
        return bad_value(d, site, text, "true or false", err);
    if (d->type == FLAG_BOOL && on == negated && d->traits & FLAG_REFUSED)
        return TD_OK;
    if (d->traits & FLAG_REFUSED)
        return td_fail_param(err, TD_E_USAGE, d->name, "%s is not supported: %s", site->label, d->why);
    td_warn("%s has no effect here: %s", site->label, d->why);
    return TD_OK;
}

td_rc flags_set(flags *f, const flags_def *d, const flags_site *site, const char *text, bool negated, bool more,
                td_err *err)
{
    if (d->traits & FLAG_ARGV && (site->origin == FLAGS_ENV || site->origin == FLAGS_CONFIG))
        return td_fail_param(err, TD_E_USAGE, d->name, "%s may stand on the command line only", site->label);
    if (d->traits & (FLAG_IGNORED | FLAG_REFUSED))
        return set_foreign(d, site, text, negated, err);
    flags_slot *slot = &f->slot[def_index(f, d)], fresh = {.origin = site->origin, .set = true};
    if (more && slot->set && slot->origin == site->origin && d->type == FLAG_LIST)
        fresh = *slot;
    td_rc rc = set_typed(f, d, &fresh, site, text ? text : "true", err);
    if (rc)
        return rc;
    fresh.b ^= negated;
    if (site->where && !(fresh.where = td_arena_strndup(&f->arena, site->where, strlen(site->where))))
        return td_fail(err, TD_E_NOMEM, "no memory for flags");
    if (!slot->set || site->origin >= slot->origin)
        *slot = fresh;
    return TD_OK;
}

/* ------------------------------------------------------------------ access */

static const flags_slot *slot_of(const flags *f, const char *name, flags_type a, flags_type b)
{
    for (size_t i = 0; i < f->table->def_count; i++)
        if (!strcmp(f->table->defs[i].name, name)) {
            td_assert(f->table->defs[i].type == a || f->table->defs[i].type == b);
            return &f->slot[i];
        }
    td_bug(name, __FILE__, __LINE__);
}

bool flags_given(const flags *f, const char *name)
{
    bool negated;
    const flags_def *d = flags_find(f->table, name, &negated);
    td_assert(d);
    const flags_slot *s = &f->slot[def_index(f, d)];
    return s->set && s->origin != FLAGS_DEFAULT;
}

bool flags_bool(const flags *f, const char *name) { return slot_of(f, name, FLAG_BOOL, FLAG_BOOL)->b; }
int64_t flags_int(const flags *f, const char *name) { return slot_of(f, name, FLAG_INT, FLAG_BYTES)->i; }
double flags_num(const flags *f, const char *name) { return slot_of(f, name, FLAG_NUM, FLAG_NUM)->num; }

const char *flags_str(const flags *f, const char *name)
{
    const flags_slot *s = slot_of(f, name, FLAG_STR, FLAG_ENUM);
    return s->count ? s->items[0] : NULL;
}

size_t flags_list(const flags *f, const char *name, const char *const **items)
{
    const flags_slot *s = slot_of(f, name, FLAG_LIST, FLAG_LIST);
    *items = s->items;
    return s->count;
}

size_t flags_ints(const flags *f, const char *name, const int64_t **items)
{
    const flags_slot *s = slot_of(f, name, FLAG_INTS, FLAG_INTS);
    *items = s->ints;
    return s->count;
}

int flags_choice(const flags *f, const char *name)
{
    const flags_slot *s = slot_of(f, name, FLAG_ENUM, FLAG_ENUM);
    return s->set ? (int)s->i : -1;
}

size_t flags_operand_count(const flags *f) { return f->operand_count; }
const char *flags_operand(const flags *f, size_t i) { return i < f->operand_count ? f->operands[i] : NULL; }
