/* Figures of a load run, named and computed as vLLM's `bench serve` does: TTFT to the first text, TPOT over an answer's
 * other tokens, ITL between chunks, E2EL to the last text; percentiles by linear interpolation. */
#include "base/arena.h"
#include "base/check.h"
#include "tools/load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct series {
    double *v; // [count] seconds, sorted
    size_t count;
} series;

typedef struct figures {
    int32_t completed, failed, good;
    int64_t input_tokens, output_tokens;
    series ttft, tpot, itl, e2el;
} figures;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double mean(const series *s)
{
    double sum = 0;
    for (size_t i = 0; i < s->count; i++)
        sum += s->v[i];
    return s->count ? sum / (double)s->count : 0;
}

static double deviation(const series *s)
{
    double m = mean(s), sum = 0;
    for (size_t i = 0; i < s->count; i++)
        sum += (s->v[i] - m) * (s->v[i] - m);
    return s->count ? sqrt(sum / (double)s->count) : 0;
}

static double percentile(const series *s, double share)
{
    if (!s->count)
        return 0;
    double at = share * (double)(s->count - 1);
    size_t low = (size_t)at, high = TD_MIN(low + 1, s->count - 1);
    return s->v[low] + (s->v[high] - s->v[low]) * (at - (double)low);
}

static void add_sample(figures *f, const load_sample *s, const load_goals *g)
{
    double ttft = (double)(s->first_ns - s->start_ns) / 1e9, e2el = (double)(s->last_ns - s->start_ns) / 1e9;
    double tpot = s->output_tokens > 1 ? (e2el - ttft) / (s->output_tokens - 1) : 0;
    f->completed++;
    f->input_tokens += s->prompt_tokens;
    f->output_tokens += s->output_tokens;
    f->ttft.v[f->ttft.count++] = ttft;
    f->e2el.v[f->e2el.count++] = e2el;
    if (s->output_tokens > 1)
        f->tpot.v[f->tpot.count++] = tpot;
    for (int32_t i = 0; i < s->gap_count; i++)
        f->itl.v[f->itl.count++] = s->gaps_s[i];
    f->good += (!g->ttft || ttft * 1e3 <= g->ttft) && (!g->tpot || tpot * 1e3 <= g->tpot) &&
               (!g->e2el || e2el * 1e3 <= g->e2el);
}

static bool compute(const load_plan *p, const load_run *r, const load_goals *g, figures *f)
{
    size_t gaps = 0;
    for (int32_t i = 0; i < p->count; i++)
        gaps += (size_t)r->samples[i].gap_count;
    *f = (figures){.completed = 0};
    series *all[] = {&f->ttft, &f->tpot, &f->e2el, &f->itl};
    bool ok = true;
    for (int i = 0; i < 4; i++)
        ok &= (all[i]->v = td_alloc(((i < 3 ? (size_t)p->count : gaps) + 1) * sizeof(double))) != NULL;
    for (int32_t i = 0; ok && i < p->count; i++)
        if (r->samples[i].ok)
            add_sample(f, &r->samples[i], g);
        else
            f->failed++;
    for (int i = 0; ok && i < 4; i++)
        qsort(all[i]->v, all[i]->count, sizeof(double), by_value);
    return ok;
}

static void release(figures *f)
{
    td_free(f->ttft.v);
    td_free(f->tpot.v);
    td_free(f->itl.v);
    td_free(f->e2el.v);
}

static double per_second(double n, const load_run *r) { return r->duration_s > 0 ? n / r->duration_s : 0; }

/* ------------------------------------------------------------------ text */

static void text_series(td_buf *out, const char *title, const char *name, const series *s)
{
    if (!s->count) // zeros would look like figures
        return;
    td_buf_fmt(out, "-- %s\n", title);
    td_buf_fmt(out, "%-5s mean %.2f ms, median %.2f, std %.2f, p90 %.2f, p99 %.2f\n", name, mean(s) * 1e3,
               percentile(s, 0.5) * 1e3, deviation(s) * 1e3, percentile(s, 0.9) * 1e3, percentile(s, 0.99) * 1e3);
}

static const char *first_error(const load_plan *p, const load_run *r)
{
    for (int32_t i = 0; i < p->count; i++)
        if (!r->samples[i].ok && r->samples[i].error[0])
            return r->samples[i].error;
    return NULL;
}

