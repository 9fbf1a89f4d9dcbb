/* logits: teacher forcing from the command line. Nine significant digits give a float back exactly; --hash covers the
 * bits themselves, so that any change of the numerics shows as another hash. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/json.h"
#include "tools/lines.h"
#include "tools/open.h"
#include "tools/output.h"

#include <string.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 64 << 20 };

typedef struct logits {
    td_engine *engine;
    int32_t vocab, top;
    td_sha256_ctx *hash; // NULL: print values
    td_buf out;
} logits;

typedef struct query {
    int32_t *ids, *positions;
    int32_t count, position_count;
    float *rows; // [position_count][vocab]
    int32_t *order; // [vocab] for --top
} query;

static void query_free(query *q)
{
    td_free(q->ids);
    td_free(q->positions);
    td_free(q->rows);
    td_free(q->order);
}

static td_rc int_array(const td_json *array, const char *name, int64_t limit, int32_t **out, int32_t *count,
                       td_err *err)
{
    if (!cJSON_IsArray(array) || !array->child)
        return td_fail_param(err, TD_E_INPUT, name, "\"%s\" must be an array of whole numbers, not empty", name);
    *out = td_alloc((size_t)cJSON_GetArraySize(array) * sizeof **out);
    if (!*out)
        return td_fail(err, TD_E_NOMEM, "no memory for \"%s\"", name);
    td_json_each(item, array) {
        int64_t v;
        if (!td_json_int(item, &v) || v < 0 || v >= limit)
            return td_fail_param(err, TD_E_INPUT, name, "%s[%d] must be from 0 to %lld", name, *count,
                                 (long long)limit - 1);
        (*out)[(*count)++] = (int32_t)v;
    }
    return TD_OK;
}

static td_rc query_read(const logits *l, const td_json *in, query *q, td_err *err)
{
    td_rc rc = int_array(td_json_get(in, "tokens"), "tokens", l->vocab, &q->ids, &q->count, err);
    const td_json *positions = td_json_get(in, "positions");
    if (!rc && positions)
        rc = int_array(positions, "positions", q->count, &q->positions, &q->position_count, err);
    if (rc || positions)
        return rc;
    q->positions = td_alloc(sizeof *q->positions);
    if (!q->positions)
        return td_fail(err, TD_E_NOMEM, "no memory for a position");
    q->positions[0] = q->count - 1;
    q->position_count = 1;
    return TD_OK;
}

static void put_row(td_buf *out, const float *row, int32_t vocab)
{
    td_buf_char(out, '[');
    for (int32_t i = 0; i < vocab; i++)
        td_buf_fmt(out, "%s%.9g", i ? "," : "", (double)row[i]);
    td_buf_char(out, ']');
}

/* Higher first, the lower id first among equals. */
static bool before(const float *row, int32_t a, int32_t b) { return row[a] != row[b] ? row[a] > row[b] : a < b; }

static void sift(const float *row, int32_t *heap, int32_t n, int32_t at)
{
    for (int32_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && before(row, heap[child], heap[child + 1]); // the worst of the kept stands on top
        if (!before(row, heap[at], heap[child]))
            return;
        int32_t swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
    }
}

/* The first `top` ids of a row in order, by a heap of that size. */
static int32_t top_ids(const float *row, int32_t vocab, int32_t top, int32_t *ids)
{
    int32_t n = TD_MIN(top, vocab);
    for (int32_t i = 0; i < n; i++)
        ids[i] = i;
    for (int32_t i = n / 2; i-- > 0;)
        sift(row, ids, n, i);
    for (int32_t i = n; i < vocab; i++)
        if (before(row, i, ids[0])) {
            ids[0] = i;
            sift(row, ids, n, 0);
        }
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t worst = ids[0];
        ids[0] = ids[i];
        ids[i] = worst;
        sift(row, ids, i, 0);
    }
    return n;
}

