/* SPDX-License-Identifier: BSD-3-Clause */
/* Moving a stored blob or chunk to other targets, without changing a byte of it. */
#ifndef CTE_CORE_BLOB_MOVE_H
#define CTE_CORE_BLOB_MOVE_H

#include "blob/blob.h"

struct cte__move {
    float score; /* becomes the blob's; negative: it keeps its own */
    uint32_t
        avoid;    /* bit set of targets.  Not 0: exactly the pages that lie there leave, and none
                   * lands there.  0: pages go where the placement engine would put the blob now */
    bool only_up; /* move nothing unless all of it gets to a target of higher score */
    uint64_t pages_max; /* move nothing if more pages would have to move; 0: no limit */
};

/* Where a blob lies when cte__blob_move() returns. */
struct cte__move_result {
    uint64_t pages[CTE__TARGETS_MAX]; /* by target */
    uint64_t pages_moved;
    uint64_t size_bytes;
    float score;
};

/* Moves a blob: copies its pages (checksums are verified), publishes the new place by one store,
 * frees the old one.  Readers and writers go on meanwhile.
 * @param result  may be NULL
 * @return CTE_ERR_NOT_FOUND: there is no such blob.  -ENOSPC: the other targets cannot hold it.
 *         CTE_ERR_CHECKSUM: it is damaged.  On error the blob, its score too, is as before. */
cte_status cte__blob_move(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__move *move, struct cte__move_result *result);

#endif
