/* SPDX-License-Identifier: BSD-3-Clause */
/* Names: the sharded hash index and the lists of each tag's entries.
 *
 * An entry is linked on its tag's list first, then put into the index, then shown by one store of
 * its state.  Deleting goes the other way: one store of the state hides it, then it leaves the
 * index, then it is dead, and the reaper takes it off the list.  So a list may hold entries that
 * are not visible, never the other way round (I4), and dying between two steps leaves nothing that
 * a reader could see half done. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/util.h"
#include "store/journal.h"
#include "store/store_internal.h"

enum { TABLE_LOG2_MIN = 4, REAP_DEAD_MIN = 256 };

#define SLOT_EMPTY   UINT64_C(0)
#define SLOT_DELETED CTE__SLOT_DELETED

struct table {
    _Atomic uint64_t *slots;
    uint64_t mask;
    cte__unit unit;
    uint64_t bytes;
};

uint64_t cte__name_hash(uint64_t tag_id, const void *name, uint32_t name_bytes)
{
    return XXH3_64bits_withSeed(name, name_bytes, tag_id);
}

/* No table yet: mask 0 and slots NULL. */
static struct table table_of(struct cte__store *store, struct cte__shard *shard)
{
    uint64_t word = atomic_load_explicit(&shard->table, memory_order_acquire);
    struct table table = {0};
    if (word != 0) {
        table.unit = (cte__unit)(word >> 8);
        table.bytes = sizeof(uint64_t) << (word & 0xff);
        table.mask = (UINT64_C(1) << (word & 0xff)) - 1;
        table.slots = cte__unit_at(store, table.unit);
    }
    return table;
}

static uint64_t slot_word(uint64_t hash, cte__unit entry)
{
    return hash >> 32 << 32 | entry;
}

static cte__unit slot_entry(uint64_t word)
{
    return (cte__unit)word;
}

/* Shards take the lowest bits of the hash, slots those above its middle: a slot's word tells where
 * the slot belongs, so a table grows without a look at the entries. */
static uint64_t first_slot(uint64_t hash, uint64_t mask)
{
    return hash >> 32 & mask;
}

static void recount(struct cte__store *store, struct cte__shard *shard)
{
    struct table table = table_of(store, shard);
    shard->used = 0;
    for (uint64_t i = 0; table.slots && i <= table.mask; i++)
        shard->used += atomic_load_explicit(&table.slots[i], memory_order_relaxed) != SLOT_EMPTY;
}

struct cte__shard *cte__shard_lock(struct cte__store *store, uint64_t hash)
{
    struct cte__shard *shard = &store->shards[hash % CTE__SHARDS];
    if (cte__mutex_lock(&shard->lock)) {
        recount(store, shard);
        cte__journal_repair(store, shard);
        atomic_store(&store->header->sweep_wanted, 1);
    }
    return shard;
}

void cte__shard_unlock(struct cte__shard *shard)
{
    cte__mutex_unlock(&shard->lock);
}

/* True if an entry, whose shard is locked, is visible.  Who was renaming it died: what its state
 * says in a roundabout way is now said plainly. */
static bool settle(struct cte__store *store, cte__unit unit)
{
    struct cte__entry *entry = cte__entry_at(store, unit);
    if (atomic_load_explicit(&entry->state, memory_order_acquire) == CTE__ENTRY_LIVE)
        return true;
    if (!cte__entry_visible(store, unit))
        return false;
    atomic_store_explicit(&entry->state, CTE__ENTRY_LIVE, memory_order_release);
    return true;
}

