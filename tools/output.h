/* output.h - writes results, all of them or an error: TD_E_IO when the reader left or the disk is full. Any thread. */
#ifndef TD_TOOLS_OUTPUT_H
#define TD_TOOLS_OUTPUT_H

#include "base/buf.h"
#include "base/err.h"

td_rc output_bytes(int fd, const void *p, size_t len, td_err *err);
td_rc output_buf(const td_buf *text, td_err *err); // to stdout; TD_E_NOMEM when building it failed
/* A model's words to stdout. On a terminal control characters other than newline and tab are shown as spaces: what a
 * model says must not drive the terminal. */
td_rc output_text(const char *text, size_t len, td_err *err);
bool output_broken(void); // a write to stdout has failed: nobody reads any more

#endif
