/* SPDX-License-Identifier: BSD-3-Clause */
/* Tags that users make and delete while others hold handles to them.
 *
 * A handle is a record and the tag's id.  So that a handle of a deleted tag can be told from one of
 * a living tag, the record's memory stays a record as long as the store lives: it stands on the
 * chain header.user_tags for ever, and is used again for another tag, with another id.  Deleting
 * marks the record dead, then removes the blobs, then the name; only then may it be used again
 * (I8).  Whoever meets the name of a dead tag completes that, so dying on the way costs nothing. */
#include <errno.h>

#include "store/store_internal.h"

/* The chain and the free list change by single stores, with the root's list locked: what a dead
 * holder left is whole; at worst a record is not used again. */
static struct cte__tag_record *lock_root(struct cte__store *store)
{
    struct cte__tag_record *root = cte__tag_at(store, store->header->root_tag);
    bool died = cte__mutex_lock(&root->lock);
    (void)died;
    return root;
}

static cte_status make_record(struct cte__store *store, cte__unit *unit)
{
    cte_status status = cte__units_claim_zeroed(store, cte__tag_record_bytes(0), 2, unit);
    if (status != CTE_OK)
        return status;
    struct cte__tag_record *record = cte__tag_at(store, *unit);
    cte__mutex_init(&record->lock);
    for (int i = 0; i < CTE__DRAIN_LANES; i++)
        cte__mutex_init(&record->file.lane[i]);
    record->type = CTE__ENTRY_TAG;
    record->dead = 1;
    struct cte__tag_record *root = lock_root(store);
    record->chain_next = store->header->user_tags;
    __atomic_store_n(&store->header->user_tags, *unit, __ATOMIC_RELEASE);
    cte__mutex_unlock(&root->lock);
    cte__units_own(store, CTE__OWNER_PUBLISHED, *unit, cte__tag_record_bytes(0));
    return CTE_OK;
}

cte_status cte__user_record_take(struct cte__store *store, cte__unit *unit)
{
    struct cte__tag_record *root = lock_root(store);
    cte_status status = CTE_OK;
    *unit = store->header->user_tags_free;
    if (*unit != 0)
        store->header->user_tags_free = cte__tag_at(store, *unit)->free_next;
    cte__mutex_unlock(&root->lock);
    if (*unit == 0)
        status = make_record(store, unit);
    if (status != CTE_OK)
        return status;
    struct cte__tag_record *record = cte__tag_at(store, *unit);
    atomic_store(&record->entry_count, 0);
    atomic_store(&record->tag_id, atomic_fetch_add(&store->header->tag_counter, 1) + 1);
    /* After the new id: who sees it alive sees that it is not the old tag. */
    atomic_store(&record->dead, 0);
    return CTE_OK;
}

void cte__user_record_give(struct cte__store *store, cte__unit unit)
{
    struct cte__tag_record *record = cte__tag_at(store, unit);
    atomic_store(&record->dead, 1);
    struct cte__tag_record *root = lock_root(store);
    record->free_next = store->header->user_tags_free;
    __atomic_store_n(&store->header->user_tags_free, unit, __ATOMIC_RELEASE);
    cte__mutex_unlock(&root->lock);
}

cte_status cte__user_tag_find(struct cte__store *store, const char *name, uint32_t name_bytes,
                              enum cte__user_tag_find how, struct cte__user_tag *tag)
{
    struct cte__tag_key key = {.name = name, .name_bytes = name_bytes, .type = CTE__ENTRY_TAG};
    uint64_t hash = cte__name_hash(0, name, name_bytes);
    cte_status status = CTE_OK;
    /* Before the lock: a forked child takes the store's file lock to get its slot. */
    if (cte__store_self(store) == 0)
        return -EUSERS;
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte__unit entry =
        cte__index_find(store, shard, hash, store->header->root_tag, name, name_bytes);
    if (entry != 0)
        tag->unit = cte__entry_record(cte__entry_at(store, entry));
    else
        status = how == CTE__USER_TAG_CREATE ? cte__tag_make(store, shard, hash, &key, &tag->unit)
                                             : CTE_ERR_NOT_FOUND;
    if (status == CTE_OK) {
        struct cte__tag_record *record = cte__tag_at(store, tag->unit);
        tag->id = atomic_load(&record->tag_id);
        if (how == CTE__USER_TAG_BURY)
            atomic_store(&record->dead, 1);
        tag->dead = atomic_load(&record->dead) != 0;
    }
    cte__shard_unlock(shard);
    return status;
}

void cte__user_tag_forget(struct cte__store *store, const char *name, uint32_t name_bytes,
                          const struct cte__user_tag *tag)
{
    struct cte__tag_record *root = cte__tag_at(store, store->header->root_tag);
    struct cte__tag_record *record = cte__tag_at(store, tag->unit);
    uint64_t hash = cte__name_hash(0, name, name_bytes);
    bool ours = false;
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte__unit entry =
        cte__index_find(store, shard, hash, store->header->root_tag, name, name_bytes);
    if (entry != 0 && cte__entry_record(cte__entry_at(store, entry)) == tag->unit &&
        atomic_load(&record->tag_id) == tag->id) {
        cte__tag_reap(store, record, true);
        cte__index_remove(store, shard, hash, entry);
        ours = true;
    }
    cte__shard_unlock(shard);
    /* Of several who delete the tag, the one who took its name gives the record back. */
    if (ours)
        cte__user_record_give(store, tag->unit);
    cte__tag_reap(store, root, false);
}

void cte__shards_pass(struct cte__store *store)
{
    for (uint32_t i = 0; i < CTE__SHARDS; i++)
        cte__shard_unlock(cte__shard_lock(store, i));
}
