/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "store/journal.h"
#include "store/pin.h"

/* ---- loading -------------------------------------------------------------------------------- */

static cte_status load_extent(struct cte__change *change, const struct cte__extent *extent)
{
    struct cte__span span = {
        .index = extent->first,
        .page = extent->page,
        .count = extent->count,
        .state = extent->state,
        .runs = extent->runs,
    };
    if (extent->state != CTE__PAGE_PARTIAL)
        span.checksums = cte__pages_checksums(change->store, extent->page);
    return cte__span_list_add(&change->old, &span);
}

uint32_t cte__map_find(const struct cte__map *map, uint64_t index)
{
    uint32_t low = 0, high = map->extent_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint64_t)map->extents[middle].first + map->extents[middle].count <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A row of pages; with their neighbours, which new pages may join. */
struct range {
    uint64_t first, end;
};

static const struct range whole_blob = {0, UINT64_MAX};

static cte_status load_map(struct cte__change *change, cte__unit unit, const struct range *range)
{
    const struct cte__map *map = cte__unit_at(change->store, unit);
    cte_status status = CTE_OK;
    change->old_unit = unit;
    change->old_unit_bytes = cte__map_bytes(map->extent_count);
    change->size_bytes = map->size_bytes;
    uint32_t e = cte__map_find(map, range->first > 0 ? range->first - 1 : 0);
    change->before = e;
    for (; e < map->extent_count && map->extents[e].first <= range->end && status == CTE_OK; e++)
        status = load_extent(change, &map->extents[e]);
    change->behind = map->extent_count - e;
    return status;
}

static cte_status load(struct cte__change *change, uint64_t location, const struct range *range)
{
    if (location == 0)
        return CTE_OK;
    if (cte__location_kind(location) == CTE__AT_UNIT)
        return load_map(change, cte__location_unit(location), range);
    if (cte__location_kind(location) == CTE__AT_EXTENT) {
        struct cte__extent extent = cte__location_extent(location);
        change->size_bytes = cte__location_size(location);
        return load_extent(change, &extent);
    }
    change->size_bytes = cte__location_small_bytes(location);
    change->old_unit = cte__location_unit(location);
    change->old_unit_bytes = change->size_bytes;
    change->old_small_sum = cte__location_small_sum(location);
    change->old_small = cte__unit_at(change->store, change->old_unit);
    return CTE_OK;
}

/* While the shard is locked and a record has the id that a handle has, the blobs found under the
 * record are the tag's: those of earlier tags were gone before it got its present id (I8). */
static bool tag_matches(const struct cte__store *store, const struct cte__blob_key *key)
{
    const struct cte__tag_record *record = cte__tag_at(store, key->tag);
    if (key->tag_id == 0)
        return true;
    return key->dying ? atomic_load(&record->tag_id) == key->tag_id
                      : cte__user_tag_lives(record, key->tag_id);
}

cte_status cte__blob_lock(struct cte__store *store, const struct cte__blob_key *key,
                          struct cte__locked_blob *blob)
{
    /* Before the lock: a forked child takes the store's file lock to get its slot. */
    if (cte__store_self(store) == 0)
        return -EUSERS;
    blob->hash = cte__name_hash(cte__blob_key_tag_id(store, key), key->name, key->name_bytes);
    blob->shard = cte__shard_lock(store, blob->hash);
    if (!tag_matches(store, key)) {
        cte__shard_unlock(blob->shard);
        return CTE_ERR_NOT_FOUND;
    }
    blob->entry =
        cte__index_find(store, blob->shard, blob->hash, key->tag, key->name, key->name_bytes);
    return CTE_OK;
}

