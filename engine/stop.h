/* stop.h - stop strings over a stream of text. Pure; the caller owns the held text.
 *
 * Text goes out as soon as it cannot be the beginning of a stop string any more. */
#ifndef TD_ENGINE_STOP_H
#define TD_ENGINE_STOP_H

#include "base/buf.h"

/* Looks at all of `held`, whose first `seen` bytes were looked at before. Returns the index of the stop string that
 * ends first (the longest of several that end together), or -1. *out_len: how many bytes of `held` are certain text:
 * up to the match (or its end when `include`), or up to what may still become one. */
int32_t stop_scan(const td_buf *held, const char *const *stop, int32_t stop_count, size_t seen, bool include,
                  size_t *out_len);

#endif
