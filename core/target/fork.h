/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that are opened in the middle of the work, and forks.
 *
 * A fork copies the descriptors before the memory.  If another thread opens one in between and
 * notes its number, the child knows a number without the descriptor: its transfers fail, or go to
 * whatever else the child opens under that number.  So opening and noting is done with a lock held
 * that forking waits for; a child finds it free. */
#ifndef CTE_CORE_TARGET_FORK_H
#define CTE_CORE_TARGET_FORK_H

#include <cte/status.h>

/* To be called before the lock is used, by a backend's open.  Not logged. */
cte_status cte__target_watch_forks(void);

void cte__target_fork_lock(void);
void cte__target_fork_unlock(void);

#endif
