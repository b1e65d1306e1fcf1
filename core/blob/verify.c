/* SPDX-License-Identifier: BSD-3-Clause */
#include "blob/verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "blob/change.h"

enum { TRIES_MAX = 16, WINDOW_PAGES = CTE__VERIFY_BYTES / CTE__PAGE_BYTES };

void cte__verified_free(struct cte__verified *verified)
{
    free(verified->bad);
    *verified = (struct cte__verified){0};
}

static bool joins(const struct cte__bad_bytes *last, const struct cte__bad_bytes *next)
{
    return last->offset + last->length == next->offset && !next->small &&
           last->offset % CTE__PAGE_BYTES == 0 && last->length % CTE__PAGE_BYTES == 0 &&
           last->page + (last->length >> CTE__PAGE_SHIFT) == next->page &&
           last->clean == next->clean && last->status == next->status;
}

static cte_status add_bad(struct cte__verified *verified, const struct cte__bad_bytes *bad)
{
    if (verified->bad_count > 0 && joins(&verified->bad[verified->bad_count - 1], bad)) {
        verified->bad[verified->bad_count - 1].length += bad->length;
        return CTE_OK;
    }
    struct cte__bad_bytes *bytes = cte__array_reserve(verified->bad, verified->bad_count,
                                                      &verified->bad_capacity, sizeof *bytes);
    if (!bytes)
        return -ENOMEM;
    verified->bad = bytes;
    verified->bad[verified->bad_count++] = *bad;
    return CTE_OK;
}

/* A run of a PARTIAL page each time, so that exactly the bytes it stands for are named. */
static cte_status verify_partial(struct cte__store *store, const struct cte__span *span,
                                 char *buffer, struct cte__verified *verified)
{
    const struct cte__run_list *list = span->run_list;
    cte_status status = CTE_OK, read = CTE_OK;
    for (uint32_t r = 0; r < list->count && status == CTE_OK; r++) {
        struct cte__run run = list->run[r];
        if (r == 0 || run.page != list->run[r - 1].page) {
            read = cte__page_read(store, run.page, span->index, run.checksum, buffer);
            verified->bytes_read += CTE__PAGE_BYTES;
        }
        struct cte__bad_bytes bad = {.offset = cte__pages_to_bytes(span->index) + run.start,
                                     .length = cte__run_length(run),
                                     .page = run.page,
                                     .clean = !cte__run_dirty(run),
                                     .status = read};
        if (read != CTE_OK)
            status = add_bad(verified, &bad);
    }
    return status;
}

/* Pages [first, first + count) of a span.  If they cannot be read together, each is tried alone. */
static cte_status verify_pages(struct cte__store *store, const struct cte__span *span,
                               uint32_t first, uint32_t count, char *buffer,
                               struct cte__verified *verified)
{
    struct iovec iov = {buffer, cte__pages_to_bytes(count)};
    cte_status status = CTE_OK;
    bool whole = cte__pages_io(store, false, span->page + first, 0, &iov, 1, iov.iov_len) == CTE_OK;
    verified->bytes_read += iov.iov_len;
    for (uint32_t i = first; i < first + count && status == CTE_OK; i++) {
        char *page = buffer + cte__pages_to_bytes(i - first);
        struct cte__bad_bytes bad = {.offset = cte__pages_to_bytes(span->index + i),
                                     .length = CTE__PAGE_BYTES,
                                     .page = span->page + i,
                                     .clean = span->state == CTE__PAGE_CLEAN};
        if (!whole)
            bad.status =
                cte__page_read(store, span->page + i, span->index + i, span->checksums[i], page);
        else if (store->checksum && cte__page_checksum(page, span->index + i) != span->checksums[i])
            bad.status = CTE_ERR_CHECKSUM;
        if (bad.status != CTE_OK)
            status = add_bad(verified, &bad);
    }
    return status;
}

static cte_status verify_small(const struct cte__store *store, const struct cte__snapshot *snapshot,
                               struct cte__verified *verified)
{
    struct cte__bad_bytes bad = {
        .length = snapshot->small_bytes, .small = true, .status = CTE_ERR_CHECKSUM};
    verified->bytes_read += snapshot->small_bytes;
    return cte__small_sum(store, snapshot->small, snapshot->small_bytes) == snapshot->small_sum
               ? CTE_OK
               : add_bad(verified, &bad);
}

static cte_status verify_snapshot(struct cte__store *store, const struct cte__snapshot *snapshot,
                                  char *buffer, struct cte__verified *verified)
{
    cte_status status =
        snapshot->small_bytes > 0 ? verify_small(store, snapshot, verified) : CTE_OK;
    for (size_t s = 0; s < snapshot->list.count && status == CTE_OK; s++) {
        const struct cte__span *span = &snapshot->list.spans[s];
        if (span->state == CTE__PAGE_PARTIAL) {
            status = verify_partial(store, span, buffer, verified);
            continue;
        }
        for (uint32_t i = 0; i < span->count && status == CTE_OK; i += WINDOW_PAGES)
            status = verify_pages(store, span, i, (uint32_t)cte__min(span->count - i, WINDOW_PAGES),
                                  buffer, verified);
    }
    return status;
}

/* A blob that changes while it is read is read again; the snapshot that was current at last is the
 * caller's to free. */
static cte_status verify(struct cte__store *store, const struct cte__blob_key *key, char *buffer,
                         struct cte__verified *verified, struct cte__snapshot *snapshot)
{
    cte_status status = CTE_OK;
    for (int i = 0; i < TRIES_MAX; i++) {
        cte__verified_free(verified);
        cte__snapshot_free(snapshot);
        status = cte__blob_snapshot(store, key, snapshot);
        if (status == CTE_OK)
            status = verify_snapshot(store, snapshot, buffer, verified);
        if (status != CTE_OK)
            return status;
        verified->there = snapshot->entry != 0;
        if (verified->bad_count == 0 || cte__blob_is_current(store, key, snapshot))
            return CTE_OK;
    }
    verified->bad_count = 0;
    return status;
}