/* Loads a blob whose shard is locked. */
static cte_status begin(struct cte__change *change, struct cte__store *store,
                        const struct cte__blob_key *key, const struct cte__locked_blob *blob,
                        bool shard_is_callers, const struct range *range)
{
    cte_status status = CTE_OK;
    change->store = store;
    change->key = key;
    change->hash = blob->hash;
    change->shard = blob->shard;
    change->shard_is_callers = shard_is_callers;
    change->entry = blob->entry;
    change->version = 0;
    change->size_bytes = 0;
    change->score = 0;
    change->old_small = NULL;
    change->new_small = NULL;
    change->modified_ns = 0;
    change->old_unit = 0;
    change->before = 0;
    change->behind = 0;
    change->committed = false;
    cte__span_list_init(&change->old);
    cte__span_list_init(&change->new);
    cte__span_list_init(&change->gone);
    cte__span_list_init(&change->gone_units);
    if (change->entry != 0) {
        const struct cte__entry *entry = cte__entry_at(store, change->entry);
        change->version = atomic_load_explicit(&entry->version, memory_order_relaxed);
        change->score = entry->score;
        status = load(change, atomic_load_explicit(&entry->location, memory_order_acquire), range);
    }
    if (status != CTE_OK)
        cte__change_end(change);
    return status;
}

cte_status cte__change_begin(struct cte__change *change, struct cte__store *store,
                             const struct cte__blob_key *key)
{
    struct cte__locked_blob blob;
    cte_status status = cte__blob_lock(store, key, &blob);
    return status == CTE_OK ? begin(change, store, key, &blob, false, &whole_blob) : status;
}

cte_status cte__change_begin_range(struct cte__change *change, struct cte__store *store,
                                   const struct cte__blob_key *key, uint64_t first, uint64_t end)
{
    struct cte__locked_blob blob;
    struct range range = {first, end};
    cte_status status = cte__blob_lock(store, key, &blob);
    return status == CTE_OK ? begin(change, store, key, &blob, false, &range) : status;
}

cte_status cte__change_begin_locked(struct cte__change *change, struct cte__store *store,
                                    const struct cte__blob_key *key, struct cte__shard *shard)
{
    struct cte__locked_blob blob = {.shard = shard};
    blob.hash = cte__name_hash(cte__blob_key_tag_id(store, key), key->name, key->name_bytes);
    if (!tag_matches(store, key))
        return CTE_ERR_NOT_FOUND;
    blob.entry = cte__index_find(store, shard, blob.hash, key->tag, key->name, key->name_bytes);
    return begin(change, store, key, &blob, true, &whole_blob);
}

/* ---- the new state -------------------------------------------------------------------------- */

cte_status cte__change_keep(struct cte__change *change, const struct cte__span *span)
{
    struct cte__span kept = *span;
    kept.run_list = NULL;
    return cte__span_list_add(&change->new, &kept);
}

static bool has_runs_in(const struct cte__run_list *list, cte__page page)
{
    for (uint32_t i = 0; list && i < list->count; i++)
        if (list->run[i].page == page)
            return true;
    return false;
}

static uint32_t runs_unit_count(const struct cte__store *store, cte__unit unit)
{
    const struct cte__runs *runs = cte__unit_at(store, unit);
    return cte__units_for(cte__runs_bytes(runs->count));
}

/* Pages in a row go together: one look at their arena does for all. */
static cte_status drop_pages(struct cte__change *change, cte__page page, uint32_t count)
{
    struct cte__span_list *gone = &change->gone;
    struct cte__span *last = gone->count > 0 ? &gone->spans[gone->count - 1] : NULL;
    if (last && last->page + last->count == page &&
        cte__same_arena(change->store, last->page, page)) {
        last->count += count;
        return CTE_OK;
    }
    struct cte__span pages = {.page = page, .count = count};
    return cte__span_list_add(gone, &pages);
}

