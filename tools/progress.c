#include "tools/progress.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <unistd.h>

enum { BAR = 24 };

void progress_begin(progress *p, const char *what)
{
    *p = (progress){.what = what, .tty = isatty(STDERR_FILENO), .start_ns = td_now_ns()};
    p->last_ns = p->start_ns;
}

void progress_at(progress *p, double done, const char *note)
{
    if (p->tty && done >= 1) {
        progress_clear(p); // a full bar says nothing
        return;
    }
    uint64_t now = td_now_ns(), wait_ms = !p->tty ? 5000 : p->shown ? 100 : 500;
    if (now - p->last_ns < wait_ms * TD_NS_PER_MS)
        return;
    p->last_ns = now;
    double spent_s = (double)(now - p->start_ns) / 1e9;
    double left_s = done > 0.01 ? spent_s * (1 - done) / done : 0;
    td_buf b = TD_BUF_INIT;
    td_buf_fmt(&b, "%s %3.0f %%", p->what, done * 100);
    if (p->tty) {
        td_buf_str(&b, " [");
        for (int i = 0; i < BAR; i++)
            td_buf_char(&b, i < done * BAR ? '=' : ' ');
        td_buf_char(&b, ']');
    }
    if (note)
        td_buf_fmt(&b, " %s", note);
    if (left_s > 0)
        td_buf_fmt(&b, ", %.0f s left", left_s);
    if (p->tty) {
        td_log_status(td_buf_cstr(&b), b.len);
    } else {
        td_buf_char(&b, '\n');
        ssize_t ignored = write(STDERR_FILENO, td_buf_cstr(&b), b.len); // nobody to tell when stderr is gone
        (void)ignored;
    }
    td_buf_free(&b);
    p->shown = true;
}

void progress_part(void *p, double done) { progress_at(p, done, NULL); }

void progress_clear(progress *p)
{
    if (p->tty && p->shown)
        td_log_status(NULL, 0);
}

void progress_end(progress *p) { progress_clear(p); }
