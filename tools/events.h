/* events.h - the events of a text/event-stream as they arrive in pieces. An event of the OpenAI API is one `data:`
 * line; what is no event (the JSON of an error, answered instead of a stream) is kept aside. One thread. */
#ifndef TD_TOOLS_EVENTS_H
#define TD_TOOLS_EVENTS_H

#include "base/buf.h"

enum { EVENTS_LINE_BYTES_MAX = 4 << 20, EVENTS_OTHER_BYTES_MAX = 16 << 20 };

typedef struct events { // begin with events_init
    void (*on_data)(void *ctx, const char *text, size_t len);
    void *ctx;
    td_buf line;     // not complete yet
    td_buf other;    // lines that are no events
    bool done;       // data: [DONE]
} events;

void events_init(events *s, void (*on_data)(void *ctx, const char *text, size_t len), void *ctx);
void events_free(events *s);
/* False when there is no memory, or a line is longer than any event. */
bool events_feed(events *s, const char *p, size_t len);
bool events_end(events *s); // the last line may lack its newline

#endif
