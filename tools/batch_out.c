#include "tools/batch_out.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "tools/batch_line.h"
#include "tools/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RESULT_BYTES_MAX = 256 << 20 };
#define LINES_MAX (1ull << 32)

/* Never 0 and even: the lowest bit says whether the line is done. */
static uint64_t mark_of(uint64_t digest) { return (digest | 2) & ~1ull; }

/* Room for one more element of `size` bytes at least doubles what is there; new elements are zero. */
static void *grown(void *old, uint64_t *cap, uint64_t needed, size_t size)
{
    uint64_t more = TD_MAX(TD_MAX(needed, *cap * 2), 64);
    char *p = td_realloc(old, more * size);
    if (!p)
        return NULL;
    memset(p + *cap * size, 0, (more - *cap) * size);
    *cap = more;
    return p;
}

static td_rc note_seen(batch_out *o, uint64_t number, uint64_t digest, bool failed, td_err *err)
{
    if (number >= LINES_MAX)
        return td_fail(err, TD_E_INPUT, "line number %llu is out of range", (unsigned long long)number);
    if (number >= o->seen_cap) {
        void *p = grown(o->seen, &o->seen_cap, number + 1, sizeof *o->seen);
        if (!p)
            return td_fail(err, TD_E_NOMEM, "no memory to note line %llu", (unsigned long long)number);
        o->seen = p;
    }
    bool was_seen = o->seen[number], was_done = o->seen[number] & 1;
    if (was_done && !failed)
        return td_fail(err, TD_E_INPUT, "line %llu has two results", (unsigned long long)number);
    o->done_count += !was_done && !failed;
    o->failed_count += failed && !was_seen;
    o->failed_count -= was_seen && !was_done && !failed;
    if (!was_done)
        o->seen[number] = mark_of(digest) | !failed;
    if (!failed)
        o->done_last = TD_MAX(o->done_last, number);
    return TD_OK;
}

static td_rc add_entry(batch_file *f, batch_entry entry, td_err *err)
{
    if (f->entry_count == f->entry_cap) {
        void *p = grown(f->entries, &f->entry_cap, f->entry_count + 1, sizeof *f->entries);
        if (!p)
            return td_fail(err, TD_E_NOMEM, "no memory to note a result");
        f->entries = p;
    }
    f->entries[f->entry_count++] = entry;
    f->stale_count += entry.stale;
    if (!entry.stale) {
        f->unordered |= entry.number < f->highest;
        f->highest = entry.number;
    }
    return TD_OK;
}

void batch_out_id(td_buf *out, uint64_t number, uint64_t digest)
{
    td_buf_fmt(out, "batch-%llu-%016llx", (unsigned long long)number, (unsigned long long)digest);
}

static bool id_read(const char *id, uint64_t *number, uint64_t *digest)
{
    if (strncmp(id, "batch-", 6))
        return false;
    char *end = NULL;
    *number = strtoull(id + 6, &end, 10);
    if (!*number || *end != '-' || strspn(end + 1, "0123456789abcdef") != 16 || end[17])
        return false;
    *digest = strtoull(end + 1, NULL, 16);
    return true;
}

/* All answers are of one model. */
static td_rc note_model(batch_out *o, const td_json *result, td_err *err)
{
    const td_json *body = td_json_get(td_json_get(result, "response"), "body");
    const char *found = td_json_get_str(body, "system_fingerprint", "");
    if (o->fingerprint[0] && *found && strcmp(o->fingerprint, found))
        return td_fail(err, TD_E_USAGE, "answers of two models, %s and %.80s: not one batch", o->fingerprint, found);
    if (*found)
        snprintf(o->fingerprint, sizeof o->fingerprint, "%s", found);
    return TD_OK;
}

