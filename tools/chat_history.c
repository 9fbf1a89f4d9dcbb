#include "tools/chat_history.h"

#include "base/arena.h"
#include "base/json.h"
#include "tools/lines.h"
#include "tools/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENTRY_BYTES_MAX = 4 << 20 };

/* Entries as they stand in the file, the last ones in a ring. */
typedef struct ring {
    td_buf entries[CHAT_HISTORY_MAX];
    uint64_t count; // seen
} ring;

static bool keep(ring *r, const td_buf *line)
{
    td_buf *to = &r->entries[r->count % CHAT_HISTORY_MAX];
    td_buf_clear(to);
    r->count++;
    return td_buf_add(to, td_buf_cstr(line), line->len);
}

static td_rc read_entries(ring *r, int fd, td_err *err)
{
    lines *in = td_alloc(sizeof *in);
    if (!in)
        return td_fail(err, TD_E_NOMEM, "no memory for the history");
    lines_init(in, fd, ENTRY_BYTES_MAX);
    td_rc rc = TD_OK;
    lines_result got;
    while (!rc && (got = lines_next(in, err)) != LINES_END) {
        if (got == LINES_ERROR)
            rc = td_fail(err, TD_E_IO, "cannot read"); // the first message stays
        else if (got == LINES_OK && !keep(r, &in->line))
            rc = td_fail(err, TD_E_NOMEM, "no memory for the history");
    }
    lines_free(in);
    td_free(in);
    return rc;
}

static uint64_t first_kept(const ring *r) { return r->count > CHAT_HISTORY_MAX ? r->count - CHAT_HISTORY_MAX : 0; }

static void hand_out(const ring *r, void (*take)(void *ctx, const char *text), void *ctx)
{
    for (uint64_t i = first_kept(r); i < r->count; i++) {
        const td_buf *entry = &r->entries[i % CHAT_HISTORY_MAX];
        td_json *j = NULL;
        if (!td_json_parse(td_buf_cstr(entry), entry->len, &td_json_request_limits, &j, NULL) && td_json_str(j))
            take(ctx, td_json_str(j));
        td_json_free(j);
    }
}

/* A new file in the place of the old one, complete or not at all. */
static td_rc shorten(const ring *r, const char *path, td_err *err)
{
    td_buf text = TD_BUF_INIT, name = TD_BUF_INIT;
    for (uint64_t i = first_kept(r); i < r->count; i++) {
        const td_buf *entry = &r->entries[i % CHAT_HISTORY_MAX];
        td_buf_add(&text, td_buf_cstr(entry), entry->len);
        td_buf_char(&text, '\n');
    }
    td_buf_fmt(&name, "%s.%ld", path, (long)getpid());
    int fd = text.failed || name.failed ? -1 : open(name.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    td_rc rc = fd < 0 ? td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno))
                      : output_bytes(fd, text.data, text.len, err);
    if (fd >= 0 && close(fd) && !rc)
        rc = td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno));
    if (!rc && rename(name.data, path))
        rc = td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno));
    if (rc && fd >= 0)
        unlink(name.data);
    td_buf_free(&text);
    td_buf_free(&name);
    return rc;
}

td_rc chat_history_load(const char *path, void (*take)(void *ctx, const char *text), void *ctx, td_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe or device does not hold us up
    struct stat st;
    if (fd < 0 && errno == ENOENT)
        return TD_OK;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        td_rc rc = td_fail(err, TD_E_IO, "%s: %s", path, fd < 0 ? strerror(errno) : "not a regular file");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    ring *r = td_alloc(sizeof *r);
    td_rc rc = r ? read_entries(r, fd, err) : td_fail(err, TD_E_NOMEM, "no memory for the history");
    close(fd);
    if (!rc)
        hand_out(r, take, ctx);
    if (!rc && r->count >= 2 * CHAT_HISTORY_MAX)
        rc = shorten(r, path, err);
    for (size_t i = 0; r && i < CHAT_HISTORY_MAX; i++)
        td_buf_free(&r->entries[i]);
    td_free(r);
    return rc;
}

td_rc chat_history_add(const char *path, const char *text, td_err *err)
{
    td_buf line = TD_BUF_INIT;
    td_buf_json_str(&line, text, strlen(text));
    td_buf_char(&line, '\n');
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
    td_rc rc = fd < 0        ? td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno))
               : line.failed ? td_fail(err, TD_E_NOMEM, "no memory for the history")
                             : output_bytes(fd, line.data, line.len, err);
    if (fd >= 0 && close(fd) && !rc)
        rc = td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno));
    td_buf_free(&line);
    return rc;
}
