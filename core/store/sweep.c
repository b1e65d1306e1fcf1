/* SPDX-License-Identifier: BSD-3-Clause */
/* What the index reaches, compared with what the owner words say: recovery and audit.
 *
 * Marking walks the index shard by shard under the shard's lock, so live processes go on meanwhile.
 * That is safe because only the owner of a claimed piece can make the index refer to it, and the
 * owners in question are dead: a piece of theirs that is unreachable once stays so (I5). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "store/pin.h"
#include "store/store_internal.h"

struct marks {
    struct cte__store *store;
    uint8_t *units;                           /* one bit each */
    uint8_t **pages;                          /* per page arena */
    uint32_t page_arenas;                     /* more may come while this counts, empty ones */
    bool dead[CTE__SLOTS_MAX + 1];            /* by owner word */
    uint64_t dead_slots[CTE__SLOTS_MAX / 64]; /* the same, one bit a slot */
    bool hand_to_reaper;                      /* a sweep, not an audit */
    struct cte__store_audit audit;
};

static bool test_and_set(uint8_t *bits, uint64_t index)
{
    uint8_t mask = (uint8_t)(1u << (index % 8));
    bool was = bits[index / 8] & mask;
    bits[index / 8] |= mask;
    return was;
}

static bool test(const uint8_t *bits, uint64_t index)
{
    return bits[index / 8] >> (index % 8) & 1;
}

static void marks_free(struct marks *marks)
{
    for (uint32_t i = 0; marks->pages && i < marks->page_arenas; i++)
        free(marks->pages[i]);
    free(marks->pages);
    free(marks->units);
}

static cte_status marks_init(struct marks *marks, struct cte__store *store)
{
    struct cte__store_header *header = store->header;
    memset(marks, 0, sizeof *marks);
    marks->store = store;
    marks->units = calloc((size_t)header->unit_arena_count * CTE__META_ARENA_UNITS / 8, 1);
    marks->page_arenas = header->page_arena_count;
    marks->pages = calloc(marks->page_arenas + 1, sizeof *marks->pages);
    if (!marks->units || !marks->pages)
        return -ENOMEM;
    for (uint32_t i = 0; i < marks->page_arenas; i++) {
        marks->pages[i] = calloc(CTE__PAGE_ARENA_MAX / 8, 1);
        if (!marks->pages[i])
            return -ENOMEM;
    }
    return CTE_OK;
}

static void mark_units(struct marks *marks, cte__unit unit, uint64_t bytes)
{
    uint32_t count = cte__units_for(bytes);
    for (uint32_t i = 0; i < count; i++)
        test_and_set(marks->units, unit + i);
}

static void mark_pages(struct marks *marks, cte__page page, uint32_t count)
{
    const struct cte__target_record *record =
        &marks->store->header->targets[cte__page_target(page)];
    uint64_t pages = cte__bytes_to_pages(record->arena_bytes), number = cte__page_number(page);
    uint64_t arena = record->arena_first + number / pages;
    marks->audit.pages_referenced += count;
    if (arena >= marks->page_arenas)
        return;
    uint8_t *bits = marks->pages[arena];
    for (uint32_t i = 0; i < count; i++)
        marks->audit.pages_doubly += test_and_set(bits, number % pages + i);
}

static void mark_runs(struct marks *marks, cte__unit unit)
{
    const struct cte__runs *runs = cte__unit_at(marks->store, unit);
    cte__page seen[CTE__RUN_PAGES_MAX];
    uint32_t seen_count = 0;
    mark_units(marks, unit, cte__runs_bytes(runs->count));
    for (uint32_t i = 0; i < runs->count; i++) {
        uint32_t s = 0;
        while (s < seen_count && seen[s] != runs->run[i].page)
            s++;
        if (s < seen_count)
            continue;
        mark_pages(marks, runs->run[i].page, 1);
        if (seen_count < CTE__RUN_PAGES_MAX)
            seen[seen_count++] = runs->run[i].page;
    }
}

static void mark_map(struct marks *marks, cte__unit unit)
{
    const struct cte__map *map = cte__unit_at(marks->store, unit);
    mark_units(marks, unit, cte__map_bytes(map->extent_count));
    for (uint32_t i = 0; i < map->extent_count; i++) {
        const struct cte__extent *extent = &map->extents[i];
        if (extent->state == CTE__PAGE_PARTIAL)
            mark_runs(marks, extent->runs);
        else
            mark_pages(marks, extent->page, extent->count);
    }
}

