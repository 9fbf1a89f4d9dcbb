/* flags.h - command line, environment and configuration file, described by one table.
 *
 * A program gives a table of flags: name, type, range, default, help, group, and which verbs take it. From it come
 * parsing, --help, the man page, shell completion, the reference in docs/ and --print-config, so none of them can
 * disagree. Precedence: command line, environment (PREFIX_NAME), configuration file, default. A name that the table
 * does not hold is an error with the nearest one that it does hold; a value out of range names the range.
 * A name of another verb is an error on the command line, and is passed over in the environment and in the file, which
 * several verbs may share.
 *
 * Numbers may be written 1k (1000), 1K (1024), 25.6k; bytes also 4GiB (2^30) and 4GB (10^9).
 * Nothing here reads the process' environment by itself: the caller passes it. One thread; strings live as long as the
 * flags object, which its maker frees. Errors are TD_E_USAGE, or TD_E_NOMEM. */
#ifndef TD_BASE_FLAGS_H
#define TD_BASE_FLAGS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum flags_type {
    FLAG_BOOL,  // --name, --no-name, --name=false
    FLAG_INT,   // whole number; the word "auto" gives 0 where the default is auto
    FLAG_NUM,   // number
    FLAG_BYTES, // whole number of bytes, units as above; "auto" as for FLAG_INT
    FLAG_STR,
    FLAG_ENUM,  // one of `choices`
    FLAG_LIST,  // strings; repeatable
    FLAG_INTS,  // whole numbers parted by commas
} flags_type;

enum { // flags_def.traits
    FLAG_MANY = 1,     // FLAG_LIST: one occurrence takes all words up to the next flag
    FLAG_SPLIT = 2,    // FLAG_LIST: commas part values
    FLAG_SECRET = 4,   // --print-config hides it
    FLAG_ARGV = 8,     // on the command line only
    FLAG_IGNORED = 16, // accepted for other engines' sake, with one line that says so
    FLAG_REFUSED = 32, // known from other engines, and an error here: `why` tells
};

typedef struct flags_def {
    const char *name;    // "max-model-len"
    flags_type type;
    const char *dflt;    // as the user would write it; NULL = not set
    uint64_t verbs;      // bit set of those that take it
    const char *arg;     // what --help calls the value
    const char *help;
    double min, max;     // FLAG_INT, FLAG_NUM, FLAG_BYTES, FLAG_INTS; both 0 = any
    const char *choices; // FLAG_ENUM: "auto|cpu"
    const char *why;     // appended to a refusal of the flag or of a value
    int group;
    int traits;
    char letter;         // "-p"; 0 = none
} flags_def;

typedef struct flags_verb {
    const char *name;     // "bench latency"
    const char *operands; // "MODEL"
    const char *summary;  // one line
    const char *detail;   // paragraphs for --help and the man page, or NULL
} flags_verb;

typedef struct flags_table {
    const char *program;              // "tandem"
    const char *env_prefix;           // "TANDEM_"
    const char *const *env_ignored;   // prefixes of names that are somebody else's, NULL ends
    const char *const *groups;        // titles by flags_def.group, NULL ends
    const flags_def *defs;
    size_t def_count;
    const flags_verb *verbs;          // bit i of flags_def.verbs is verbs[i]
    size_t verb_count;
    const char *summary;              // of the program, one line
    const char *layers;               // what else gives values, after the file and before the default, or NULL
    const char *const *notes;         // title, text, title, text, …, NULL: sections at the end of the man page
} flags_table;

typedef enum flags_origin { FLAGS_DEFAULT, FLAGS_CONFIG, FLAGS_ENV, FLAGS_ARGV } flags_origin;

typedef struct flags flags;

/* Defaults only. The table must outlive the object. verb: index. */
td_rc flags_new(const flags_table *t, size_t verb, flags **out, td_err *err);
void flags_free(flags *f);

/* Each layer sets what no stronger one has set, in whatever order they are read. argv: words after the verb. */
td_rc flags_read_argv(flags *f, int argc, char *const *argv, td_err *err);
td_rc flags_read_env(flags *f, char *const *environ_names, td_err *err);
/* YAML: one flat map from flag names to values; `name` is for messages. */
td_rc flags_read_config(flags *f, const char *text, size_t len, const char *name, td_err *err);

/* Words that are no flags, in order. */
size_t flags_operand_count(const flags *f);
const char *flags_operand(const flags *f, size_t i);

/* Values by name. Asking for a name that the table lacks, or for another type, is a bug. */
bool flags_given(const flags *f, const char *name); // set anywhere but by default
bool flags_bool(const flags *f, const char *name);
int64_t flags_int(const flags *f, const char *name); // FLAG_INT, FLAG_BYTES; 0 when not set
double flags_num(const flags *f, const char *name);
const char *flags_str(const flags *f, const char *name); // FLAG_STR, FLAG_ENUM; NULL when not set
size_t flags_list(const flags *f, const char *name, const char *const **items);
size_t flags_ints(const flags *f, const char *name, const int64_t **items);
int flags_choice(const flags *f, const char *name); // FLAG_ENUM: index in choices, -1 when not set

/* "name = value  # origin" for every flag of the verb. */
bool flags_print(const flags *f, td_buf *out);

/* Help of one verb in 80 columns. word: NULL for what the verb takes, "all" with what is accepted or refused for other
 * engines' sake, else only flags whose name, group or help holds the word (*hits counts them). */
bool flags_help(const flags_table *t, size_t verb, const char *word, td_buf *out, size_t *hits);
bool flags_help_verbs(const flags_table *t, td_buf *out); // the list of verbs
bool flags_man(const flags_table *t, const char *version, td_buf *out);      // man page, section 1
bool flags_markdown(const flags_table *t, td_buf *out); // docs/flags.md
/* shell: "bash", "zsh" or "fish"; false for another. */
bool flags_completion(const flags_table *t, const char *shell, td_buf *out);

/* The nearest of `count` names, or NULL when none is near. */
const char *flags_nearest(const char *word, const char *(*name_at)(const void *ctx, size_t i), const void *ctx,
                          size_t count);
/* "25.6k" → 25600. bytes: also KiB, MB and so on. */
bool flags_parse_int(const char *s, bool bytes, int64_t *out);
bool flags_parse_num(const char *s, double *out);

#endif
