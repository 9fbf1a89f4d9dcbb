#include "tools/batch_sum.h"

#include "base/buf.h"
#include "tools/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void batch_sum_usage(batch_sum *s, const td_json *usage)
{
    s->prompt_tokens += td_json_get_int(usage, "prompt_tokens", 0);
    s->output_tokens += td_json_get_int(usage, "completion_tokens", 0);
    s->cached_tokens += td_json_get_int(td_json_get(usage, "prompt_tokens_details"), "cached_tokens", 0);
}

static double seconds(const batch_sum *s) { return (double)(s->end_ns - s->start_ns) / 1e9; }

static double rate(const batch_sum *s, int64_t n) { return seconds(s) > 0 ? (double)n / seconds(s) : 0; }

void batch_sum_print(const batch_sum *s, bool complete, const char *output)
{
    fprintf(stderr, "lines    %llu: %llu ok, %llu failed, %llu done earlier, %llu that failed earlier tried again\n",
            (unsigned long long)s->lines, (unsigned long long)s->ok, (unsigned long long)s->failed,
            (unsigned long long)s->earlier, (unsigned long long)s->retried);
    fprintf(stderr, "tokens   %lld in (%lld cached), %lld out\n", (long long)s->prompt_tokens,
            (long long)s->cached_tokens, (long long)s->output_tokens);
    fprintf(stderr, "time     %.2f s, %.1f tokens/s in, %.1f out\n", seconds(s), rate(s, s->prompt_tokens),
            rate(s, s->output_tokens));
    bool stream = !strcmp(output, "-");
    if (complete)
        fprintf(stderr, "results  %s\n", stream ? "on stdout" : output);
    else if (stream)
        fprintf(stderr, "not complete; results to stdout cannot be resumed\n");
    else
        fprintf(stderr, "not complete; results so far are in %s.part, --resume goes on\n", output);
}

td_rc batch_sum_json(const batch_sum *s, bool complete, const char *path, td_err *err)
{
    td_buf b = TD_BUF_INIT;
    td_buf_fmt(&b,
               "{\"complete\":%s,\"lines\":%llu,\"ok\":%llu,\"failed\":%llu,\"earlier\":%llu,\"retried\":%llu,"
               "\"prompt_tokens\":%lld,\"cached_tokens\":%lld,\"output_tokens\":%lld,\"seconds\":%.6f,"
               "\"prompt_tokens_per_second\":%.3f,\"output_tokens_per_second\":%.3f}\n",
               complete ? "true" : "false", (unsigned long long)s->lines, (unsigned long long)s->ok,
               (unsigned long long)s->failed, (unsigned long long)s->earlier, (unsigned long long)s->retried,
               (long long)s->prompt_tokens,
               (long long)s->cached_tokens, (long long)s->output_tokens, seconds(s), rate(s, s->prompt_tokens),
               rate(s, s->output_tokens));
    bool out = !strcmp(path, "-");
    int fd = out ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    td_rc rc = fd < 0     ? td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno))
               : b.failed ? td_fail(err, TD_E_NOMEM, "no memory for the summary")
                          : output_bytes(fd, td_buf_cstr(&b), b.len, err);
    if (!out && fd >= 0 && close(fd) && !rc)
        rc = td_fail(err, TD_E_IO, "%s: %s", path, strerror(errno));
    td_buf_free(&b);
    return rc;
}
