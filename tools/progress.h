/* progress.h - how far a long work is, on stderr: a bar on a terminal, elsewhere a plain line every five seconds, so
 * that logs stay readable. The bar is the log's status, so log lines go above it. Nothing is shown for work that takes
 * less than half a second. One thread at a time. */
#ifndef TD_TOOLS_PROGRESS_H
#define TD_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    const char *what;        // "loading"
    bool tty, shown;
    uint64_t start_ns, last_ns;
} progress;

void progress_begin(progress *p, const char *what);
void progress_at(progress *p, double done /* 0…1 */, const char *note /* "812/4000 lines", or NULL */);
void progress_part(void *p, double done); // progress_at() as a callback
void progress_clear(progress *p);         // takes the bar off the terminal so that something else can be written
void progress_end(progress *p);

#endif
