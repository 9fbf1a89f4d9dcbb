#include "tools/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t count;
static void (*callback)(int count);

static void caught(int signal_number)
{
    (void)signal_number;
    count++;
    if (callback)
        callback(count);
}

static void set(void (*handler)(int))
{
    struct sigaction a = {.sa_handler = handler};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

void interrupt_watch(void (*on)(int count))
{
    callback = on;
    set(caught);
}

void interrupt_restore(void) { set(SIG_DFL); }
int interrupt_count(void) { return count; }
void interrupt_reset(void) { count = 0; }
