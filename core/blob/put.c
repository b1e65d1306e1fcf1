/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing: pages are prepared, claimed and filled outside all locks, then published by one store.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "blob/blob.h"
#include "blob/change.h"

enum { PUT_TRIES_UNLOCKED = 3, NOT_BOUNCED = -1 };

/* A page that a put touches. */
struct touched {
    uint64_t index;
    const char *source; /* a whole page of bytes: the caller's memory, or a bounced page's */
    int32_t bounced;    /* into put.bounced, or NOT_BOUNCED */
};

/* A page that is put in part, and merged with what was there. */
struct bounced {
    size_t first_piece, last_piece; /* the pieces that touch it */
    struct cte__span before;        /* state NONE: nothing was there */
    uint32_t state;
    struct cte__run_list *run_list;
};

struct put {
    struct cte__store *store;
    const struct cte__blob_key *key;
    const struct cte__piece *pieces;
    size_t piece_count;
    struct touched *touched;
    struct bounced *bounced;
    uint32_t *checksums; /* one per touched page */
    struct iovec *iov;
    struct cte__page_run *runs; /* claimed pages */
    size_t count, bounced_count;
    uint32_t run_count;
    void *memory; /* of the arrays above */
    char *bounces;
    struct cte__run_list *run_lists;
};

static uint64_t first_page(const struct cte__piece *piece)
{
    return piece->offset >> CTE__PAGE_SHIFT;
}

static uint64_t last_page(const struct cte__piece *piece)
{
    return (piece->offset + piece->length - 1) >> CTE__PAGE_SHIFT;
}

static void give_back_pages(struct put *put)
{
    for (uint32_t r = 0; r < put->run_count; r++)
        cte__pages_free(put->store, put->runs[r].page, put->runs[r].count);
    put->run_count = 0;
}

static void put_free(struct put *put)
{
    give_back_pages(put);
    free(put->memory);
    free(put->bounces);
    cte__run_lists_free(put->run_lists);
}

/* ---- which pages ---------------------------------------------------------------------------- */

/* Upper bound of the pages touched. */
static size_t count_pages(const struct cte__piece *pieces, size_t count)
{
    size_t pages = 0;
    for (size_t i = 0; i < count; i++)
        if (pieces[i].length > 0)
            pages += (size_t)(last_page(&pieces[i]) - first_page(&pieces[i]) + 1);
    return pages;
}

static void touch_pages(struct put *put, size_t piece_index)
{
    const struct cte__piece *piece = &put->pieces[piece_index];
    uint64_t end = piece->offset + piece->length;
    for (uint64_t page = first_page(piece); page <= last_page(piece); page++) {
        uint64_t start = cte__pages_to_bytes(page);
        if (put->count > 0 && put->touched[put->count - 1].index == page) {
            put->bounced[put->bounced_count - 1].last_piece = piece_index;
            continue;
        }
        struct touched *touched = &put->touched[put->count++];
        *touched = (struct touched){.index = page, .bounced = NOT_BOUNCED};
        if (start >= piece->offset && start + CTE__PAGE_BYTES <= end) {
            touched->source = piece->base + (start - piece->offset);
            continue;
        }
        touched->bounced = (int32_t)put->bounced_count;
        put->bounced[put->bounced_count++] =
            (struct bounced){.first_piece = piece_index, .last_piece = piece_index};
    }
}

static cte_status plan(struct put *put)
{
    size_t pages = count_pages(put->pieces, put->piece_count) + 1;
    size_t bounced_max = cte__min(pages, 2 * put->piece_count + 1);
    put->memory = malloc(pages * (sizeof *put->touched + sizeof *put->iov + sizeof *put->runs +
                                  sizeof *put->checksums) +
                         bounced_max * sizeof *put->bounced);
    if (!put->memory)
        return -ENOMEM;
    put->bounced = put->memory;
    put->touched = (void *)(put->bounced + bounced_max);
    put->iov = (void *)(put->touched + pages);
    put->runs = (void *)(put->iov + pages);
    put->checksums = (void *)(put->runs + pages);
    for (size_t i = 0; i < put->piece_count; i++)
        if (put->pieces[i].length > 0)
            touch_pages(put, i);
    if (put->bounced_count > 0 &&
        posix_memalign((void **)&put->bounces, 64, cte__pages_to_bytes(put->bounced_count)) != 0)
        return -ENOMEM;
    for (size_t i = 0; i < put->count; i++)
        if (put->touched[i].bounced != NOT_BOUNCED)
            put->touched[i].source =
                put->bounces + cte__pages_to_bytes((uint64_t)put->touched[i].bounced);
    return CTE_OK;
}

/* ---- merging with what was there ------------------------------------------------------------ */

