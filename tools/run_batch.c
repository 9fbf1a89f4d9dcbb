/* run-batch: lines of an OpenAI batch file through the server of this very process, so that every check, answer and
 * error is the one that `serve` gives.
 *
 *   input lines ──> checked ──> at most --concurrency under way ──> results, as they end or in the input's order
 *
 * A bad line is a result with an error and never ends the run. What ends it early (an interrupt, --fail-fast, a full
 * disk, a kill) leaves OUT.part, and --resume goes on there, with the same input and the same model only. Memory is
 * bounded by the lines under way and, with --ordered, by those that wait for an earlier one. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "tools/batch_line.h"
#include "tools/batch_out.h"
#include "tools/batch_sum.h"
#include "tools/interrupt.h"
#include "tools/lines.h"
#include "tools/local.h"
#include "tools/progress.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POLL_MS = 200, RETRY_MS = 100, LOST_MAX = 50, AHEAD = 4, CONCURRENCY = 256, ANSWER_BYTES_MAX = 256 << 20 };

typedef struct work { // one line under way, or done and waiting for an earlier one
    struct work *prev, *next;
    uint64_t number, digest, retry_ns;
    char custom_id[BATCH_CUSTOM_ID_MAX + 1];
    int lost_count; // connections that ended without an answer
    bool has_custom_id, running, done, failed;
    const char *url;
    td_buf body, answer, result;
    char request_id[80];
    CURL *easy;
} work;

typedef struct batch {
    const flags *f;
    local *server;
    CURLM *multi;
    struct curl_slist *headers;
    lines in;
    int in_fd;
    uint64_t in_bytes;     // size of the input, 0 when it is no file
    batch_out out;
    batch_sum sum;
    td_map seen;           // custom ids
    td_arena ids;          // their text
    work *first, *last;    // in the order of the input
    int32_t under_way, waiting, concurrency;
    bool ordered, ended, stopping;
    progress bar;
} batch;

/* ------------------------------------------------------------------ results */

static void put_id(td_buf *b, const work *w)
{
    td_buf_str(b, "{\"id\":\"");
    batch_out_id(b, w->number, w->digest);
    td_buf_str(b, "\",\"custom_id\":");
    if (w->has_custom_id)
        td_buf_json_str(b, w->custom_id, strlen(w->custom_id));
    else
        td_buf_str(b, "null");
}

static void put_error(td_buf *b, const char *code, const char *message)
{
    td_buf_str(b, ",\"error\":{\"code\":");
    td_buf_json_str(b, code, strlen(code));
    td_buf_str(b, ",\"message\":");
    td_buf_json_str(b, message, strlen(message));
    td_buf_str(b, "}}");
}

/* A line that never reached the server. */
static void finish_refused(work *w, const char *code, const char *message)
{
    td_buf_clear(&w->result);
    put_id(&w->result, w);
    td_buf_str(&w->result, ",\"response\":null");
    put_error(&w->result, code, message);
    w->done = w->failed = true;
}

/* An answer: its body as the server wrote it. A line of a file must not hold one, so line feeds, which can only stand
 * between tokens of JSON, become spaces. */
static void finish_answered(batch *b, work *w, long status)
{
    td_json *j = NULL;
    td_err err = TD_ERR_INIT;
    if (td_json_parse(td_buf_cstr(&w->answer), w->answer.len, &td_json_file_limits, &j, &err)) {
        finish_refused(w, "bad_answer", err.msg);
        return;
    }
    put_id(&w->result, w);
    td_buf_fmt(&w->result, ",\"response\":{\"status_code\":%ld,\"request_id\":", status);
    td_buf_json_str(&w->result, w->request_id, strlen(w->request_id));
    td_buf_str(&w->result, ",\"body\":");
    size_t from = w->result.len;
    td_buf_add(&w->result, w->answer.data, w->answer.len);
    for (size_t i = from; i < w->result.len; i++)
        if (w->result.data[i] == '\n' || w->result.data[i] == '\r')
            w->result.data[i] = ' ';
    td_buf_char(&w->result, '}');
    w->failed = status != 200;
    const td_json *error = td_json_get(j, "error");
    if (w->failed)
        put_error(&w->result, td_json_get_str(error, "code", td_json_get_str(error, "type", "error")),
                  td_json_get_str(error, "message", "refused"));
    else
        td_buf_str(&w->result, ",\"error\":null}");
    batch_sum_usage(&b->sum, td_json_get(j, "usage"));
    td_json_free(j);
    w->done = true;
}

