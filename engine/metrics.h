/* metrics.h - counters and histograms of one engine. The engine thread writes under a lock that is held for moments
 * only; metrics_snapshot() copies from any thread. */
#ifndef TD_ENGINE_METRICS_H
#define TD_ENGINE_METRICS_H

#include "engine/tandem.h"

#include <pthread.h>

typedef struct metrics {
    pthread_mutex_t lock;
    td_metrics m;
} metrics;

void metrics_init(metrics *m);
void metrics_free(metrics *m);
void metrics_lock(metrics *m);   // around any number of the writes below
void metrics_unlock(metrics *m);
void hist_add(td_hist *h, double v);
void metrics_snapshot(metrics *m, td_metrics *out);

#endif
