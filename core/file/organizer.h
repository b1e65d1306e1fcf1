/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The organizer (`organizer: frecency`): moves stored data between the tiers beside the program.
 *
 * It goes round the index.  Of what it meets it looks for the coldest blobs and clean chunks of
 * targets that are short of room, which go to the next slower target that has some (copies of real
 * files that no target has room for are given up), and for the hottest of what lies on a slower
 * target than it deserves, which goes up.  Dirty chunks are left to the drain.  A move is one of
 * core/blob/move.h, so it may die or fail at any step.
 */
#ifndef CTE_CORE_FILE_ORGANIZER_H
#define CTE_CORE_FILE_ORGANIZER_H

#include "file/client.h"

struct cte__organizer;

/* NULL without memory for it. */
struct cte__organizer *cte__organizer_new(void);
void cte__organizer_free(struct cte__organizer *organizer);

/* A step of some ten milliseconds, by one process of the node at a time.  Returns after how many
 * nanoseconds the next one is due. */
uint64_t cte__organizer_step(struct cte__organizer *organizer, cte_client *client);

#endif