static void unlink_work(batch *b, work *w)
{
    *(w->prev ? &w->prev->next : &b->first) = w->next;
    *(w->next ? &w->next->prev : &b->last) = w->prev;
}

static void work_free(batch *b, work *w)
{
    if (w->easy) {
        curl_multi_remove_handle(b->multi, w->easy);
        curl_easy_cleanup(w->easy);
    }
    unlink_work(b, w);
    td_buf_free(&w->body);
    td_buf_free(&w->answer);
    td_buf_free(&w->result);
    td_free(w);
}

/* Writes what may be written now. */
static td_rc write_done(batch *b, td_err *err)
{
    td_rc rc = TD_OK;
    for (work *w = b->first, *next; !rc && w; w = next) {
        next = w->next;
        if (!w->done && b->ordered)
            break;
        if (!w->done)
            continue;
        rc = batch_out_put(&b->out, w->number, w->failed, &w->result, err);
        if (rc)
            break;
        b->sum.ok += !w->failed;
        b->sum.failed += w->failed;
        b->waiting--;
        if (w->failed && flags_bool(b->f, "fail-fast"))
            b->stopping = true;
        work_free(b, w);
    }
    return rc ? rc : batch_out_sync(&b->out, false, err);
}

/* ------------------------------------------------------------------ requests */

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
    return td_buf_add(&((work *)ctx)->answer, p, size * count) ? size * count : 0;
}

static size_t on_header(char *p, size_t size, size_t count, void *ctx)
{
    static const char name[] = "x-request-id:";
    work *w = ctx;
    size_t len = size * count;
    if (len > sizeof name && !strncasecmp(p, name, sizeof name - 1)) {
        const char *v = p + sizeof name - 1;
        v += strspn(v, " ");
        snprintf(w->request_id, sizeof w->request_id, "%.*s", (int)strcspn(v, "\r\n"), v);
    }
    return len;
}

