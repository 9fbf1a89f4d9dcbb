/* interrupt.h - SIGINT and SIGTERM as a count that loops look at. Process-wide; main thread. */
#ifndef TD_TOOLS_INTERRUPT_H
#define TD_TOOLS_INTERRUPT_H

/* From now on both signals count; `on` (may be NULL) runs inside the handler with the count. Calls in progress that a
 * signal may interrupt return EINTR. */
void interrupt_watch(void (*on)(int count));
void interrupt_restore(void); // the default: a signal ends the process
int interrupt_count(void);
void interrupt_reset(void);

#endif
