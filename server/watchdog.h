/* watchdog.h - decides when an engine that stands still is beyond help. Sans I/O: the caller brings the time, and how
 * long the step loop has not advanced.
 *
 * What counts is the time between looks, each for at most twice the planned distance: a process that was stopped itself
 * (a debugger, a frozen container, a suspended machine) does not blame its engine for that. Loop thread. */
#ifndef TD_SERVER_WATCHDOG_H
#define TD_SERVER_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

typedef struct watchdog {
    uint64_t limit_ns, period_ns;
    uint64_t looked_ns;  // last look; 0: there is no work to watch
    uint64_t stood_ns;   // without progress, as far as it was seen
    uint64_t next_ns;    // when to look again; 0: when work comes
} watchdog;

void watchdog_init(watchdog *w, double limit_s);
/* busy: there is work; stall_ns: since the step loop last advanced. true: give up. */
bool watchdog_look(watchdog *w, uint64_t now_ns, bool busy, uint64_t stall_ns);

#endif