static td_rc send_work(batch *b, work *w, td_err *err)
{
    char url[64];
    snprintf(url, sizeof url, "http://local%s", w->url);
    w->easy = curl_easy_init();
    if (!w->easy)
        return td_fail(err, TD_E_NOMEM, "no memory for a request");
    w->answer.max_bytes = ANSWER_BYTES_MAX;
    td_buf_clear(&w->answer);
    curl_easy_setopt(w->easy, CURLOPT_UNIX_SOCKET_PATH, local_socket(b->server));
    curl_easy_setopt(w->easy, CURLOPT_URL, url);
    curl_easy_setopt(w->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(w->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, b->headers);
    curl_easy_setopt(w->easy, CURLOPT_POSTFIELDS, w->body.data);
    curl_easy_setopt(w->easy, CURLOPT_POSTFIELDSIZE, (long)w->body.len);
    curl_easy_setopt(w->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(w->easy, CURLOPT_WRITEDATA, w);
    curl_easy_setopt(w->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(w->easy, CURLOPT_HEADERDATA, w);
    curl_easy_setopt(w->easy, CURLOPT_PRIVATE, w);
    curl_multi_add_handle(b->multi, w->easy);
    w->running = true;
    w->retry_ns = 0;
    return TD_OK;
}

static void end_request(batch *b, CURL *easy, CURLcode code)
{
    work *w = NULL;
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &w);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(b->multi, easy);
    curl_easy_cleanup(easy);
    w->easy = NULL;
    w->running = false;
    bool full = status == 429; // several prompts or choices a line fill the queue
    bool lost = code != CURLE_OK && w->lost_count++ < LOST_MAX; // not the line's fault; it may be the server's end
    if (full || lost) {
        w->retry_ns = td_now_ns() + RETRY_MS * TD_NS_PER_MS;
        return;
    }
    b->under_way--;
    b->waiting++;
    if (code != CURLE_OK)
        finish_refused(w, "no_answer", curl_easy_strerror(code));
    else
        finish_answered(b, w, status);
}

static td_rc retry_due(batch *b, td_err *err)
{
    td_rc rc = TD_OK;
    uint64_t now = td_now_ns();
    for (work *w = b->first; !rc && w; w = w->next)
        if (w->retry_ns && w->retry_ns <= now)
            rc = send_work(b, w, err);
    return rc;
}

/* ------------------------------------------------------------------ input */

/* Keeps the custom id; false when it was there before. */
static td_rc note_id(batch *b, const batch_line *line, bool *twice, td_err *err)
{
    size_t len = strlen(line->custom_id);
    char *text = td_arena_strndup(&b->ids, line->custom_id, len);
    bool oom = false;
    *twice = text && !td_map_put(&b->seen, text, len, 0, &oom);
    return text && !oom ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for custom ids");
}

static work *work_new(batch *b, const batch_line *line, uint64_t digest)
{
    work *w = td_alloc(sizeof *w);
    if (!w)
        return NULL;
    w->number = b->in.number;
    w->digest = digest;
    w->has_custom_id = line->has_custom_id;
    memcpy(w->custom_id, line->custom_id, sizeof w->custom_id);
    w->url = line->url;
    w->prev = b->last;
    *(b->last ? &b->last->next : &b->first) = w;
    b->last = w;
    return w;
}

/* One line of input: passed over when it is blank or done, refused, or sent. */
static td_rc take_line(batch *b, lines_result got, td_err *err)
{
    uint64_t digest = batch_line_digest(td_buf_cstr(&b->in.line), b->in.line.len);
    bool done = false, twice = false;
    td_rc rc = batch_out_is_done(&b->out, b->in.number, digest, &done, err);
    if (rc || (got == LINES_OK && !td_buf_cstr(&b->in.line)[strspn(td_buf_cstr(&b->in.line), " \t\r")]))
        return rc;
    static batch_line line;
    line = (batch_line){.url = NULL};
    td_err bad = TD_ERR_INIT;
    b->sum.lines++;
    if (got == LINES_TOO_LONG)
        td_fail(&bad, TD_E_TOOBIG, "the line is longer than %d bytes", BATCH_LINE_BYTES_MAX);
    else
        batch_line_read(td_buf_cstr(&b->in.line), b->in.line.len, &line, &bad);
    if (line.has_custom_id)
        rc = note_id(b, &line, &twice, err);
    if (rc || done) {
        b->sum.earlier += done;
        return rc;
    }
    work *w = work_new(b, &line, digest);
    if (!w)
        return td_fail(err, TD_E_NOMEM, "no memory for a line");
    if (bad.rc || twice) {
        b->waiting++;
        finish_refused(w, bad.rc == TD_E_TOOBIG ? "too_large" : twice ? "duplicate_custom_id" : "invalid_line",
                       bad.rc ? bad.msg : "custom_id stands in an earlier line too");
        return TD_OK;
    }
    b->under_way++;
    return td_buf_add(&w->body, line.body, line.body_len) ? send_work(b, w, err)
                                                          : td_fail(err, TD_E_NOMEM, "no memory for a line");
}

static td_rc read_more(batch *b, td_err *err)
{
    td_rc rc = TD_OK;
    while (!rc && !b->ended && !b->stopping && b->under_way < b->concurrency &&
           b->waiting < AHEAD * b->concurrency) {
        lines_result got = lines_next(&b->in, err);
        b->ended = got == LINES_END || got == LINES_ERROR;
        rc = got == LINES_ERROR ? err->rc
             : b->ended         ? batch_out_check_end(&b->out, b->in.number, err)
                                : take_line(b, got, err);
    }
    return rc;
}

/* ------------------------------------------------------------------ the run */

static void show(batch *b)
{
    char note[96];
    snprintf(note, sizeof note, "%llu done, %llu failed, %d under way",
             (unsigned long long)(b->sum.ok + b->sum.failed + b->sum.earlier), (unsigned long long)b->sum.failed,
             b->under_way);
    uint64_t finished = b->sum.ok + b->sum.failed + b->sum.earlier;
    double read = b->in_bytes ? (double)b->in.offset / (double)b->in_bytes : 0;
    progress_at(&b->bar, b->sum.lines ? read * (double)finished / (double)b->sum.lines : 0, note);
}

/* Moves requests on and takes those that ended; waits only when none did, for a result may have to be written, and the
 * next line to be sent, at once. */
static td_rc exchange(batch *b, td_err *err)
{
    int running, left;
    bool any = false;
    if (curl_multi_perform(b->multi, &running))
        return td_fail(err, TD_E_IO, "libcurl cannot send requests");
    for (CURLMsg *m; (m = curl_multi_info_read(b->multi, &left));)
        if (m->msg == CURLMSG_DONE) {
            end_request(b, m->easy_handle, m->data.result);
            any = true;
        }
    if (!any && curl_multi_poll(b->multi, NULL, 0, POLL_MS, NULL))
        return td_fail(err, TD_E_IO, "libcurl cannot wait for its sockets");
    return TD_OK;
}

static td_rc run(batch *b, td_err *err)
{
    td_rc rc = TD_OK;
    while (!rc) {
        b->stopping |= interrupt_count() > 0;
        rc = read_more(b, err);
        if (!rc)
            rc = write_done(b, err);
        if (rc || ((b->ended || b->stopping) && !b->under_way && !b->waiting) || interrupt_count() > 1)
            break;
        rc = local_ended(b->server, err); // by itself: its engine failed
        if (!rc)
            rc = retry_due(b, err);
        if (!rc)
            rc = exchange(b, err);
        show(b);
    }
    return rc;
}

/* The input under another of its names, or as itself, would be lost when the output gets its name. */
static td_rc check_output(const struct stat *in, const char *path, td_err *err)
{
    struct stat out;
    if (path && !stat(path, &out) && out.st_dev == in->st_dev && out.st_ino == in->st_ino)
        return td_fail(err, TD_E_USAGE, "%s is the input and would be overwritten; name another output", path);
    return TD_OK;
}

static td_rc open_input(batch *b, td_err *err)
{
    const char *path = flags_str(b->f, "input");
    const char *output = flags_str(b->f, "output"), *summary = flags_str(b->f, "summary-json");
    if (!path || !output)
        return td_fail(err, TD_E_USAGE, "usage: tandem run-batch MODEL -i IN.jsonl -o OUT.jsonl [flags]");
    if (summary && !strcmp(summary, "-") && !strcmp(output, "-"))
        return td_fail_param(err, TD_E_USAGE, "summary-json", "results and --summary-json cannot both go to stdout");
    b->in_fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    struct stat st;
    if (b->in_fd < 0 || fstat(b->in_fd, &st))
        return td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return td_fail(err, TD_E_IO, "%s is a directory, not a file of batch lines", path);
    b->in_bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    lines_init(&b->in, b->in_fd, BATCH_LINE_BYTES_MAX);
    td_rc rc = check_output(&st, output, err);
    return rc ? rc : check_output(&st, flags_str(b->f, "errors"), err);
}

/* A file is held against earlier results before anything is done; from a pipe, lines are looked at as they come. */
static td_rc check_input(batch *b, td_err *err)
{
    off_t start = b->out.done_last && b->in_bytes ? lseek(b->in_fd, 0, SEEK_CUR) : -1;
    if (start < 0)
        return TD_OK;
    td_rc rc = batch_out_check_input(&b->out, &b->in, err);
    lines_free(&b->in);
    lines_init(&b->in, b->in_fd, BATCH_LINE_BYTES_MAX);
    if (!rc && lseek(b->in_fd, start, SEEK_SET) < 0)
        rc = td_fail(err, TD_E_IO, "%s: %s", flags_str(b->f, "input"), strerror(errno));
    return rc;
}

static td_rc open_server(batch *b, td_err *err)
{
    char fingerprint[BATCH_FINGERPRINT_MAX + 1] = "";
    td_rc rc = local_open(b->f, &b->server, err);
    if (rc || !b->out.fingerprint[0])
        return rc;
    rc = local_fingerprint(b->server, fingerprint, sizeof fingerprint, err);
    return rc ? rc : batch_out_check_model(&b->out, fingerprint, err);
}

static td_rc setup(batch *b, td_err *err)
{
    const flags *f = b->f;
    td_rc rc = open_input(b, err);
    if (!rc)
        rc = batch_out_open(&b->out, flags_str(f, "output"), flags_str(f, "errors"), flags_bool(f, "resume"), err);
    if (!rc)
        rc = check_input(b, err);
    if (!rc && !td_map_init(&b->seen, 1024))
        rc = td_fail(err, TD_E_NOMEM, "no memory for custom ids");
    td_arena_init(&b->ids, 0);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    b->multi = curl_multi_init();
    b->headers = curl_slist_append(NULL, "content-type: application/json");
    b->headers = curl_slist_append(b->headers, "expect:");
    if (!rc && (!b->multi || !b->headers))
        rc = td_fail(err, TD_E_NOMEM, "no memory for libcurl");
    int64_t seqs = flags_int(f, "max-num-seqs") ? flags_int(f, "max-num-seqs") : CONCURRENCY;
    b->concurrency = (int32_t)(flags_int(f, "concurrency") ? flags_int(f, "concurrency") : seqs);
    b->ordered = flags_bool(f, "ordered");
    curl_multi_setopt(b->multi, CURLMOPT_MAXCONNECTS, (long)b->concurrency);
    return rc ? rc : open_server(b, err);
}

static td_rc teardown(batch *b, bool complete, td_err *err)
{
    while (b->first)
        work_free(b, b->first);
    td_rc rc = batch_out_close(&b->out, complete, b->ordered, err);
    if (b->multi)
        curl_multi_cleanup(b->multi);
    curl_slist_free_all(b->headers);
    curl_global_cleanup();
    local_close(b->server);
    td_map_free(&b->seen);
    td_arena_free(&b->ids);
    lines_free(&b->in);
    if (b->in_fd > STDIN_FILENO)
        close(b->in_fd);
    return rc;
}

/* A batch that is not complete is no success, whoever ended it; --fail-fast ends it for a line that failed. */
static int status_of(const batch *b, bool complete)
{
    bool stopped_itself = !interrupt_count() && b->sum.failed;
    return complete || stopped_itself ? (b->sum.failed ? VERB_EXIT_LINES_FAILED : 0) : td_rc_exit(TD_E_CANCELED);
}

td_rc verb_run_batch(const flags *f, int *exit_status, td_err *err)
{
    static batch b; // 64 KB of read buffer
    b = (batch){.f = f, .in_fd = -1, .out = {.results = {.fd = -1}, .errors = {.fd = -1}}};
    td_rc rc = setup(&b, err);
    bool began = !rc;
    interrupt_watch(NULL);
    if (began) {
        b.sum.retried = b.out.failed_count;
        progress_begin(&b.bar, "batch");
        b.sum.start_ns = td_now_ns();
        rc = run(&b, err);
        progress_end(&b.bar);
        b.sum.end_ns = td_now_ns();
    }
    bool complete = !rc && b.ended && !b.first;
    td_rc closed = teardown(&b, complete, err);
    interrupt_restore();
    rc = rc ? rc : closed;
    if (began)
        batch_sum_print(&b.sum, complete && !rc, flags_str(f, "output"));
    if (began && !rc && flags_str(f, "summary-json"))
        rc = batch_sum_json(&b.sum, complete, flags_str(f, "summary-json"), err);
    if (!rc)
        *exit_status = status_of(&b, complete);
    return rc;
}
