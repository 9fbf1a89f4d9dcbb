/* bench_rows.h - rows of `bench latency` and `bench throughput` as Markdown, CSV or JSON, written one by one so that a
 * long run can be followed. One thread. */
#ifndef TD_TOOLS_BENCH_ROWS_H
#define TD_TOOLS_BENCH_ROWS_H

#include "engine/tandem.h"

enum { ROWS_SAMPLES_MAX = 1000 };
typedef enum bench_rows_form { ROWS_MD, ROWS_CSV, ROWS_JSON } bench_rows_form; // in the order of --format

typedef struct bench_row {
    char test[56];                     // "pp512", "tg128", "pp512+tg128"
    int32_t batch, depth, sample_count;
    double roof_ts;                    // what the machine allows at best
    double samples[ROWS_SAMPLES_MAX]; // tokens per second of all sequences together
} bench_row;

typedef struct bench_rows {
    bench_rows_form form;
    const td_engine_info *info;
    int64_t seed;
    int32_t rows;
} bench_rows;

/* The machine, the build and the model go to stderr, the head of the table to stdout. */
td_rc bench_rows_begin(bench_rows *t, bench_rows_form form, const td_engine_info *info, int64_t seed, td_err *err);
td_rc bench_rows_row(bench_rows *t, const bench_row *row, td_err *err);
td_rc bench_rows_end(bench_rows *t, td_err *err);

#endif
