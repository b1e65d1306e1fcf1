/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The batch system's warning: a signal that says the job's time is over.
 *
 * A process that would die of it drains its files first, as far as it gets within a grace, and then
 * dies of it as it would have.  The handler only wakes a thread, which sleeps from the first file
 * that is to be drained until the client closes.  A program that handles or ignores the signal
 * itself is left alone, unless the configuration says otherwise.
 */
#ifndef CTE_CORE_FILE_GRACE_H
#define CTE_CORE_FILE_GRACE_H

#include "file/client.h"

/* The client has a file that is to be drained: watches the signals of its configuration from now
 * on.  Cheap if it does already. */
void cte__grace_add(cte_client *client);

/* The client closes; waits for a drain of its files that a signal began. */
void cte__grace_remove(cte_client *client);

#endif
