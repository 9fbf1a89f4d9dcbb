#include "tools/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int count, terminated, resized, continued; // two signals may come to two threads at once
static void (*callback)(int count);
static int wake[2] = {-1, -1}; // a byte a signal: poll sees it also when another thread ran the handler

static void caught(int signal_number)
{
    int before = errno;
    if (signal_number == SIGWINCH)
        resized = 1;
    else if (signal_number == SIGCONT)
        continued = 1;
    else
        count++;
    if (signal_number == SIGTERM)
        terminated = 1;
    ssize_t ignored = wake[1] >= 0 ? write(wake[1], "", 1) : 0; // a full pipe wakes as well
    (void)ignored;
    if (callback && (signal_number == SIGINT || signal_number == SIGTERM))
        callback(count);
    errno = before;
}

static void set(int signal_number, void (*handler)(int))
{
    struct sigaction a = {.sa_handler = handler};
    sigemptyset(&a.sa_mask);
    sigaction(signal_number, &a, NULL);
}

void interrupt_watch(void (*on)(int count))
{
    if (wake[0] < 0 && pipe2(wake, O_CLOEXEC | O_NONBLOCK))
        wake[0] = wake[1] = -1; // waits end with EINTR then, which is enough in a program of one thread
    callback = on;
    set(SIGINT, caught);
    set(SIGTERM, caught);
}

void interrupt_watch_terminal(void)
{
    set(SIGWINCH, caught);
    set(SIGCONT, caught);
}

void interrupt_restore(void)
{
    static const int all[] = {SIGINT, SIGTERM, SIGWINCH, SIGCONT};
    for (int i = 0; i < 4; i++)
        set(all[i], SIG_DFL);
}

_Noreturn void interrupt_die(void)
{
    int by = terminated ? SIGTERM : SIGINT;
    set(by, SIG_DFL);
    raise(by);
    _exit(128 + by); // it was blocked
}

int interrupt_count(void) { return count; }
void interrupt_reset(void) { atomic_store(&count, terminated); }
bool interrupt_terminated(void) { return terminated; }

bool interrupt_resized(void) { return atomic_exchange(&resized, 0); }
bool interrupt_continued(void) { return atomic_exchange(&continued, 0); }

bool interrupt_wait(int fd)
{
    struct pollfd on[2] = {{.fd = fd, .events = POLLIN}, {.fd = wake[0], .events = POLLIN}};
    int ready = poll(on, 2, -1);
    char drained[64];
    while (ready > 0 && on[1].revents && read(wake[0], drained, sizeof drained) > 0) {
    }
    return ready > 0 && !on[1].revents;
}
