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

enum { PUT_TRIES_UNLOCKED = 3 };

/* A page that a put touches. */
struct touched {
    const char *source;             /* a whole page of bytes: the caller's memory, or bounce */
    char *bounce;                   /* pages that are put in part */
    size_t first_piece, last_piece; /* the pieces that touch it, when bounced */
    struct cte__page_ref before;    /* what a bounced page was merged with; state NONE: nothing */
};

struct put {
    struct cte__store *store;
    const struct cte__blob_key *key;
    const struct cte__piece *pieces;
    size_t piece_count;
    struct touched *touched;
    struct cte__page_ref *fresh; /* the new pages, one per touched */
    size_t count;
    char *bounces;
    struct cte__run_list *run_lists;
    bool claimed;
};

static uint64_t first_page(const struct cte__piece *piece)
{
    return piece->offset >> CTE__PAGE_SHIFT;
}

static uint64_t last_page(const struct cte__piece *piece)
{
    return (piece->offset + piece->length - 1) >> CTE__PAGE_SHIFT;
}

static void put_free(struct put *put)
{
    if (put->claimed)
        cte__refs_free_pages(put->store, put->fresh, put->count);
    free(put->touched);
    free(put->fresh);
    free(put->bounces);
    cte__run_lists_free(put->run_lists);
}

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
        if (put->count > 0 && put->fresh[put->count - 1].index == page) {
            put->touched[put->count - 1].last_piece = piece_index;
            continue;
        }
        struct touched *touched = &put->touched[put->count];
        put->fresh[put->count++] = (struct cte__page_ref){.index = page, .fresh = true};
        *touched = (struct touched){.first_piece = piece_index, .last_piece = piece_index};
        if (start >= piece->offset && start + CTE__PAGE_BYTES <= end)
            touched->source = piece->base + (start - piece->offset);
    }
}

static cte_status plan(struct put *put)
{
    size_t pages = count_pages(put->pieces, put->piece_count), bounced = 0;
    put->touched = malloc((pages + 1) * sizeof *put->touched);
    put->fresh = malloc((pages + 1) * sizeof *put->fresh);
    if (!put->touched || !put->fresh)
        return -ENOMEM;
    for (size_t i = 0; i < put->piece_count; i++)
        if (put->pieces[i].length > 0)
            touch_pages(put, i);
    for (size_t i = 0; i < put->count; i++)
        bounced += !put->touched[i].source;
    if (bounced > 0 &&
        posix_memalign((void **)&put->bounces, 64, cte__pages_to_bytes(bounced)) != 0)
        return -ENOMEM;
    for (size_t i = 0, b = 0; i < put->count; i++)
        if (!put->touched[i].source)
            put->touched[i].bounce = put->bounces + cte__pages_to_bytes(b++);
    return CTE_OK;
}

