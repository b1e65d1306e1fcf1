/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a store survive its node. */
#include <errno.h>

#include "base/log.h"
#include "store/journal.h"
#include "store/store.h"

/* First the bytes, then the journal that says where they are: what it says is there.  Without a
 * journal nobody finds them again, so they count as volatile as much as those in memory. */
cte_status cte__store_sync(struct cte__store *store, uint64_t *volatile_bytes)
{
    uint32_t surviving = atomic_load(&store->header->journal.surviving);
    cte_status first_error = CTE_OK;
    uint64_t durable_bytes = 0;
    *volatile_bytes = 0;
    for (uint32_t t = 0; t < store->header->target_count; t++) {
        struct cte__target_handle *target = &store->targets[t];
        if (!cte__target_exists(store, t))
            continue;
        uint64_t used = target->record->capacity_bytes - cte__target_free_bytes(store, t);
        if (used == 0 || !(surviving >> t & 1)) {
            *volatile_bytes += used;
            continue;
        }
        const struct cte__open_target *open;
        cte_status status = cte__target_open(store, t, &open);
        if (status == CTE_OK)
            status = open->ops->sync(open->state);
        if (status == CTE_ERR_NOT_FOUND)
            continue; /* it left meanwhile, and its data is elsewhere */
        durable_bytes += used;
        if (status != CTE_OK)
            cte__log_error("target %s cannot be synced: %s", target->record->path,
                           cte_status_string(status));
        if (first_error == CTE_OK)
            first_error = status;
    }
    cte_status status = cte__journal_sync(store);
    if (status != CTE_OK)
        *volatile_bytes += durable_bytes;
    if (first_error == CTE_OK && status != -ENOTSUP)
        first_error = status;
    return first_error;
}