/* One result line of an earlier run: its id, whether it has an error, and what answered. */
static td_rc read_result(batch_out *o, batch_file *f, const td_buf *line, uint64_t end_offset, td_err *err)
{
    td_json *j = NULL;
    td_rc rc = td_json_parse(td_buf_cstr(line), line->len, &td_json_file_limits, &j, err);
    uint64_t number = 0, digest = 0;
    bool failed = td_json_get(j, "error");
    if (!rc && !id_read(td_json_get_str(j, "id", ""), &number, &digest))
        rc = td_fail(err, TD_E_INPUT, "not a result of this program: no id of the form batch-LINE-DIGEST");
    if (!rc && !failed)
        rc = note_model(o, j, err);
    if (!rc)
        rc = note_seen(o, number, digest, failed, err);
    if (!rc)
        rc = add_entry(f, (batch_entry){number, f->bytes, end_offset - f->bytes, failed}, err);
    td_json_free(j);
    return rc;
}

/* Notes what is done and cuts a torn last line off. */
static td_rc read_part(batch_out *o, batch_file *f, td_err *err)
{
    static lines in; // 64 KB
    lines_init(&in, f->fd, RESULT_BYTES_MAX);
    td_rc rc = TD_OK;
    lines_result got = LINES_END;
    while (!rc && (got = lines_next(&in, err)) != LINES_END && got != LINES_ERROR && !in.unterminated) {
        rc = got == LINES_OK ? read_result(o, f, &in.line, in.offset, err)
                             : td_fail(err, TD_E_INPUT, "the line is too long");
        if (rc)
            td_err_prefix(err, "%s, line %llu", f->part, (unsigned long long)in.number);
        f->bytes = in.offset;
    }
    lines_free(&in);
    if (got == LINES_ERROR)
        rc = td_fail(err, TD_E_IO, "%s cannot be read", f->part); // the first message stays
    if (!rc && (ftruncate(f->fd, (off_t)f->bytes) || lseek(f->fd, (off_t)f->bytes, SEEK_SET) < 0))
        rc = td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno));
    return rc;
}

/* So that a name survives a power cut. */
static void sync_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    td_buf dir = TD_BUF_INIT;
    td_buf_add(&dir, slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1);
    int fd = open(td_buf_cstr(&dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    td_buf_free(&dir);
}

static bool holds_something(const char *path)
{
    struct stat st;
    return !stat(path, &st) && st.st_size;
}

/* FILE.part, of an earlier run or new; with `resume` a finished FILE becomes FILE.part again. An empty file is none: a
 * run that was killed while it loaded its model leaves one. */
static td_rc part_open(batch_file *f, bool resume, td_err *err)
{
    if (!resume && (holds_something(f->path) || holds_something(f->part)))
        return td_fail(err, TD_E_USAGE, "%s is there from an earlier run: --resume goes on with it; else remove it",
                       holds_something(f->part) ? f->part : f->path);
    if (resume && access(f->part, F_OK)) {
        f->was_final = !rename(f->path, f->part);
        if (!f->was_final && errno != ENOENT)
            return td_fail(err, TD_E_IO, "%s: %s", f->path, strerror(errno));
    }
    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct stat st = {.st_nlink = 1};
    if (f->fd < 0 || fstat(f->fd, &st))
        return td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno));
    if (!st.st_nlink || (flock(f->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK))
        return td_fail(err, TD_E_USAGE, "%s: another run writes to it", f->part);
    f->made = !st.st_size && !f->was_final;
    sync_dir(f->part);
    return TD_OK;
}

static td_rc stream_open(batch_file *f, bool resume, td_err *err)
{
    if (resume)
        return td_fail(err, TD_E_USAGE, "--resume goes on with a file of results, and '-' leaves none");
    td_buf name = TD_BUF_INIT;
    td_buf_str(&name, "stdout");
    f->part = td_buf_take(&name, NULL);
    f->fd = STDOUT_FILENO;
    f->stream = true;
    return f->part ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for a path");
}