cte_status cte__blob_verify(struct cte__store *store, const struct cte__blob_key *key, char *buffer,
                            struct cte__verified *verified)
{
    struct cte__snapshot snapshot;
    cte__snapshot_init(&snapshot);
    *verified = (struct cte__verified){0};
    cte_status status = verify(store, key, buffer, verified, &snapshot);
    cte__snapshot_free(&snapshot);
    return status;
}

cte_status cte__chunk_heal(struct cte__store *store, const struct cte__blob_key *key,
                           uint64_t *dropped)
{
    struct cte__verified verified = {0};
    struct cte__snapshot snapshot;
    char *buffer;
    *dropped = 0;
    if (posix_memalign((void **)&buffer, CTE__PAGE_BYTES, CTE__VERIFY_BYTES) != 0)
        return -ENOMEM;
    cte__snapshot_init(&snapshot);
    cte_status status = verify(store, key, buffer, &verified, &snapshot);
    for (size_t i = 0; i < verified.bad_count && status == CTE_OK; i++)
        if (verified.bad[i].clean)
            *dropped += verified.bad[i].length;
    if (status == CTE_OK && *dropped > 0)
        status = cte__blob_drop_damaged(store, key, &snapshot, &verified);
    cte__snapshot_free(&snapshot);
    cte__verified_free(&verified);
    free(buffer);
    return status;
}

/* ---- what is sound -------------------------------------------------------------------------- */

static bool is_bad(const struct cte__verified *verified, uint64_t index)
{
    uint64_t start = cte__pages_to_bytes(index);
    for (size_t i = 0; i < verified->bad_count; i++)
        if (verified->bad[i].offset < start + CTE__PAGE_BYTES &&
            verified->bad[i].offset + verified->bad[i].length > start)
            return true;
    return false;
}

/* Adds the rows of sound pages of a span. */
static cte_status add_sound(struct cte__span_list *list, const struct cte__span *span,
                            const struct cte__verified *verified)
{
    cte_status status = CTE_OK;
    for (uint32_t i = 0, n; i < span->count && status == CTE_OK; i += n + 1) {
        n = 0;
        while (i + n < span->count && !is_bad(verified, span->index + i + n))
            n++;
        if (n > 0) {
            struct cte__span part = cte__span_part(span, i, n);
            status = cte__span_list_add(list, &part);
        }
    }
    return status;
}

cte_status cte__snapshot_leave_out_damaged(struct cte__store *store, struct cte__snapshot *snapshot,
                                           char *buffer, struct cte__verified *verified)
{
    struct cte__span_list before = snapshot->list;
    *verified = (struct cte__verified){0};
    cte_status status = verify_snapshot(store, snapshot, buffer, verified);
    if (status != CTE_OK || verified->bad_count == 0)
        return status;
    snapshot->partly = true;
    if (before.spans == snapshot->list.few)
        before.spans = before.few;
    cte__span_list_init(&snapshot->list);
    for (size_t i = 0; i < before.count && status == CTE_OK; i++)
        status = add_sound(&snapshot->list, &before.spans[i], verified);
    cte__span_list_free(&before);
    return status;
}

/* ---- telling -------------------------------------------------------------------------------- */

static void log_bytes(const struct cte__store *store, const struct cte__blob_key *key,
                      const struct cte__bad_bytes *bad)
{
    const struct cte__tag_record *record = cte__tag_at(store, key->tag);
    const struct cte__target_record *target = &store->header->targets[cte__page_target(bad->page)];
    const char *place = bad->small ? "the segment" : target->path[0] ? target->path : target->label;
    uint64_t at = bad->small ? 0 : cte__pages_to_bytes(cte__page_number(bad->page));
    uint64_t start = bad->offset, chunk = 0;
    if (key->type == CTE__ENTRY_CHUNK) {
        memcpy(&chunk, key->name, sizeof chunk);
        start += chunk * record->chunk_bytes;
        cte__log_error("file %s: bytes %llu to %llu, in %s at %llu: %s%s", record->path,
                       (unsigned long long)start, (unsigned long long)(start + bad->length - 1),
                       place, (unsigned long long)at, cte_status_string(bad->status),
                       bad->clean ? "; the real file has them" : "; they were not drained yet");
        return;
    }
    const struct cte__entry *tag = cte__entry_at(store, record->entry);
    cte__log_error("tag %.*s, blob %.*s: bytes %llu to %llu, in %s at %llu: %s", tag->name_bytes,
                   tag->name, (int)key->name_bytes, (const char *)key->name,
                   (unsigned long long)start, (unsigned long long)(start + bad->length - 1), place,
                   (unsigned long long)at, cte_status_string(bad->status));
}

void cte__verified_log(struct cte__store *store, const struct cte__blob_key *key,
                       const struct cte__verified *verified, bool dirty_only)
{
    for (size_t i = 0; i < verified->bad_count; i++)
        if (!dirty_only || !verified->bad[i].clean)
            log_bytes(store, key, &verified->bad[i]);
}

void cte__blob_log_damage(struct cte__store *store, const struct cte__blob_key *key)
{
    struct cte__verified verified;
    char *buffer;
    if (posix_memalign((void **)&buffer, CTE__PAGE_BYTES, CTE__VERIFY_BYTES) != 0)
        return;
    cte_status status = cte__blob_verify(store, key, buffer, &verified);
    if (status == CTE_OK)
        cte__verified_log(store, key, &verified, false);
    cte__verified_free(&verified);
    free(buffer);
}
