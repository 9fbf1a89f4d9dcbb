/* perplexity: the text is cut into chunks of --ctx tokens; in each the tokens of the second half are scored, each given
 * all before it in its chunk; where the model wants BOS, it takes the place of the chunk's first token. That is how
 * llama-perplexity counts, so figures compare. Results: a running line a chunk on stderr, the estimate on stdout. What
 * is interrupted has no estimate, for nothing would tell that it is one of a part; the process ends by the signal. */
#include "tools/verbs.h"

#include "base/arena.h"
#include "base/check.h"
#include "tools/interrupt.h"
#include "tools/lines.h"
#include "tools/open.h"
#include "tools/output.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 1 << 30 };
#define ROWS_BYTES_MAX (256ull << 20) // of logits held at once

typedef struct scorer {
    td_engine *engine;
    int32_t vocab, ctx, rows_max;
    int32_t *ids, *positions; // [ctx]
    float *rows;              // [rows_max][vocab]
    double nll, nll_squares;
    int64_t count;
    int64_t chunks, chunks_done;
} scorer;

/* Negative log likelihood of `id` under a row of logits. */
static double nll_of(const float *row, int32_t vocab, int32_t id)
{
    float highest = row[0];
    for (int32_t i = 1; i < vocab; i++)
        highest = TD_MAX(highest, row[i]);
    double sum = 0;
    for (int32_t i = 0; i < vocab; i++)
        sum += exp((double)(row[i] - highest));
    return log(sum) - (double)(row[id] - highest);
}

static td_rc score_chunk(scorer *s, td_err *err)
{
    for (int32_t from = s->ctx / 2; from < s->ctx - 1; from += s->rows_max) {
        int32_t n = TD_MIN(s->rows_max, s->ctx - 1 - from);
        for (int32_t i = 0; i < n; i++)
            s->positions[i] = from + i;
        td_rc rc = td_logits(s->engine, s->ids, from + n, s->positions, n, s->rows, err);
        if (rc)
            return rc;
        for (int32_t i = 0; i < n; i++) {
            double v = nll_of(s->rows + (size_t)i * (size_t)s->vocab, s->vocab, s->ids[from + i + 1]);
            s->nll += v;
            s->nll_squares += v * v;
            s->count++;
        }
    }
    return TD_OK;
}

static td_rc score(scorer *s, const td_tokens *text, int64_t chunks, td_err *err)
{
    int32_t bos = td_engine_get_info(s->engine)->bos_id;
    bool add_bos = bos >= 0 && text->count && text->ids[0] == bos;
    int64_t all = text->count / s->ctx;
    if (text->count < 2 * s->ctx)
        return td_fail(err, TD_E_INPUT, "the text has %d tokens; at least %d are needed for chunks of %d (--ctx)",
                       text->count, 2 * s->ctx, s->ctx);
    s->chunks = chunks ? TD_MIN(chunks, all) : all;
    for (int64_t i = 0; i < s->chunks && !interrupt_count(); i++) {
        memcpy(s->ids, text->ids + i * s->ctx, (size_t)s->ctx * sizeof *s->ids);
        if (add_bos)
            s->ids[0] = bos;
        td_rc rc = score_chunk(s, err);
        if (rc)
            return rc;
        fprintf(stderr, "[%lld/%lld] %.4f\n", (long long)i + 1, (long long)s->chunks, exp(s->nll / (double)s->count));
        s->chunks_done = i + 1;
    }
    return TD_OK;
}

static td_rc read_text(const flags *f, td_buf *out, td_err *err)
{
    const char *path = flags_str(f, "file");
    if (!path)
        return td_fail_param(err, TD_E_USAGE, "file", "-f FILE is missing: the text to score, - for stdin");
    int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (fd < 0)
        return td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno));
    td_rc rc = lines_read_all(fd, TEXT_BYTES_MAX, out, err);
    if (rc)
        td_err_prefix(err, "%s", path);
    if (fd != STDIN_FILENO)
        close(fd);
    return rc;
}

static td_rc scorer_init(scorer *s, const flags *f, td_err *err)
{
    const td_engine_info *info = td_engine_get_info(s->engine);
    s->vocab = info->vocab_count;
    s->ctx = (int32_t)flags_int(f, "ctx");
    if (s->ctx > info->max_model_len)
        return td_fail_param(err, TD_E_USAGE, "ctx", "--ctx %d is beyond max-model-len %d", s->ctx,
                             info->max_model_len);
    s->rows_max = (int32_t)TD_MIN((uint64_t)s->ctx, ROWS_BYTES_MAX / ((uint64_t)s->vocab * sizeof *s->rows) + 1);
    s->ids = td_alloc((size_t)s->ctx * sizeof *s->ids);
    s->positions = td_alloc((size_t)s->ctx * sizeof *s->positions);
    s->rows = td_alloc((size_t)s->rows_max * (size_t)s->vocab * sizeof *s->rows);
    return s->ids && s->positions && s->rows ? TD_OK : td_fail(err, TD_E_NOMEM, "no memory for logits");
}

static td_rc print_estimate(const scorer *s, td_err *err)
{
    double mean = s->nll / (double)s->count, variance = s->nll_squares / (double)s->count - mean * mean;
    double error = variance > 0 ? sqrt(variance / (double)TD_MAX(s->count - 1, 1)) : 0;
    td_buf out = TD_BUF_INIT;
    td_buf_fmt(&out, "perplexity %.4f +/- %.5f (mean nll %.6f over %lld tokens)\n", exp(mean), error * exp(mean), mean,
               (long long)s->count);
    td_rc rc = output_buf(&out, err);
    td_buf_free(&out);
    return rc;
}

/* A second signal does not wait for the chunk in work. */
static void on_interrupt(int count)
{
    if (count > 1)
        interrupt_die();
}

td_rc verb_perplexity(const flags *f, int *exit_status, td_err *err)
{
    (void)exit_status;
    scorer s = {.engine = NULL};
    td_buf text = TD_BUF_INIT;
    td_tokens tokens = {NULL, 0};
    td_rc rc = read_text(f, &text, err);
    if (!rc)
        rc = open_engine_quick(f, &s.engine, err);
    if (!rc)
        rc = scorer_init(&s, f, err);
    if (!rc)
        rc = td_tokenize(s.engine, td_buf_cstr(&text), text.len, TD_TEXT_ADD_SPECIAL, &tokens, err);
    interrupt_watch(on_interrupt);
    if (!rc)
        rc = score(&s, &tokens, flags_int(f, "chunks"), err);
    bool interrupted = !rc && s.chunks_done < s.chunks;
    if (!rc && !interrupted)
        rc = print_estimate(&s, err);
    if (interrupted)
        fprintf(stderr, "interrupted after %lld of %lld chunks: no result\n", (long long)s.chunks_done,
                (long long)s.chunks);
    td_tokens_free(&tokens);
    td_buf_free(&text);
    td_free(s.ids);
    td_free(s.positions);
    td_free(s.rows);
    td_engine_close(s.engine);
    if (interrupted)
        interrupt_die();
    interrupt_restore();
    return rc;
}