static td_rc file_open(batch_out *o, batch_file *f, const char *path, bool resume, td_err *err)
{
    f->path = path;
    f->fd = -1;
    if (!path)
        return TD_OK;
    if (!strcmp(path, "-"))
        return stream_open(f, resume, err);
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return td_fail(err, TD_E_USAGE, "%s is no regular file, and results go to one: a run that is cut off goes on "
                       "there; '-' is stdout", path);
    td_buf part = TD_BUF_INIT;
    td_buf_fmt(&part, "%s.part", path);
    f->part = td_buf_take(&part, NULL);
    if (!f->part)
        return td_fail(err, TD_E_NOMEM, "no memory for a path");
    td_rc rc = part_open(f, resume, err);
    return rc || !resume ? rc : read_part(o, f, err);
}

td_rc batch_out_open(batch_out *o, const char *path, const char *errors_path, bool resume, td_err *err)
{
    *o = (batch_out){.synced_ns = td_now_ns(), .errors = {.fd = -1}};
    if (errors_path && !strcmp(path, errors_path))
        return td_fail(err, TD_E_USAGE, "results and --errors cannot be the same file");
    td_rc rc = file_open(o, &o->results, path, resume, err);
    return rc ? rc : file_open(o, &o->errors, errors_path, resume, err);
}

static td_rc other_input(const batch_out *o, uint64_t number, const char *what, td_err *err)
{
    return td_fail(err, TD_E_USAGE, "line %llu %s than when its result was written: not the same input; give the input "
                   "of %s, or another output", (unsigned long long)number, what, o->results.path);
}

td_rc batch_out_is_done(const batch_out *o, uint64_t number, uint64_t digest, bool *done, td_err *err)
{
    uint64_t seen = number < o->seen_cap ? o->seen[number] : 0;
    *done = seen & 1;
    return !*done || (seen & ~1ull) == mark_of(digest) ? TD_OK : other_input(o, number, "is another one", err);
}

td_rc batch_out_check_end(const batch_out *o, uint64_t count, td_err *err)
{
    return o->done_last <= count ? TD_OK : other_input(o, o->done_last, "is not there, other", err);
}

td_rc batch_out_check_input(const batch_out *o, lines *in, td_err *err)
{
    td_rc rc = TD_OK;
    bool done;
    lines_result got = LINES_OK;
    while (!rc && in->number < o->done_last && (got = lines_next(in, err)) != LINES_END && got != LINES_ERROR)
        rc = batch_out_is_done(o, in->number, batch_line_digest(td_buf_cstr(&in->line), in->line.len), &done, err);
    if (got == LINES_ERROR)
        return err->rc;
    return rc ? rc : batch_out_check_end(o, in->number, err);
}

td_rc batch_out_check_model(const batch_out *o, const char *fingerprint, td_err *err)
{
    if (!o->fingerprint[0] || !strcmp(o->fingerprint, fingerprint))
        return TD_OK;
    return td_fail(err, TD_E_USAGE,
                   "answers in %s have the fingerprint %s, and this model, with the flags given, has %s: not the "
                   "same model or numerics; give that model, or another output",
                   o->results.path, o->fingerprint, fingerprint);
}

td_rc batch_out_put(batch_out *o, uint64_t number, bool failed, const td_buf *line, td_err *err)
{
    batch_file *f = failed && o->errors.path ? &o->errors : &o->results;
    td_buf text = TD_BUF_INIT;
    td_buf_add(&text, td_buf_cstr(line), line->len);
    td_buf_char(&text, '\n');
    td_rc rc = line->failed || text.failed ? td_fail(err, TD_E_NOMEM, "no memory for a result") : TD_OK;
    if (!rc && !f->stream)
        rc = add_entry(f, (batch_entry){number, f->bytes, text.len, false}, err);
    if (!rc) {
        f->written = true;
        rc = output_bytes(f->fd, text.data, text.len, err);
    }
    if (!rc) {
        f->bytes += text.len;
        f->dirty = !f->stream;
    } else if (f->stream) {
        td_err_prefix(err, "results");
    } else if (ftruncate(f->fd, (off_t)f->bytes)) { // a torn line is dropped by the next --resume as well
        td_err_prefix(err, "%s keeps a torn line", f->part);
    } else {
        td_err_prefix(err, "%s keeps what was done, go on with --resume", f->part);
    }
    td_buf_free(&text);
    return rc;
}

