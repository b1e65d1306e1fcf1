/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading: a private copy of the map, the bytes, then the question whether the blob is still the
 * same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "blob/blob.h"
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

/* Copies the runs of partial pages out of the store; the blob's shard is locked. */
static cte_status copy_runs(const struct cte__store *store, struct cte__snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->list.count; i++) {
        struct cte__span *span = &snapshot->list.spans[i];
        if (span->runs == 0)
            continue;
        const struct cte__runs *runs = cte__unit_at(store, span->runs);
        struct cte__run_list *list = cte__run_list_new(&snapshot->run_lists, runs->count);
        if (!list)
            return -ENOMEM;
        memcpy(list->run, runs->run, runs->count * sizeof runs->run[0]);
        list->count = runs->count;
        span->run_list = list;
    }
    return CTE_OK;
}

/* The spans, with checksums of their own: those in the store are constant only while locked. */
static cte_status copy_spans(const struct cte__span_list *old, struct cte__snapshot *snapshot)
{
    size_t pages = 0;
    cte_status status = CTE_OK;
    for (size_t i = 0; i < old->count; i++)
        pages += old->spans[i].state == CTE__PAGE_PARTIAL ? 0 : old->spans[i].count;
    if (pages > CTE__SNAPSHOT_FEW) {
        snapshot->checksums = malloc(pages * sizeof *snapshot->checksums);
        if (!snapshot->checksums)
            return -ENOMEM;
    }
    uint32_t *next = snapshot->checksums;
    for (size_t i = 0; i < old->count && status == CTE_OK; i++) {
        struct cte__span span = old->spans[i];
        if (span.state != CTE__PAGE_PARTIAL) {
            memcpy(next, span.checksums, span.count * sizeof *next);
            span.checksums = next;
            next += span.count;
        }
        status = cte__span_list_add(&snapshot->list, &span);
    }
    return status;
}

static void copy_small(const struct cte__change *change, struct cte__snapshot *snapshot)
{
    snapshot->small_bytes = (uint32_t)change->size_bytes;
    snapshot->small_checksum = change->old_small->checksum;
    memcpy(snapshot->small, change->old_small->bytes, change->size_bytes);
}