static cte_status drop_runs(struct cte__change *change, cte__unit unit)
{
    struct cte__span_list *gone = &change->gone_units;
    struct cte__span *last = gone->count > 0 ? &gone->spans[gone->count - 1] : NULL;
    uint32_t count = runs_unit_count(change->store, unit);
    if (last && last->runs + last->count == unit && cte__same_unit_arena(last->runs, unit)) {
        last->count += count;
        return CTE_OK;
    }
    struct cte__span units = {.runs = unit, .count = count};
    return cte__span_list_add(gone, &units);
}

static cte_status drop_page(struct cte__change *change, cte__page page,
                            const struct cte__run_list *kept)
{
    return has_runs_in(kept, page) ? CTE_OK : drop_pages(change, page, 1);
}

cte_status cte__change_replace(struct cte__change *change, const struct cte__span *old,
                               const struct cte__run_list *kept)
{
    cte__page pages[CTE__RUN_PAGES_MAX];
    if (old->state != CTE__PAGE_PARTIAL && old->count == 1)
        return drop_page(change, old->page, kept);
    if (old->state != CTE__PAGE_PARTIAL)
        return drop_pages(change, old->page, old->count);
    const struct cte__runs *runs = cte__unit_at(change->store, old->runs);
    uint32_t count = cte__runs_pages(runs->run, runs->count, pages);
    assert(count <= CTE__RUN_PAGES_MAX);
    cte_status status = CTE_OK;
    for (uint32_t i = 0; i < count && status == CTE_OK; i++)
        status = drop_page(change, pages[i], kept);
    return status == CTE_OK ? drop_runs(change, old->runs) : status;
}

cte_status cte__change_restate(struct cte__change *change, const struct cte__span *old,
                               struct cte__run_list *list)
{
    struct cte__span restated = {
        .index = old->index,
        .page = list->run[0].page,
        .count = 1,
        .state = cte__runs_page_state(list->run, list->count),
        .checksums = &list->run[0].checksum,
    };
    if (restated.state == CTE__PAGE_PARTIAL)
        restated.run_list = list;
    cte_status status = cte__change_replace(change, old, list);
    return status == CTE_OK ? cte__span_list_add(&change->new, &restated) : status;
}

cte_status cte__change_drop(struct cte__change *change, const struct cte__span *span)
{
    return cte__change_replace(change, span, NULL);
}

cte_status cte__change_add(struct cte__change *change, const struct cte__span *fresh)
{
    assert(fresh->fresh);
    return cte__span_list_add(&change->new, fresh);
}

/* ---- the new map ---------------------------------------------------------------------------- */

/* True if `next` goes on where `span` ends, so that one extent holds both. */
static bool joins(const struct cte__store *store, const struct cte__span *span,
                  const struct cte__span *next)
{
    return next->index == span->index + span->count && next->page == span->page + span->count &&
           next->state == span->state && span->state != CTE__PAGE_PARTIAL &&
           cte__same_arena(store, span->page, next->page);
}

static bool has_unpublished_runs(const struct cte__span *span)
{
    return span->state == CTE__PAGE_PARTIAL && span->run_list != NULL;
}

static uint64_t runs_bytes(const struct cte__span *span)
{
    return cte__runs_bytes(span->run_list->count);
}

static void fill_runs(struct cte__change *change, struct cte__span *span, cte__unit unit)
{
    const struct cte__run_list *list = span->run_list;
    struct cte__runs *runs = cte__unit_at(change->store, unit);
    runs->count = list->count;
    memcpy(runs->run, list->run, list->count * sizeof list->run[0]);
    span->runs = unit;
}

/* Room for the runs of all pages in one row, if there is such: each is freed by itself later. */
static cte_status claim_runs(struct cte__change *change, cte__unit *row)
{
    uint64_t units = 0;
    *row = 0;
    for (size_t i = 0; i < change->new.count; i++)
        if (has_unpublished_runs(&change->new.spans[i]))
            units += cte__units_for(runs_bytes(&change->new.spans[i]));
    cte_status status =
        units > 0 ? cte__units_claim_row(change->store, units << CTE__UNIT_SHIFT, row) : CTE_OK;
    return status == -ENOSPC ? CTE_OK : status;
}