static td_rc file_sync(batch_file *f, td_err *err)
{
    if (!f->dirty)
        return TD_OK;
    f->dirty = false;
    return fsync(f->fd) ? td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno)) : TD_OK;
}

td_rc batch_out_sync(batch_out *o, bool now, td_err *err)
{
    if (!now && td_now_ns() - o->synced_ns < TD_NS_PER_S)
        return TD_OK;
    o->synced_ns = td_now_ns();
    td_rc rc = file_sync(&o->results, err);
    return rc ? rc : file_sync(&o->errors, err);
}

/* ------------------------------------------------------------------ the end */

static int by_number(const void *a, const void *b)
{
    const batch_entry *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static td_rc copy_entry(const batch_file *f, const batch_entry *e, int to, td_err *err)
{
    char chunk[1 << 14];
    for (uint64_t done = 0; done < e->bytes;) {
        ssize_t n = pread(f->fd, chunk, TD_MIN(sizeof chunk, e->bytes - done), (off_t)(e->offset + done));
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return td_fail(err, TD_E_IO, "%s cannot be read: %s", f->part, n ? strerror(errno) : "it became shorter");
        td_rc rc = n > 0 ? output_bytes(to, chunk, (size_t)n, err) : TD_OK;
        if (rc)
            return rc;
        done += n > 0 ? (uint64_t)n : 0;
    }
    return TD_OK;
}

/* FILE out of the entries that count; FILE.part goes only when FILE is complete and synced. */
static td_rc write_anew(batch_file *f, bool ordered, td_err *err)
{
    td_buf name = TD_BUF_INIT;
    td_buf_fmt(&name, "%s.new", f->part);
    int to = name.failed ? -1 : open(name.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    td_rc rc = to < 0 ? td_fail(err, TD_E_IO, "%s: %s", f->path, strerror(errno)) : TD_OK;
    if (ordered)
        qsort(f->entries, f->entry_count, sizeof *f->entries, by_number);
    for (uint64_t i = 0; !rc && i < f->entry_count; i++)
        if (!f->entries[i].stale)
            rc = copy_entry(f, &f->entries[i], to, err);
    if (!rc && (fsync(to) || rename(name.data, f->path)))
        rc = td_fail(err, TD_E_IO, "%s: %s", f->path, strerror(errno));
    if (to >= 0)
        close(to);
    if (rc && to >= 0)
        unlink(name.data);
    if (!rc)
        sync_dir(f->path);
    if (!rc && unlink(f->part))
        rc = td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno));
    td_buf_free(&name);
    return rc;
}

static td_rc file_finish(batch_file *f, bool ordered, td_err *err)
{
    if (f->stale_count || (ordered && f->unordered))
        return write_anew(f, ordered, err);
    if (rename(f->part, f->path))
        return td_fail(err, TD_E_IO, "%s: %s", f->path, strerror(errno));
    sync_dir(f->path);
    return TD_OK;
}

/* A run that ended before its first result leaves no FILE.part behind, and a finished FILE under its name. */
static td_rc file_leave(batch_file *f, td_err *err)
{
    if (f->written || !(f->made || f->was_final))
        return TD_OK;
    if (f->made ? unlink(f->part) : rename(f->part, f->path))
        return td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno));
    return TD_OK;
}

td_rc batch_out_close(batch_out *o, bool complete, bool ordered, td_err *err)
{
    td_rc rc = TD_OK;
    batch_file *files[] = {&o->results, &o->errors};
    for (int i = 0; i < 2; i++) {
        batch_file *f = files[i];
        if (f->fd >= 0 && !f->stream) {
            rc = rc ? rc : file_sync(f, err);
            if (!rc)
                rc = complete ? file_finish(f, ordered, err) : file_leave(f, err);
            if (close(f->fd) && !rc)
                rc = td_fail(err, TD_E_IO, "%s: %s", f->path, strerror(errno));
        }
        td_free(f->part);
        td_free(f->entries);
    }
    td_free(o->seen);
    *o = (batch_out){.results = {.fd = -1}, .errors = {.fd = -1}};
    return rc;
}
