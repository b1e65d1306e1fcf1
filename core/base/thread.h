/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads of the library's own. */
#ifndef CTE_CORE_BASE_THREAD_H
#define CTE_CORE_BASE_THREAD_H

#include <pthread.h>

/* As pthread_create(3).  Signals are the program's: none is delivered to the thread.
 * @param name  at most 15 characters */
int cte__thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument);

#endif
