/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a store survive its node. */
#include "base/log.h"
#include "store/store.h"

/* Metadata lies in the segment, that is in memory, and bytes that nobody finds again are lost
 * wherever they lie: all of them count as volatile.  What makes metadata durable is to be synced
 * here, behind the targets, and then only the bytes of targets that forget remain volatile. */
cte_status cte__store_sync(struct cte__store *store, uint64_t *volatile_bytes)
{
    cte_status first_error = CTE_OK;
    *volatile_bytes = 0;
    for (uint32_t t = 0; t < store->header->target_count; t++) {
        struct cte__target_handle *target = &store->targets[t];
        if (!cte__target_exists(store, t))
            continue;
        uint64_t used = target->record->capacity_bytes - cte__target_free_bytes(store, t);
        *volatile_bytes += used;
        if (used == 0)
            continue;
        const struct cte__open_target *open;
        cte_status status = cte__target_open(store, t, &open);
        if (status == CTE_OK && open->ops->capabilities & CTE__TARGET_SURVIVES_NODE)
            status = open->ops->sync(open->state);
        if (status == CTE_ERR_NOT_FOUND)
            continue; /* it left meanwhile, and its data is elsewhere */
        if (status != CTE_OK)
            cte__log_error("target %s cannot be synced: %s", target->record->path,
                           cte_status_string(status));
        if (first_error == CTE_OK)
            first_error = status;
    }
    return first_error;
}