static const struct cte__page_ref *find_page(const struct cte__page_ref *refs, size_t count,
                                             uint64_t index)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (refs[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && refs[low].index == index ? &refs[low] : NULL;
}

/* The valid bytes of a page with the put's bytes over them. */
static cte_status merge_runs(struct put *put, size_t i)
{
    const struct touched *touched = &put->touched[i];
    const struct cte__page_ref *before = &touched->before;
    struct cte__page_ref *fresh = &put->fresh[i];
    struct cte__run whole = cte__run_make(0, CTE__PAGE_BYTES, before->state == CTE__PAGE_DIRTY);
    const struct cte__run *below =
        before->state == CTE__PAGE_PARTIAL ? before->run_list->run : &whole;
    uint32_t below_count = before->state == CTE__PAGE_PARTIAL ? before->run_list->count
                           : before->state == CTE__PAGE_NONE  ? 0
                                                              : 1;
    uint64_t page_start = cte__pages_to_bytes(fresh->index);
    uint32_t pieces = (uint32_t)(touched->last_piece - touched->first_piece + 1);
    struct cte__run_list *above = cte__run_list_new(&put->run_lists, pieces);
    struct cte__run_list *merged =
        cte__run_list_new(&put->run_lists, 2 * (below_count + pieces) + 1);
    if (!above || !merged)
        return -ENOMEM;
    for (size_t p = touched->first_piece; p <= touched->last_piece; p++) {
        const struct cte__piece *piece = &put->pieces[p];
        uint64_t start = cte__max(piece->offset, page_start);
        uint64_t end = cte__min(piece->offset + piece->length, page_start + CTE__PAGE_BYTES);
        if (start < end)
            cte__run_list_append(above, (uint32_t)(start - page_start),
                                 (uint32_t)(end - page_start), true);
    }
    cte__runs_overlay(below, below_count, above->run, above->count, merged);
    fresh->state = cte__runs_page_state(merged->run, merged->count);
    fresh->run_list = fresh->state == CTE__PAGE_PARTIAL ? merged : NULL;
    return CTE_OK;
}

/* Fills the bounce buffer of a page put in part: the old bytes, then the new ones. */
static cte_status merge_bytes(struct put *put, size_t i)
{
    struct touched *touched = &put->touched[i];
    const struct cte__page_ref *before = &touched->before;
    uint64_t page_start = cte__pages_to_bytes(put->fresh[i].index);
    if (before->state == CTE__PAGE_NONE) {
        memset(touched->bounce, 0, CTE__PAGE_BYTES);
    } else {
        struct iovec iov = {touched->bounce, CTE__PAGE_BYTES};
        cte_status status =
            cte__pages_io(put->store, false, before->page, 0, &iov, 1, CTE__PAGE_BYTES);
        if (status != CTE_OK)
            return status;
        if (put->store->checksum &&
            cte__page_checksum(touched->bounce, before->index) != before->checksum)
            return CTE_ERR_CHECKSUM;
    }
    for (size_t p = touched->first_piece; p <= touched->last_piece; p++) {
        const struct cte__piece *piece = &put->pieces[p];
        uint64_t start = cte__max(piece->offset, page_start);
        uint64_t end = cte__min(piece->offset + piece->length, page_start + CTE__PAGE_BYTES);
        if (start < end)
            memcpy(touched->bounce + (start - page_start), piece->base + (start - piece->offset),
                   end - start);
    }
    touched->source = touched->bounce;
    return CTE_OK;
}

/* Merges the pages that are put in part with what the snapshot has. */
static cte_status merge(struct put *put, const struct cte__snapshot *snapshot)
{
    for (size_t i = 0; i < put->count; i++) {
        struct touched *touched = &put->touched[i];
        put->fresh[i].state = CTE__PAGE_DIRTY;
        if (!touched->bounce)
            continue;
        const struct cte__page_ref *before =
            find_page(snapshot->refs, snapshot->count, put->fresh[i].index);
        touched->before = before ? *before : (struct cte__page_ref){0};
        cte_status status = merge_bytes(put, i);
        /* A blob has no bytes but its own: the rest of the page is zeros, and valid. */
        if (status == CTE_OK && put->key->type == CTE__ENTRY_CHUNK)
            status = merge_runs(put, i);
        if (status != CTE_OK)
            return status;
    }
    return CTE_OK;
}

static void checksum_pages(struct put *put)
{
    for (size_t i = 0; put->store->checksum && i < put->count; i++)
        put->fresh[i].checksum = cte__page_checksum(put->touched[i].source, put->fresh[i].index);
}

/* Writes touched pages [first, first+count) to consecutive target pages. */
static cte_status write_run(struct put *put, size_t first, uint32_t count, struct iovec *iov)
{
    int n = 0;
    for (uint32_t i = 0; i < count; i++) {
        char *source = (char *)put->touched[first + i].source;
        if (n > 0 && (char *)iov[n - 1].iov_base + iov[n - 1].iov_len == source)
            iov[n - 1].iov_len += CTE__PAGE_BYTES;
        else
            iov[n++] = (struct iovec){source, CTE__PAGE_BYTES};
    }
    return cte__pages_io(put->store, true, put->fresh[first].page, 0, iov, n,
                         cte__pages_to_bytes(count));
}

static cte_status write_runs(struct put *put, const struct cte__page_run *runs, uint32_t run_count,
                             uint32_t *failed_target)
{
    struct iovec *iov = malloc((put->count + 1) * sizeof *iov);
    cte_status status = iov ? CTE_OK : -ENOMEM;
    size_t first = 0;
    for (uint32_t r = 0; r < run_count; r++)
        for (uint32_t i = 0; i < runs[r].count; i++)
            put->fresh[first++].page = runs[r].page + i;
    first = 0;
    for (uint32_t r = 0; r < run_count && status == CTE_OK; first += runs[r++].count) {
        status = write_run(put, first, runs[r].count, iov);
        *failed_target = cte__page_target(runs[r].page);
    }
    free(iov);
    return status;
}

/* Claims pages and fills them.  A target whose medium fails is left out and the next one tried. */
static cte_status store_pages(struct put *put, float score)
{
    struct cte__page_run *runs = malloc((put->count + 1) * sizeof *runs);
    uint32_t skip = 0, used = 0, failed_target = 0;
    cte_status first_error = CTE_OK;
    if (put->count == 0) {
        free(runs);
        return CTE_OK;
    }
    if (!runs)
        return -ENOMEM;
    for (;;) {
        cte_status status = cte__pages_claim(put->store, (uint32_t)put->count, score, skip, runs,
                                             (uint32_t)put->count, &used);
        if (status != CTE_OK) {
            free(runs);
            return first_error != CTE_OK ? first_error : status;
        }
        status = write_runs(put, runs, used, &failed_target);
        if (status == CTE_OK)
            break;
        cte__refs_free_pages(put->store, put->fresh, put->count);
        if (status == -ENOMEM) {
            free(runs);
            return status;
        }
        if (status != -ENOSPC)
            cte__log_warn("target %s: write failed (%s); using the next one",
                          put->store->header->targets[failed_target].path,
                          cte_status_string(status));
        first_error = first_error != CTE_OK ? first_error : status;
        skip |= 1u << failed_target;
    }
    put->claimed = true;
    free(runs);
    return CTE_OK;
}

/* True if the page that a merge read is still what the blob has there.  With checksums, the same
 * place and the same checksum mean the same bytes, even if the blob changed elsewhere. */
static bool merge_is_current(const struct put *put, const struct cte__change *change,
                             const struct cte__snapshot *snapshot)
{
    if (change->entry == snapshot->entry && change->version == snapshot->version)
        return true;
    if (!put->store->checksum)
        return false;
    for (size_t i = 0; i < put->count; i++) {
        const struct cte__page_ref *before = &put->touched[i].before;
        if (!put->touched[i].bounce)
            continue;
        const struct cte__page_ref *now =
            find_page(change->old, change->old_count, put->fresh[i].index);
        bool same = now ? before->state == now->state && before->page == now->page &&
                              before->checksum == now->checksum &&
                              cte__same_runs(put->store, before, now)
                        : before->state == CTE__PAGE_NONE;
        if (!same)
            return false;
    }
    return true;
}

/* The new state: old pages, replaced by fresh ones where the put has some. */
static cte_status assemble(const struct put *put, struct cte__change *change, bool replace)
{
    size_t o = 0, f = 0;
    cte_status status = CTE_OK;
    while (status == CTE_OK && (o < change->old_count || f < put->count)) {
        const struct cte__page_ref *old = o < change->old_count ? &change->old[o] : NULL;
        const struct cte__page_ref *fresh = f < put->count ? &put->fresh[f] : NULL;
        if (old && (!fresh || old->index < fresh->index)) {
            status = replace ? cte__change_drop(change, old) : cte__change_keep(change, old, false);
            o++;
            continue;
        }
        if (old && old->index == fresh->index) {
            status = cte__change_drop(change, old);
            o++;
        }
        if (status == CTE_OK)
            status = cte__change_add(change, fresh);
        f++;
    }
    return status;
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
        put->claimed = false;
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
    status =
        merge_is_current(put, &change, snapshot) ? publish(put, &change, score, replace) : -EAGAIN;
    cte__change_end(&change);
    return status;
}

/* The last resort under contention: everything with the blob's shard locked. */
static cte_status put_locked(struct put *put, float score, bool replace)
{
    struct cte__change change;
    cte_status status = cte__change_begin(&change, put->store, put->key);
    if (status != CTE_OK)
        return status;
    struct cte__snapshot snapshot;
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

static cte_status put_once(struct cte__store *store, const struct cte__blob_key *key,
                           const struct cte__piece *pieces, size_t count, float score, bool replace,
                           bool locked)
{
    struct put put = {.store = store, .key = key, .pieces = pieces, .piece_count = count};
    struct cte__snapshot snapshot = {0};
    cte_status status = plan(&put);
    if (status == CTE_OK && put.count == 0 && !replace) {
        status = CTE_OK; /* nothing to store, nothing to forget */
    } else if (status == CTE_OK && locked) {
        status = put_locked(&put, score, replace);
    } else if (status == CTE_OK) {
        /* Only merging needs the old state; whole pages just replace whatever is there. */
        if (put.bounces && !replace)
            status = cte__blob_snapshot(store, key, &snapshot);
        if (status == CTE_OK)
            status = try_put(&put, &snapshot, score, replace);
        if (status == CTE_ERR_CHECKSUM && !cte__blob_is_current(store, key, &snapshot))
            status = -EAGAIN; /* the page was reused while it was read */
        cte__snapshot_free(&snapshot);
    }
    put_free(&put);
    return status;
}

cte_status cte__blob_put(struct cte__store *store, const struct cte__blob_key *key,
                         const struct cte__piece *pieces, size_t count, float score, bool replace)
{
    cte_status status = -EAGAIN;
    cte__store_sweep_if_wanted(store);
    for (int i = 0; i <= PUT_TRIES_UNLOCKED && status == -EAGAIN; i++)
        status = put_once(store, key, pieces, count, score, replace, i == PUT_TRIES_UNLOCKED);
    return status;
}