/* One page of a list of spans; state NONE if the list has none there. */
static struct cte__span find_page(const struct cte__span_list *list, uint64_t index)
{
    size_t i = cte__span_find(list, index);
    if (i == list->count || list->spans[i].index > index)
        return (struct cte__span){.state = CTE__PAGE_NONE};
    return cte__span_part(&list->spans[i], (uint32_t)(index - list->spans[i].index), 1);
}

/* The part of a piece in a page, as bytes of the page; false if there is none. */
static bool piece_in_page(const struct cte__piece *piece, uint64_t index, uint32_t *start,
                          uint32_t *end)
{
    uint64_t page_start = cte__pages_to_bytes(index);
    uint64_t from = cte__max(piece->offset, page_start);
    uint64_t to = cte__min(piece->offset + piece->length, page_start + CTE__PAGE_BYTES);
    if (from >= to)
        return false;
    *start = (uint32_t)(from - page_start);
    *end = (uint32_t)(to - page_start);
    return true;
}

/* The valid bytes of a page with the put's bytes over them. */
static cte_status merge_runs(struct put *put, struct bounced *bounced, uint64_t index)
{
    const struct cte__span *before = &bounced->before;
    bool partial = before->state == CTE__PAGE_PARTIAL;
    struct cte__run whole = cte__run_make(0, CTE__PAGE_BYTES, before->state == CTE__PAGE_DIRTY);
    const struct cte__run *below = partial ? before->run_list->run : &whole;
    uint32_t below_count = partial                           ? before->run_list->count
                           : before->state == CTE__PAGE_NONE ? 0
                                                             : 1;
    uint32_t pieces = (uint32_t)(bounced->last_piece - bounced->first_piece + 1), start, end;
    struct cte__run_list *above = cte__run_list_new(&put->run_lists, pieces);
    struct cte__run_list *merged =
        cte__run_list_new(&put->run_lists, 2 * (below_count + pieces) + 1);
    if (!above || !merged)
        return -ENOMEM;
    for (size_t p = bounced->first_piece; p <= bounced->last_piece; p++)
        if (piece_in_page(&put->pieces[p], index, &start, &end))
            cte__run_list_append(above, start, end, true);
    cte__runs_overlay(below, below_count, above->run, above->count, merged);
    bounced->state = cte__runs_page_state(merged->run, merged->count);
    bounced->run_list = bounced->state == CTE__PAGE_PARTIAL ? merged : NULL;
    return CTE_OK;
}

/* Fills the bounce buffer of a page put in part: the old bytes, then the new ones. */
static cte_status merge_bytes(struct put *put, const struct bounced *bounced,
                              const struct touched *touched)
{
    const struct cte__span *before = &bounced->before;
    char *bytes = (char *)touched->source;
    uint32_t start, end;
    if (before->state == CTE__PAGE_NONE) {
        memset(bytes, 0, CTE__PAGE_BYTES);
    } else {
        struct iovec iov = {bytes, CTE__PAGE_BYTES};
        cte_status status =
            cte__pages_io(put->store, false, before->page, 0, &iov, 1, CTE__PAGE_BYTES);
        if (status != CTE_OK)
            return status;
        if (put->store->checksum &&
            cte__page_checksum(bytes, before->index) != before->checksums[0])
            return CTE_ERR_CHECKSUM;
    }
    for (size_t p = bounced->first_piece; p <= bounced->last_piece; p++) {
        const struct cte__piece *piece = &put->pieces[p];
        if (piece_in_page(piece, touched->index, &start, &end))
            memcpy(bytes + start,
                   piece->base + (cte__pages_to_bytes(touched->index) + start - piece->offset),
                   end - start);
    }
    return CTE_OK;
}

/* Merges the pages that are put in part with what the snapshot has. */
static cte_status merge(struct put *put, const struct cte__snapshot *snapshot)
{
    cte_status status = CTE_OK;
    for (size_t i = 0; i < put->count && status == CTE_OK; i++) {
        const struct touched *touched = &put->touched[i];
        if (touched->bounced == NOT_BOUNCED)
            continue;
        struct bounced *bounced = &put->bounced[touched->bounced];
        bounced->before = find_page(&snapshot->list, touched->index);
        bounced->state = CTE__PAGE_DIRTY;
        status = merge_bytes(put, bounced, touched);
        /* A blob has no bytes but its own: the rest of the page is zeros, and valid. */
        if (status == CTE_OK && put->key->type == CTE__ENTRY_CHUNK)
            status = merge_runs(put, bounced, touched->index);
    }
    return status;
}

/* True if the pages that a merge read are still what the blob has there.  With checksums, the same
 * place and the same checksum mean the same bytes, even if the blob changed elsewhere. */
