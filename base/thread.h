/* thread.h - threads with a stack of known size, and whether the main thread has one that is enough.
 *
 * What pthread_create() gives follows `ulimit -s`, which may be anything; kernels keep tiles of half a megabyte on the
 * stack. Any thread. */
#ifndef TD_BASE_THREAD_H
#define TD_BASE_THREAD_H

#include "base/err.h"

#include <pthread.h>

/* 0, or what pthread_create() says. The thread has TD_THREAD_STACK_BYTES. */
int td_thread_start(pthread_t *out, void *(*fn)(void *), void *arg);
/* Raises the soft limit on the main thread's stack where it is below TD_MAIN_STACK_BYTES. TD_E_USAGE: the hard limit is
 * lower. */
td_rc td_thread_main_stack(td_err *err);

#endif
