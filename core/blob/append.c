/* SPDX-License-Identifier: BSD-3-Clause */
/* Appending: a put at the end, on the condition that the blob is still the one whose end it is.
 * Those who append to one blob take turns, so that they do not copy their bytes in vain. */
#include <errno.h>

#include "blob/append.h"
#include "blob/change.h"

static struct cte__mutex *lock_lane(struct cte__store *store, const struct cte__blob_key *key)
{
    uint64_t hash = cte__name_hash(cte__blob_key_tag_id(store, key), key->name, key->name_bytes);
    struct cte__mutex *lane = &cte__tag_at(store, key->tag)->file.lane[hash % CTE__DRAIN_LANES];
    /* Nothing is half done when a holder dies, but what it had claimed is to be taken back. */
    if (cte__mutex_lock(lane))
        atomic_store(&store->header->sweep_wanted, 1);
    return lane;
}

/* Which blob there is, and how long it is. */
static cte_status identify(struct cte__store *store, const struct cte__blob_key *key,
                           struct cte__snapshot *seen)
{
    struct cte__locked_blob blob;
    cte_status status = cte__blob_lock(store, key, &blob);
    if (status != CTE_OK)
        return status;
    const struct cte__entry *entry = blob.entry != 0 ? cte__entry_at(store, blob.entry) : NULL;
    seen->entry = blob.entry;
    seen->version = entry ? atomic_load(&entry->version) : 0;
    seen->size_bytes = entry ? cte__entry_size(store, entry) : 0;
    cte__shard_unlock(blob.shard);
    return CTE_OK;
}

cte_status cte__blob_append(struct cte__store *store, const struct cte__blob_key *key,
                            const void *data, size_t size, float score, uint64_t size_max,
                            uint64_t *offset)
{
    struct cte__snapshot seen;
    cte_status status = -ESTALE;
    cte__snapshot_init(&seen);
    /* Before the lock: a forked child takes the store's file lock to get its slot. */
    if (cte__store_self(store) == 0)
        return -EUSERS;
    struct cte__mutex *lane = lock_lane(store, key);
    /* Each new try means that somebody else's change of the blob succeeded. */
    while (status == -ESTALE) {
        status = identify(store, key, &seen);
        if (status != CTE_OK)
            break;
        if (size > size_max || seen.size_bytes > size_max - size) {
            status = -EFBIG;
            break;
        }
        struct cte__piece piece = {seen.size_bytes, size, (char *)data};
        status = cte__blob_put_expected(store, key, &piece, 1, score, false, &seen);
    }
    cte__mutex_unlock(lane);
    if (status == CTE_OK)
        *offset = seen.size_bytes;
    return status;
}