static bool merge_is_current(const struct put *put, const struct cte__change *change,
                             const struct cte__snapshot *snapshot)
{
    if (put->bounced_count == 0 ||
        (change->entry == snapshot->entry && change->version == snapshot->version))
        return true;
    if (!put->store->checksum)
        return false;
    for (size_t i = 0; i < put->count; i++) {
        if (put->touched[i].bounced == NOT_BOUNCED)
            continue;
        const struct cte__span *before = &put->bounced[put->touched[i].bounced].before;
        struct cte__span now = find_page(&change->old, put->touched[i].index);
        if (now.state != before->state)
            return false;
        if (now.state != CTE__PAGE_NONE &&
            (now.page != before->page || now.checksums[0] != before->checksums[0] ||
             !cte__same_runs(put->store, before, &now)))
            return false;
    }
    return true;
}

/* ---- storing the bytes ---------------------------------------------------------------------- */

static void checksum_pages(struct put *put)
{
    for (size_t i = 0; i < put->count; i++)
        put->checksums[i] = put->store->checksum
                                ? cte__page_checksum(put->touched[i].source, put->touched[i].index)
                                : 0;
}

/* Writes touched pages [first, first+count) to consecutive target pages. */
static cte_status write_run(struct put *put, size_t first, const struct cte__page_run *run)
{
    int n = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        char *source = (char *)put->touched[first + i].source;
        if (n > 0 && (char *)put->iov[n - 1].iov_base + put->iov[n - 1].iov_len == source)
            put->iov[n - 1].iov_len += CTE__PAGE_BYTES;
        else
            put->iov[n++] = (struct iovec){source, CTE__PAGE_BYTES};
    }
    return cte__pages_io(put->store, true, run->page, 0, put->iov, n,
                         cte__pages_to_bytes(run->count));
}

static cte_status write_runs(struct put *put, uint32_t *failed_target)
{
    cte_status status = CTE_OK;
    size_t first = 0;
    for (uint32_t r = 0; r < put->run_count && status == CTE_OK; r++) {
        status = write_run(put, first, &put->runs[r]);
        first += put->runs[r].count;
        *failed_target = cte__page_target(put->runs[r].page);
    }
    return status;
}

/* Claims pages and fills them.  A target whose medium fails is left out and the next one tried. */
static cte_status store_pages(struct put *put, float score)
{
    uint32_t skip = 0, failed_target = 0;
    cte_status first_error = CTE_OK;
    while (put->count > 0) {
        cte_status status = cte__pages_claim(put->store, (uint32_t)put->count, score, skip,
                                             put->runs, (uint32_t)put->count, &put->run_count);
        if (status != CTE_OK)
            return first_error != CTE_OK ? first_error : status;
        status = write_runs(put, &failed_target);
        if (status == CTE_OK)
            break;
        give_back_pages(put);
        if (status != -ENOSPC)
            cte__log_warn("target %s: write failed (%s); using the next one",
                          put->store->header->targets[failed_target].path,
                          cte_status_string(status));
        first_error = first_error != CTE_OK ? first_error : status;
        skip |= 1u << failed_target;
    }
    return CTE_OK;
}

/* ---- publishing ----------------------------------------------------------------------------- */

/* Keeps (or, replacing, drops) the old pages in [from, to). */
static cte_status pass_old(struct cte__change *change, size_t *o, uint64_t from, uint64_t to,
                           bool drop)
{
    cte_status status = CTE_OK;
    while (*o < change->old.count && change->old.spans[*o].index < to && status == CTE_OK) {
        const struct cte__span *old = &change->old.spans[*o];
        uint64_t old_end = old->index + old->count;
        uint64_t start = cte__max(old->index, from), end = cte__min(old_end, to);
        if (start < end) {
            struct cte__span part =
                cte__span_part(old, (uint32_t)(start - old->index), (uint32_t)(end - start));
            status = drop ? cte__change_drop(change, &part) : cte__change_keep(change, &part);
        }
        if (old_end > to)
            break;
        (*o)++;
    }
    return status;
}

/* The fresh span that starts with touched page `i` at a claimed page; `limit` pages at most. */
static struct cte__span fresh_span(const struct put *put, size_t i, cte__page page, uint32_t limit)
{
    const struct touched *touched = &put->touched[i];
    const struct bounced *bounced =
        touched->bounced != NOT_BOUNCED ? &put->bounced[touched->bounced] : NULL;
    struct cte__span span = {
        .index = touched->index,
        .page = page,
        .count = 1,
        .state = bounced ? bounced->state : CTE__PAGE_DIRTY,
        .checksums = &put->checksums[i],
        .fresh = true,
        .run_list = bounced ? bounced->run_list : NULL,
    };
    while (span.state == CTE__PAGE_DIRTY && span.count < limit &&
           touched[span.count].index == span.index + span.count &&
           (touched[span.count].bounced == NOT_BOUNCED ||
            put->bounced[touched[span.count].bounced].state == CTE__PAGE_DIRTY))
        span.count++;
    return span;
}

