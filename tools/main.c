/* The multi-call binary: finds the verb, reads its flags, runs it, and turns the result into an exit status. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "tools/output.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static verb_fn *const run[VERB_COUNT] = {
    [VERB_SERVE] = verb_serve,
    [VERB_COMPLETE] = verb_complete,
    [VERB_CHAT] = verb_chat,
    [VERB_RUN_BATCH] = verb_run_batch,
    [VERB_BENCH_LATENCY] = verb_bench_latency,
    [VERB_BENCH_THROUGHPUT] = verb_bench_throughput,
    [VERB_BENCH_SERVE] = verb_bench_serve,
    [VERB_TOKENIZE] = verb_tokenize,
    [VERB_DETOKENIZE] = verb_detokenize,
    [VERB_RENDER] = verb_render,
    [VERB_LOGITS] = verb_logits,
    [VERB_PERPLEXITY] = verb_perplexity,
    [VERB_INSPECT] = verb_inspect,
    [VERB_BENCH_ROOF] = verb_bench_roof,
    [VERB_BENCH_KERNELS] = verb_bench_kernels,
    [VERB_VERSION] = verb_version,
    [VERB_COMPLETION] = verb_completion,
    [VERB_HELP] = verb_help,
};

static const char *verb_name_at(const void *ctx, size_t i) { return ((const flags_table *)ctx)->verbs[i].name; }

/* The verb that argv begins with, of one or two words; *words counts them. */
static td_rc find_verb(int argc, char *const *argv, size_t *verb, int *words, td_err *err)
{
    const char *first = argc > 0 ? argv[0] : "--help";
    *words = argc > 0;
    if (!strcmp(first, "--help") || !strcmp(first, "-h"))
        first = "help";
    else if (!strcmp(first, "--version"))
        first = "version";
    char both[128];
    snprintf(both, sizeof both, "%.60s %.60s", first, argc > 1 ? argv[1] : "");
    for (*verb = 0; *verb < VERB_COUNT; ++*verb) {
        const char *name = verbs_table.verbs[*verb].name;
        if (!strcmp(name, both))
            *words = 2;
        if (!strcmp(name, both) || !strcmp(name, first))
            return TD_OK;
    }
    if (!strcmp(first, "bench"))
        return td_fail(err, TD_E_USAGE, "bench what? `tandem help bench` lists the kinds");
    const char *near = flags_nearest(first, verb_name_at, &verbs_table, VERB_COUNT);
    return td_fail(err, TD_E_USAGE, "'%.60s' is no verb%s%s%s; `tandem help` lists them", first,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'" : "");
}

/* --help [WORD], --help=WORD, -h: before anything is parsed, so that help is there whatever else is wrong. */
static bool wants_help(int argc, char *const *argv, const char **word)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++) {
        bool bare = !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
        if (bare || !strncmp(argv[i], "--help=", 7)) {
            *word = !bare ? argv[i] + 7 : i + 1 < argc && argv[i + 1][0] != '-' ? argv[i + 1] : NULL;
            return true;
        }
    }
    return false;
}

static td_rc print_help(size_t verb, const char *word, td_err *err)
{
    td_buf out = TD_BUF_INIT;
    size_t hits;
    flags_help(&verbs_table, verb, word, &out, &hits);
    td_rc rc = hits || !word ? output_buf(&out, err)
                             : td_fail(err, TD_E_USAGE, "no flag of `%s` has to do with '%.60s'",
                                       verbs_table.verbs[verb].name, word);
    td_buf_free(&out);
    return rc;
}

static td_rc read_config(flags *f, td_err *err)
{
    const char *path = flags_str(f, "config");
    if (!path)
        return TD_OK;
    char *text = NULL;
    size_t len = 0;
    td_rc rc = td_file_read(path, TD_CONFIG_BYTES_MAX, &text, &len, err);
    if (rc) {
        err->rc = TD_E_USAGE; // whatever is wrong with the file, the command line named it
        return TD_E_USAGE;
    }
    rc = flags_read_config(f, text, len, path, err);
    td_free(text);
    return rc;
}

static void setup_log(const flags *f, size_t verb)
{
    int choice = (int)flags_choice(f, "log-level"); // 0 = auto
    td_log_level level = choice ? (td_log_level)(choice - 1) : verb == VERB_SERVE ? TD_LOG_INFO : TD_LOG_WARN;
    td_log_setup(level, flags_choice(f, "log-format") == 1);
}

static td_rc read_flags(flags *f, size_t verb, int argc, char *const *argv, td_err *err)
{
    td_rc rc = flags_read_argv(f, argc, argv, err);
    if (!rc)
        setup_log(f, verb);
    if (!rc)
        rc = flags_read_env(f, environ, err);
    if (!rc)
        rc = read_config(f, err);
    if (!rc)
        setup_log(f, verb);
    return rc;
}

static td_rc check_operands(const flags *f, size_t verb, td_err *err)
{
    const char *wanted = verbs_table.verbs[verb].operands;
    size_t count = flags_operand_count(f);
    if (*wanted && *wanted != '[' && !count)
        return td_fail(err, TD_E_USAGE, "usage: tandem %s %s [flags]", verbs_table.verbs[verb].name, wanted);
    if (count > (verb == VERB_HELP ? 2 : *wanted != 0)) // the name of a verb may have two words
        return td_fail(err, TD_E_USAGE, "'%.60s' is one word too many for `%s`; texts with spaces need quotes",
                       flags_operand(f, count - 1), verbs_table.verbs[verb].name);
    return TD_OK;
}

static td_rc run_verb(size_t verb, int argc, char *const *argv, int *status, td_err *err)
{
    const char *word = NULL;
    if (wants_help(argc, argv, &word))
        return print_help(verb, word, err);
    flags *f = NULL;
    td_rc rc = flags_new(&verbs_table, verb, &f, err);
    if (!rc)
        rc = read_flags(f, verb, argc, argv, err);
    if (!rc && flags_bool(f, "print-config")) {
        td_buf out = TD_BUF_INIT;
        flags_print(f, &out);
        rc = output_buf(&out, err);
        td_buf_free(&out);
    } else if (!rc) {
        rc = check_operands(f, verb, err);
        if (!rc)
            rc = td_thread_main_stack(err);
        if (!rc)
            rc = run[verb](f, status, err);
    }
    flags_free(f);
    return rc;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); // a reader that left is an error of the write, not the end of the process
    td_err err = TD_ERR_INIT;
    size_t verb;
    int words, status = 0;
    td_rc rc = find_verb(argc - 1, argv + 1, &verb, &words, &err);
    if (!rc)
        rc = run_verb(verb, argc - 1 - words, argv + 1 + words, &status, &err);
    if (!rc)
        return status;
    fprintf(stderr, "tandem: %s\n", err.msg[0] ? err.msg : td_rc_text(rc));
    if (rc == TD_E_FAULT) // a thread may still stand in the device: nothing may be torn down around it
        _exit(td_rc_exit(rc));
    return td_rc_exit(rc);
}
