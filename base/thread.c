#include "base/thread.h"

#include "base/limits.h"

#include <sys/resource.h>

int td_thread_start(pthread_t *out, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    int rc = pthread_attr_setstacksize(&attr, TD_THREAD_STACK_BYTES);
    if (!rc)
        rc = pthread_create(out, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    return rc;
}

td_rc td_thread_main_stack(td_err *err)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_STACK, &r) || r.rlim_cur >= TD_MAIN_STACK_BYTES)
        return TD_OK;
    unsigned long long had = r.rlim_cur;
    r.rlim_cur = TD_MAIN_STACK_BYTES; // the kernel looks at it when the stack grows, so it holds from now on
    if (r.rlim_max >= TD_MAIN_STACK_BYTES && !setrlimit(RLIMIT_STACK, &r))
        return TD_OK;
    return td_fail(err, TD_E_USAGE, "the stack is limited to %llu KiB and may not be raised to the %d KiB that are "
                   "needed; see ulimit -s", had >> 10, TD_MAIN_STACK_BYTES >> 10);
}
