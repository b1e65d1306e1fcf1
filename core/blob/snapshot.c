/* SPDX-License-Identifier: BSD-3-Clause */
/* Private copies of where a blob's bytes are, or of a row of its pages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blob/change.h"

void cte__snapshot_init(struct cte__snapshot *snapshot)
{
    snapshot->entry = 0;
    snapshot->version = 0;
    snapshot->partly = false;
    snapshot->size_bytes = 0;
    snapshot->score = 0;
    snapshot->checksums = snapshot->few;
    snapshot->run_lists.block = NULL;
    snapshot->small_bytes = 0;
    snapshot->cache = NULL;
    cte__span_list_init(&snapshot->list);
}

void cte__snapshot_free(struct cte__snapshot *snapshot)
{
    if (snapshot->checksums != snapshot->few)
        free(snapshot->checksums);
    cte__run_lists_free(&snapshot->run_lists);
    cte__span_list_free(&snapshot->list);
    cte__snapshot_init(snapshot);
}

/* The extents of a locked blob that have pages in [first, end). */
struct extents {
    const struct cte__extent *extents;
    uint32_t count;
    struct cte__extent only; /* of a blob without a map */
    uint64_t first, end;
};

static void find_extents(const struct cte__map *map, struct extents *range)
{
    uint32_t from = cte__map_find(map, range->first), to = from;
    while (to < map->extent_count && map->extents[to].first < range->end)
        to++;
    range->extents = map->extents + from;
    range->count = to - from;
}

/* The part of an extent that is in the range; PARTIAL ones have one page. */
static struct cte__extent clip(const struct extents *range, const struct cte__extent *extent)
{
    uint64_t first = cte__max(extent->first, range->first);
    uint64_t end = cte__min((uint64_t)extent->first + extent->count, range->end);
    struct cte__extent part = *extent;
    part.page += first - extent->first;
    part.first = (uint32_t)first;
    part.count = (uint32_t)(end - first);
    return part;
}

/* Checksums in the store are constant only while the blob is locked. */
static cte_status make_room(const struct extents *range, struct cte__snapshot *snapshot)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < range->count; i++)
        if (range->extents[i].state != CTE__PAGE_PARTIAL)
            pages += clip(range, &range->extents[i]).count;
    if (pages <= CTE__SNAPSHOT_FEW)
        return CTE_OK;
    uint32_t *checksums = malloc(pages * sizeof *checksums);
    if (!checksums)
        return -ENOMEM;
    snapshot->checksums = checksums;
    return CTE_OK;
}

static struct cte__run_list *copy_runs(const struct cte__store *store, cte__unit unit,
                                       struct cte__snapshot *snapshot)
{
    const struct cte__runs *runs = cte__unit_at(store, unit);
    struct cte__run_list *list = cte__run_list_new(&snapshot->run_lists, runs->count);
    if (!list)
        return NULL;
    memcpy(list->run, runs->run, runs->count * sizeof runs->run[0]);
    list->count = runs->count;
    return list;
}

static cte_status copy_extents(const struct cte__store *store, const struct extents *range,
                               struct cte__snapshot *snapshot)
{
    cte_status status = make_room(range, snapshot);
    uint32_t *checksums = snapshot->checksums;
    for (uint32_t i = 0; i < range->count && status == CTE_OK; i++) {
        struct cte__extent extent = clip(range, &range->extents[i]);
        struct cte__span span = {.index = extent.first,
                                 .page = extent.page,
                                 .count = extent.count,
                                 .state = extent.state,
                                 .runs = extent.runs};
        if (extent.state == CTE__PAGE_PARTIAL) {
            span.run_list = copy_runs(store, extent.runs, snapshot);
            if (!span.run_list)
                return -ENOMEM;
        } else {
            span.checksums = checksums;
            memcpy(checksums, cte__pages_checksums(store, extent.page),
                   extent.count * sizeof *checksums);
            checksums += extent.count;
        }
        status = cte__span_list_add(&snapshot->list, &span);
    }
    return status;
}

static void copy_small(const struct cte__store *store, uint64_t location,
                       struct cte__snapshot *snapshot)
{
    snapshot->small_bytes = cte__location_small_bytes(location);
    snapshot->small_sum = cte__location_small_sum(location);
    memcpy(snapshot->small, cte__unit_at(store, cte__location_unit(location)),
           snapshot->small_bytes);
}

cte_status cte__snapshot_locked(const struct cte__store *store, cte__unit unit, uint64_t first,
                                uint64_t end, struct cte__snapshot *snapshot)
{
    struct extents range = {.first = first, .end = end};
    cte__snapshot_init(snapshot);
    if (unit == 0)
        return CTE_OK;
    const struct cte__entry *entry = cte__entry_at(store, unit);
    uint64_t location = atomic_load_explicit(&entry->location, memory_order_relaxed);
    snapshot->entry = unit;
    snapshot->version = atomic_load_explicit(&entry->version, memory_order_relaxed);
    snapshot->size_bytes = cte__entry_size(store, entry);
    snapshot->score = entry->score;
    if (location == 0 || first >= end)
        return CTE_OK;
    if (cte__location_kind(location) == CTE__AT_SMALL) {
        copy_small(store, location, snapshot);
        return CTE_OK;
    }
    if (cte__location_kind(location) == CTE__AT_EXTENT) {
        range.only = cte__location_extent(location);
        range.extents = &range.only;
        range.count = range.first < range.only.count;
    } else {
        find_extents(cte__unit_at(store, cte__location_unit(location)), &range);
    }
    cte_status status = copy_extents(store, &range, snapshot);
    if (status != CTE_OK)
        cte__snapshot_free(snapshot);
    return status;
}

cte_status cte__blob_snapshot(struct cte__store *store, const struct cte__blob_key *key,
                              struct cte__snapshot *snapshot)
{
    struct cte__locked_blob blob;
    cte__snapshot_init(snapshot);
    cte_status status = cte__blob_lock(store, key, &blob);
    if (status != CTE_OK)
        return status;
    status = cte__snapshot_locked(store, blob.entry, 0, UINT64_MAX, snapshot);
    cte__shard_unlock(blob.shard);
    return status;
}

bool cte__blob_is_current(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__snapshot *snapshot)
{
    struct cte__locked_blob blob;
    cte_status status = cte__blob_lock(store, key, &blob);
    if (status != CTE_OK)
        return false; /* its tag is gone, and it with it */
    bool current =
        blob.entry == snapshot->entry &&
        (blob.entry == 0 || atomic_load_explicit(&cte__entry_at(store, blob.entry)->version,
                                                 memory_order_relaxed) == snapshot->version);
    cte__shard_unlock(blob.shard);
    return current;
}
