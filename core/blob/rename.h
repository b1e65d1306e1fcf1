/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef CTE_CORE_BLOB_RENAME_H
#define CTE_CORE_BLOB_RENAME_H

#include "blob/blob.h"

/* Gives a blob of a user's tag another name, there or in another tag; its bytes stay where they
 * are. Everybody sees it under one name at any time, also if this process dies on the way.
 * @param replace  a blob that has the new name is removed by the same step; else it is -EEXIST
 * @return CTE_ERR_NOT_FOUND: there is no such blob, or one of the tags was deleted */
cte_status cte__blob_rename(struct cte__store *store, const struct cte__blob_key *from,
                            const struct cte__blob_key *to, bool replace);

#endif
