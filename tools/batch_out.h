/* batch_out.h - the result files of a batch: written as FILE.part, named FILE when all is done.
 *
 * A result is one line, written by one write at the end and synced at least once a second. A run that was killed leaves
 * complete lines and at most one torn one, which resuming drops. A line's place in the input is part of its id, so what
 * is done is known without reading the input, and resuming with another input is noticed.
 *
 * Lines that failed in an earlier run are not done: they are tried again, and their old results stay in FILE.part
 * until the end. FILE holds each line once: where old results are to be left out, or lines are to be brought into the
 * order of the input, it is written anew beside FILE.part, synced, and only then given its name. One thread. */
#ifndef TD_TOOLS_BATCH_OUT_H
#define TD_TOOLS_BATCH_OUT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct batch_entry { // a result in a file
    uint64_t number;           // of the input line
    uint64_t offset, bytes;    // with its newline
    bool stale;                // failed in an earlier run
} batch_entry;

typedef struct batch_file {
    const char *path;     // final name; NULL: not used
    char *part;           // path.part
    int fd;
    uint64_t bytes;       // complete lines
    bool dirty;           // not synced
    bool made, was_final; // by this run: created; named back from FILE
    bool written;         // by this run
    batch_entry *entries; // [entry_count] in the order of the file
    uint64_t entry_count, entry_cap, stale_count;
    bool unordered;       // entries that are not stale do not ascend
    uint64_t highest;     // number of those
} batch_file;

typedef struct batch_out {
    batch_file results, errors;
    uint64_t *seen;      // [seen_cap] by input line: hash of its custom id, lowest bit: done; 0 = no result
    uint64_t seen_cap, done_count, failed_count; // of earlier runs
    uint64_t synced_ns;
} batch_out;

/* TD_E_USAGE when FILE.part is there and `resume` is not asked for, or another program writes to it. errors_path may be
 * NULL. */
td_rc batch_out_open(batch_out *o, const char *path, const char *errors_path, bool resume, td_err *err);
/* Whether input line `number` went well in an earlier run; TD_E_USAGE when it had another custom id then. */
td_rc batch_out_is_done(const batch_out *o, uint64_t number, const char *custom_id, bool *done, td_err *err);
/* The result of input line `number`, without its newline. TD_E_IO when it cannot be written: what was there stays
 * resumable. */
td_rc batch_out_put(batch_out *o, uint64_t number, bool failed, const td_buf *line, td_err *err);
/* Syncs when the last time is a second ago, or now. */
td_rc batch_out_sync(batch_out *o, bool now, td_err *err);
/* complete: each line has its result; the files get their names, `ordered` in the order of the input. A run that wrote
 * nothing leaves the files as it found them. */
td_rc batch_out_close(batch_out *o, bool complete, bool ordered, td_err *err);

#endif