/* The new state: old pages, replaced by fresh ones where the put has some. */
static cte_status assemble(const struct put *put, struct cte__change *change, bool replace)
{
    size_t o = 0, i = 0;
    uint64_t at = 0;
    cte_status status = CTE_OK;
    for (uint32_t r = 0; r < put->run_count; r++) {
        for (uint32_t used = 0; used < put->runs[r].count && status == CTE_OK;) {
            struct cte__span span =
                fresh_span(put, i, put->runs[r].page + used, put->runs[r].count - used);
            status = pass_old(change, &o, at, span.index, replace);
            at = span.index + span.count;
            if (status == CTE_OK)
                status = pass_old(change, &o, span.index, at, true);
            if (status == CTE_OK)
                status = cte__change_add(change, &span);
            used += span.count;
            i += span.count;
        }
    }
    return status == CTE_OK ? pass_old(change, &o, at, UINT64_MAX, replace) : status;
}

static cte_status publish(struct put *put, struct cte__change *change, float score, bool replace)
{
    uint64_t end = 0;
    for (size_t i = 0; i < put->piece_count; i++)
        end = cte__max(end, put->pieces[i].offset + put->pieces[i].length);
    cte_status status = assemble(put, change, replace);
    if (status == CTE_OK) {
        change->size_bytes = replace ? end : cte__max(change->size_bytes, end);
        change->score = score;
        status = cte__change_commit(change);
    }
    if (status == CTE_OK)
        put->run_count = 0; /* the blob has them now */
    return status;
}

/* One try with the blob as the snapshot has it.  -EAGAIN: it changed where pages were merged. */
static cte_status try_put(struct put *put, const struct cte__snapshot *snapshot, float score,
                          bool replace)
{
    struct cte__change change;
    cte_status status = merge(put, snapshot);
    if (status != CTE_OK)
        return status;
    checksum_pages(put);
    status = store_pages(put, score);
    if (status == CTE_OK)
        status = cte__change_begin(&change, put->store, put->key);
    if (status != CTE_OK)
        return status;
    status = replace || merge_is_current(put, &change, snapshot)
                 ? publish(put, &change, score, replace)
                 : -EAGAIN;
    cte__change_end(&change);
    return status;
}

/* The last resort under contention: everything with the blob's shard locked. */
static cte_status put_locked(struct put *put, float score, bool replace)
{
    struct cte__change change;
    struct cte__snapshot snapshot;
    cte_status status = cte__change_begin(&change, put->store, put->key);
    if (status != CTE_OK)
        return status;
    status = cte__snapshot_locked(&change, &snapshot);
    if (status == CTE_OK) {
        status = merge(put, &snapshot);
        if (status == CTE_OK) {
            checksum_pages(put);
            status = store_pages(put, score);
        }
        if (status == CTE_OK)
            status = publish(put, &change, score, replace);
        cte__snapshot_free(&snapshot);
    }
    cte__change_end(&change);
    return status;
}

static cte_status put_unlocked(struct put *put, float score, bool replace)
{
    struct cte__snapshot snapshot;
    cte_status status = CTE_OK;
    cte__snapshot_init(&snapshot);
    /* Only merging needs the old state; whole pages just replace whatever is there. */
    if (put->bounced_count > 0 && !replace)
        status = cte__blob_snapshot(put->store, put->key, &snapshot);
    if (status == CTE_OK)
        status = try_put(put, &snapshot, score, replace);
    if (status == CTE_ERR_CHECKSUM && !cte__blob_is_current(put->store, put->key, &snapshot))
        status = -EAGAIN; /* the page was reused while it was read */
    cte__snapshot_free(&snapshot);
    return status;
}

cte_status cte__blob_put(struct cte__store *store, const struct cte__blob_key *key,
                         const struct cte__piece *pieces, size_t count, float score, bool replace)
{
    cte_status status = -EAGAIN;
    cte__store_sweep_if_wanted(store);
    for (int i = 0; i <= PUT_TRIES_UNLOCKED && status == -EAGAIN; i++) {
        struct put put = {.store = store, .key = key, .pieces = pieces, .piece_count = count};
        status = plan(&put);
        if (status == CTE_OK && (put.count > 0 || replace))
            status = i == PUT_TRIES_UNLOCKED ? put_locked(&put, score, replace)
                                             : put_unlocked(&put, score, replace);
        put_free(&put);
    }
    return status;
}
