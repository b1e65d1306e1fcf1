/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making room in full targets.
 *
 * What is clean can be had from the real file again, so it goes first; then what is dirty, once it
 * is drained.  Everything here may be interrupted by a death: a chunk is dropped by one store (I1),
 * and what is not dropped is only there longer.
 */
#include "file/room.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "file/drain.h"
#include "file/inspect.h"

enum {
    EVICT_SHARE = 16,            /* at least 1/16 of the targets at once, as it costs a search, */
    EVICT_BYTES_MAX = 256 << 20, /* but no more than this, unless it is asked for */
    DRAIN_BYTES = 16 << 20,      /* a writer that waits for room drains at once */
    WAIT_NS = 5000000,           /* between looks at what others drained */
};

#define WAIT_MOST_NS UINT64_C(10000000000) /* in which nothing was drained */

uint64_t cte__room_free(const struct cte__store *store, uint64_t *capacity_bytes)
{
    uint64_t free_bytes = 0;
    *capacity_bytes = 0;
    for (uint32_t i = 0; i < store->header->target_count; i++) {
        if (cte__target_state(store, i) != CTE__TARGET_ACTIVE)
            continue;
        free_bytes += cte__target_free_bytes(store, i);
        *capacity_bytes += store->header->targets[i].capacity_bytes;
    }
    return free_bytes;
}

/* ---- what there is -------------------------------------------------------------------------- */

/* A chunk that may have clean, or dirty, bytes. */
struct chunk_use {
    uint64_t used_ns; /* CLOCK_REALTIME */
    uint64_t chunk;
    uint32_t file; /* number in a list of names */
};

struct use_list {
    struct chunk_use *uses;
    size_t count, capacity;
    uint32_t file;
    bool dirty; /* what is wanted */
};

/* Of chunks with a map nobody can say without their lock. */
static bool may_have(uint64_t location, bool dirty)
{
    if (cte__location_kind(location) != CTE__AT_EXTENT)
        return location != 0;
    return (cte__location_extent(location).state == CTE__PAGE_DIRTY) == dirty;
}

static cte_status add_use(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct use_list *list = context;
    (void)unit;
    if (!may_have(atomic_load_explicit(&entry->location, memory_order_acquire), list->dirty))
        return CTE_OK;
    struct chunk_use *uses =
        cte__array_reserve(list->uses, list->count, &list->capacity, sizeof *uses);
    if (!uses)
        return -ENOMEM;
    list->uses = uses;
    struct chunk_use use = {
        cte__max(entry->modified_ns, list->dirty ? 0 : cte__heat_time(entry->heat)), 0, list->file};
    memcpy(&use.chunk, entry->name, sizeof use.chunk);
    list->uses[list->count++] = use;
    return CTE_OK;
}

