/* verbs.h - the verbs of the binary, one function each, and the table of their flags.
 *
 * A verb gets its parsed flags, writes results to stdout and everything else to stderr, and returns 0 or a td_rc with
 * *err filled; main() prints the message and turns the code into an exit status. Main thread. */
#ifndef TD_TOOLS_VERBS_H
#define TD_TOOLS_VERBS_H

#include "base/flags.h"

typedef enum verb_id {
    VERB_SERVE, VERB_COMPLETE, VERB_CHAT, VERB_RUN_BATCH, VERB_BENCH_LATENCY, VERB_BENCH_THROUGHPUT, VERB_BENCH_SERVE,
    VERB_BENCH_ROOF, VERB_BENCH_KERNELS, VERB_TOKENIZE, VERB_DETOKENIZE, VERB_RENDER, VERB_LOGITS, VERB_PERPLEXITY,
    VERB_INSPECT, VERB_VERSION, VERB_COMPLETION, VERB_HELP, VERB_COUNT
} verb_id;

extern const flags_table verbs_table; // verbs, flags, groups, notes

/* Exit status of a batch whose own work went well but some of whose lines failed. */
enum { VERB_EXIT_LINES_FAILED = 6 };

typedef td_rc verb_fn(const flags *f, int *exit_status, td_err *err);
verb_fn verb_serve, verb_complete, verb_chat, verb_run_batch, verb_bench_latency, verb_bench_throughput,
    verb_bench_serve, verb_bench_roof, verb_bench_kernels, verb_tokenize, verb_detokenize, verb_render, verb_logits,
    verb_perplexity, verb_inspect, verb_version, verb_completion, verb_help;

#endif
