/* load.h - streaming requests against an OpenAI-compatible server, timed chunk by chunk: what `bench serve` drives and
 * reports. One thread; libcurl's multi interface underneath. */
#ifndef TD_TOOLS_LOAD_H
#define TD_TOOLS_LOAD_H

#include "base/buf.h"
#include "base/err.h"
#include "tools/remote.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct load_sample { // one request
    uint64_t at_ns;          // when it is due, from the start of the run
    uint64_t start_ns, first_ns, last_ns; // monotonic; first, last: of chunks with text. 0 = none
    double *gaps_s;          // [gap_count] between chunks after the first
    int32_t gap_count, gap_cap;
    int32_t prompt_tokens, output_tokens; // as the server counts them
    int status;              // HTTP; 0 = no answer
    bool ok;
    char error[160];
} load_sample;

typedef struct load_plan { // the run as asked for
    const remote *server;
    const char *model;
    bool chat;
    int32_t count, concurrency_max; // 0 = no bound
    double rate, burstiness; // requests a second, 0 = all at once
    int32_t input_len, output_len, prefix_len;
    uint64_t seed;
} load_plan;

typedef struct load_run {
    load_sample *samples;    // [plan.count]
    double duration_s;
    int32_t running_max;     // most requests under way at once
} load_run;

/* Runs the plan; failed requests are marked, not fatal. progress may be NULL. An interrupt ends it early. */
td_rc load_go(const load_plan *p, load_run *out, void (*progress)(void *ctx, int32_t done, int32_t count), void *ctx,
              td_err *err);
void load_free(load_run *r, int32_t count);

/* "ttft:200" and the like. */
typedef struct load_goals { // milliseconds; 0 = not asked
    double ttft, tpot, e2el;
} load_goals;

/* vLLM's table and its JSON keys. */
bool load_report_text(const load_plan *p, const load_run *r, const load_goals *g, td_buf *out);
bool load_report_json(const load_plan *p, const load_run *r, const load_goals *g, td_buf *out);

#endif