static void put_top(td_buf *out, const float *row, const logits *l, int32_t *ids)
{
    int32_t n = top_ids(row, l->vocab, l->top, ids);
    td_buf_char(out, '[');
    for (int32_t i = 0; i < n; i++)
        td_buf_fmt(out, "%s[%d,%.9g]", i ? "," : "", ids[i], (double)row[ids[i]]);
    td_buf_char(out, ']');
}

static td_rc answer(logits *l, query *q, td_err *err)
{
    size_t values;
    if (!td_size_mul_ok((size_t)q->position_count, (size_t)l->vocab, &values) || values > SIZE_MAX / 8)
        return td_fail(err, TD_E_TOOBIG, "too many positions");
    q->rows = td_alloc(values * sizeof *q->rows);
    q->order = td_alloc((size_t)l->vocab * sizeof *q->order);
    if (!q->rows || !q->order)
        return td_fail(err, TD_E_NOMEM, "no memory for %d rows of logits; ask for fewer positions", q->position_count);
    td_rc rc = td_logits(l->engine, q->ids, q->count, q->positions, q->position_count, q->rows, err);
    if (rc)
        return rc;
    if (l->hash) {
        td_sha256_add(l->hash, q->rows, values * sizeof *q->rows);
        return TD_OK;
    }
    td_buf_clear(&l->out);
    td_buf_str(&l->out, l->top ? "{\"top\":[" : "{\"logits\":[");
    for (int32_t i = 0; i < q->position_count; i++) {
        const float *row = q->rows + (size_t)i * (size_t)l->vocab;
        td_buf_str(&l->out, i ? "," : "");
        if (l->top)
            put_top(&l->out, row, l, q->order);
        else
            put_row(&l->out, row, l->vocab);
    }
    td_buf_str(&l->out, "]}\n");
    return output_buf(&l->out, err);
}

static td_rc one_line(logits *l, const td_buf *line, td_err *err)
{
    td_json *in = NULL;
    query q = {.ids = NULL};
    td_rc rc = td_json_parse(td_buf_cstr(line), line->len, &td_json_file_limits, &in, err);
    if (!rc)
        rc = query_read(l, in, &q, err);
    if (!rc)
        rc = answer(l, &q, err);
    query_free(&q);
    td_json_free(in);
    return rc;
}

static td_rc each_line(logits *l, td_err *err)
{
    lines in;
    lines_init(&in, STDIN_FILENO, LINE_BYTES_MAX);
    td_rc rc = TD_OK;
    lines_result got;
    while (!rc && (got = lines_next(&in, err)) != LINES_END && got != LINES_ERROR) {
        if (got == LINES_TOO_LONG)
            rc = td_fail(err, TD_E_TOOBIG, "longer than %d bytes", LINE_BYTES_MAX);
        else if (in.line.len)
            rc = one_line(l, &in.line, err);
        if (rc)
            td_err_prefix(err, "line %llu", (unsigned long long)in.number);
    }
    lines_free(&in);
    return rc ? rc : err->rc;
}

td_rc verb_logits(const flags *f, int *exit_status, td_err *err)
{
    if (flags_bool(f, "hash") && flags_int(f, "top"))
        return td_fail_param(err, TD_E_USAGE, "hash", "--hash covers all logits, --top prints some: give one of them");
    (void)exit_status;
    logits l = {.top = (int32_t)flags_int(f, "top")};
    td_rc rc = open_engine_quick(f, &l.engine, err);
    if (!rc) {
        l.vocab = td_engine_get_info(l.engine)->vocab_count;
        l.hash = flags_bool(f, "hash") ? td_sha256_new() : NULL;
        if (flags_bool(f, "hash") && !l.hash)
            rc = td_fail(err, TD_E_NOMEM, "no memory for the hash");
    }
    if (!rc)
        rc = each_line(&l, err);
    if (l.hash) {
        char hex[65];
        td_sha256 digest = td_sha256_end(l.hash);
        td_hex(digest.b, sizeof digest.b, hex);
        td_buf_clear(&l.out);
        td_buf_fmt(&l.out, "%s\n", hex);
        if (!rc)
            rc = output_buf(&l.out, err);
    }
    td_buf_free(&l.out);
    td_engine_close(l.engine);
    return rc;
}
