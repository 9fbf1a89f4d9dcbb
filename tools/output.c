#include "tools/output.h"

#include "base/check.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_bool broken;

bool output_broken(void) { return broken; }

td_rc output_bytes(int fd, const void *p, size_t len, td_err *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)p + done, len - done);
        if (n < 0 && errno != EINTR) {
            broken = broken || fd == STDOUT_FILENO;
            return td_fail(err, TD_E_IO, "cannot write the output: %s", strerror(errno));
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return TD_OK;
}

td_rc output_buf(const td_buf *text, td_err *err)
{
    if (text->failed)
        return td_fail(err, TD_E_NOMEM, "no memory for the output");
    return output_bytes(STDOUT_FILENO, td_buf_cstr(text), text->len, err);
}

/* C0 and DEL, and C1 (U+0080 … U+009F) which some terminals obey in UTF-8 too. */
static bool is_control(const unsigned char *p, size_t left)
{
    return (*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f ||
           (*p == 0xc2 && left > 1 && p[1] >= 0x80 && p[1] < 0xa0);
}

td_rc output_text(const char *text, size_t len, td_err *err)
{
    if (!isatty(STDOUT_FILENO))
        return output_bytes(STDOUT_FILENO, text, len, err);
    td_buf clean = TD_BUF_INIT;
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < len; i++) {
        bool control = is_control(p + i, len - i);
        td_buf_char(&clean, control ? ' ' : text[i]);
        i += control && p[i] == 0xc2;
    }
    td_rc rc = output_buf(&clean, err);
    td_buf_free(&clean);
    return rc;
}
