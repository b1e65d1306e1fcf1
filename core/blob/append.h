/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CTE_CORE_BLOB_APPEND_H
#define CTE_CORE_BLOB_APPEND_H

#include "blob/blob.h"

/* Puts `size` > 0 bytes behind the last one of a blob of a user's tag, made if there is none; all
 * or nothing.  Nobody else's bytes lie between *offset and *offset + size, and no gap before them.
 * @return -EFBIG if the blob would be larger than size_max */
cte_status cte__blob_append(struct cte__store *store, const struct cte__blob_key *key,
                            const void *data, size_t size, float score, uint64_t size_max,
                            uint64_t *offset);

#endif
