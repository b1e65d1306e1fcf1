/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading: a private copy of the map, the bytes, then the question whether the blob is still the
 * same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
    for (size_t i = 0; i < snapshot->count; i++) {
        struct cte__page_ref *ref = &snapshot->refs[i];
        if (ref->runs == 0)
            continue;
        const struct cte__runs *runs = cte__unit_at(store, ref->runs);
        struct cte__run_list *list = cte__run_list_new(&snapshot->run_lists, runs->count);
        if (!list)
            return -ENOMEM;
        memcpy(list->run, runs->run, runs->count * sizeof runs->run[0]);
        list->count = runs->count;
        ref->run_list = list;
    }
    return CTE_OK;
}

cte_status cte__snapshot_locked(const struct cte__change *change, struct cte__snapshot *snapshot)
{
    *snapshot = (struct cte__snapshot){
        .entry = change->entry,
        .version = change->version,
        .size_bytes = change->size_bytes,
        .score = change->score,
    };
    if (change->old_count > 0) {
        snapshot->refs = malloc(change->old_count * sizeof *snapshot->refs);
        if (!snapshot->refs)
            return -ENOMEM;
        memcpy(snapshot->refs, change->old, change->old_count * sizeof *snapshot->refs);
        snapshot->count = change->old_count;
    }
    cte_status status = copy_runs(change->store, snapshot);
    if (status != CTE_OK)
        cte__snapshot_free(snapshot);
    return status;
}

bool cte__same_runs(const struct cte__store *store, const struct cte__page_ref *snapshot_ref,
                    const struct cte__page_ref *locked_ref)
{
    if (!snapshot_ref->run_list || locked_ref->runs == 0)
        return !snapshot_ref->run_list && locked_ref->runs == 0;
    const struct cte__runs *runs = cte__unit_at(store, locked_ref->runs);
    return runs->count == snapshot_ref->run_list->count &&
           memcmp(runs->run, snapshot_ref->run_list->run, runs->count * sizeof runs->run[0]) == 0;
}

cte_status cte__blob_snapshot(struct cte__store *store, const struct cte__blob_key *key,
                              struct cte__snapshot *snapshot)
{
    struct cte__change change;
    memset(snapshot, 0, sizeof *snapshot);
    cte_status status = cte__change_begin(&change, store, key);
    if (status != CTE_OK)
        return status;
    status = cte__snapshot_locked(&change, snapshot);
    cte__change_end(&change);
    return status;
}

void cte__snapshot_free(struct cte__snapshot *snapshot)
{
    free(snapshot->refs);
    cte__run_lists_free(snapshot->run_lists);
    memset(snapshot, 0, sizeof *snapshot);
}

bool cte__blob_is_current(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__snapshot *snapshot)
{
    uint64_t tag_id = cte__blob_key_tag_id(store, key);
    uint64_t hash = cte__name_hash(tag_id, key->name, key->name_bytes);
    struct cte__shard *shard = cte__shard_lock(store, hash);
    cte__unit unit = cte__index_find(store, shard, hash, tag_id, key->name, key->name_bytes);
    bool current = unit == snapshot->entry &&
                   (unit == 0 || cte__entry_at(store, unit)->version == snapshot->version);
    cte__shard_unlock(shard);
    return current;
}

static cte_status verify(struct cte__store *store, const struct cte__page_ref *ref,
                         const void *page)
{
    if (!store->checksum || cte__page_checksum(page, ref->index) == ref->checksum)
        return CTE_OK;
    return CTE_ERR_CHECKSUM;
}

static cte_status miss(struct cte__piece_list *missing, uint64_t offset, size_t length, char *base)
{
    if (missing)
        return cte__piece_list_add(missing, offset, length, base);
    memset(base, 0, length);
    return CTE_OK;
}

/* A part [start, end) of one page, by way of a bounce buffer. */
static cte_status read_part(struct cte__store *store, const struct cte__page_ref *ref,
                            uint32_t start, uint32_t end, char *base,
                            struct cte__piece_list *missing)
{
    _Alignas(64) char bounce[CTE__PAGE_BYTES];
    struct iovec iov = {bounce, sizeof bounce};
    cte_status status = cte__pages_io(store, false, ref->page, 0, &iov, 1, sizeof bounce);
    if (status == CTE_OK)
        status = verify(store, ref, bounce);
    if (status != CTE_OK)
        return status;
    if (ref->state != CTE__PAGE_PARTIAL) {
        memcpy(base, bounce + start, end - start);
        return CTE_OK;
    }
    uint64_t page_offset = cte__pages_to_bytes(ref->index);
    uint32_t at = start;
    for (uint32_t i = 0; i < ref->run_list->count && at < end && status == CTE_OK; i++) {
        struct cte__run run = ref->run_list->run[i];
        uint32_t from = (uint32_t)cte__max(run.start, at);
        uint32_t to = (uint32_t)cte__min(cte__run_end(run), end);
        if (from >= to)
            continue;
        status = miss(missing, page_offset + at, from - at, base + (at - start));
        memcpy(base + (from - start), bounce + from, to - from);
        at = to;
    }
    return status == CTE_OK ? miss(missing, page_offset + at, end - at, base + (at - start))
                            : status;
}