static uint16_t unit_owner(const struct cte__store *store, cte__unit unit)
{
    return atomic_load_explicit(
        &store->unit_arenas[unit / CTE__META_ARENA_UNITS].owners[unit % CTE__META_ARENA_UNITS],
        memory_order_relaxed);
}

/* A list's entries are reachable whether visible or not.  One whose maker died before showing it,
 * or whose remover died while hiding it, is handed to the reaper. */
static void mark_list(struct marks *marks, struct cte__tag_record *tag)
{
    struct cte__store *store = marks->store;
    bool died = cte__mutex_lock(&tag->lock); /* a list is whole at any time (I4) */
    (void)died;
    for (cte__unit unit = atomic_load(&tag->list_head); unit != 0;) {
        struct cte__entry *entry = cte__entry_at(store, unit);
        uint16_t owner = unit_owner(store, unit);
        mark_units(marks, unit, sizeof *entry + entry->name_bytes);
        uint8_t state = atomic_load(&entry->state);
        if (marks->hand_to_reaper && owner <= CTE__SLOTS_MAX && marks->dead[owner] &&
            state != CTE__ENTRY_LIVE && state != CTE__ENTRY_DEAD) {
            atomic_store(&entry->state, CTE__ENTRY_DEAD);
            atomic_fetch_add(&tag->dead_count, 1);
        }
        unit = entry->list_next;
    }
    cte__mutex_unlock(&tag->lock);
}

static void mark_record(struct marks *marks, cte__unit unit)
{
    struct cte__tag_record *tag = cte__tag_at(marks->store, unit);
    mark_units(marks, unit, cte__tag_record_bytes(tag->path_bytes));
    mark_list(marks, tag);
    for (int i = 0; i < CTE__SLOTS_MAX / 64; i++) {
        if (atomic_fetch_and(&tag->file.joined[i], ~marks->dead_slots[i]) & marks->dead_slots[i])
            atomic_store(&tag->file.orphaned, 1);
        atomic_fetch_and(&tag->file.openers[i], ~marks->dead_slots[i]);
    }
}

static void mark_contents(struct marks *marks, uint64_t location)
{
    struct cte__extent extent;
    switch (cte__location_kind(location)) {
    case CTE__AT_UNIT:
        mark_map(marks, cte__location_unit(location));
        return;
    case CTE__AT_EXTENT:
        extent = cte__location_extent(location);
        mark_pages(marks, extent.page, extent.count);
        return;
    case CTE__AT_SMALL:
        mark_units(marks, cte__location_unit(location), cte__location_small_bytes(location));
        return;
    }
}

static void mark_entry(struct marks *marks, cte__unit unit)
{
    const struct cte__entry *entry = cte__entry_at(marks->store, unit);
    uint64_t location = atomic_load(&entry->location);
    if (!cte__entry_visible(marks->store, unit) || location == 0)
        return;
    if (entry->type == CTE__ENTRY_TAG || entry->type == CTE__ENTRY_FILE) {
        mark_record(marks, cte__location_unit(location));
    } else {
        marks->audit.blobs++;
        mark_contents(marks, location);
    }
}

static void mark_shard(struct marks *marks, uint32_t index)
{
    struct cte__store *store = marks->store;
    struct cte__shard *shard = cte__shard_lock(store, index);
    uint64_t word = atomic_load(&shard->table);
    if (word != 0) {
        uint64_t slots = UINT64_C(1) << (word & 0xff);
        const _Atomic uint64_t *table = cte__unit_at(store, (cte__unit)(word >> 8));
        mark_units(marks, (cte__unit)(word >> 8), slots * sizeof *table);
        for (uint64_t i = 0; i < slots; i++) {
            cte__unit unit = (cte__unit)atomic_load(&table[i]);
            if (unit > 1)
                mark_entry(marks, unit);
        }
    }
    cte__shard_unlock(shard);
}

/* Takes entries that are not visible out of the index.  With the shard locked, whoever was showing,
 * hiding or renaming one died on it; its memory must not be reused while the index refers to it. */
