/* SPDX-License-Identifier: BSD-3-Clause */
/* The two ways of a put, and what they share. */
#ifndef CTE_CORE_BLOB_PUT_H
#define CTE_CORE_BLOB_PUT_H

#include <errno.h>

#include "blob/change.h"

/* cte__put_pages(): the blob's old bytes are not in pages yet. */
enum { CTE__PUT_SMALL_IN_THE_WAY = -EMEDIUMTYPE };

/* Stores pieces in pages.  -ESTALE if the blob is not the one `expected` (NULL: any will do). */
cte_status cte__put_pages(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__piece *pieces, size_t count, float score, bool replace,
                          const struct cte__snapshot *expected);

/* Where the last byte of the pieces ends. */
static inline uint64_t cte__pieces_end(const struct cte__piece *pieces, size_t count)
{
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++)
        if (pieces[i].length > 0)
            end = cte__max(end, pieces[i].offset + pieces[i].length);
    return end;
}

static inline bool cte__is_expected(const struct cte__snapshot *expected,
                                    const struct cte__change *change)
{
    return !expected || (change->entry == expected->entry && change->version == expected->version);
}

#endif