/* `count` whole pages, contiguous in the blob, in the target and in memory. */
static cte_status read_whole(struct cte__store *store, const struct cte__page_ref *refs,
                             uint32_t count, char *base)
{
    struct iovec iov = {base, cte__pages_to_bytes(count)};
    cte_status status = cte__pages_io(store, false, refs[0].page, 0, &iov, 1, iov.iov_len);
    for (uint32_t i = 0; i < count && status == CTE_OK; i++)
        status = verify(store, &refs[i], base + cte__pages_to_bytes(i));
    return status;
}

static uint64_t arena_page_count(const struct cte__store *store, cte__page page)
{
    return cte__bytes_to_pages(store->header->targets[cte__page_target(page)].arena_bytes);
}

/* How many of the pages from refs[0] on, all below page `end`, can be read in one go. */
static uint32_t whole_run(const struct cte__store *store, const struct cte__page_ref *refs,
                          size_t count, uint64_t end)
{
    uint64_t arena_pages = arena_page_count(store, refs[0].page);
    uint32_t n = 0;
    while (n < count && n < RUN_PAGES_MAX && refs[n].index == refs[0].index + n &&
           refs[n].index < end && refs[n].page == refs[0].page + n &&
           refs[n].state != CTE__PAGE_PARTIAL &&
           cte__page_number(refs[n].page) / arena_pages ==
               cte__page_number(refs[0].page) / arena_pages)
        n++;
    return n;
}

/* The first reference whose page ends after `offset`. */
static size_t find_ref(const struct cte__snapshot *snapshot, uint64_t offset)
{
    uint64_t page = offset >> CTE__PAGE_SHIFT;
    size_t low = 0, high = snapshot->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (snapshot->refs[middle].index < page)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static cte_status read_piece(struct cte__store *store, const struct cte__snapshot *snapshot,
                             const struct cte__piece *piece, struct cte__piece_list *missing)
{
    uint64_t at = piece->offset, end = piece->offset + piece->length;
    cte_status status = CTE_OK;
    for (size_t i = find_ref(snapshot, at); at < end && status == CTE_OK;) {
        char *base = piece->base + (at - piece->offset);
        uint64_t page_start =
            i < snapshot->count ? cte__pages_to_bytes(snapshot->refs[i].index) : UINT64_MAX;
        if (page_start > at) {
            uint64_t stop = cte__min(page_start, end);
            status = miss(missing, at, stop - at, base);
            at = stop;
            continue;
        }
        const struct cte__page_ref *ref = &snapshot->refs[i];
        uint32_t whole = at % CTE__PAGE_BYTES == 0
                             ? whole_run(store, ref, snapshot->count - i, end >> CTE__PAGE_SHIFT)
                             : 0;
        if (whole > 0) {
            status = read_whole(store, ref, whole, base);
            at += cte__pages_to_bytes(whole);
            i += whole;
        } else {
            uint64_t stop = cte__min(page_start + CTE__PAGE_BYTES, end);
            status = read_part(store, ref, (uint32_t)(at - page_start),
                               (uint32_t)(stop - page_start), base, missing);
            at = stop;
            i++;
        }
    }
    return status;
}

cte_status cte__snapshot_read(struct cte__store *store, const struct cte__snapshot *snapshot,
                              const struct cte__piece *pieces, size_t count,
                              struct cte__piece_list *missing)
{
    cte_status status = CTE_OK;
    for (size_t i = 0; i < count && status == CTE_OK; i++)
        status = read_piece(store, snapshot, &pieces[i], missing);
    return status;
}

static void note_read(struct cte__store *store, cte__unit unit)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    /* An entry may die any time, but its memory stays an entry while its tag's list is not reaped;
     * the shard is locked here. */
    cte__entry_at(store, unit)->read_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
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
        note_read(store, snapshot.entry);
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
