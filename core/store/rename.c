/* SPDX-License-Identifier: BSD-3-Clause */
/* Renaming: a blob leaves one entry and arrives at another, in another shard and perhaps on another
 * tag's list, by one store that everybody sees at once and that no death can cut in two.
 *
 * The store is that of the word `switched` in the slot of the process.  Before it, the new entry is
 * ARRIVING and the old one LEAVING, each with this process as its owner: neither says anything yet.
 * After it both say the opposite.  Then they are set to what they are.  If the process dies, its
 * slot keeps the word until the sweep has made everything plain. */
#include "store/store_internal.h"

static uint16_t entry_owner(const struct cte__store *store, cte__unit unit)
{
    const struct cte__arena_view *view = &store->unit_arenas[unit / CTE__META_ARENA_UNITS];
    return atomic_load_explicit(&view->owners[unit % CTE__META_ARENA_UNITS], memory_order_acquire);
}

bool cte__entry_visible(const struct cte__store *store, cte__unit unit)
{
    uint8_t state = atomic_load_explicit(&cte__entry_at(store, unit)->state, memory_order_acquire);
    if (state != CTE__ENTRY_LEAVING && state != CTE__ENTRY_ARRIVING)
        return state == CTE__ENTRY_LIVE;
    uint16_t owner = entry_owner(store, unit);
    if (owner == CTE__OWNER_FREE || owner > CTE__SLOTS_MAX)
        return false;
    bool switched = atomic_load(&store->header->slots[owner - 1].switched) != 0;
    return switched == (state == CTE__ENTRY_ARRIVING);
}

/* Locks the lists of two tags, in order: who walks a list sees the blob under one of its names. */
static void lock_lists(struct cte__tag_record *a, struct cte__tag_record *b)
{
    struct cte__tag_record *first = a < b ? a : b;
    bool died = cte__mutex_lock(&first->lock); /* a list is whole at any time (I4) */
    if (a != b)
        died = cte__mutex_lock(first == a ? &b->lock : &a->lock);
    (void)died;
}

static void unlock_lists(struct cte__tag_record *a, struct cte__tag_record *b)
{
    if (a != b)
        cte__mutex_unlock(&b->lock);
    cte__mutex_unlock(&a->lock);
}

static void set_state(struct cte__store *store, cte__unit unit, enum cte__entry_state state)
{
    atomic_store(&cte__entry_at(store, unit)->state, (uint8_t)state);
}

static void take_over(struct cte__store *store, uint16_t self, cte__unit unit)
{
    const struct cte__entry *entry = cte__entry_at(store, unit);
    cte__units_own(store, self, unit, sizeof *entry + entry->name_bytes);
}

void cte__entries_switch(struct cte__store *store, cte__unit arriving, cte__unit leaving,
                         cte__unit gone)
{
    uint16_t self = cte__store_self(store);
    struct cte__slot *slot = &store->header->slots[self - 1];
    struct cte__tag_record *from = cte__tag_at(store, cte__entry_at(store, leaving)->tag);
    struct cte__tag_record *to = cte__tag_at(store, cte__entry_at(store, arriving)->tag);
    /* No entry is tied to this word: the last rename of this slot is over, or was swept. */
    atomic_store(&slot->switched, 0);
    lock_lists(from, to);
    take_over(store, self, leaving);
    set_state(store, leaving, CTE__ENTRY_LEAVING);
    if (gone != 0) {
        take_over(store, self, gone);
        set_state(store, gone, CTE__ENTRY_LEAVING);
    }
    set_state(store, arriving, CTE__ENTRY_ARRIVING);
    /* Publish.  Durable before: the new entry with the blob's location, on its list and in the
     * index.  Visible after: the blob under its new name only.  Dying before leaves both old names
     * and an entry that nobody sees, dying after the new name and entries that nobody sees. */
    atomic_store(&slot->switched, 1);
    cte__entry_show(store, arriving);
    set_state(store, leaving, CTE__ENTRY_NEW);
    if (gone != 0)
        set_state(store, gone, CTE__ENTRY_NEW);
    unlock_lists(from, to);
}

void cte__shards_lock_two(struct cte__store *store, uint64_t hash_a, uint64_t hash_b,
                          struct cte__shard **a, struct cte__shard **b)
{
    bool a_first = hash_a % CTE__SHARDS <= hash_b % CTE__SHARDS;
    bool same = hash_a % CTE__SHARDS == hash_b % CTE__SHARDS;
    struct cte__shard *first = cte__shard_lock(store, a_first ? hash_a : hash_b);
    struct cte__shard *second = same ? first : cte__shard_lock(store, a_first ? hash_b : hash_a);
    *a = a_first ? first : second;
    *b = a_first ? second : first;
}

void cte__shards_unlock_two(struct cte__shard *a, struct cte__shard *b)
{
    if (a != b)
        cte__shard_unlock(b);
    cte__shard_unlock(a);
}
