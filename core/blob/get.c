/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading: a private copy of the map, the bytes, then the question whether the blob is still the
 * same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "blob/blob.h"
#include "blob/cache.h"
#include "blob/change.h"

enum { READ_TRIES_UNLOCKED = 16, RUN_PAGES_MAX = 1024 };

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
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 16;
        struct cte__piece *larger = realloc(list->pieces, capacity * sizeof *larger);
        if (!larger)
            return -ENOMEM;
        list->pieces = larger;
        list->capacity = capacity;
    }
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

static cte_status verify(const struct cte__store *store, const void *page, uint64_t index,
                         uint32_t checksum)
{
    return !store->checksum || cte__page_checksum(page, index) == checksum ? CTE_OK
                                                                           : CTE_ERR_CHECKSUM;
}

cte_status cte__page_read(struct cte__store *store, cte__page page, uint64_t index,
                          uint32_t checksum, void *bytes)
{
    struct iovec iov = {bytes, CTE__PAGE_BYTES};
    cte_status status = cte__pages_io(store, false, page, 0, &iov, 1, CTE__PAGE_BYTES);
    return status == CTE_OK ? verify(store, bytes, index, checksum) : status;
}

cte_status cte__partial_read(struct cte__store *store, const struct cte__span *span, char *bytes)
{
    char page[CTE__PAGE_BYTES];
    const struct cte__run_list *list = span->run_list;
    cte_status status = CTE_OK;
    for (uint32_t r = 0; r < list->count && status == CTE_OK; r++) {
        const struct cte__run *run = &list->run[r];
        if (r == 0 || run->page != run[-1].page)
            status = cte__page_read(store, run->page, span->index, run->checksum, page);
        if (status == CTE_OK)
            memcpy(bytes + run->start, page + run->start, cte__run_length(*run));
    }
    return status;
}

static cte_status miss(struct cte__piece_list *missing, uint64_t offset, size_t length, char *base)
{
    if (missing)
        return cte__piece_list_add(missing, offset, length, base);
    memset(base, 0, length);
    return CTE_OK;
}

/* Bytes [start, end) of a partial page. */
static cte_status read_runs(struct cte__store *store, const struct cte__span *span, uint32_t start,
                            uint32_t end, char *base, struct cte__piece_list *missing)
{
    _Alignas(64) char bounce[CTE__PAGE_BYTES];
    const struct cte__run *loaded = NULL; /* whose page is in the bounce buffer */
    uint64_t page_offset = cte__pages_to_bytes(span->index);
    uint32_t at = start;
    cte_status status = CTE_OK;
    for (uint32_t r = 0; r < span->run_list->count && at < end && status == CTE_OK; r++) {
        const struct cte__run *run = &span->run_list->run[r];
        uint32_t from = (uint32_t)cte__max(run->start, at);
        uint32_t to = (uint32_t)cte__min(cte__run_end(*run), end);
        if (from >= to)
            continue;
        if (!loaded || loaded->page != run->page)
            status = cte__page_read(store, run->page, span->index, run->checksum, bounce);
        loaded = run;
        if (status == CTE_OK)
            status = miss(missing, page_offset + at, from - at, base + (at - start));
        if (status == CTE_OK)
            memcpy(base + (from - start), bounce + from, to - from);
        at = to;
    }
    return status == CTE_OK ? miss(missing, page_offset + at, end - at, base + (at - start))
                            : status;
}

/* What the cache has of a page of a span, if that is right. */
static bool find_cached(const struct cte__store *store, struct cte__cache_use *cache,
                        const struct cte__span *span, uint32_t i, char *page)
{
    return cte__cache_find(cache, span->index + i, page) &&
           verify(store, page, span->index + i, span->checksums[i]) == CTE_OK;
}

/* The cache for pages of a span; NULL: there is none, or the target is as fast. */
static struct cte__cache_use *cache_for(struct cte__store *store,
                                        const struct cte__snapshot *snapshot,
                                        const struct cte__span *span)
{
    const struct cte__open_target *open;
    if (!snapshot->cache ||
        cte__target_open(store, cte__page_target(span->page), &open) != CTE_OK ||
        open->ops->capabilities & CTE__TARGET_AS_MEMORY)
        return NULL;
    return snapshot->cache;
}

/* Bytes [start, end) of page `i` of a span, by way of a bounce buffer. */
static cte_status read_part(struct cte__store *store, const struct cte__span *span,
                            struct cte__cache_use *cache, uint32_t i, uint32_t start, uint32_t end,
                            char *base)
{
    _Alignas(64) char bounce[CTE__PAGE_BYTES];
    cte_status status = CTE_OK;
    if (!cache || !find_cached(store, cache, span, i, bounce)) {
        status = cte__page_read(store, span->page + i, span->index + i, span->checksums[i], bounce);
        if (status == CTE_OK && cache)
            cte__cache_keep(cache, span->index + i, bounce);
    }
    if (status == CTE_OK)
        memcpy(base, bounce + start, end - start);
    return status;
}

/* `count` whole pages of a span, from its page `i` on. */
static cte_status read_whole(struct cte__store *store, const struct cte__span *span, uint32_t i,
                             uint32_t count, char *base)
{
    struct iovec iov = {base, cte__pages_to_bytes(count)};
    uint32_t sums[RUN_PAGES_MAX];
    if (!store->checksum)
        return cte__pages_io(store, false, span->page + i, 0, &iov, 1, iov.iov_len);
    cte_status status =
        cte__pages_io_summed(store, false, span->page + i, &iov, 1, iov.iov_len, sums);
    for (uint32_t n = 0; n < count && status == CTE_OK; n++)
        if (cte__checksum_of_sum(sums[n], span->index + i + n) != span->checksums[i + n])
            status = CTE_ERR_CHECKSUM;
    return status;
}

