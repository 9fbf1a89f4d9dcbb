/* batch_out.h - the result files of a batch: written as FILE.part, named FILE when all is done.
 *
 * A result is one line, written by one write at the end and synced at least once a second. A run that was killed leaves
 * complete lines and at most one torn one, which resuming drops. A line's place in the input and its digest are part of
 * its id, so what is done is known without reading the input, and a line that changed is noticed; an answer's
 * system_fingerprint tells the model and the arithmetic. All of that is in the results themselves: there is no second
 * file that could be lost or disagree.
 *
 * Lines that failed in an earlier run are not done: they are tried again, and their old results stay in FILE.part
 * until the end. FILE holds each line once: where old results are to be left out, or lines are to be brought into the
 * order of the input, it is written anew beside FILE.part, synced, and only then given its name. FILE may be '-': then
 * results go to stdout, and there is nothing to resume. One thread. */
#ifndef TD_TOOLS_BATCH_OUT_H
#define TD_TOOLS_BATCH_OUT_H

#include "base/buf.h"
#include "base/err.h"
#include "tools/lines.h"

#include <stdbool.h>
#include <stdint.h>

enum { BATCH_FINGERPRINT_MAX = 63 };

typedef struct batch_entry { // a result in a file
    uint64_t number;           // of the input line
    uint64_t offset, bytes;    // with its newline
    bool stale;                // failed in an earlier run
} batch_entry;

typedef struct batch_file {
    const char *path;     // final name; NULL: not used
    char *part;           // path.part, or what stands for it in messages
    bool stream;          // stdout
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
    uint64_t *seen;      // [seen_cap] by input line: its digest, lowest bit: done; 0 = no result
    uint64_t seen_cap, done_count, failed_count; // of earlier runs
    uint64_t done_last;  // highest number of a line that is done, 0 = none
    char fingerprint[BATCH_FINGERPRINT_MAX + 1]; // of their answers, "" = none
    uint64_t synced_ns;
} batch_out;

/* TD_E_USAGE when FILE or FILE.part holds something and `resume` is not asked for, when another program writes to it,
 * or when its answers are of two models. errors_path may be NULL. */
td_rc batch_out_open(batch_out *o, const char *path, const char *errors_path, bool resume, td_err *err);
/* Whether input line `number` went well in an earlier run; TD_E_USAGE when it was another line then. A line that failed
 * may have been mended since. */
td_rc batch_out_is_done(const batch_out *o, uint64_t number, uint64_t digest, bool *done, td_err *err);
/* Every line that is done against `in`, which is read to its end. */
td_rc batch_out_check_input(const batch_out *o, lines *in, td_err *err);
/* TD_E_USAGE when the input ended after `count` lines and a later one is done. */
td_rc batch_out_check_end(const batch_out *o, uint64_t count, td_err *err);
/* TD_E_USAGE when earlier answers are of another model, or of other arithmetic, than `fingerprint` says. */
td_rc batch_out_check_model(const batch_out *o, const char *fingerprint, td_err *err);
/* "batch-NUMBER-DIGEST", the id of a result. */
void batch_out_id(td_buf *out, uint64_t number, uint64_t digest);
/* The result of input line `number`, without its newline. TD_E_IO when it cannot be written: what was there stays
 * resumable. */
td_rc batch_out_put(batch_out *o, uint64_t number, bool failed, const td_buf *line, td_err *err);
/* Syncs when the last time is a second ago, or now. */
td_rc batch_out_sync(batch_out *o, bool now, td_err *err);
/* complete: each line has its result; the files get their names, `ordered` in the order of the input. A run that wrote
 * nothing leaves the files as it found them. */
td_rc batch_out_close(batch_out *o, bool complete, bool ordered, td_err *err);

#endif
