/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading: a private copy of the map, the bytes (read.c), then the question whether the blob is
 * still the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "blob/blob.h"
#include "blob/cache.h"
#include "blob/change.h"
#include "blob/verify.h"

enum { READ_TRIES_UNLOCKED = 16 };

cte_status cte__piece_list_add(struct cte__piece_list *list, uint64_t offset, size_t length,
                               char *base)
{
    if (length == 0)
        return CTE_OK;
    if (list->count > 0) {
        struct cte__piece *last = &list->pieces[list->count - 1];
        if (last->offset + last->length == offset && last->base + last->length == base) {
            last->length += length;
            return CTE_OK;
        }
    }
    struct cte__piece *pieces =
        cte__array_reserve(list->pieces, list->count, &list->capacity, sizeof *pieces);
    if (!pieces)
        return -ENOMEM;
    list->pieces = pieces;
    list->pieces[list->count++] = (struct cte__piece){offset, length, base};
    return CTE_OK;
}

bool cte__same_page(const struct cte__store *store, const struct cte__span *snapshot_page,
                    const struct cte__span *locked_page)
{
    if (!store->checksum || snapshot_page->state != locked_page->state)
        return false;
    if (locked_page->state != CTE__PAGE_PARTIAL)
        return snapshot_page->page == locked_page->page &&
               snapshot_page->checksums[0] == locked_page->checksums[0];
    const struct cte__runs *runs = cte__unit_at(store, locked_page->runs);
    const struct cte__run_list *list = snapshot_page->run_list;
    return runs->count == list->count &&
           memcmp(runs->run, list->run, runs->count * sizeof runs->run[0]) == 0;
}

struct get {
    struct cte__store *store;
    const struct cte__blob_key *key;
    const struct cte__piece *pieces;
    size_t count;
    struct cte__piece_list *missing;
    bool clip;           /* one piece, of which only what lies below the blob's size is read */
    uint64_t size_bytes; /* of the blob as it was read */
};

/* The pages that the pieces lie in. */
static void page_range(const struct get *get, uint64_t *first, uint64_t *end)
{
    *first = UINT64_MAX;
    *end = 0;
    for (size_t i = 0; i < get->count; i++) {
        const struct cte__piece *piece = &get->pieces[i];
        if (piece->length == 0)
            continue;
        *first = cte__min(*first, piece->offset >> CTE__PAGE_SHIFT);
        *end = cte__max(*end, ((piece->offset + piece->length - 1) >> CTE__PAGE_SHIFT) + 1);
    }
}

static cte_status read_pieces(const struct get *get, const struct cte__snapshot *snapshot)
{
    struct cte__piece clipped;
    if (!get->clip)
        return cte__snapshot_read(get->store, snapshot, get->pieces, get->count, get->missing);
    clipped = get->pieces[0];
    clipped.length = clipped.offset < snapshot->size_bytes
                         ? cte__min(clipped.length, snapshot->size_bytes - clipped.offset)
                         : 0;
    return cte__snapshot_read(get->store, snapshot, &clipped, 1, get->missing);
}

static void note_read(struct cte__entry *entry)
{
    entry->heat = cte__heat_read(entry->heat, cte__realtime_ns());
    cte__ring_note_times(entry->modified_ns, cte__heat_time(entry->heat));
}

/* What was read matches the checksums of the snapshot, so it is what the blob was at that time,
 * even if the blob changed since.  For that to be an accident, pages used again meanwhile would
 * have to have the same checksums by chance; a look at the entry, without a lock, rules that out
 * too.  Should the entry itself have been used again, its words differ. */
static bool is_verified(const struct get *get, const struct cte__snapshot *snapshot)
{
    if (!get->store->checksum || snapshot->entry == 0 || (get->missing && get->missing->count > 0))
        return false;
    atomic_thread_fence(memory_order_acquire);
    const struct cte__entry *entry = cte__entry_at(get->store, snapshot->entry);
    return atomic_load_explicit(&entry->state, memory_order_relaxed) == CTE__ENTRY_LIVE &&
           atomic_load_explicit(&entry->version, memory_order_relaxed) == snapshot->version;
}

/* One try; *current tells whether the answer can be trusted. */
static cte_status try_get(struct get *get, bool keep_locked, bool *current)
{
    struct cte__locked_blob blob;
    struct cte__snapshot snapshot;
    struct cte__cache_use cache;
    uint64_t first, end;
    page_range(get, &first, &end);
    cte_status status = cte__blob_lock(get->store, get->key, &blob);
    if (status != CTE_OK)
        return status;
    status = cte__snapshot_locked(get->store, blob.entry, first, end, &snapshot);
    if (status == CTE_OK && blob.entry != 0)
        note_read(cte__entry_at(get->store, blob.entry));
    if (!keep_locked)
        cte__shard_unlock(blob.shard);
    if (get->missing)
        get->missing->count = 0;
    if (get->store->cache) {
        cache = cte__cache_begin(get->store->cache, snapshot.entry, snapshot.version);
        snapshot.cache = &cache;
    }
    if (status == CTE_OK)
        status = blob.entry == 0 && get->key->type == CTE__ENTRY_BLOB ? CTE_ERR_NOT_FOUND
                                                                      : read_pieces(get, &snapshot);
    get->size_bytes = snapshot.size_bytes;
    *current = keep_locked || snapshot.small_bytes > 0 ||
               (status == CTE_OK && is_verified(get, &snapshot)) ||
               cte__blob_is_current(get->store, get->key, &snapshot);
    if (keep_locked)
        cte__shard_unlock(blob.shard);
    if (snapshot.cache)
        cte__cache_end(snapshot.cache, *current);
    cte__snapshot_free(&snapshot);
    return status;
}

static cte_status get_pieces(struct get *get)
{
    cte_status status = CTE_OK;
    bool current = false;
    cte__store_sweep_if_wanted(get->store);
    /* After many changes under our hands, the last try keeps writers of this blob out. */
    for (int i = 0; i <= READ_TRIES_UNLOCKED && !current; i++) {
        status = try_get(get, i == READ_TRIES_UNLOCKED, &current);
        if (status != CTE_OK && status != CTE_ERR_CHECKSUM)
            return status;
    }
    if (status == CTE_ERR_CHECKSUM)
        cte__blob_log_damage(get->store, get->key);
    return status;
}

cte_status cte__blob_get(struct cte__store *store, const struct cte__blob_key *key,
                         const struct cte__piece *pieces, size_t count,
                         struct cte__piece_list *missing, uint64_t *size_bytes)
{
    struct get get = {
        .store = store, .key = key, .pieces = pieces, .count = count, .missing = missing};
    cte_status status = get_pieces(&get);
    if (size_bytes)
        *size_bytes = get.size_bytes;
    return status;
}

cte_status cte__blob_read(struct cte__store *store, const struct cte__blob_key *key,
                          uint64_t offset, void *buffer, size_t size, size_t *bytes_read)
{
    struct cte__piece piece = {offset, (size_t)cte__min(size, UINT64_MAX - offset), buffer};
    struct get get = {.store = store, .key = key, .pieces = &piece, .count = 1, .clip = true};
    cte_status status = get_pieces(&get);
    if (status == CTE_OK)
        *bytes_read =
            offset < get.size_bytes ? (size_t)cte__min(piece.length, get.size_bytes - offset) : 0;
    return status;
}
