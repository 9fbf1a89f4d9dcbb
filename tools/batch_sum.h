/* batch_sum.h - what a batch amounted to. One thread. */
#ifndef TD_TOOLS_BATCH_SUM_H
#define TD_TOOLS_BATCH_SUM_H

#include "base/json.h"

typedef struct batch_sum {
    uint64_t lines, ok, failed, earlier; // earlier: done by the run that was resumed
    uint64_t retried;                    // failed in that run, and tried again
    int64_t prompt_tokens, cached_tokens, output_tokens;
    uint64_t start_ns, end_ns;
} batch_sum;

void batch_sum_usage(batch_sum *s, const td_json *usage); // of one answer
void batch_sum_print(const batch_sum *s, bool complete, const char *output); // to stderr
td_rc batch_sum_json(const batch_sum *s, bool complete, const char *path, td_err *err); // "-": stdout

#endif