static void purge_shard(struct cte__store *store, uint32_t index)
{
    struct cte__shard *shard = cte__shard_lock(store, index);
    uint64_t word = atomic_load(&shard->table);
    uint64_t slots = word != 0 ? UINT64_C(1) << (word & 0xff) : 0;
    _Atomic uint64_t *table = word != 0 ? cte__unit_at(store, (cte__unit)(word >> 8)) : NULL;
    for (uint64_t i = 0; i < slots; i++) {
        cte__unit unit = (cte__unit)atomic_load(&table[i]);
        if (unit <= 1)
            continue;
        if (cte__entry_visible(store, unit))
            atomic_store(&cte__entry_at(store, unit)->state, CTE__ENTRY_LIVE);
        else
            atomic_store(&table[i], CTE__SLOT_DELETED);
    }
    cte__shard_unlock(shard);
}

static void mark_all(struct marks *marks)
{
    mark_units(marks, 0, 2 * CTE__UNIT_BYTES);
    mark_record(marks, marks->store->header->root_tag);
    for (cte__unit unit = marks->store->header->user_tags; unit != 0;) {
        mark_record(marks, unit);
        unit = cte__tag_at(marks->store, unit)->chain_next;
    }
    for (uint32_t i = 0; i < CTE__SHARDS; i++)
        mark_shard(marks, i);
}

/* The first page of an arena of a target; false if the arena is nobody's, and so empty. */
static bool first_page(const struct cte__store *store, uint32_t arena, cte__page *first)
{
    for (uint32_t t = 0; t < store->header->target_count; t++) {
        const struct cte__target_record *record = &store->header->targets[t];
        if (!cte__target_exists(store, t) || arena < record->arena_first ||
            arena >= record->arena_first + record->arena_count)
            continue;
        uint64_t pages = cte__bytes_to_pages(record->arena_bytes);
        *first = cte__page_make(t, (arena - record->arena_first) * pages);
        return true;
    }
    return false;
}

/* Pieces of the dead: reachable ones are published, the others free. */
static uint32_t resolve_units(const struct marks *marks, const struct cte__arena_view *view,
                              uint64_t first_bit)
{
    uint32_t freed = 0;
    if (!atomic_load(&view->arena->ready))
        return 0;
    uint32_t end = cte__arena_recover(view);
    for (uint32_t i = 0; i < end; i++) {
        uint16_t owner = atomic_load_explicit(&view->owners[i], memory_order_relaxed);
        if (owner > CTE__SLOTS_MAX || !marks->dead[owner])
            continue;
        if (test(marks->units, first_bit + i))
            atomic_compare_exchange_strong(&view->owners[i], &owner, CTE__OWNER_PUBLISHED);
        else
            freed += cte__arena_reclaim(view, owner, i, 1);
    }
    return freed;
}

/* The same of pages.  Pinned ones stay until the last pin goes; who died between the two left pages
 * that say pinned, and are not. */
static uint32_t resolve_pages(const struct marks *marks, uint32_t arena)
{
    const struct cte__arena_view *view = cte__page_arena(marks->store, arena);
    cte__page first;
    uint32_t freed = 0;
    if (!first_page(marks->store, arena, &first) || !atomic_load(&view->arena->ready))
        return 0;
    uint32_t end = cte__arena_recover(view);
    for (uint32_t i = 0; i < end; i++) {
        uint16_t owner = atomic_load_explicit(&view->owners[i], memory_order_relaxed);
        bool dead = owner <= CTE__SLOTS_MAX && marks->dead[owner];
        if (!dead && owner != CTE__OWNER_PINNED)
            continue;
        if (dead && test(marks->pages[arena], i))
            atomic_compare_exchange_strong(&view->owners[i], &owner, CTE__OWNER_PUBLISHED);
        else if (!cte__page_is_pinned(marks->store, first + i))
            freed += cte__arena_reclaim(view, owner, i, 1);
        else
            atomic_compare_exchange_strong(&view->owners[i], &owner, CTE__OWNER_PINNED);
    }
    return freed;
}

static void resolve_all(const struct marks *marks, uint64_t *pages_freed, uint64_t *units_freed)
{
    struct cte__store *store = marks->store;
    cte__pins_lock(store);
    cte__pins_forget_dead(store, marks->dead);
    for (uint32_t i = 0; i < marks->page_arenas; i++)
        *pages_freed += resolve_pages(marks, i);
    cte__pins_unlock(store);
    for (uint32_t i = 0; i < store->header->unit_arena_count; i++)
        *units_freed +=
            resolve_units(marks, &store->unit_arenas[i], (uint64_t)i * CTE__META_ARENA_UNITS);
}

