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
#include <unistd.h>

enum { RESULT_BYTES_MAX = 256 << 20 };
#define LINES_MAX (1ull << 32)

static uint64_t id_hash(const char *custom_id)
{
    uint64_t h = td_hash64(custom_id, strlen(custom_id), 0x6261746368u);
    return h ? h : 1;
}

static td_rc note_done(batch_out *o, uint64_t number, uint64_t hash, td_err *err)
{
    if (number >= LINES_MAX)
        return td_fail(err, TD_E_INPUT, "line number %llu is out of range", (unsigned long long)number);
    if (number >= o->done_cap) {
        uint64_t cap = TD_MAX(number + 1, o->done_cap * 2);
        uint64_t *grown = td_realloc(o->done, cap * sizeof *grown);
        if (!grown)
            return td_fail(err, TD_E_NOMEM, "no memory to note %llu lines", (unsigned long long)cap);
        memset(grown + o->done_cap, 0, (cap - o->done_cap) * sizeof *grown);
        o->done = grown;
        o->done_cap = cap;
    }
    o->done_count += !o->done[number];
    o->done[number] = hash;
    return TD_OK;
}

/* One result line of an earlier run: "id":"batch-17" and its custom id. */
static td_rc read_result(batch_out *o, const td_buf *line, td_err *err)
{
    td_json *j = NULL;
    td_rc rc = td_json_parse(td_buf_cstr(line), line->len, &td_json_file_limits, &j, err);
    const char *id = td_json_get_str(j, "id", "");
    char *end = NULL;
    if (!rc) {
        unsigned long long number = strncmp(id, "batch-", 6) ? 0 : strtoull(id + 6, &end, 10);
        rc = number && end && !*end
                 ? note_done(o, number, id_hash(td_json_get_str(j, "custom_id", "")), err)
                 : td_fail(err, TD_E_INPUT, "not a result of this program: no id of the form batch-N");
    }
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
        rc = got == LINES_OK ? read_result(o, &in.line, err) : td_fail(err, TD_E_INPUT, "the line is too long");
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

static td_rc file_open(batch_out *o, batch_file *f, const char *path, bool resume, td_err *err)
{
    f->path = path;
    f->fd = -1;
    if (!path)
        return TD_OK;
    td_buf part = TD_BUF_INIT;
    td_buf_fmt(&part, "%s.part", path);
    f->part = td_buf_take(&part, NULL);
    if (!f->part)
        return td_fail(err, TD_E_NOMEM, "no memory for a path");
    if (!resume && access(f->part, F_OK) == 0)
        return td_fail(err, TD_E_USAGE, "%s is there from an earlier run: --resume goes on with it; else remove it",
                       f->part);
    if (resume && access(f->part, F_OK) != 0 && rename(path, f->part) && errno != ENOENT)
        return td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno)); // a finished run is resumed too
    f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f->fd < 0)
        return td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno));
    return resume ? read_part(o, f, err) : TD_OK;
}

td_rc batch_out_open(batch_out *o, const char *path, const char *errors_path, bool resume, td_err *err)
{
    *o = (batch_out){.synced_ns = td_now_ns(), .errors = {.fd = -1}};
    td_rc rc = file_open(o, &o->results, path, resume, err);
    return rc ? rc : file_open(o, &o->errors, errors_path, resume, err);
}

td_rc batch_out_is_done(const batch_out *o, uint64_t number, const char *custom_id, bool *done, td_err *err)
{
    uint64_t hash = number < o->done_cap ? o->done[number] : 0;
    *done = hash != 0;
    return !hash || hash == id_hash(custom_id)
               ? TD_OK
               : td_fail(err, TD_E_USAGE, "line %llu had another custom_id when this batch began: not the same input",
                         (unsigned long long)number);
}

td_rc batch_out_put(batch_out *o, bool failed, const td_buf *line, td_err *err)
{
    batch_file *f = failed && o->errors.path ? &o->errors : &o->results;
    td_buf text = TD_BUF_INIT;
    td_buf_add(&text, td_buf_cstr(line), line->len);
    td_buf_char(&text, '\n');
    td_rc rc = line->failed || text.failed ? td_fail(err, TD_E_NOMEM, "no memory for a result")
                                           : output_bytes(f->fd, text.data, text.len, err);
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

/* The directory too, so that the name survives a power cut. */
static td_rc file_name(batch_file *f, td_err *err)
{
    if (rename(f->part, f->path))
        return td_fail(err, TD_E_IO, "%s: %s", f->path, strerror(errno));
    const char *slash = strrchr(f->path, '/');
    td_buf dir = TD_BUF_INIT;
    td_buf_add(&dir, slash ? f->path : ".", slash ? (size_t)(slash - f->path) + 1 : 1);
    int fd = open(td_buf_cstr(&dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    td_buf_free(&dir);
    return TD_OK;
}

td_rc batch_out_close(batch_out *o, bool complete, td_err *err)
{
    td_rc rc = TD_OK;
    batch_file *files[] = {&o->results, &o->errors};
    for (int i = 0; i < 2; i++) {
        batch_file *f = files[i];
        if (f->fd >= 0) {
            rc = rc ? rc : file_sync(f, err);
            if (close(f->fd) && !rc)
                rc = td_fail(err, TD_E_IO, "%s: %s", f->part, strerror(errno));
            if (!rc && complete)
                rc = file_name(f, err);
        }
        td_free(f->part);
    }
    td_free(o->done);
    *o = (batch_out){.results = {.fd = -1}, .errors = {.fd = -1}};
    return rc;
}