static cte_status publish_runs(struct cte__change *change)
{
    cte__unit row, unit;
    cte_status status = claim_runs(change, &row);
    for (size_t i = 0; i < change->new.count &&status == CTE_OK; i++) {
        struct cte__span *span = &change->new.spans[i];
        if (!has_unpublished_runs(span))
            continue;
        unit = row;
        if (row != 0)
            row += cte__units_for(runs_bytes(span));
        else
            status = cte__units_claim(change->store, runs_bytes(span), 1, &unit);
        if (status == CTE_OK)
            fill_runs(change, span, unit);
    }
    return status;
}

static uint64_t runs_unit_bytes(const struct cte__store *store, cte__unit unit)
{
    return (uint64_t)runs_unit_count(store, unit) << CTE__UNIT_SHIFT;
}

/* ---- the new location ----------------------------------------------------------------------- */

/* A location, and what it needs in the metadata heap, still private. */
struct contents {
    uint64_t location;
    cte__unit unit; /* 0: nothing */
    uint64_t unit_bytes;
};

static struct cte__extent extent_of(const struct cte__span *span)
{
    return (struct cte__extent){span->page, (uint32_t)span->index, span->count, span->runs,
                                span->state};
}

static cte_status claim_contents(struct cte__change *change, uint64_t bytes,
                                 struct contents *contents)
{
    contents->unit_bytes = bytes;
    return cte__units_claim(change->store, bytes, 1, &contents->unit);
}

static cte_status build_small(struct cte__change *change, struct contents *contents)
{
    uint32_t bytes = (uint32_t)change->size_bytes;
    cte_status status = claim_contents(change, bytes, contents);
    if (status != CTE_OK)
        return status;
    memcpy(cte__unit_at(change->store, contents->unit), change->new_small, bytes);
    bool journaled =
        cte__journal_on(change->store) && cte__journal_belongs(change->store, change->score);
    contents->location = cte__location_of_small(
        contents->unit, bytes, cte__small_sum(change->store, change->new_small, bytes), journaled);
    return CTE_OK;
}

/* Appends extents of the old map. */
static void keep_extents(const struct cte__change *change, uint32_t from, uint32_t count,
                         struct cte__map *map)
{
    if (count == 0)
        return;
    const struct cte__map *old = cte__unit_at(change->store, change->old_unit);
    memcpy(&map->extents[map->extent_count], &old->extents[from], count * sizeof old->extents[0]);
    map->extent_count += count;
}

static cte_status build_map(struct cte__change *change, uint32_t extents, struct contents *contents)
{
    const struct cte__span *spans = change->new.spans;
    cte_status status = claim_contents(change, cte__map_bytes(extents), contents);
    if (status != CTE_OK)
        return status;
    struct cte__map *map = cte__unit_at(change->store, contents->unit);
    map->size_bytes = change->size_bytes;
    map->extent_count = 0;
    keep_extents(change, 0, change->before, map);
    for (size_t i = 0; i < change->new.count; i++) {
        if (i > 0 && joins(change->store, &spans[i - 1], &spans[i]))
            map->extents[map->extent_count - 1].count += spans[i].count;
        else
            map->extents[map->extent_count++] = extent_of(&spans[i]);
    }
    if (change->behind > 0) {
        const struct cte__map *old = cte__unit_at(change->store, change->old_unit);
        keep_extents(change, old->extent_count - change->behind, change->behind, map);
    }
    assert(map->extent_count == extents);
    contents->location = cte__location_of_unit(contents->unit);
    return CTE_OK;
}