static int compare_uses(const void *a, const void *b)
{
    const struct chunk_use *x = a, *y = b;
    if (x->used_ns != y->used_ns)
        return x->used_ns < y->used_ns ? -1 : 1;
    return (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

static void sort_uses(struct use_list *list)
{
    if (list->count > 0)
        qsort(list->uses, list->count, sizeof *list->uses, compare_uses);
}

/* ---- evicting ------------------------------------------------------------------------------- */

static cte_status find_clean(cte_client *client, const struct cte__file_names *names,
                             struct use_list *list)
{
    cte_status status = CTE_OK;
    for (size_t i = 0; i < names->count && status == CTE_OK; i++) {
        struct cte__held_file held;
        status = cte__file_enter(client, &names->names[i], &held);
        if (status == CTE_OK) {
            list->file = (uint32_t)i;
            status = cte__tag_each(client->store, held.record, add_use, list);
            cte__file_release(&held);
        } else if (status == CTE_ERR_NOT_FOUND) {
            status = CTE_OK;
        }
    }
    return status;
}

static uint64_t clean_bytes(struct cte__store *store, const struct cte__blob_key *key)
{
    struct cte__snapshot snapshot;
    uint64_t pages = 0;
    if (cte__blob_snapshot(store, key, &snapshot) != CTE_OK)
        return 0;
    for (size_t i = 0; i < snapshot.list.count; i++)
        if (snapshot.list.spans[i].state == CTE__PAGE_CLEAN)
            pages += snapshot.list.spans[i].count;
    cte__snapshot_free(&snapshot);
    return cte__pages_to_bytes(pages);
}

/* Drops chunks of one file, the first of `uses`, until enough is free.  Returns how many it looked
 * at. */
static size_t evict_file(cte_client *client, const struct cte__file_identity *name,
                         const struct chunk_use *uses, size_t count, uint64_t goal, uint64_t *freed)
{
    struct cte__held_file held;
    size_t n = 0;
    bool there = cte__file_enter(client, name, &held) == CTE_OK;
    for (; n < count && uses[n].file == uses[0].file && *freed < goal; n++) {
        if (!there)
            continue;
        struct cte__blob_key key = cte__chunk_key(held.tag, &uses[n].chunk);
        uint64_t bytes = clean_bytes(client->store, &key);
        if (bytes > 0 && cte__blob_drop_clean(client->store, &key) == CTE_OK)
            *freed += bytes;
    }
    if (there)
        cte__file_release(&held);
    return n;
}

static uint64_t evict(cte_client *client, uint64_t goal)
{
    struct cte__file_names names = {0};
    struct use_list list = {.dirty = false};
    uint64_t freed = 0;
    cte_status status = cte__file_names(client->store, &names);
    if (status == CTE_OK)
        status = find_clean(client, &names, &list);
    sort_uses(&list); /* what was found is of use, whatever the status */
    for (size_t i = 0; i < list.count && freed < goal;)
        i += evict_file(client, &names.names[list.uses[i].file], list.uses + i, list.count - i,
                        goal, &freed);
    free(list.uses);
    free(names.names);
    atomic_fetch_add(&client->store->header->drain.bytes_evicted, freed);
    return freed;
}

bool cte__room_evict(cte_client *client, uint64_t bytes)
{
    struct cte__store *store = client->store;
    uint64_t capacity, free_before = cte__room_free(store, &capacity);
    /* One at a time: who waited may find that there is room now. */
    bool died = cte__mutex_lock(&store->header->drain.evicting);
    (void)died;
    uint64_t goal = cte__max(bytes, cte__min(capacity / EVICT_SHARE, EVICT_BYTES_MAX));
    uint64_t free_now = cte__room_free(store, &capacity);
    bool room = free_now >= free_before + bytes || evict(client, goal) > 0;
    cte__mutex_unlock(&store->header->drain.evicting);
    return room;
}

/* ---- draining to make room ------------------------------------------------------------------ */

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The numbers of the oldest chunks, ascending. */
static uint64_t *oldest_chunks(const struct use_list *list, size_t *count, uint64_t chunk_bytes)
{
    *count = cte__min(list->count, cte__max(DRAIN_BYTES / chunk_bytes, 1));
    uint64_t *chunks = malloc(*count * sizeof *chunks);
    for (size_t i = 0; chunks && i < *count; i++)
        chunks[i] = list->uses[i].chunk;
    if (chunks)
        qsort(chunks, *count, sizeof *chunks, compare_numbers);
    return chunks;
}

/* Drains chunks to the descriptor of a handle that the caller uses, and drops them. */
static bool drain_and_drop(cte_file *file, uint64_t *chunks, size_t count)
{
    struct cte__drain drain = {
        .client = file->client, .tag = file->tag, .fd = file->fd, .drop = true};
    if (cte__drain_begin(&drain) != CTE_OK)
        return false;
    cte__drain_sort(&drain, chunks, count);
    for (size_t i = 0, n; i < count && !drain.stopped; i += n) {
        n = cte__drain_group(&drain, chunks + i, count - i);
        struct cte__mutex *lane = cte__tracked_lane(drain.record, chunks[i]);
        cte__lane_lock(lane);
        cte__drain_chunks(&drain, chunks + i, n);
        cte__mutex_unlock(lane);
    }
    cte__drain_end(&drain);
    /* Counted, but not waited for: a write must not be slower than without the store. */
    (void)cte__drain_pace(file->client->store, drain.bytes,
                          file->client->config->drain_bytes_per_s_max);
    return drain.bytes > 0;
}

static bool drain_to_free(cte_file *file)
{
    struct cte__store *store = file->client->store;
    struct use_list list = {.dirty = true};
    bool freed = false;
    if (file->scratch || file->drain == CTE_FILE_DRAIN_NEVER ||
        (fcntl(file->fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
        return false;
    if (cte__tag_each(store, cte__tag_at(store, file->tag), add_use, &list) == CTE_OK &&
        list.count > 0) {
        size_t count;
        sort_uses(&list);
        uint64_t *chunks = oldest_chunks(&list, &count, file->chunk_bytes);
        freed = chunks && drain_and_drop(file, chunks, count);
        free(chunks);
    }
    free(list.uses);
    return freed;
}

bool cte__room_for_file(cte_file *file, uint64_t bytes)
{
    return cte__room_evict(file->client, bytes) || drain_to_free(file);
}

/* ---- room for blobs, which lie nowhere else -------------------------------------------------- */

/* True if the store has data that goes to a real file as soon as that takes it. */
static bool any_to_drain(cte_client *client)
{
    struct cte__file_names names = {0};
    bool any = false;
    cte_status status = cte__file_names(client->store, &names);
    for (size_t i = 0; i < names.count && status == CTE_OK && !any; i++) {
        struct cte__held_file held;
        if (cte__file_hold(client, &names.names[i], &held) != CTE_OK)
            continue;
        const struct cte__file_state *file = &held.record->file;
        any = file->mode != CTE_FILE_MODE_SCRATCH && file->drain != CTE_FILE_DRAIN_NEVER &&
              atomic_load(&file->drain_failure) == CTE_OK &&
              cte__tracked_is_dirty(client->store, held.tag);
        cte__file_release(&held);
    }
    free(names.names);
    return any;
}

/* More is free than there was, or can be given up now. */
static bool has_more(cte_client *client, uint64_t free_before, uint64_t bytes)
{
    uint64_t unused;
    return cte__room_free(client->store, &unused) >= free_before + bytes ||
           cte__room_evict(client, bytes);
}

/* Files that are open are drained by the background threads of those who have them open, quickly
 * while the targets are full.  False if that did not help, or nothing moves. */
static bool wait_for_drains(cte_client *client, uint64_t free_before, uint64_t bytes)
{
    const struct cte__drain_state *totals = &client->store->header->drain;
    uint64_t drained = atomic_load(&totals->bytes_drained), since = cte__monotonic_ns();
    while (any_to_drain(client)) {
        const struct timespec nap = {.tv_nsec = WAIT_NS};
        cte__background_rouse(client->background);
        nanosleep(&nap, NULL);
        if (has_more(client, free_before, bytes))
            return true;
        uint64_t now = cte__monotonic_ns();
        if (atomic_load(&totals->bytes_drained) != drained) {
            drained = atomic_load(&totals->bytes_drained);
            since = now;
        } else if (now - since > WAIT_MOST_NS) {
            return false;
        }
    }
    return has_more(client, free_before, bytes);
}

bool cte__room_make(void *context, uint64_t bytes)
{
    cte_client *client = context;
    const struct cte__drain_request rest = {.leaving = true};
    uint64_t unused, free_before = cte__room_free(client->store, &unused);
    if (cte__room_evict(client, bytes))
        return true;
    if (!any_to_drain(client))
        return false;
    /* What fails is said there, and stays. */
    (void)cte__drain_unopened_each(client, &rest, NULL, NULL);
    return has_more(client, free_before, bytes) ||
           (client->config->drain_threads > 0 && wait_for_drains(client, free_before, bytes));
}
