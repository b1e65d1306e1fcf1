/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CTE_CORE_BLOB_PROMOTE_H
#define CTE_CORE_BLOB_PROMOTE_H

#include "blob/blob.h"

/* After a get: moves a hot blob (performance.score_threshold) up, if it lies on a slower target
 * than its score deserves and one that it deserves has room again.  A thread looks after one get in
 * 16; a process moves one blob in 100 ms at most, of 4 MiB at most.  What fails is left as it is.
 */
void cte__blob_promote(struct cte__store *store, const struct cte__blob_key *key);

#endif
