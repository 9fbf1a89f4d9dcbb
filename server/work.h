/* work.h - a few threads that do what would hold up the event loop: parse, render, tokenize. A job is embedded in what
 * it works for and runs once; it reports back through loop_post(). Submitting is for the loop thread. */
#ifndef TD_SERVER_WORK_H
#define TD_SERVER_WORK_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct work_job work_job;
struct work_job {
    work_job *next;
    void (*run)(work_job *j); // on a worker
    bool large;               // takes long: leaves a worker to the others, if there are two
};

typedef struct work_pool work_pool;

td_rc work_open(int32_t threads, work_pool **out, td_err *err);
/* Small jobs go first, but for one in a while; each kind first in, first out. Admission bounds their number. */
void work_submit(work_pool *w, work_job *j);
void work_close(work_pool *w); // runs what is queued, then joins; NULL is fine

#endif
