/* batch_out.h - the result files of a batch: written as FILE.part, named FILE when all is done.
 *
 * A result is one line, written by one write and synced at least once a second. A run that was killed leaves complete
 * lines and at most one torn one, which resuming drops. A line's place in the input is part of its id, so what is done
 * is known without reading the input, and resuming with another input is noticed. One thread. */
#ifndef TD_TOOLS_BATCH_OUT_H
#define TD_TOOLS_BATCH_OUT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct batch_file {
    const char *path;    // final name; NULL: not used
    char *part;          // path.part
    int fd;
    uint64_t bytes;      // complete lines
    bool dirty;          // not synced
} batch_file;

typedef struct batch_out {
    batch_file results, errors;
    uint64_t *done;      // [done_cap] hash of the custom id by input line, 0 = not done
    uint64_t done_cap, done_count;
    uint64_t synced_ns;
} batch_out;

/* TD_E_USAGE when FILE.part is there and `resume` is not asked for. errors_path may be NULL. */
td_rc batch_out_open(batch_out *o, const char *path, const char *errors_path, bool resume, td_err *err);
/* Whether input line `number` was done by an earlier run; TD_E_USAGE when it had another custom id then. */
td_rc batch_out_is_done(const batch_out *o, uint64_t number, const char *custom_id, bool *done, td_err *err);
/* A complete result line without its newline. TD_E_IO when it cannot be written: what was there stays resumable. */
td_rc batch_out_put(batch_out *o, bool failed, const td_buf *line, td_err *err);
/* Syncs when the last time is a second ago, or now. */
td_rc batch_out_sync(batch_out *o, bool now, td_err *err);
/* complete: give the files their names. */
td_rc batch_out_close(batch_out *o, bool complete, td_err *err);

#endif