uint32_t cte__index_scan(struct cte__store *store, struct cte__index_hand *hand, uint32_t slots,
                         void (*visit)(void *context, cte__unit unit,
                                       const struct cte__entry *entry),
                         void *context)
{
    struct cte__shard *shard = cte__shard_lock(store, hand->shard);
    struct table table = table_of(store, shard);
    uint32_t seen = 1; /* an empty shard is a step, too */
    for (; table.slots && hand->slot <= table.mask && seen <= slots; hand->slot++, seen++) {
        uint64_t word = atomic_load_explicit(&table.slots[hand->slot], memory_order_relaxed);
        if (word != SLOT_EMPTY && word != SLOT_DELETED && settle(store, slot_entry(word)))
            visit(context, slot_entry(word), cte__entry_at(store, slot_entry(word)));
    }
    if (!table.slots || hand->slot > table.mask)
        *hand = (struct cte__index_hand){(hand->shard + 1) % CTE__SHARDS, 0};
    cte__shard_unlock(shard);
    return seen;
}

cte__unit cte__index_find(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                          cte__unit tag, const void *name, uint32_t name_bytes)
{
    struct table table = table_of(store, shard);
    if (!table.slots)
        return 0;
    for (uint64_t i = first_slot(hash, table.mask);; i = (i + 1) & table.mask) {
        uint64_t word = atomic_load_explicit(&table.slots[i], memory_order_relaxed);
        if (word == SLOT_EMPTY)
            return 0;
        if (word == SLOT_DELETED || word >> 32 != hash >> 32)
            continue;
        const struct cte__entry *entry = cte__entry_at(store, slot_entry(word));
        if (entry->tag == tag && entry->name_bytes == name_bytes &&
            memcmp(entry->name, name, name_bytes) == 0 && settle(store, slot_entry(word)))
            return slot_entry(word);
    }
}

static void put_slot(const struct table *table, uint64_t hash, uint64_t word)
{
    uint64_t i = first_slot(hash, table->mask);
    while (atomic_load_explicit(&table->slots[i], memory_order_relaxed) != SLOT_EMPTY)
        i = (i + 1) & table->mask;
    atomic_store_explicit(&table->slots[i], word, memory_order_release);
}

static bool is_used(uint64_t word)
{
    return word != SLOT_EMPTY && word != SLOT_DELETED;
}

/* Builds a table with room beside the old one and replaces that by one store. */
static cte_status grow(struct cte__store *store, struct cte__shard *shard)
{
    struct table old = table_of(store, shard), new = {0};
    uint64_t live = 0, log2 = TABLE_LOG2_MIN;
    for (uint64_t i = 0; old.slots && i <= old.mask; i++)
        live += is_used(atomic_load_explicit(&old.slots[i], memory_order_relaxed));
    while (UINT64_C(1) << log2 < (live + 1) * 2)
        log2++;
    new.bytes = sizeof(uint64_t) << log2;
    new.mask = (UINT64_C(1) << log2) - 1;
    cte_status status = cte__units_claim_zeroed(store, new.bytes, 1, &new.unit);
    if (status != CTE_OK)
        return status;
    new.slots = cte__unit_at(store, new.unit);
    for (uint64_t i = 0; old.slots && i <= old.mask; i++) {
        uint64_t word = atomic_load_explicit(&old.slots[i], memory_order_relaxed);
        if (is_used(word))
            put_slot(&new, word, word);
    }
    if (old.slots)
        cte__units_own(store, cte__store_self(store), old.unit, old.bytes);
    /* Before: lookups use the old table, whole.  After: the new one, with the same live entries.
     * Dying on either side leaves the other table owned by the dead: swept. */
    atomic_store_explicit(&shard->table, (uint64_t) new.unit << 8 | log2, memory_order_release);
    cte__units_own(store, CTE__OWNER_PUBLISHED, new.unit, new.bytes);
    shard->used = (uint32_t)live;
    if (old.slots)
        cte__units_free(store, old.unit, old.bytes);
    return CTE_OK;
}

static void lock_tag(struct cte__tag_record *tag)
{
    /* The list changes by single stores: whatever a dead holder left is a list (I4). */
    bool died = cte__mutex_lock(&tag->lock);
    (void)died;
}

/* Above every version that an earlier entry in the same place ever had, so that who copied that
 * one's map cannot take this one for it. */
