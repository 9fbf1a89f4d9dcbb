#include "base/log.h"

#include "base/buf.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static td_log_level log_level = TD_LOG_INFO;
static bool log_json;
static pthread_mutex_t status_lock = PTHREAD_MUTEX_INITIALIZER;
static char status_text[TD_LOG_STATUS_MAX]; // under its lock, as is the terminal's last line while there is one
static size_t status_len;

static const char erase[] = "\r\033[K";
enum { ERASE_BYTES = sizeof erase - 1 };

void td_log_setup(td_log_level level, bool json)
{
    log_level = level;
    log_json = json;
}

bool td_log_on(td_log_level level) { return level <= log_level; }

static void put(const char *s, size_t n)
{
    ssize_t ignored = write(STDERR_FILENO, s, n); // nobody to tell when stderr is gone
    (void)ignored;
}

void td_log_status(const char *status, size_t len)
{
    char out[ERASE_BYTES + TD_LOG_STATUS_MAX];
    pthread_mutex_lock(&status_lock);
    if (len || status_len) {
        status_len = len < TD_LOG_STATUS_MAX ? len : TD_LOG_STATUS_MAX;
        if (status_len)
            memcpy(status_text, status, status_len);
        memcpy(out, erase, ERASE_BYTES);
        memcpy(out + ERASE_BYTES, status_text, status_len);
        put(out, ERASE_BYTES + status_len);
    }
    pthread_mutex_unlock(&status_lock);
}

/* A finished line, above the status if there is one. */
static void put_line(const char *line, size_t n)
{
    char out[LINE_MAX_BYTES + ERASE_BYTES + TD_LOG_STATUS_MAX];
    pthread_mutex_lock(&status_lock);
    size_t before = status_len ? ERASE_BYTES : 0;
    memcpy(out, erase, before);
    memcpy(out + before, line, n);
    memcpy(out + before + n, status_text, status_len);
    put(out, before + n + status_len);
    pthread_mutex_unlock(&status_lock);
}

/* Text lines keep UTF-8 and escape control characters, ANSI escapes among them. */
static size_t escape_text(char *out, size_t cap, const char *s)
{
    size_t n = 0;
    for (; *s && n + 5 < cap; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 0x20 && c != 0x7f)
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, cap - n, "\\x%02x", c);
    }
    return n;
}

void td_log(td_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if (!td_log_on(level))
        return;
    char msg[LINE_MAX_BYTES / 2], line[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    char when[40];
    size_t w = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + w, sizeof when - w, ".%03dZ", (int)(ts.tv_nsec / 1000000));
    size_t n;
    if (log_json) {
        td_buf b = {.max_bytes = sizeof line - 2};
        td_buf_fmt(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":", when, names[level]);
        td_buf_json_str(&b, msg, strlen(msg));
        td_buf_char(&b, '}');
        n = b.failed ? 0 : b.len;
        if (n)
            memcpy(line, b.data, n);
        td_buf_free(&b);
    } else {
        n = (size_t)snprintf(line, sizeof line, "%s %-5s ", when, names[level]);
        n += escape_text(line + n, sizeof line - n - 1, msg);
    }
    line[n++] = '\n';
    put_line(line, n);
}
