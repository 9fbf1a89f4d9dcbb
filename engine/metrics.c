#include "engine/metrics.h"

#include "base/check.h"

/* Bounds are those that dashboards made for vLLM expect. */
static const double ttft_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                     1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
static const double itl_bounds[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                    0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
static const double latency_bounds[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                        30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
static const double token_bounds[] = {1,    2,    5,     10,    20,    50,     100,    200,    500,    1000,
                                      2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000};
static const double step_bounds[] = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10};
static const double step_tok_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

#define HIST(b) {.bounds = (b), .bucket_count = (int32_t)TD_COUNT(b)}

void metrics_init(metrics *m)
{
    pthread_mutex_init(&m->lock, NULL);
    m->m = (td_metrics){
        .ttft = HIST(ttft_bounds), .itl = HIST(itl_bounds), .e2e = HIST(latency_bounds), .queue = HIST(latency_bounds),
        .prefill = HIST(latency_bounds), .decode = HIST(latency_bounds), .inference = HIST(latency_bounds),
        .request_prompt_tokens = HIST(token_bounds), .request_generation_tokens = HIST(token_bounds),
        .step_prefill = HIST(step_bounds), .step_decode = HIST(step_bounds), .step_tokens = HIST(step_tok_bounds)};
}

void metrics_free(metrics *m) { pthread_mutex_destroy(&m->lock); }
void metrics_lock(metrics *m) { pthread_mutex_lock(&m->lock); }
void metrics_unlock(metrics *m) { pthread_mutex_unlock(&m->lock); }

void hist_add(td_hist *h, double v)
{
    int32_t i = 0;
    while (i < h->bucket_count && v > h->bounds[i])
        i++;
    h->counts[i]++;
    h->sum += v;
    h->count++;
}

void metrics_snapshot(metrics *m, td_metrics *out)
{
    metrics_lock(m);
    *out = m->m;
    metrics_unlock(m);
}
