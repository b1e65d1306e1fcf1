/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/rename.h"

#include <errno.h>
#include <string.h>

#include "blob/change.h"
#include "store/journal.h"

static uint64_t hash_of(const struct cte__store *store, const struct cte__blob_key *key)
{
    return cte__name_hash(cte__blob_key_tag_id(store, key), key->name, key->name_bytes);
}

static bool same_name(const struct cte__blob_key *a, const struct cte__blob_key *b)
{
    return a->tag == b->tag && a->tag_id == b->tag_id && a->name_bytes == b->name_bytes &&
           memcmp(a->name, b->name, a->name_bytes) == 0;
}

/* An entry of the new name with what the blob is, not visible yet. */
static cte_status make_arriving(struct cte__change *to, cte__unit leaving, cte__unit *unit)
{
    struct cte__store *store = to->store;
    const struct cte__blob_key *key = to->key;
    cte_status status = cte__index_insert(store, to->shard, to->hash, cte__tag_at(store, key->tag),
                                          key->tag, key->type, key->name, key->name_bytes, unit);
    if (status != CTE_OK)
        return status;
    const struct cte__entry *old = cte__entry_at(store, leaving);
    struct cte__entry *arriving = cte__entry_at(store, *unit);
    atomic_store(&arriving->location, atomic_load(&old->location));
    arriving->score = old->score;
    arriving->modified_ns = old->modified_ns;
    arriving->heat = old->heat;
    return CTE_OK;
}

/* Both names are locked and `from` is there. */
static cte_status rename_locked(struct cte__change *from, struct cte__change *to, bool replace)
{
    struct cte__store *store = from->store;
    cte__unit arriving;
    cte_status status = to->entry != 0 && !replace ? -EEXIST : CTE_OK;
    for (size_t i = 0; i < to->old.count && status == CTE_OK; i++)
        status = cte__change_drop(to, &to->old.spans[i]);
    if (status == CTE_OK)
        status = make_arriving(to, from->entry, &arriving);
    if (status != CTE_OK)
        return status;
    cte__change_retire(to);
    bool journaled =
        cte__journal_announce_rename(store, from->shard, to->shard, from->entry, to->entry);
    cte__entries_switch(store, arriving, from->entry, to->entry);
    if (journaled)
        cte__journal_renamed(store, from->shard, to->shard, from->entry, arriving);
    cte__index_remove(store, from->shard, from->hash, from->entry);
    if (to->entry != 0) {
        cte__index_remove(store, to->shard, to->hash, to->entry);
        to->committed = true;
    }
    return CTE_OK;
}

static cte_status lock_and_rename(struct cte__store *store, const struct cte__blob_key *from_key,
                                  const struct cte__blob_key *to_key, bool replace)
{
    struct cte__change from, to;
    struct cte__shard *from_shard, *to_shard;
    cte__shards_lock_two(store, hash_of(store, from_key), hash_of(store, to_key), &from_shard,
                         &to_shard);
    cte_status status = cte__change_begin_locked(&from, store, from_key, from_shard);
    if (status == CTE_OK) {
        status = from.entry != 0 ? cte__change_begin_locked(&to, store, to_key, to_shard)
                                 : CTE_ERR_NOT_FOUND;
        if (status == CTE_OK) {
            if (!same_name(from_key, to_key))
                status = rename_locked(&from, &to, replace);
            cte__change_end(&to);
        }
        cte__change_end(&from);
    }
    cte__shards_unlock_two(from_shard, to_shard);
    return status;
}

cte_status cte__blob_rename(struct cte__store *store, const struct cte__blob_key *from,
                            const struct cte__blob_key *to, bool replace)
{
    cte__store_sweep_if_wanted(store);
    /* Before the locks: a forked child takes the store's file lock to get its slot. */
    if (cte__store_self(store) == 0)
        return -EUSERS;
    /* What a dead holder was renaming is told by its own slot; nothing is to be repaired. */
    if (cte__mutex_lock(&store->header->rename_lock))
        atomic_store(&store->header->sweep_wanted, 1);
    cte_status status = lock_and_rename(store, from, to, replace);
    cte__mutex_unlock(&store->header->rename_lock);
    if (status == CTE_OK) {
        cte__tag_reap(store, cte__tag_at(store, from->tag), false);
        cte__tag_reap(store, cte__tag_at(store, to->tag), false);
    }
    return status;
}
