#include "tools/batch_out.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "tools/batch_line.h"
#include "tools/lines.h"
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
static uint64_t id_hash(const char *custom_id)
{
    return (td_hash64(custom_id, strlen(custom_id), 0x6261746368u) | 2) & ~1ull;
}

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

static td_rc note_seen(batch_out *o, uint64_t number, uint64_t hash, bool failed, td_err *err)
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
    o->seen[number] = hash | (was_done || !failed);
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

/* One result line of an earlier run: "id":"batch-17", its custom id, and whether it has an error. */
static td_rc read_result(batch_out *o, batch_file *f, const td_buf *line, uint64_t end_offset, td_err *err)
{
    td_json *j = NULL;
    td_rc rc = td_json_parse(td_buf_cstr(line), line->len, &td_json_file_limits, &j, err);
    const char *id = td_json_get_str(j, "id", "");
    char *end = NULL;
    unsigned long long number = strncmp(id, "batch-", 6) ? 0 : strtoull(id + 6, &end, 10);
    bool failed = td_json_get(j, "error");
    if (!rc && !(number && end && !*end))
        rc = td_fail(err, TD_E_INPUT, "not a result of this program: no id of the form batch-N");
    if (!rc)
        rc = note_seen(o, number, id_hash(td_json_get_str(j, "custom_id", "")), failed, err);
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

/* FILE.part, of an earlier run or new; with `resume` a finished FILE becomes FILE.part again. */
static td_rc part_open(batch_file *f, bool resume, td_err *err)
{
    bool there = access(f->part, F_OK) == 0;
    if (!resume && there)
        return td_fail(err, TD_E_USAGE, "%s is there from an earlier run: --resume goes on with it; else remove it",
                       f->part);
    if (resume && !there) {
        f->was_final = !rename(f->path, f->part);
        if (!f->was_final && errno != ENOENT)
            return td_fail(err, TD_E_IO, "%s: %s", f->path, strerror(errno));
    }
    f->made = !there && !f->was_final;
    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC | (f->made ? O_EXCL : 0), 0666);
    if (f->fd < 0)
        return td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno));
    if (flock(f->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return td_fail(err, TD_E_USAGE, "%s: another run writes to it", f->part);
    sync_dir(f->part);
    return TD_OK;
}

static td_rc file_open(batch_out *o, batch_file *f, const char *path, bool resume, td_err *err)
{
    f->path = path;
    f->fd = -1;
    if (!path)
        return TD_OK;
    if (!strcmp(path, "-"))
        return td_fail(err, TD_E_USAGE, "results go to a file, not to '-': a run that is cut off goes on there");
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return td_fail(err, TD_E_USAGE, "%s is no regular file, and results go to one: a run that is cut off goes on "
                       "there", path);
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

td_rc batch_out_is_done(const batch_out *o, uint64_t number, const char *custom_id, bool *done, td_err *err)
{
    uint64_t seen = number < o->seen_cap ? o->seen[number] : 0;
    *done = seen & 1;
    return !seen || (seen & ~1ull) == id_hash(custom_id)
               ? TD_OK
               : td_fail(err, TD_E_USAGE, "line %llu had another custom_id when this batch began: not the same input",
                         (unsigned long long)number);
}

td_rc batch_out_put(batch_out *o, uint64_t number, bool failed, const td_buf *line, td_err *err)
{
    batch_file *f = failed && o->errors.path ? &o->errors : &o->results;
    td_buf text = TD_BUF_INIT;
    td_buf_add(&text, td_buf_cstr(line), line->len);
    td_buf_char(&text, '\n');
    td_rc rc = line->failed || text.failed ? td_fail(err, TD_E_NOMEM, "no memory for a result")
                                           : add_entry(f, (batch_entry){number, f->bytes, text.len, false}, err);
    if (!rc) {
        f->written = true;
        rc = output_bytes(f->fd, text.data, text.len, err);
    }
    if (!rc) {
        f->bytes += text.len;
        f->dirty = true;
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
    return fsync(f->fd) && errno != EINVAL && errno != EROFS // a pipe or device has nothing to sync
               ? td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno))
               : TD_OK;
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
        if (f->fd >= 0) {
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
