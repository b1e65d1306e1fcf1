/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

cte_status cte__map_load(struct cte__store *store, cte__unit unit, struct cte__page_ref **refs,
                         size_t *count)
{
    const struct cte__map *map = cte__unit_at(store, unit);
    const uint32_t *checksums = cte__map_checksums(map);
    struct cte__page_ref *list = malloc((map->page_count + 1) * sizeof *list);
    size_t n = 0;
    if (!list)
        return -ENOMEM;
    for (uint32_t e = 0; e < map->extent_count; e++) {
        const struct cte__extent *extent = &map->extents[e];
        for (uint32_t i = 0; i < extent->count; i++, n++)
            list[n] = (struct cte__page_ref){
                .index = (uint64_t)extent->first + i,
                .page = extent->page + i,
                .checksum = checksums[n],
                .state = extent->state,
                .runs = extent->runs,
            };
    }
    *refs = list;
    *count = n;
    return CTE_OK;
}

cte_status cte__change_begin(struct cte__change *change, struct cte__store *store,
                             const struct cte__blob_key *key)
{
    uint64_t tag_id = cte__blob_key_tag_id(store, key);
    cte_status status = CTE_OK;
    *change = (struct cte__change){.store = store, .key = key};
    change->hash = cte__name_hash(tag_id, key->name, key->name_bytes);
    /* Before the lock: a forked child takes the store's file lock to get its slot. */
    if (cte__store_self(store) == 0)
        return -EUSERS;
    change->shard = cte__shard_lock(store, change->hash);
    if (key->tag_id != 0 && !key->dying &&
        !cte__user_tag_lives(cte__tag_at(store, key->tag), key->tag_id)) {
        cte__shard_unlock(change->shard);
        return CTE_ERR_NOT_FOUND;
    }
    change->entry = cte__index_find(store, change->shard, change->hash, tag_id, key->name,
                                    key->name_bytes);
    if (change->entry != 0) {
        const struct cte__entry *entry = cte__entry_at(store, change->entry);
        change->old_map = atomic_load_explicit(&entry->map, memory_order_acquire);
        change->version = entry->version;
        change->score = entry->score;
        if (change->old_map != 0) {
            const struct cte__map *map = cte__unit_at(store, change->old_map);
            change->old_map_bytes = cte__map_bytes(map->extent_count, map->page_count);
            change->size_bytes = map->size_bytes;
            status = cte__map_load(store, change->old_map, &change->old, &change->old_count);
        }
    }
    if (status != CTE_OK)
        cte__shard_unlock(change->shard);
    return status;
}

static cte_status grow(void **array, size_t *capacity, size_t element_bytes, size_t least)
{
    size_t wanted = *capacity ? *capacity * 2 : 64;
    if (wanted < least)
        wanted = least;
    void *larger = realloc(*array, wanted * element_bytes);
    if (!larger)
        return -ENOMEM;
    *array = larger;
    *capacity = wanted;
    return CTE_OK;
}

static cte_status add_ref(struct cte__change *change, const struct cte__page_ref *ref)
{
    if (change->count == change->capacity) {
        cte_status status = grow((void **)&change->refs, &change->capacity, sizeof *change->refs,
                                 change->old_count);
        if (status != CTE_OK)
            return status;
    }
    assert(change->count == 0 || change->refs[change->count - 1].index < ref->index);
    change->refs[change->count++] = *ref;
    return CTE_OK;
}

static cte_status add_gone(struct cte__change *change, struct cte__gone gone)
{
    if (change->gone_count == change->gone_capacity) {
        cte_status status = grow((void **)&change->gone, &change->gone_capacity,
                                 sizeof *change->gone, change->old_count);
        if (status != CTE_OK)
            return status;
    }
    change->gone[change->gone_count++] = gone;
    return CTE_OK;
}

cte_status cte__change_keep(struct cte__change *change, const struct cte__page_ref *ref,
                            bool changed_runs)
{
    struct cte__page_ref kept = *ref;
    if (!changed_runs) {
        kept.run_list = NULL;
        return add_ref(change, &kept);
    }
    kept.runs = 0;
    cte_status status = CTE_OK;
    if (ref->runs != 0)
        status = add_gone(change, (struct cte__gone){.runs = ref->runs});
    return status == CTE_OK ? add_ref(change, &kept) : status;
}

cte_status cte__change_drop(struct cte__change *change, const struct cte__page_ref *ref)
{
    return add_gone(change,
                    (struct cte__gone){.page = ref->page, .has_page = true, .runs = ref->runs});
}