static uint64_t first_version(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

cte_status cte__index_insert(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                             struct cte__tag_record *tag, cte__unit tag_unit, uint8_t type,
                             const void *name, uint32_t name_bytes, cte__unit *unit)
{
    struct table table = table_of(store, shard);
    cte_status status = CTE_OK;
    if (!table.slots || ((uint64_t)shard->used + 1) * 4 > (table.mask + 1) * 3)
        status = grow(store, shard);
    if (status == CTE_OK)
        status = cte__units_claim_zeroed(store, sizeof(struct cte__entry) + name_bytes, 1, unit);
    if (status != CTE_OK)
        return status;
    table = table_of(store, shard);
    struct cte__entry *entry = cte__entry_at(store, *unit);
    entry->tag = tag_unit;
    entry->type = type;
    entry->name_bytes = (uint16_t)name_bytes;
    entry->version = first_version();
    memcpy(entry->name, name, name_bytes);
    lock_tag(tag);
    entry->list_next = atomic_load_explicit(&tag->list_head, memory_order_relaxed);
    atomic_store_explicit(&tag->list_head, *unit, memory_order_release);
    cte__mutex_unlock(&tag->lock);
    atomic_fetch_add(&tag->entry_count, 1);
    put_slot(&table, hash, slot_word(hash, *unit));
    shard->used++;
    return CTE_OK;
}

void cte__entry_show(struct cte__store *store, cte__unit unit)
{
    struct cte__entry *entry = cte__entry_at(store, unit);
    atomic_store_explicit(&entry->state, CTE__ENTRY_LIVE, memory_order_release);
    cte__units_own(store, CTE__OWNER_PUBLISHED, unit, sizeof *entry + entry->name_bytes);
}

void cte__index_remove(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                       cte__unit unit)
{
    struct table table = table_of(store, shard);
    struct cte__entry *entry = cte__entry_at(store, unit);
    /* Hidden first, but not the reaper's before the table forgot it: a reused entry must not be
     * found under its old name.  The owner word tells the sweep who was at it. */
    cte__units_own(store, cte__store_self(store), unit, sizeof *entry + entry->name_bytes);
    atomic_store_explicit(&entry->state, CTE__ENTRY_NEW, memory_order_release);
    for (uint64_t i = first_slot(hash, table.mask), n = 0; table.slots && n <= table.mask; n++) {
        if (slot_entry(atomic_load(&table.slots[i])) == unit) {
            atomic_store_explicit(&table.slots[i], SLOT_DELETED, memory_order_release);
            break;
        }
        i = (i + 1) & table.mask;
    }
    struct cte__tag_record *tag = cte__tag_at(store, entry->tag);
    atomic_store_explicit(&entry->state, CTE__ENTRY_DEAD, memory_order_release);
    atomic_fetch_sub(&tag->entry_count, 1);
    atomic_fetch_add(&tag->dead_count, 1);
}

void cte__tag_reap(struct cte__store *store, struct cte__tag_record *tag, bool force)
{
    uint32_t dead = atomic_load_explicit(&tag->dead_count, memory_order_relaxed);
    if (!force && (dead < REAP_DEAD_MIN || dead < atomic_load(&tag->entry_count) / 2))
        return;
    uint16_t self = cte__store_self(store);
    lock_tag(tag);
    _Atomic cte__unit *link = &tag->list_head;
    while (atomic_load(link) != 0) {
        cte__unit unit = atomic_load(link);
        struct cte__entry *entry = cte__entry_at(store, unit);
        if (atomic_load_explicit(&entry->state, memory_order_acquire) != CTE__ENTRY_DEAD) {
            link = (_Atomic cte__unit *)&entry->list_next;
            continue;
        }
        uint64_t bytes = sizeof *entry + entry->name_bytes;
        cte__units_own(store, self, unit, bytes);
        atomic_store_explicit(link, entry->list_next, memory_order_release);
        cte__units_free(store, unit, bytes);
    }
    atomic_store(&tag->dead_count, 0);
    cte__mutex_unlock(&tag->lock);
}

cte_status cte__tag_each(struct cte__store *store, struct cte__tag_record *tag,
                         cte_status (*visit)(void *context, cte__unit unit,
                                             const struct cte__entry *entry),
                         void *context)
{
    cte_status status = CTE_OK;
    lock_tag(tag);
    for (cte__unit unit = atomic_load(&tag->list_head); unit != 0 && status == CTE_OK;) {
        const struct cte__entry *entry = cte__entry_at(store, unit);
        if (atomic_load_explicit(&entry->state, memory_order_acquire) == CTE__ENTRY_LIVE ||
            cte__entry_visible(store, unit))
            status = visit(context, unit, entry);
        unit = entry->list_next;
    }
    cte__mutex_unlock(&tag->lock);
    return status;
}

void cte__file_opener_set(struct cte__file_state *file, uint16_t owner, bool open)
{
    uint64_t bit = UINT64_C(1) << ((owner - 1) % 64);
    if (open)
        atomic_fetch_or(&file->openers[(owner - 1) / 64], bit);
    else
        atomic_fetch_and(&file->openers[(owner - 1) / 64], ~bit);
}

bool cte__file_has_openers(const struct cte__file_state *file)
{
    uint64_t any = 0;
    for (int i = 0; i < CTE__SLOTS_MAX / 64; i++)
        any |= atomic_load(&file->openers[i]);
    return any != 0;
}

static cte_status make_record(struct cte__store *store, const struct cte__tag_key *key,
                              cte__unit *unit)
{
    uint32_t path_bytes = key->path ? (uint32_t)strlen(key->path) : 0;
    if (key->type == CTE__ENTRY_TAG)
        return cte__user_record_take(store, unit);
    cte_status status = cte__units_claim_zeroed(store, cte__tag_record_bytes(path_bytes), 2, unit);
    if (status != CTE_OK)
        return status;
    struct cte__tag_record *tag = cte__tag_at(store, *unit);
    cte__mutex_init(&tag->lock);
    cte__mutex_init(&tag->file.lock);
    for (int i = 0; i < CTE__DRAIN_LANES; i++)
        cte__mutex_init(&tag->file.lane[i]);
    for (int i = 0; i < CTE__GUARD_STRIPES * CTE__GUARD_SEATS; i++)
        cte__mutex_init(&tag->file.guard[i / CTE__GUARD_SEATS][i % CTE__GUARD_SEATS]);
    tag->type = key->type;
    tag->tag_id = atomic_fetch_add(&store->header->tag_counter, 1) + 1;
    tag->path_bytes = path_bytes;
    if (path_bytes > 0)
        memcpy(tag->path, key->path, path_bytes);
    return CTE_OK;
}

cte_status cte__tag_make(struct cte__store *store, struct cte__shard *shard, uint64_t hash,
                         const struct cte__tag_key *key, cte__unit *unit)
{
    struct cte__tag_record *root = cte__tag_at(store, store->header->root_tag);
    cte__unit entry;
    cte_status status = make_record(store, key, unit);
    if (status != CTE_OK)
        return status;
    struct cte__tag_record *tag = cte__tag_at(store, *unit);
    status = cte__index_insert(store, shard, hash, root, store->header->root_tag, key->type,
                               key->name, key->name_bytes, &entry);
    if (status != CTE_OK) {
        if (key->type == CTE__ENTRY_TAG)
            cte__user_record_give(store, *unit);
        else
            cte__units_free(store, *unit, cte__tag_record_bytes(tag->path_bytes));
        return status;
    }
    bool journaled = key->type == CTE__ENTRY_TAG && cte__journal_on(store);
    tag->entry = entry;
    atomic_store(&cte__entry_at(store, entry)->location, cte__location_of_unit(*unit));
    if (journaled)
        cte__journal_announce(shard, hash);
    cte__entry_show(store, entry);
    if (key->type == CTE__ENTRY_TAG) {
        status = cte__user_record_enliven(store, *unit, key->public_id);
        if (status != CTE_OK) {
            cte__index_remove(store, shard, hash, entry);
            cte__user_record_give(store, *unit);
        } else if (journaled) {
            cte__journal_entry(store, shard, entry, NULL, 0);
        }
        cte__journal_settled(shard);
        return status;
    }
    cte__units_own(store, CTE__OWNER_PUBLISHED, *unit, cte__tag_record_bytes(tag->path_bytes));
    return CTE_OK;
}

cte_status cte__tag_find(struct cte__store *store, const struct cte__tag_key *key, bool create,
                         uint16_t opener, cte__unit *tag_unit, bool *created)
{
    uint64_t hash = cte__name_hash(0, key->name, key->name_bytes);
    cte_status status = CTE_OK;
    /* Before the lock: a forked child takes the store's file lock to get its slot. */
    if (cte__store_self(store) == 0)
        return -EUSERS;
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte__unit entry =
        cte__index_find(store, shard, hash, store->header->root_tag, key->name, key->name_bytes);
    *created = false;
    if (entry != 0) {
        *tag_unit = cte__entry_record(cte__entry_at(store, entry));
    } else if (create) {
        status = cte__tag_make(store, shard, hash, key, tag_unit);
        *created = status == CTE_OK;
    } else {
        status = CTE_ERR_NOT_FOUND;
    }
    if (status == CTE_OK && opener != 0)
        cte__file_opener_set(&cte__tag_at(store, *tag_unit)->file, opener, true);
    cte__shard_unlock(shard);
    return status;
}

static cte_status stop_at_entry(void *context, cte__unit unit, const struct cte__entry *entry)
{
    (void)context, (void)unit, (void)entry;
    return -ENOTEMPTY;
}

bool cte__file_has_news(const struct cte__file_state *file)
{
    return atomic_load(&file->lost_bytes) > 0 || atomic_load(&file->flags) & CTE__FILE_NEWS;
}

cte_status cte__file_leave(struct cte__store *store, cte__unit tag_unit, uint16_t owner)
{
    struct cte__tag_record *tag = cte__tag_at(store, tag_unit);
    struct cte__tag_record *root = cte__tag_at(store, store->header->root_tag);
    uint64_t bytes = cte__tag_record_bytes(tag->path_bytes);
    const struct cte__entry *entry = cte__entry_at(store, tag->entry);
    uint64_t hash = cte__name_hash(0, entry->name, entry->name_bytes);
    if (cte__store_self(store) == 0)
        return -EUSERS;
    struct cte__shard *shard = cte__shard_lock(store, hash);
    /* From here on the record lives only as long as the shard is locked. */
    cte__file_opener_set(&tag->file, owner, false);
    /* The list is asked, not the count: who died while removing a chunk left that too high. */
    bool remove = !cte__file_has_openers(&tag->file) && atomic_load(&tag->file.truncate_to) == 0 &&
                  atomic_load(&tag->file.size_bytes) <= atomic_load(&tag->file.real_bytes) &&
                  !cte__file_has_news(&tag->file) &&
                  cte__tag_each(store, tag, stop_at_entry, NULL) == CTE_OK;
    if (remove) {
        cte__tag_reap(store, tag, true);
        /* In this order: if the journal forgets a file that stays, its next chunk tells it anew. */
        if (atomic_exchange(&tag->file.journaled, 0))
            cte__journal_tag_gone(store, atomic_load(&tag->tag_id));
        cte__units_own(store, cte__store_self(store), tag_unit, bytes);
        /* With the list locked: who visits the tags sees a live name with its record, or neither.
         */
        lock_tag(root);
        cte__index_remove(store, shard, hash, tag->entry);
        cte__units_free(store, tag_unit, bytes);
        cte__mutex_unlock(&root->lock);
    }
    cte__shard_unlock(shard);
    if (remove)
        cte__tag_reap(store, root, false);
    return CTE_OK;
}
