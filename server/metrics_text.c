#include "server/metrics_text.h"

#include "server/sse.h"

#include <inttypes.h>
#include <string.h>

typedef struct writer {
    td_buf *out;
    td_buf label; // {model_name="…" without the closing brace
} writer;

/* Inside a label value: backslash, quote and line feed are escaped. */
static void label_value(td_buf *out, const char *s)
{
    for (; s && *s; s++) {
        if (*s == '\n') {
            td_buf_str(out, "\\n");
            continue;
        }
        if (*s == '"' || *s == '\\')
            td_buf_char(out, '\\');
        td_buf_char(out, *s);
    }
}

static void family(writer *w, const char *name, const char *type, const char *help)
{
    td_buf_fmt(w->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name{model_name="…"[,more]} value */
static void series(writer *w, const char *name, const char *more)
{
    td_buf_str(w->out, name);
    td_buf_add(w->out, w->label.data, w->label.len);
    if (more) {
        td_buf_char(w->out, ',');
        td_buf_str(w->out, more);
    }
    td_buf_str(w->out, "} ");
}

static void gauge(writer *w, const char *name, const char *help, double v)
{
    family(w, name, "gauge", help);
    series(w, name, NULL);
    td_buf_json_num(w->out, v, 15);
    td_buf_char(w->out, '\n');
}

static void counter(writer *w, const char *name, const char *help, uint64_t v)
{
    family(w, name, "counter", help);
    series(w, name, NULL);
    td_buf_fmt(w->out, "%" PRIu64 "\n", v);
}

static void histogram_series(writer *w, const char *name, const char *more, const td_hist *h)
{
    uint64_t below = 0;
    const char *comma = more ? "," : "", *m = more ? more : "";
    for (int32_t i = 0; i <= h->bucket_count; i++) {
        below += h->counts[i];
        td_buf_fmt(w->out, "%s_bucket%s%s%s,le=\"", name, w->label.data, comma, m);
        if (i < h->bucket_count)
            td_buf_json_num(w->out, h->bounds[i], 10);
        else
            td_buf_str(w->out, "+Inf");
        td_buf_fmt(w->out, "\"} %" PRIu64 "\n", below);
    }
    td_buf_fmt(w->out, "%s_sum%s%s%s} ", name, w->label.data, comma, m);
    td_buf_json_num(w->out, h->sum, 15);
    // Buckets and count are read one after another while the engine goes on; what is shown must agree with itself.
    td_buf_fmt(w->out, "\n%s_count%s%s%s} %" PRIu64 "\n", name, w->label.data, comma, m, below);
}

static void histogram(writer *w, const char *name, const char *help, const td_hist *h)
{
    family(w, name, "histogram", help);
    histogram_series(w, name, NULL, h);
}

static void requests(writer *w, const td_metrics *m)
{
    static const char name[] = "vllm:request_success_total";
    const struct {
        const char *label;
        uint64_t n;
    } by_reason[] = {{"finished_reason=\"stop\"", m->finished_stop},
                     {"finished_reason=\"length\"", m->finished_length},
                     {"finished_reason=\"abort\"", m->finished_abort},
                     {"finished_reason=\"error\"", m->finished_error}};
    gauge(w, "vllm:num_requests_running", "Requests that take part in steps.", (double)m->running);
    gauge(w, "vllm:num_requests_waiting", "Requests in the queue.", (double)m->waiting);
    counter(w, "vllm:num_preemptions_total", "Requests that gave their blocks back and were computed again.",
            m->preemptions);
    family(w, name, "counter", "Finished requests, by reason.");
    for (size_t i = 0; i < sizeof by_reason / sizeof *by_reason; i++) {
        series(w, name, by_reason[i].label);
        td_buf_fmt(w->out, "%" PRIu64 "\n", by_reason[i].n);
    }
}

static void cache(writer *w, const td_engine_info *info, const td_metrics *m)
{
    const struct {
        const char *label;
        int64_t n;
    } states[] = {{"state=\"free\"", m->blocks_free}, {"state=\"cached\"", m->blocks_cached},
                  {"state=\"held\"", m->blocks_held}, {"state=\"leased\"", m->blocks_leased},
                  {"state=\"quarantined\"", m->blocks_quarantined}, {"state=\"total\"", m->blocks_total}};
    double used = (double)(m->blocks_held + m->blocks_leased + m->blocks_quarantined);
    gauge(w, "vllm:kv_cache_usage_perc", "Share of KV blocks in use, 0 to 1; cached blocks count as free.",
          m->blocks_total > 0 ? used / (double)m->blocks_total : 0);
    family(w, "tandem_kv_blocks", "gauge", "KV blocks by state; the others add up to total.");
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        series(w, "tandem_kv_blocks", states[i].label);
        td_buf_fmt(w->out, "%" PRId64 "\n", states[i].n);
    }
    family(w, "vllm:cache_config_info", "gauge", "Shape of the KV cache, as labels.");
    td_buf_str(w->out, "vllm:cache_config_info");
    td_buf_add(w->out, w->label.data, w->label.len);
    td_buf_fmt(w->out, ",block_size=\"%d\",num_gpu_blocks=\"%d\",num_cpu_blocks=\"0\",cache_dtype=\"",
               (int)info->block_tok, (int)info->block_count);
    label_value(w->out, info->kv_dtype);
    td_buf_str(w->out, "\"} 1\n");
    counter(w, "vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", m->prefix_queries);
    counter(w, "vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", m->prefix_hits);
}

static void times(writer *w, const td_metrics *m)
{
    histogram(w, "vllm:time_to_first_token_seconds", "From arrival to the first token.", &m->ttft);
    histogram(w, "vllm:inter_token_latency_seconds", "Between two tokens of a request.", &m->itl);
    histogram(w, "vllm:time_per_output_token_seconds", "Older name of inter_token_latency_seconds.", &m->itl);
    histogram(w, "vllm:e2e_request_latency_seconds", "From arrival to the last token.", &m->e2e);
    histogram(w, "vllm:request_queue_time_seconds", "In the queue.", &m->queue);
    histogram(w, "tandem_queue_seconds", "In the queue.", &m->queue);
    histogram(w, "vllm:request_prefill_time_seconds", "From the first step to the first token.", &m->prefill);
    histogram(w, "vllm:request_decode_time_seconds", "From the first token to the last.", &m->decode);
    histogram(w, "vllm:request_inference_time_seconds", "Running, from the first step to the last token.",
              &m->inference);
    histogram(w, "vllm:request_prompt_tokens", "Prompt tokens of a request.", &m->request_prompt_tokens);
    histogram(w, "vllm:request_generation_tokens", "Generated tokens of a request.", &m->request_generation_tokens);
    family(w, "tandem_step_seconds", "histogram", "Duration of a step, by whether it held prompt tokens.");
    histogram_series(w, "tandem_step_seconds", "phase=\"prefill\"", &m->step_prefill);
    histogram_series(w, "tandem_step_seconds", "phase=\"decode\"", &m->step_decode);
    histogram(w, "tandem_step_tokens", "Tokens in a step.", &m->step_tokens);
}

static void build_info(writer *w, const metrics_source *src)
{
    family(w, "tandem_build_info", "gauge", "Version and what was chosen on this machine, as labels.");
    td_buf_str(w->out, "tandem_build_info");
    td_buf_add(w->out, w->label.data, w->label.len);
    td_buf_str(w->out, ",version=\"");
    label_value(w->out, src->version);
    td_buf_str(w->out, "\",commit=\"");
    label_value(w->out, src->commit);
    const char *device = src->info ? src->info->device : "", *isa = strchr(device, '-'); // "cpu-avx2"
    td_buf_str(w->out, "\",device=\"");
    td_buf_add(w->out, device, isa ? (size_t)(isa - device) : strlen(device));
    td_buf_str(w->out, "\",isa=\"");
    label_value(w->out, isa ? isa + 1 : "");
    td_buf_str(w->out, "\",numerics=\"");
    label_value(w->out, src->info ? src->info->numerics_id : "");
    td_buf_str(w->out, "\"} 1\n");
}

void metrics_text(const metrics_source *src, td_buf *out)
{
    writer w = {.out = out, .label = TD_BUF_INIT};
    td_buf_str(&w.label, "{model_name=\"");
    label_value(&w.label, src->model_name);
    td_buf_char(&w.label, '"');
    if (src->engine && src->info) {
        requests(&w, src->engine);
        cache(&w, src->info, src->engine);
        counter(&w, "vllm:prompt_tokens_total", "Prompt tokens processed.", src->engine->prompt_tokens);
        counter(&w, "vllm:generation_tokens_total", "Tokens generated.", src->engine->generation_tokens);
        counter(&w, "tandem_steps_total", "Steps computed.", src->engine->steps);
        times(&w, src->engine);
    }
    gauge(&w, "tandem_connections", "Open client connections.", (double)src->connections);
    gauge(&w, "tandem_requests_open", "Requests being read, tokenized, generated or sent.", (double)src->requests_open);
    build_info(&w, src);
    td_buf_free(&w.label);
}
