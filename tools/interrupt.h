/* interrupt.h - signals as facts that loops look at. SIGINT and SIGTERM are counted; SIGWINCH and SIGCONT matter to
 * who edits lines on a terminal. Process-wide; main thread. */
#ifndef TD_TOOLS_INTERRUPT_H
#define TD_TOOLS_INTERRUPT_H

#include <stdbool.h>

/* From now on both signals count; `on` (may be NULL) runs inside the handler with the count. Calls in progress that a
 * signal may interrupt return EINTR. */
void interrupt_watch(void (*on)(int count));
void interrupt_restore(void); // the default: a signal ends the process
/* Ends the process by the signal that was caught, as if nobody had watched: whoever waits sees what happened. */
_Noreturn void interrupt_die(void);
int interrupt_count(void);
void interrupt_reset(void);        // forgets SIGINTs; a SIGTERM is never forgotten
bool interrupt_terminated(void);   // there was a SIGTERM

/* SIGWINCH and SIGCONT too, until interrupt_restore(). The fact is forgotten once it was told. */
void interrupt_watch_terminal(void);
bool interrupt_resized(void);
bool interrupt_continued(void);
/* Waits until fd can be read (true) or a watched signal came (false), whichever thread the signal met. */
bool interrupt_wait(int fd);

#endif