bool load_report_text(const load_plan *p, const load_run *r, const load_goals *g, td_buf *out)
{
    figures f;
    bool ok = compute(p, r, g, &f);
    if (ok) {
        td_buf_fmt(out, "requests          %d completed, %d failed in %.2f s, at most %d at once\n", f.completed,
                   f.failed, r->duration_s, r->running_max);
        if (f.failed && first_error(p, r))
            td_buf_fmt(out, "first failure     %s\n", first_error(p, r));
        td_buf_fmt(out, "tokens            %lld in, %lld out\n", (long long)f.input_tokens, (long long)f.output_tokens);
        td_buf_fmt(out, "throughput        %.2f requests/s, %.2f output tokens/s, %.2f tokens/s in all\n",
                   per_second(f.completed, r), per_second((double)f.output_tokens, r),
                   per_second((double)(f.input_tokens + f.output_tokens), r));
        if (g->ttft || g->tpot || g->e2el)
            td_buf_fmt(out, "goodput           %.2f requests/s\n", per_second(f.good, r));
        text_series(out, "time to first token", "TTFT", &f.ttft);
        text_series(out, "time per output token, without the first", "TPOT", &f.tpot);
        text_series(out, "inter-token latency", "ITL", &f.itl);
        text_series(out, "end to end latency", "E2EL", &f.e2el);
    }
    release(&f);
    return ok && !out->failed;
}

/* ------------------------------------------------------------------ JSON */

static void json_series(td_buf *out, const char *name, const series *s)
{
    td_buf_fmt(out, ",\"mean_%s_ms\":%.6f,\"median_%s_ms\":%.6f,\"std_%s_ms\":%.6f,\"p90_%s_ms\":%.6f,"
                    "\"p99_%s_ms\":%.6f", name, mean(s) * 1e3, name, percentile(s, 0.5) * 1e3, name,
               deviation(s) * 1e3, name, percentile(s, 0.9) * 1e3, name, percentile(s, 0.99) * 1e3);
}

static void json_head(td_buf *out, const load_plan *p, const load_run *r)
{
    char date[32];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", &tm);
    td_buf_fmt(out, "{\"date\":\"%s\",\"backend\":\"%s\",\"model_id\":", date, p->chat ? "openai-chat" : "openai");
    td_buf_json_str(out, p->model, strlen(p->model));
    td_buf_fmt(out, ",\"num_prompts\":%d,\"seed\":%llu,\"request_rate\":", p->count, (unsigned long long)p->seed);
    if (p->rate > 0)
        td_buf_fmt(out, "%.9g", p->rate);
    else
        td_buf_str(out, "\"inf\"");
    td_buf_fmt(out, ",\"burstiness\":%.9g,\"max_concurrency\":", p->burstiness);
    if (p->concurrency_max)
        td_buf_fmt(out, "%d", p->concurrency_max);
    else
        td_buf_str(out, "null");
    td_buf_fmt(out, ",\"duration\":%.6f,\"max_concurrent_requests\":%d", r->duration_s, r->running_max);
}

bool load_report_json(const load_plan *p, const load_run *r, const load_goals *g, td_buf *out)
{
    figures f;
    bool ok = compute(p, r, g, &f);
    if (ok) {
        json_head(out, p, r);
        td_buf_fmt(out, ",\"completed\":%d,\"failed\":%d,\"total_input_tokens\":%lld,\"total_output_tokens\":%lld",
                   f.completed, f.failed, (long long)f.input_tokens, (long long)f.output_tokens);
        td_buf_fmt(out, ",\"request_throughput\":%.6f,\"request_goodput\":", per_second(f.completed, r));
        if (g->ttft || g->tpot || g->e2el)
            td_buf_fmt(out, "%.6f", per_second(f.good, r));
        else
            td_buf_str(out, "null");
        td_buf_fmt(out, ",\"output_throughput\":%.6f,\"total_token_throughput\":%.6f",
                   per_second((double)f.output_tokens, r), per_second((double)(f.input_tokens + f.output_tokens), r));
        json_series(out, "ttft", &f.ttft);
        json_series(out, "tpot", &f.tpot);
        json_series(out, "itl", &f.itl);
        json_series(out, "e2el", &f.e2el);
        td_buf_str(out, "}\n");
    }
    release(&f);
    return ok && !out->failed;
}