cte_status cte__change_add(struct cte__change *change, const struct cte__page_ref *fresh)
{
    assert(fresh->fresh);
    return add_ref(change, fresh);
}

static bool same_arena(const struct cte__store *store, cte__page a, cte__page b)
{
    const struct cte__target_record *record = &store->header->targets[cte__page_target(a)];
    uint64_t pages = cte__bytes_to_pages(record->arena_bytes);
    return cte__page_target(a) == cte__page_target(b) &&
           cte__page_number(a) / pages == cte__page_number(b) / pages;
}

/* True if `next` goes on where `ref` ends, so that one extent holds both. */
static bool joins(const struct cte__store *store, const struct cte__page_ref *ref,
                  const struct cte__page_ref *next)
{
    return next->index == ref->index + 1 && next->page == ref->page + 1 &&
           next->state == ref->state && ref->state != CTE__PAGE_PARTIAL &&
           same_arena(store, ref->page, next->page);
}

static cte_status claim_runs(struct cte__change *change, struct cte__page_ref *ref)
{
    const struct cte__run_list *list = ref->run_list;
    cte__unit unit;
    cte_status status = cte__units_claim(change->store, cte__runs_bytes(list->count), 1, &unit);
    if (status != CTE_OK)
        return status;
    struct cte__runs *runs = cte__unit_at(change->store, unit);
    runs->count = list->count;
    memcpy(runs->run, list->run, list->count * sizeof list->run[0]);
    ref->runs = unit;
    return CTE_OK;
}

static uint64_t runs_unit_bytes(const struct cte__store *store, cte__unit unit)
{
    return cte__runs_bytes(((const struct cte__runs *)cte__unit_at(store, unit))->count);
}

static bool has_unpublished_runs(const struct cte__page_ref *ref)
{
    return ref->state == CTE__PAGE_PARTIAL && ref->run_list != NULL;
}

/* Builds the new map, still private. */
static cte_status build_map(struct cte__change *change, cte__unit *unit)
{
    struct cte__store *store = change->store;
    uint32_t extents = 0;
    for (size_t i = 0; i < change->count; i++)
        extents += i == 0 || !joins(store, &change->refs[i - 1], &change->refs[i]);
    cte_status status =
        cte__units_claim(store, cte__map_bytes(extents, (uint32_t)change->count), 1, unit);
    if (status != CTE_OK)
        return status;
    struct cte__map *map = cte__unit_at(store, *unit);
    map->size_bytes = change->size_bytes;
    map->page_count = (uint32_t)change->count;
    for (size_t i = 0; i < change->count; i++) {
        const struct cte__page_ref *ref = &change->refs[i];
        if (i > 0 && joins(store, ref - 1, ref))
            map->extents[map->extent_count - 1].count++;
        else
            map->extents[map->extent_count++] =
                (struct cte__extent){ref->page, (uint32_t)ref->index, 1, ref->runs, ref->state};
    }
    uint32_t *checksums = (uint32_t *)cte__map_checksums(map);
    for (size_t i = 0; i < change->count; i++)
        checksums[i] = change->refs[i].checksum;
    return CTE_OK;
}

/* Sets the owner of fresh pages, a contiguous run at a time. */
static void own_fresh_pages(struct cte__change *change)
{
    for (size_t i = 0, n; i < change->count; i += n) {
        const struct cte__page_ref *ref = &change->refs[i];
        n = 1;
        if (!ref->fresh)
            continue;
        while (i + n < change->count && ref[n].fresh && ref[n].page == ref->page + n &&
               same_arena(change->store, ref->page, ref[n].page))
            n++;
        cte__pages_own(change->store, CTE__OWNER_PUBLISHED, ref->page, (uint32_t)n);
    }
}

/* Calls `act` for each contiguous run of gone pages. */
static void each_gone_run(struct cte__change *change,
                          void (*act)(struct cte__store *store, cte__page page, uint32_t count))
{
    for (size_t i = 0, n; i < change->gone_count; i += n) {
        const struct cte__gone *gone = &change->gone[i];
        n = 1;
        if (!gone->has_page)
            continue;
        while (i + n < change->gone_count && gone[n].has_page && gone[n].page == gone->page + n &&
               same_arena(change->store, gone->page, gone[n].page))
            n++;
        act(change->store, gone->page, (uint32_t)n);
    }
}