static cte_status build_contents(struct cte__change *change, struct contents *contents)
{
    const struct cte__span *spans = change->new.spans;
    uint32_t extents = change->before + change->behind, pages = 0;
    if (change->new_small)
        return build_small(change, contents);
    for (size_t i = 0; i < change->new.count; i++) {
        extents += i == 0 || !joins(change->store, &spans[i - 1], &spans[i]);
        pages += spans[i].count;
    }
    if (extents == 0 && change->size_bytes == 0)
        return CTE_OK;
    if (extents == 1 && change->new.count > 0) {
        struct cte__extent extent = extent_of(&spans[0]);
        extent.count = pages;
        contents->location = cte__location_of_extent(&extent, change->size_bytes);
    }
    return contents->location != 0 ? CTE_OK : build_map(change, extents, contents);
}

/* The checksums of fresh pages go beside their owner words. */
static void note_checksums(struct cte__change *change)
{
    for (size_t i = 0; i < change->new.count; i++) {
        const struct cte__span *span = &change->new.spans[i];
        if (span->fresh)
            memcpy(cte__pages_checksums(change->store, span->page), span->checksums,
                   span->count * sizeof *span->checksums);
    }
}

/* From here on the old pieces belong to this process: if it dies, the sweep asks the index whether
 * they are still in use, whichever side of the publish store it died on (I3). */
void cte__change_retire(struct cte__change *change)
{
    struct cte__store *store = change->store;
    uint16_t self = cte__store_self(store);
    for (size_t i = 0; i < change->gone.count; i++)
        cte__pages_own(store, self, change->gone.spans[i].page, change->gone.spans[i].count);
    for (size_t i = 0; i < change->gone_units.count; i++) {
        const struct cte__span *units = &change->gone_units.spans[i];
        cte__units_own(store, self, units->runs, (uint64_t)units->count << CTE__UNIT_SHIFT);
    }
    if (change->old_unit != 0)
        cte__units_own(store, self, change->old_unit, change->old_unit_bytes);
}

static void own_new(struct cte__change *change, const struct contents *contents)
{
    struct cte__store *store = change->store;
    for (size_t i = 0; i < change->new.count; i++) {
        const struct cte__span *span = &change->new.spans[i];
        if (span->fresh)
            cte__pages_own(store, CTE__OWNER_PUBLISHED, span->page, span->count);
        if (has_unpublished_runs(span))
            cte__units_own(store, CTE__OWNER_PUBLISHED, span->runs,
                           runs_unit_bytes(store, span->runs));
    }
    if (contents->unit != 0)
        cte__units_own(store, CTE__OWNER_PUBLISHED, contents->unit, contents->unit_bytes);
}

static void give_back_units(struct cte__change *change, const struct contents *contents)
{
    struct cte__store *store = change->store;
    for (size_t i = 0; i < change->new.count; i++) {
        const struct cte__span *span = &change->new.spans[i];
        if (has_unpublished_runs(span) && span->runs != 0)
            cte__units_free(store, span->runs, runs_unit_bytes(store, span->runs));
    }
    if (contents->unit != 0)
        cte__units_free(store, contents->unit, contents->unit_bytes);
}

/* ---- the journal ---------------------------------------------------------------------------- */

enum { FRESH_RUNS_FEW = 16 };

/* Appends what the blob is now, with the checksums of the pages that are new in it. */
static void append_to_journal(struct cte__change *change)
{
    struct cte__page_run few[FRESH_RUNS_FEW] = {{0}}, *fresh = few;
    uint32_t count = 0;
    for (size_t i = 0; i < change->new.count; i++)
        count += change->new.spans[i].fresh;
    if (count > FRESH_RUNS_FEW)
        fresh = malloc(count * sizeof *fresh);
    count = 0;
    for (size_t i = 0; fresh && i < change->new.count; i++)
        if (change->new.spans[i].fresh)
            fresh[count++] =
                (struct cte__page_run){change->new.spans[i].page, change->new.spans[i].count};
    /* Without memory for the list, the checksums of all pages will do too. */
    cte__journal_entry(change->store, change->shard, change->entry, fresh, count);
    if (fresh != few)
        free(fresh);
}

