/* SPDX-License-Identifier: BSD-3-Clause */
/* Robust process-shared mutexes. */
#ifndef CTE_CORE_STORE_MUTEX_H
#define CTE_CORE_STORE_MUTEX_H

#include <stdbool.h>

#include "store/layout.h"

void cte__mutex_init(struct cte__mutex *mutex);

/* Blocks.  True if the previous holder died inside: the mutex is consistent again, and the caller
 * brings what it protects back to its invariant before it goes on. */
bool cte__mutex_lock(struct cte__mutex *mutex) __attribute__((warn_unused_result));

/* False if somebody holds it; *died as above. */
bool cte__mutex_trylock(struct cte__mutex *mutex, bool *died);

void cte__mutex_unlock(struct cte__mutex *mutex);

#endif
