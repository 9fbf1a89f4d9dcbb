/* metrics_text.h - the figures in Prometheus' text format 0.0.4. Pure; any thread.
 *
 * The names that a scheduler in front of us reads are vLLM's, with one series per family. Each family has HELP and
 * TYPE, counters end in _total, and label values are escaped, so that no model name can add a line. */
#ifndef TD_SERVER_METRICS_TEXT_H
#define TD_SERVER_METRICS_TEXT_H

#include "base/buf.h"
#include "engine/tandem.h"

typedef struct metrics_source {
    const char *model_name, *version, *commit;
    const td_engine_info *info; // NULL while loading, and then `engine` as well
    const td_metrics *engine;
    int64_t connections, requests_open;
} metrics_source;

void metrics_text(const metrics_source *src, td_buf *out);

#endif