/* Does the journal know of the blob as it is? */
static bool was_journaled(const struct cte__change *change)
{
    const struct cte__entry *entry = cte__entry_at(change->store, change->entry);
    return cte__journal_on(change->store) &&
           cte__journal_wants(change->store,
                              atomic_load_explicit(&entry->location, memory_order_relaxed));
}

static bool is_journaled(const struct cte__change *change, bool new_entry, uint64_t location)
{
    return cte__journal_on(change->store) &&
           (cte__journal_wants(change->store, location) || (!new_entry && was_journaled(change)));
}

cte_status cte__change_commit(struct cte__change *change)
{
    struct cte__store *store = change->store;
    struct contents contents = {0};
    bool new_entry = change->entry == 0;
    cte_status status = publish_runs(change);
    if (status == CTE_OK)
        status = build_contents(change, &contents);
    if (status == CTE_OK && new_entry)
        status = cte__index_insert(store, change->shard, change->hash,
                                   cte__tag_at(store, change->key->tag), change->key->tag,
                                   change->key->type, change->key->name, change->key->name_bytes,
                                   &change->entry);
    if (status != CTE_OK) {
        give_back_units(change, &contents);
        return status;
    }
    struct cte__entry *entry = cte__entry_at(store, change->entry);
    note_checksums(change);
    cte__change_retire(change);
    entry->score = change->score;
    uint64_t modified_ns = change->modified_ns != 0 ? change->modified_ns : cte__realtime_ns();
    atomic_store_explicit(&entry->modified_ns, modified_ns, memory_order_relaxed);
    cte__ring_note_times(modified_ns, cte__heat_time(entry->heat));
    atomic_store_explicit(&entry->version,
                          atomic_load_explicit(&entry->version, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    bool journaled = is_journaled(change, new_entry, contents.location);
    if (journaled)
        cte__journal_announce(change->shard, change->hash);
    /* Publish.  Durable before: the pages and the map.  Visible after: all of the change.  Dying
     * before leaves the old blob, dying after the new one. */
    atomic_store_explicit(&entry->location, contents.location, memory_order_release);
    if (new_entry)
        cte__entry_show(store, change->entry);
    own_new(change, &contents);
    /* Before anything old is free for others: until then the journal may refer to it (I12). */
    if (journaled)
        append_to_journal(change);
    change->committed = true;
    return CTE_OK;
}

void cte__change_remove(struct cte__change *change)
{
    bool journaled = was_journaled(change);
    cte__change_retire(change);
    /* The journal first: of who dies in between, the blob is there, and is told of again. */
    if (journaled) {
        cte__journal_announce(change->shard, change->hash);
        cte__journal_gone(change->store, change->entry);
    }
    cte__index_remove(change->store, change->shard, change->hash, change->entry);
    if (journaled)
        cte__journal_settled(change->shard);
    change->committed = true;
}

static void free_gone(struct cte__change *change)
{
    struct cte__store *store = change->store;
    for (size_t i = 0; i < change->gone.count; i++)
        cte__pages_unpublish(store, change->gone.spans[i].page, change->gone.spans[i].count);
    for (size_t i = 0; i < change->gone_units.count; i++) {
        const struct cte__span *units = &change->gone_units.spans[i];
        cte__units_free(store, units->runs, (uint64_t)units->count << CTE__UNIT_SHIFT);
    }
    if (change->old_unit != 0)
        cte__units_free(store, change->old_unit, change->old_unit_bytes);
}

void cte__change_end(struct cte__change *change)
{
    if (!change->shard_is_callers)
        cte__shard_unlock(change->shard);
    if (change->committed)
        free_gone(change);
    cte__span_list_free(&change->old);
    cte__span_list_free(&change->new);
    cte__span_list_free(&change->gone);
    cte__span_list_free(&change->gone_units);
}