/* The same, and keeps the pages. */
static cte_status read_and_keep(struct cte__store *store, const struct cte__span *span,
                                struct cte__cache_use *cache, uint32_t i, uint32_t count,
                                char *base)
{
    cte_status status = count > 0 ? read_whole(store, span, i, count, base) : CTE_OK;
    for (uint32_t n = 0; n < count && status == CTE_OK; n++)
        cte__cache_keep(cache, span->index + i + n, base + cte__pages_to_bytes(n));
    return status;
}

/* The same, from the cache as far as it has them, and the pages in between in one transfer each. */
static cte_status read_cached(struct cte__store *store, const struct cte__span *span,
                              struct cte__cache_use *cache, uint32_t i, uint32_t count, char *base)
{
    cte_status status = CTE_OK;
    uint32_t missed = 0; /* so many before n */
    for (uint32_t n = 0; n < count && status == CTE_OK; n++) {
        if (!find_cached(store, cache, span, i + n, base + cte__pages_to_bytes(n))) {
            missed++;
            continue;
        }
        status = read_and_keep(store, span, cache, i + n - missed, missed,
                               base + cte__pages_to_bytes(n - missed));
        missed = 0;
    }
    return status == CTE_OK ? read_and_keep(store, span, cache, i + count - missed, missed,
                                            base + cte__pages_to_bytes(count - missed))
                            : status;
}

/* Reads [at, *stop) of a piece from a span that covers `at`; *stop is set to where it got. */
static cte_status read_span(struct cte__store *store, const struct cte__snapshot *snapshot,
                            const struct cte__span *span, uint64_t at, uint64_t end, char *base,
                            uint64_t *stop, struct cte__piece_list *missing)
{
    struct cte__cache_use *cache;
    uint32_t i = (uint32_t)((at >> CTE__PAGE_SHIFT) - span->index);
    uint64_t page_start = cte__align_down(at, CTE__PAGE_BYTES);
    *stop = cte__min(page_start + CTE__PAGE_BYTES, end);
    uint32_t start = (uint32_t)(at - page_start), length = (uint32_t)(*stop - at);
    if (span->state == CTE__PAGE_PARTIAL)
        return read_runs(store, span, start, start + length, base, missing);
    cache = cache_for(store, snapshot, span);
    if (length < CTE__PAGE_BYTES)
        return read_part(store, span, cache, i, start, start + length, base);
    uint32_t count =
        (uint32_t)cte__min((end - at) >> CTE__PAGE_SHIFT, cte__min(span->count - i, RUN_PAGES_MAX));
    *stop = at + cte__pages_to_bytes(count);
    return cache ? read_cached(store, span, cache, i, count, base)
                 : read_whole(store, span, i, count, base);
}

static cte_status read_piece(struct cte__store *store, const struct cte__snapshot *snapshot,
                             const struct cte__piece *piece, struct cte__piece_list *missing)
{
    const struct cte__span_list *list = &snapshot->list;
    uint64_t at = piece->offset, end = piece->offset + piece->length;
    size_t i = cte__span_find(list, at >> CTE__PAGE_SHIFT);
    cte_status status = CTE_OK;
    while (at < end && status == CTE_OK) {
        char *base = piece->base + (at - piece->offset);
        const struct cte__span *span = i < list->count ? &list->spans[i] : NULL;
        uint64_t start = span ? cte__pages_to_bytes(span->index) : UINT64_MAX, stop;
        if (start > at) {
            stop = cte__min(start, end);
            status = miss(missing, at, stop - at, base);
        } else {
            status = read_span(store, snapshot, span, at, end, base, &stop, missing);
            i += stop >= start + cte__pages_to_bytes(span->count);
        }
        at = stop;
    }
    return status;
}

/* A small blob is all there is of it: what lies behind its end is missing. */
static cte_status read_small(const struct cte__store *store, const struct cte__snapshot *snapshot,
                             const struct cte__piece *pieces, size_t count,
                             struct cte__piece_list *missing)
{
    if (cte__small_sum(store, snapshot->small, snapshot->small_bytes) != snapshot->small_sum)
        return CTE_ERR_CHECKSUM;
    cte_status status = CTE_OK;
    for (size_t i = 0; i < count && status == CTE_OK; i++) {
        const struct cte__piece *piece = &pieces[i];
        size_t there = piece->offset < snapshot->small_bytes
                           ? cte__min(piece->length, snapshot->small_bytes - piece->offset)
                           : 0;
        if (there > 0)
            memcpy(piece->base, snapshot->small + piece->offset, there);
        status = miss(missing, piece->offset + there, piece->length - there, piece->base + there);
    }
    return status;
}

cte_status cte__snapshot_read(struct cte__store *store, const struct cte__snapshot *snapshot,
                              const struct cte__piece *pieces, size_t count,
                              struct cte__piece_list *missing)
{
    cte_status status = CTE_OK;
    if (snapshot->small_bytes > 0)
        return read_small(store, snapshot, pieces, count, missing);
    for (size_t i = 0; i < count && status == CTE_OK; i++)
        status = read_piece(store, snapshot, &pieces[i], missing);
    return status;
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
    entry->read_ns = cte__realtime_ns();
    cte__ring_note_times(entry->modified_ns, entry->read_ns);
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
        cte__log_error("checksum mismatch in stored data: tag %llu, bytes from %llu",
                       (unsigned long long)cte__blob_key_tag_id(get->store, get->key),
                       (unsigned long long)(get->count > 0 ? get->pieces[0].offset : 0));
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
