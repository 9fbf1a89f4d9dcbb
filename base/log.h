/* log.h - one line per event on stderr, as text or JSON. Control characters are escaped and long values cut, so that
 * nothing a client sends can forge a line. Any thread; a line is written with one write(2).
 *
 * On a terminal a status, such as a bar of progress, may stand below the log: lines erase it and write it again. */
#ifndef TD_BASE_LOG_H
#define TD_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

typedef enum td_log_level { TD_LOG_ERROR, TD_LOG_WARN, TD_LOG_INFO, TD_LOG_DEBUG } td_log_level;

void td_log_setup(td_log_level level, bool json); // before other threads start
bool td_log_on(td_log_level level);
void td_log(td_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What stands below the log from now on, where stderr is a terminal; cut to TD_LOG_STATUS_MAX bytes. len 0: nothing. */
enum { TD_LOG_STATUS_MAX = 240 };
void td_log_status(const char *status, size_t len);

#define td_error(...) td_log(TD_LOG_ERROR, __VA_ARGS__)
#define td_warn(...) td_log(TD_LOG_WARN, __VA_ARGS__)
#define td_info(...) td_log(TD_LOG_INFO, __VA_ARGS__)
#define td_debug(...) td_log(TD_LOG_DEBUG, __VA_ARGS__)

#endif
