#include "tools/bench_table.h"

#include "tools/output.h"

#include <string.h>

static void header(bench_table *t)
{
    const char *sep = t->format == BENCH_MD ? " | " : ",";
    td_buf_str(&t->out, t->format == BENCH_MD ? "| " : "");
    for (int i = 0; i < t->column_count; i++)
        td_buf_fmt(&t->out, "%s%s", i ? sep : "", t->columns[i]);
    td_buf_str(&t->out, t->format == BENCH_MD ? " |\n|" : "\n");
    for (int i = 0; t->format == BENCH_MD && i < t->column_count; i++)
        td_buf_str(&t->out, " --- |");
    td_buf_str(&t->out, t->format == BENCH_MD ? "\n" : "");
}

void bench_table_init(bench_table *t, bench_format format, const char *const *columns, int column_count)
{
    *t = (bench_table){.format = format, .columns = columns, .column_count = column_count, .out = TD_BUF_INIT};
    if (format == BENCH_JSON)
        td_buf_str(&t->out, "[");
    else
        header(t);
}

static void row_json(bench_table *t, const bench_cell *cells)
{
    td_buf_str(&t->out, t->row_count ? ",\n {" : "\n {");
    for (int i = 0; i < t->column_count; i++) {
        td_buf_str(&t->out, i ? "," : "");
        td_buf_json_str(&t->out, t->columns[i], strlen(t->columns[i]));
        td_buf_char(&t->out, ':');
        if (cells[i].text)
            td_buf_json_str(&t->out, cells[i].text, strlen(cells[i].text));
        else
            td_buf_json_num(&t->out, cells[i].number, 6);
    }
    td_buf_char(&t->out, '}');
}

void bench_table_row(bench_table *t, const bench_cell *cells)
{
    if (t->format == BENCH_JSON) {
        row_json(t, cells);
    } else {
        td_buf_str(&t->out, t->format == BENCH_MD ? "| " : "");
        for (int i = 0; i < t->column_count; i++) {
            td_buf_str(&t->out, !i ? "" : t->format == BENCH_MD ? " | " : ",");
            if (cells[i].text)
                td_buf_str(&t->out, cells[i].text);
            else
                td_buf_fmt(&t->out, "%.*f", cells[i].digits, cells[i].number);
        }
        td_buf_str(&t->out, t->format == BENCH_MD ? " |\n" : "\n");
    }
    t->row_count++;
}

td_rc bench_table_print(bench_table *t, td_err *err)
{
    if (t->format == BENCH_JSON)
        td_buf_str(&t->out, "\n]\n");
    return output_buf(&t->out, err);
}

void bench_table_free(bench_table *t) { td_buf_free(&t->out); }
