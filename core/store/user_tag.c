/* SPDX-License-Identifier: BSD-3-Clause */
/* Tags that users make and delete while others hold handles to them.
 *
 * A handle is a record and the tag's id.  So that a handle of a deleted tag can be told from one of
 * a living tag, the record's memory stays a record as long as the store lives: it stands on the
 * chain header.user_tags for ever, and is used again for another tag, with another id.  Deleting
 * marks the record dead, then removes the blobs, then the name; only then may it be used again
 * (I8).  Whoever meets the name of a dead tag completes that, so dying on the way costs nothing.
 *
 * A record lives from when it has a name and an id until somebody buries it; what lives has a name.
 * Programs may choose the id that they know a tag by, and use it again for another tag; the id that
 * handles are checked by is the store's own. */
#include <errno.h>
#include <string.h>

#include "store/journal.h"
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
    atomic_store(&cte__tag_at(store, *unit)->entry_count, 0);
    return CTE_OK;
}

/* The living record of an id, 0 if there is none.  The chain only grows, so no lock is needed to
 * walk it. */
static cte__unit find_public(const struct cte__store *store, uint64_t public_id)
{
    cte__unit unit = __atomic_load_n(&store->header->user_tags, __ATOMIC_ACQUIRE);
    while (unit != 0) {
        const struct cte__tag_record *record = cte__tag_at(store, unit);
        if (atomic_load(&record->dead) == 0 && atomic_load(&record->public_id) == public_id)
            return unit;
        unit = record->chain_next;
    }
    return 0;
}

/* Ids that a program chose are not given by the counter afterwards. */
static void pass_id(struct cte__store *store, uint64_t public_id)
{
    uint64_t counter = atomic_load(&store->header->tag_counter);
    while (public_id <= UINT32_MAX && counter < public_id &&
           !atomic_compare_exchange_weak(&store->header->tag_counter, &counter, public_id))
        ;
}

static uint64_t next_id(struct cte__store *store)
{
    return atomic_fetch_add(&store->header->tag_counter, 1) + 1;
}

cte_status cte__user_record_enliven(struct cte__store *store, cte__unit unit, uint64_t public_id)
{
    struct cte__tag_record *record = cte__tag_at(store, unit), *root = lock_root(store);
    cte_status status = CTE_OK;
    if (public_id != 0 && find_public(store, public_id) != 0)
        status = -EEXIST;
    if (status == CTE_OK) {
        pass_id(store, public_id);
        uint64_t id = next_id(store);
        /* Behind the numbers of this node (major 0) there may be chosen ones. */
        while (public_id == 0 && id > UINT32_MAX && find_public(store, id) != 0)
            id = next_id(store);
        atomic_store(&record->tag_id, id);
        atomic_store(&record->public_id, public_id != 0 ? public_id : id);
        /* After the new ids: who sees it alive sees that it is not the old tag. */
        atomic_store(&record->dead, 0);
    }
    cte__mutex_unlock(&root->lock);
    return status;
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
    return cte__user_tag_find_id(store, name, name_bytes, how, 0, tag);
}

/* What a tag that was found says to what was asked for; its name is locked. */
static cte_status found(struct cte__store *store, enum cte__user_tag_find how, uint64_t public_id,
                        struct cte__user_tag *tag)
{
    struct cte__tag_record *record = cte__tag_at(store, tag->unit);
    tag->id = atomic_load(&record->tag_id);
    tag->public_id = atomic_load(&record->public_id);
    tag->dead = atomic_load(&record->dead) != 0;
    if (public_id != 0 && tag->public_id != public_id && (!tag->dead || how == CTE__USER_TAG_BURY))
        return how == CTE__USER_TAG_CREATE ? -EEXIST : CTE_ERR_NOT_FOUND;
    if (how == CTE__USER_TAG_BURY) {
        if (!atomic_exchange(&record->dead, 1))
            cte__journal_tag_gone(store, tag->id);
        tag->dead = true;
    }
    return CTE_OK;
}

cte_status cte__user_tag_find_id(struct cte__store *store, const char *name, uint32_t name_bytes,
                                 enum cte__user_tag_find how, uint64_t public_id,
                                 struct cte__user_tag *tag)
{
    struct cte__tag_key key = {
        .name = name, .name_bytes = name_bytes, .type = CTE__ENTRY_TAG, .public_id = public_id};
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
    if (status == CTE_OK)
        status = found(store, how, public_id, tag);
    cte__shard_unlock(shard);
    return status;
}

cte_status cte__user_tag_by_id(struct cte__store *store, uint64_t public_id,
                               struct cte__user_tag *tag, char *name, size_t name_bytes)
{
    cte_status status = CTE_OK;
    /* With the list locked no record changes its life but for being buried, and the name of one
     * that was not buried yet stays in memory. */
    struct cte__tag_record *root = lock_root(store);
    cte__unit unit = find_public(store, public_id);
    if (unit == 0) {
        status = CTE_ERR_NOT_FOUND;
    } else {
        const struct cte__tag_record *record = cte__tag_at(store, unit);
        const struct cte__entry *entry = cte__entry_at(store, record->entry);
        *tag = (struct cte__user_tag){unit, atomic_load(&record->tag_id), public_id, false};
        if (name_bytes > 0 && entry->name_bytes >= name_bytes) {
            status = -ERANGE;
        } else if (name_bytes > 0) {
            memcpy(name, entry->name, entry->name_bytes);
            name[entry->name_bytes] = 0;
        }
    }
    cte__mutex_unlock(&root->lock);
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
        /* Again: who buried the tag may have died before saying so. */
        cte__journal_tag_gone(store, tag->id);
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
