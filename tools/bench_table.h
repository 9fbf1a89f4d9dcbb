/* bench_table.h - rows of a benchmark as Markdown, CSV or JSON. Rows are kept until the end, so that columns line up
 * and a reader that left is noticed once. One thread; the caller frees it. */
#ifndef TD_TOOLS_BENCH_TABLE_H
#define TD_TOOLS_BENCH_TABLE_H

#include "base/buf.h"
#include "base/err.h"

typedef enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSON } bench_format; // in the order of --format's choices

typedef struct bench_cell {
    const char *text;    // or NULL: the number
    double number;
    int digits;          // after the point; in JSON all that matter
} bench_cell;

typedef struct bench_table {
    bench_format format;
    const char *const *columns;
    int column_count, row_count;
    td_buf out;
} bench_table;

void bench_table_init(bench_table *t, bench_format format, const char *const *columns, int column_count);
void bench_table_row(bench_table *t, const bench_cell *cells);
td_rc bench_table_print(bench_table *t, td_err *err); // to stdout
void bench_table_free(bench_table *t);

#endif