static void retire_pages(struct cte__store *store, cte__page page, uint32_t count)
{
    cte__pages_own(store, cte__store_self(store), page, count);
}

/* From here on the old pieces belong to this process: if it dies, the sweep asks the index whether
 * they are still in use, whichever side of the publish store it died on (I3). */
static void retire_old(struct cte__change *change)
{
    struct cte__store *store = change->store;
    uint16_t self = cte__store_self(store);
    each_gone_run(change, retire_pages);
    for (size_t i = 0; i < change->gone_count; i++)
        if (change->gone[i].runs != 0)
            cte__units_own(store, self, change->gone[i].runs,
                           runs_unit_bytes(store, change->gone[i].runs));
    if (change->old_map != 0)
        cte__units_own(store, self, change->old_map, change->old_map_bytes);
}

static void own_new(struct cte__change *change, cte__unit map)
{
    struct cte__store *store = change->store;
    own_fresh_pages(change);
    for (size_t i = 0; i < change->count; i++)
        if (has_unpublished_runs(&change->refs[i]))
            cte__units_own(store, CTE__OWNER_PUBLISHED, change->refs[i].runs,
                           runs_unit_bytes(store, change->refs[i].runs));
    const struct cte__map *record = cte__unit_at(store, map);
    cte__units_own(store, CTE__OWNER_PUBLISHED, map,
                   cte__map_bytes(record->extent_count, record->page_count));
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void give_back_units(struct cte__change *change, cte__unit map)
{
    struct cte__store *store = change->store;
    for (size_t i = 0; i < change->count; i++)
        if (has_unpublished_runs(&change->refs[i]) && change->refs[i].runs != 0)
            cte__units_free(store, change->refs[i].runs,
                            runs_unit_bytes(store, change->refs[i].runs));
    if (map != 0) {
        const struct cte__map *record = cte__unit_at(store, map);
        cte__units_free(store, map, cte__map_bytes(record->extent_count, record->page_count));
    }
}

cte_status cte__change_commit(struct cte__change *change)
{
    struct cte__store *store = change->store;
    cte__unit map = 0;
    cte_status status = CTE_OK;
    bool new_entry = change->entry == 0;
    for (size_t i = 0; status == CTE_OK && i < change->count; i++)
        if (has_unpublished_runs(&change->refs[i]))
            status = claim_runs(change, &change->refs[i]);
    if (status == CTE_OK)
        status = build_map(change, &map);
    if (status == CTE_OK && new_entry)
        status = cte__index_insert(store, change->shard, change->hash,
                                   cte__tag_at(store, change->key->tag), change->key->tag,
                                   change->key->type, change->key->name, change->key->name_bytes,
                                   &change->entry);
    if (status != CTE_OK) {
        give_back_units(change, map);
        return status;
    }
    struct cte__entry *entry = cte__entry_at(store, change->entry);
    retire_old(change);
    entry->score = change->score;
    entry->modified_ns = now_ns();
    entry->version++;
    /* Publish.  Durable before: the pages and the map.  Visible after: all of the change.  Dying
     * before leaves the old blob, dying after the new one. */
    atomic_store_explicit(&entry->map, map, memory_order_release);
    if (new_entry)
        cte__entry_show(store, change->entry);
    own_new(change, map);
    change->committed = true;
    return CTE_OK;
}

void cte__change_remove(struct cte__change *change)
{
    retire_old(change);
    cte__index_remove(change->store, change->shard, change->hash, change->entry);
    change->committed = true;
}

void cte__change_end(struct cte__change *change)
{
    struct cte__store *store = change->store;
    cte__shard_unlock(change->shard);
    if (change->committed) {
        each_gone_run(change, cte__pages_free);
        for (size_t i = 0; i < change->gone_count; i++)
            if (change->gone[i].runs != 0)
                cte__units_free(store, change->gone[i].runs,
                                runs_unit_bytes(store, change->gone[i].runs));
        if (change->old_map != 0)
            cte__units_free(store, change->old_map, change->old_map_bytes);
    }
    free(change->old);
    free(change->refs);
    free(change->gone);
}

void cte__refs_free_pages(struct cte__store *store, const struct cte__page_ref *refs, size_t count)
{
    for (size_t i = 0, n; i < count; i += n) {
        n = 1;
        while (i + n < count && refs[i + n].page == refs[i].page + n &&
               same_arena(store, refs[i].page, refs[i + n].page))
            n++;
        cte__pages_free(store, refs[i].page, (uint32_t)n);
    }
}
