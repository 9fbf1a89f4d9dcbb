/* flags_int.h - inside flags: one parsed value, and how the layers set it. */
#ifndef TD_BASE_FLAGS_INT_H
#define TD_BASE_FLAGS_INT_H

#include "base/arena.h"
#include "base/flags.h"

typedef struct flags_slot {
    flags_origin origin;
    bool set;
    const char *where;  // "TANDEM_PORT", "tandem.yaml:3"; NULL by default and on the command line
    bool b;
    int64_t i;
    double num;
    const char **items; // [count] FLAG_LIST; FLAG_STR and FLAG_ENUM use items[0]
    int64_t *ints;      // [count]
    size_t count, cap;
} flags_slot;

struct flags {
    const flags_table *table;
    size_t verb;
    td_arena arena;
    flags_slot *slot;   // [table->def_count]
    const char **operands;
    size_t operand_count, operand_cap;
};

/* Where a value stands, for messages: "--port", "TANDEM_PORT", "tandem.yaml:3: port". */
typedef struct flags_site {
    flags_origin origin;
    const char *label;
    const char *where; // kept in the slot
} flags_site;

/* The table's row for a name in any layer's spelling ('_' counts as '-'); "no-x" of a boolean x sets *negated. */
const flags_def *flags_find(const flags_table *t, const char *name, bool *negated);
/* TD_E_USAGE with the nearest name that can be meant: of this verb, or of any one for FLAGS_ANY_VERB. */
#define FLAGS_ANY_VERB SIZE_MAX
td_rc flags_unknown(const flags_table *t, size_t verb, const char *label, const char *name, td_err *err);
static inline bool flags_def_of(const flags_def *d, size_t verb) { return d->verbs >> verb & 1; }

/* Sets a value from its text (NULL: a boolean without one). `more`: append to a list that this layer began. */
td_rc flags_set(flags *f, const flags_def *d, const flags_site *site, const char *text, bool negated, bool more,
                td_err *err);

#endif