static bool find_dead(struct marks *marks)
{
    bool any = false;
    for (uint32_t i = 0; i < CTE__SLOTS_MAX; i++) {
        if (!cte__slot_dead(&marks->store->header->slots[i]))
            continue;
        marks->dead_slots[i / 64] |= UINT64_C(1) << (i % 64);
        marks->dead[i + 1] = true;
        any = true;
    }
    return any;
}

/* Takes back what the dead left; the sweep's lock is held. */
static void sweep_locked(struct cte__store *store, struct marks *marks)
{
    uint64_t pages = 0, units = 0;
    atomic_store(&store->header->sweep_wanted, 0);
    if (!find_dead(marks))
        return;
    /* All shards before any list: what mark_list() hands to the reaper is in no table. */
    for (uint32_t i = 0; i < CTE__SHARDS; i++)
        purge_shard(store, i);
    marks->hand_to_reaper = true;
    mark_all(marks);
    resolve_all(marks, &pages, &units);
    for (uint32_t i = 0; i < CTE__SLOTS_MAX; i++)
        if (marks->dead[i + 1])
            atomic_store(&store->header->slots[i].pid, 0);
    cte__log_debug("store %s: took back %llu pages and %llu units of dead processes",
                   store->directory, (unsigned long long)pages, (unsigned long long)units);
}

void cte__store_sweep(struct cte__store *store)
{
    struct marks *marks = malloc(sizeof *marks);
    /* Nobody renames meanwhile: a blob that goes from a shard that is not marked yet to one that is
     * would be taken for unreachable.  No target comes either (targets.c).  A sweep can be begun
     * again. */
    bool died = cte__mutex_lock(&store->header->rename_lock);
    died = cte__mutex_lock(&store->header->sweep_lock);
    (void)died;
    if (!marks || marks_init(marks, store) != CTE_OK)
        cte__log_warn("store %s: no memory to take back what dead processes left",
                      store->directory);
    else
        sweep_locked(store, marks);
    cte__mutex_unlock(&store->header->sweep_lock);
    cte__mutex_unlock(&store->header->rename_lock);
    if (marks)
        marks_free(marks);
    free(marks);
}

/* `first`: of a page arena; 0 for units. */
static void audit_arena(struct marks *marks, const struct cte__arena_view *view, cte__page first,
                        const uint8_t *bits, uint64_t first_bit, uint64_t *published,
                        uint64_t *lost, uint64_t *unowned)
{
    if (!atomic_load(&view->arena->ready))
        return;
    for (uint32_t i = 0; i < view->arena->unit_count; i++) {
        uint16_t owner = atomic_load(&view->owners[i]);
        bool referenced = test(bits, first_bit + i);
        bool pinned = owner == CTE__OWNER_PINNED && cte__page_is_pinned(marks->store, first + i);
        marks->audit.pages_pinned += pinned;
        *published += owner == CTE__OWNER_PUBLISHED;
        *lost += owner != CTE__OWNER_FREE && !referenced && !pinned;
        *unowned += owner == CTE__OWNER_FREE && referenced;
    }
}

cte_status cte__store_audit(struct cte__store *store, struct cte__store_audit *audit)
{
    struct marks *marks = malloc(sizeof *marks);
    if (!marks)
        return -ENOMEM;
    cte_status status = marks_init(marks, store);
    if (status == CTE_OK) {
        struct cte__store_audit *a = &marks->audit;
        uint64_t units_published = 0;
        cte__page first;
        find_dead(marks);
        mark_all(marks);
        cte__pins_lock(store);
        for (uint32_t i = 0; i < marks->page_arenas; i++)
            if (first_page(store, i, &first))
                audit_arena(marks, cte__page_arena(store, i), first, marks->pages[i], 0,
                            &a->pages_published, &a->pages_lost, &a->pages_unowned);
        for (uint32_t i = 0; i < store->header->unit_arena_count; i++)
            audit_arena(marks, &store->unit_arenas[i], 0, marks->units,
                        (uint64_t)i * CTE__META_ARENA_UNITS, &units_published, &a->units_lost,
                        &a->units_unowned);
        cte__pins_unlock(store);
        *audit = *a;
    }
    marks_free(marks);
    free(marks);
    return status;
}
