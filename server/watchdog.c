#include "server/watchdog.h"

#include "base/check.h"
#include "base/clock.h"

enum { LOOKS = 8 }; // until the limit is reached

void watchdog_init(watchdog *w, double limit_s)
{
    uint64_t limit = (uint64_t)(limit_s * (double)TD_NS_PER_S);
    *w = (watchdog){.limit_ns = limit, .period_ns = TD_MAX(limit / LOOKS, TD_NS_PER_MS)};
}

bool watchdog_look(watchdog *w, uint64_t now_ns, bool busy, uint64_t stall_ns)
{
    if (!busy) {
        w->looked_ns = w->stood_ns = w->next_ns = 0;
        return false;
    }
    uint64_t gap = w->looked_ns ? now_ns - w->looked_ns : 0;
    bool advanced = stall_ns <= gap; // since the last look
    w->stood_ns = advanced ? 0 : w->stood_ns + TD_MIN(gap, 2 * w->period_ns);
    w->looked_ns = now_ns;
    w->next_ns = now_ns + w->period_ns;
    return w->stood_ns >= w->limit_ns;
}
