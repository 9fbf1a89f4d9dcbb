#include "tools/bench_rows.h"

#include "base/hash.h"
#include "tools/output.h"
#include "tools/version.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static td_rc put(td_buf *out, td_err *err)
{
    td_rc rc = output_buf(out, err);
    td_buf_free(out);
    return rc;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

td_rc bench_rows_begin(bench_rows *t, bench_rows_form form, const td_engine_info *info, int64_t seed, td_err *err)
{
    *t = (bench_rows){form, info, seed, 0};
    char fp[17];
    td_hex(info->model_fp, 8, fp);
    fprintf(stderr, "%s %s (%s), model %s fingerprint %s, %s, %d threads, seed %lld\n", "tandem", version_text(),
            version_commit(), base_name(info->model_path), fp, info->device, info->threads, (long long)seed);
    td_buf out = TD_BUF_INIT;
    if (form == ROWS_MD)
        td_buf_str(&out, "| model | size | test | batch | depth | threads | isa | t/s | of roof |\n"
                         "|---|---:|---|---:|---:|---:|---|---:|---:|\n");
    else if (form == ROWS_CSV)
        td_buf_str(&out, "model,model_size,test,batch,depth,threads,isa,avg_ts,stddev_ts,roof_share\n");
    else
        td_buf_str(&out, "[\n");
    return put(&out, err);
}

static void mean_and_deviation(const bench_row *row, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    int32_t n = row->sample_count;
    for (int32_t i = 0; i < n; i++)
        sum += row->samples[i];
    *mean = n ? sum / n : 0;
    for (int32_t i = 0; i < n; i++)
        squares += (row->samples[i] - *mean) * (row->samples[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (n - 1)) : 0;
}

static double share_of(const bench_row *row, double mean) { return row->roof_ts > 0 ? mean / row->roof_ts : 0; }

static void json_row(td_buf *out, const bench_rows *t, const bench_row *row, double mean, double deviation)
{
    char fp[65];
    td_hex(t->info->model_fp, sizeof t->info->model_fp, fp);
    td_buf_fmt(out, "%s  {\"model\":", t->rows ? ",\n" : "");
    td_buf_json_str(out, base_name(t->info->model_path), strlen(base_name(t->info->model_path)));
    td_buf_fmt(out,
               ",\"model_fp\":\"%s\",\"model_size\":%llu,\"commit\":\"%s\",\"seed\":%lld,\"test\":\"%s\",\"batch\":%d,"
               "\"depth\":%d,\"threads\":%d,\"isa\":\"%s\",\"avg_ts\":%.4f,\"stddev_ts\":%.4f,\"samples_ts\":[",
               fp, (unsigned long long)t->info->weight_bytes, version_commit(), (long long)t->seed, row->test,
               row->batch, row->depth, t->info->threads, t->info->device, mean, deviation);
    for (int32_t i = 0; i < row->sample_count; i++)
        td_buf_fmt(out, "%s%.4f", i ? "," : "", row->samples[i]);
    td_buf_fmt(out, "],\"roof_share\":%.4f}", share_of(row, mean));
}

td_rc bench_rows_row(bench_rows *t, const bench_row *row, td_err *err)
{
    double mean, deviation;
    mean_and_deviation(row, &mean, &deviation);
    td_buf out = TD_BUF_INIT;
    const char *model = base_name(t->info->model_path);
    if (t->form == ROWS_MD)
        td_buf_fmt(&out, "| %s | %.1f MiB | %s | %d | %d | %d | %s | %.2f ± %.2f | %.0f %% |\n", model,
                   (double)t->info->weight_bytes / 1048576, row->test, row->batch, row->depth, t->info->threads,
                   t->info->device, mean, deviation, share_of(row, mean) * 100);
    else if (t->form == ROWS_CSV)
        td_buf_fmt(&out, "\"%s\",%llu,%s,%d,%d,%d,%s,%.4f,%.4f,%.4f\n", model,
                   (unsigned long long)t->info->weight_bytes, row->test, row->batch, row->depth, t->info->threads,
                   t->info->device, mean, deviation, share_of(row, mean));
    else
        json_row(&out, t, row, mean, deviation);
    t->rows++;
    return put(&out, err);
}

td_rc bench_rows_end(bench_rows *t, td_err *err)
{
    if (t->form != ROWS_JSON)
        return TD_OK;
    td_buf out = TD_BUF_INIT;
    td_buf_str(&out, "\n]\n");
    return put(&out, err);
}