cte_status cte__snapshot_locked(const struct cte__change *change, struct cte__snapshot *snapshot)
{
    cte__snapshot_init(snapshot);
    snapshot->entry = change->entry;
    snapshot->version = change->version;
    snapshot->size_bytes = change->size_bytes;
    snapshot->score = change->score;
    cte_status status = copy_spans(&change->old, snapshot);
    if (change->old_small)
        copy_small(change, snapshot);
    if (status == CTE_OK)
        status = copy_runs(change->store, snapshot);
    if (status != CTE_OK)
        cte__snapshot_free(snapshot);
    return status;
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

void cte__snapshot_init(struct cte__snapshot *snapshot)
{
    snapshot->entry = 0;
    snapshot->version = 0;
    snapshot->size_bytes = 0;
    snapshot->score = 0;
    snapshot->checksums = snapshot->few;
    snapshot->run_lists = NULL;
    snapshot->small_bytes = 0;
    cte__span_list_init(&snapshot->list);
}

cte_status cte__blob_snapshot(struct cte__store *store, const struct cte__blob_key *key,
                              struct cte__snapshot *snapshot)
{
    struct cte__change change;
    cte__snapshot_init(snapshot);
    cte_status status = cte__change_begin(&change, store, key);
    if (status != CTE_OK)
        return status;
    status = cte__snapshot_locked(&change, snapshot);
    cte__change_end(&change);
    return status;
}

void cte__snapshot_free(struct cte__snapshot *snapshot)
{
    if (snapshot->checksums != snapshot->few)
        free(snapshot->checksums);
    cte__run_lists_free(snapshot->run_lists);
    cte__span_list_free(&snapshot->list);
    cte__snapshot_init(snapshot);
}

bool cte__blob_is_current(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__snapshot *snapshot)
{
    uint64_t hash = cte__name_hash(cte__blob_key_tag_id(store, key), key->name, key->name_bytes);
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte__unit unit = cte__index_find(store, shard, hash, key->tag, key->name, key->name_bytes);
    bool current = unit == snapshot->entry &&
                   (unit == 0 || cte__entry_at(store, unit)->version == snapshot->version);
    cte__shard_unlock(shard);
    return current;
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

/* Bytes [start, end) of page `i` of a span, by way of a bounce buffer. */
static cte_status read_part(struct cte__store *store, const struct cte__span *span, uint32_t i,
                            uint32_t start, uint32_t end, char *base,
                            struct cte__piece_list *missing)
{
    _Alignas(64) char bounce[CTE__PAGE_BYTES];
    if (span->state == CTE__PAGE_PARTIAL)
        return read_runs(store, span, start, end, base, missing);
    cte_status status =
        cte__page_read(store, span->page + i, span->index + i, span->checksums[i], bounce);
    if (status == CTE_OK)
        memcpy(base, bounce + start, end - start);
    return status;
}

/* `count` whole pages of a span, from its page `i` on. */
static cte_status read_whole(struct cte__store *store, const struct cte__span *span, uint32_t i,
                             uint32_t count, char *base)
{
    struct iovec iov = {base, cte__pages_to_bytes(count)};
    cte_status status = cte__pages_io(store, false, span->page + i, 0, &iov, 1, iov.iov_len);
    for (uint32_t n = 0; n < count && status == CTE_OK; n++)
        status = verify(store, base + cte__pages_to_bytes(n), span->index + i + n,
                        span->checksums[i + n]);
    return status;
}

/* Reads [at, *stop) of a piece from a span that covers `at`; *stop is set to where it got. */
static cte_status read_span(struct cte__store *store, const struct cte__span *span, uint64_t at,
                            uint64_t end, char *base, uint64_t *stop,
                            struct cte__piece_list *missing)
{
    uint32_t i = (uint32_t)((at >> CTE__PAGE_SHIFT) - span->index);
    uint64_t page_start = cte__align_down(at, CTE__PAGE_BYTES);
    uint64_t whole = at == page_start && span->state != CTE__PAGE_PARTIAL
                         ? cte__min((end >> CTE__PAGE_SHIFT) - (at >> CTE__PAGE_SHIFT),
                                    cte__min(span->count - i, RUN_PAGES_MAX))
                         : 0;
    if (whole > 0) {
        *stop = at + cte__pages_to_bytes(whole);
        return read_whole(store, span, i, (uint32_t)whole, base);
    }
    *stop = cte__min(page_start + CTE__PAGE_BYTES, end);
    return read_part(store, span, i, (uint32_t)(at - page_start), (uint32_t)(*stop - page_start),
                     base, missing);
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
            status = read_span(store, span, at, end, base, &stop, missing);
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
    if (store->checksum &&
        cte__bytes_checksum(snapshot->small, snapshot->small_bytes) != snapshot->small_checksum)
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

/* One try; *current tells whether the answer can be trusted. */
static cte_status try_get(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__piece *pieces, size_t count, bool keep_locked,
                          struct cte__piece_list *missing, uint64_t *size_bytes, bool *current)
{
    struct cte__change change;
    struct cte__snapshot snapshot;
    cte_status status = cte__change_begin(&change, store, key);
    if (status != CTE_OK)
        return status;
    status = cte__snapshot_locked(&change, &snapshot);
    if (status == CTE_OK && snapshot.entry != 0)
        cte__entry_at(store, snapshot.entry)->read_ns = cte__realtime_ns();
    if (!keep_locked)
        cte__change_end(&change);
    if (status != CTE_OK) {
        if (keep_locked)
            cte__change_end(&change);
        return status;
    }
    if (missing)
        missing->count = 0;
    status = snapshot.entry == 0 && key->type == CTE__ENTRY_BLOB
                 ? CTE_ERR_NOT_FOUND
                 : cte__snapshot_read(store, &snapshot, pieces, count, missing);
    if (size_bytes)
        *size_bytes = snapshot.size_bytes;
    *current = keep_locked || cte__blob_is_current(store, key, &snapshot);
    if (keep_locked)
        cte__change_end(&change);
    cte__snapshot_free(&snapshot);
    return status;
}

cte_status cte__blob_get(struct cte__store *store, const struct cte__blob_key *key,
                         const struct cte__piece *pieces, size_t count,
                         struct cte__piece_list *missing, uint64_t *size_bytes)
{
    cte_status status = CTE_OK;
    bool current = false;
    cte__store_sweep_if_wanted(store);
    /* After many changes under our hands, the last try keeps writers of this blob out. */
    for (int i = 0; i <= READ_TRIES_UNLOCKED && !current; i++) {
        status = try_get(store, key, pieces, count, i == READ_TRIES_UNLOCKED, missing, size_bytes,
                         &current);
        if (status != CTE_OK && status != CTE_ERR_CHECKSUM)
            return status;
    }
    if (status == CTE_ERR_CHECKSUM)
        cte__log_error("checksum mismatch in stored data: tag %llu, bytes from %llu",
                       (unsigned long long)cte__blob_key_tag_id(store, key),
                       (unsigned long long)(count > 0 ? pieces[0].offset : 0));
    return status;
}
