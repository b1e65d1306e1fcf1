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
#include "blob/put.h"

enum {
    PUT_TRIES_UNLOCKED = 3,
    NOT_BOUNCED = -1,
    BOUNCES = 64, /* pages that are filled before they are written: they stay in the caches */
    NO_TARGET = CTE__TARGETS_MAX,
};

/* A page that a put touches. */
struct touched {
    uint64_t index;
    const char *source; /* a whole page of bytes: the caller's memory, or a bounce buffer */
    int32_t bounced;    /* into put.bounced, or NOT_BOUNCED */
};

/* A page that is put in part. */
struct bounced {
    size_t first_piece, last_piece; /* the pieces that touch it */
    struct cte__span before;        /* merging: what was there, and is in the fresh page now too */
    uint32_t state;                 /* of the page with the put's bytes */
    struct cte__run_list *run_list; /* PARTIAL: its valid bytes */
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
    const struct cte__snapshot *before;   /* merging: where the old bytes are */
    const struct cte__snapshot *expected; /* -ESTALE if the blob is another; NULL: any will do */
    bool merging; /* bounced pages bring the old bytes along: they would lie in too many pages */
    struct cte__run_lists run_lists;
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
    cte__run_lists_free(&put->run_lists);
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
    uint64_t bounces = cte__min(put->bounced_count, BOUNCES);
    if (bounces > 0 &&
        posix_memalign((void **)&put->bounces, CTE__CACHE_LINE, cte__pages_to_bytes(bounces)) != 0)
        return -ENOMEM;
    return CTE_OK;
}

/* ---- pages put in part ---------------------------------------------------------------------- */

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

/* Reads the valid old bytes of the bounced pages among `count` touched ones into their bounce
 * buffers; all others are zeros. */
static cte_status bring_old_bytes(struct put *put, struct touched *touched, size_t count)
{
    struct cte__piece pieces[BOUNCES];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (touched[i].bounced == NOT_BOUNCED)
            continue;
        put->bounced[touched[i].bounced].before = find_page(&put->before->list, touched[i].index);
        pieces[n++] = (struct cte__piece){cte__pages_to_bytes(touched[i].index), CTE__PAGE_BYTES,
                                          (char *)touched[i].source};
    }
    return cte__snapshot_read(put->store, put->before, pieces, n, NULL);
}

/* Zeros what the first and only piece of a page leaves, or all of it. */
static void clear_bounce(const struct put *put, const struct bounced *bounced, uint64_t index,
                         char *bytes)
{
    uint32_t start = CTE__PAGE_BYTES, end = CTE__PAGE_BYTES;
    if (bounced->first_piece == bounced->last_piece)
        piece_in_page(&put->pieces[bounced->first_piece], index, &start, &end);
    memset(bytes, 0, start);
    memset(bytes + end, 0, CTE__PAGE_BYTES - end);
}

/* The put's own bytes of a page. */
static void bring_new_bytes(const struct put *put, const struct bounced *bounced, uint64_t index,
                            char *bytes)
{
    uint32_t start, end;
    for (size_t p = bounced->first_piece; p <= bounced->last_piece; p++) {
        const struct cte__piece *piece = &put->pieces[p];
        if (piece_in_page(piece, index, &start, &end))
            memcpy(bytes + start,
                   piece->base + (cte__pages_to_bytes(index) + start - piece->offset), end - start);
    }
}

/* Fills the bounce buffers of `count` touched pages, of which BOUNCES at most are bounced: zeros,
 * the old bytes if merging, the new bytes. */
static cte_status fill_bounces(struct put *put, struct touched *touched, size_t count)
{
    uint32_t used = 0;
    cte_status status = CTE_OK;
    for (size_t i = 0; i < count; i++)
        if (touched[i].bounced != NOT_BOUNCED)
            touched[i].source = put->bounces + cte__pages_to_bytes(used++);
    if (used > 0 && put->merging)
        status = bring_old_bytes(put, touched, count);
    for (size_t i = 0; i < count && used > 0 && status == CTE_OK; i++) {
        if (touched[i].bounced == NOT_BOUNCED)
            continue;
        const struct bounced *bounced = &put->bounced[touched[i].bounced];
        char *bytes = (char *)touched[i].source;
        if (!put->merging)
            clear_bounce(put, bounced, touched[i].index, bytes);
        bring_new_bytes(put, bounced, touched[i].index, bytes);
    }
    return status;
}

/* True if the old bytes that a merge brought along are still what the blob has. */
static bool merge_is_current(const struct put *put, const struct cte__change *change,
                             const struct cte__snapshot *snapshot)
{
    if (!put->merging || (change->entry == snapshot->entry && change->version == snapshot->version))
        return true;
    for (size_t i = 0; i < put->count; i++) {
        if (put->touched[i].bounced == NOT_BOUNCED)
            continue;
        const struct cte__span *before = &put->bounced[put->touched[i].bounced].before;
        struct cte__span now = find_page(&change->old, put->touched[i].index);
        bool both_empty =
            before->state == CTE__PAGE_NONE && now.state == CTE__PAGE_NONE && put->store->checksum;
        if (!both_empty &&
            (before->state == CTE__PAGE_NONE || !cte__same_page(put->store, before, &now)))
            return false;
    }
    return true;
}

/* The runs of an old page.  Merging: in a new list, with the old bytes where the new ones are, in
 * touched page `i`. */
static const struct cte__run *old_runs(struct put *put, const struct cte__span *old, size_t i,
                                       cte__page page, struct cte__run *whole, uint32_t *count)
{
    const struct cte__run *runs = whole;
    *count = old->state != CTE__PAGE_NONE;
    if (old->state == CTE__PAGE_PARTIAL) {
        const struct cte__runs *partial = cte__unit_at(put->store, old->runs);
        runs = partial->run;
        *count = partial->count;
    } else if (old->state != CTE__PAGE_NONE) {
        *whole = cte__run_make(0, CTE__PAGE_BYTES, old->state == CTE__PAGE_DIRTY, old->page,
                               old->checksums[0]);
    }
    if (!put->merging)
        return runs;
    struct cte__run_list *moved = cte__run_list_new(&put->run_lists, *count);
    for (uint32_t r = 0; moved && r < *count; r++) {
        moved->run[r] = runs[r];
        moved->run[r].page = page;
        moved->run[r].checksum = put->checksums[i];
    }
    return moved ? moved->run : NULL;
}

/* The runs that the put itself has in a bounced page. */
static struct cte__run_list *own_runs(struct put *put, size_t i, cte__page page)
{
    const struct touched *touched = &put->touched[i];
    const struct bounced *bounced = &put->bounced[touched->bounced];
    uint32_t start, end;
    struct cte__run_list *list = cte__run_list_new(
        &put->run_lists, (uint32_t)(bounced->last_piece - bounced->first_piece + 1));
    for (size_t p = bounced->first_piece; list && p <= bounced->last_piece; p++)
        if (piece_in_page(&put->pieces[p], touched->index, &start, &end))
            cte__run_list_append(list, cte__run_make(start, end, true, page, put->checksums[i]));
    return list;
}

/* Decides what a bounced page, now at `page`, becomes over what the locked blob has there. -EAGAIN:
 * its bytes would lie in too many pages, so they must be merged. */
static cte_status resolve(struct put *put, const struct cte__change *change, size_t i,
                          cte__page page, bool replace)
{
    struct bounced *bounced = &put->bounced[put->touched[i].bounced];
    struct cte__span old = find_page(&change->old, put->touched[i].index);
    cte__page pages[CTE__RUN_PAGES_MAX];
    struct cte__run whole;
    uint32_t below_count;
    bounced->run_list = NULL;
    bounced->state = CTE__PAGE_DIRTY;
    /* A blob has no bytes but its own: the rest of a new page is zeros, and valid. */
    if (put->key->type == CTE__ENTRY_BLOB && (replace || old.state == CTE__PAGE_NONE))
        return CTE_OK;
    if (replace)
        old.state = CTE__PAGE_NONE;
    const struct cte__run *below = old_runs(put, &old, i, page, &whole, &below_count);
    const struct cte__run_list *own = own_runs(put, i, page);
    if (!below || !own)
        return -ENOMEM;
    struct cte__run_list *list =
        cte__run_list_new(&put->run_lists, 2 * (below_count + own->count) + 1);
    if (!list)
        return -ENOMEM;
    cte__runs_overlay(below, below_count, own->run, own->count, list);
    cte__run_list_trim(&put->run_lists, list);
    bounced->state = cte__runs_page_state(list->run, list->count);
    if (bounced->state != CTE__PAGE_PARTIAL)
        return CTE_OK;
    bounced->run_list = list;
    return cte__runs_pages(list->run, list->count, pages) <= CTE__RUN_PAGES_MAX ? CTE_OK : -EAGAIN;
}

static cte_status resolve_bounced(struct put *put, const struct cte__change *change, bool replace)
{
    cte_status status = CTE_OK;
    size_t i = 0;
    for (uint32_t r = 0; r < put->run_count && put->bounced_count > 0; r++)
        for (uint32_t n = 0; n < put->runs[r].count && status == CTE_OK; n++, i++)
            if (put->touched[i].bounced != NOT_BOUNCED)
                status = resolve(put, change, i, put->runs[r].page + n, replace);
    return status;
}

/* ---- storing the bytes ---------------------------------------------------------------------- */

/* Writes `count` touched pages to consecutive target pages, and notes their checksums. */
static cte_status write_pages(struct put *put, size_t first, cte__page page, uint32_t count)
{
    int n = 0;
    uint32_t *checksums = &put->checksums[first];
    for (uint32_t i = 0; i < count; i++) {
        char *source = (char *)put->touched[first + i].source;
        if (n > 0 && (char *)put->iov[n - 1].iov_base + put->iov[n - 1].iov_len == source)
            put->iov[n - 1].iov_len += CTE__PAGE_BYTES;
        else
            put->iov[n++] = (struct iovec){source, CTE__PAGE_BYTES};
    }
    if (!put->store->checksum) {
        memset(checksums, 0, count * sizeof *checksums);
        return cte__pages_io(put->store, true, page, 0, put->iov, n, cte__pages_to_bytes(count));
    }
    cte_status status = cte__pages_io_summed(put->store, true, page, put->iov, n,
                                             cte__pages_to_bytes(count), checksums);
    for (uint32_t i = 0; i < count; i++)
        checksums[i] = cte__checksum_of_sum(checksums[i], put->touched[first + i].index);
    return status;
}

/* How many of `count` touched pages there are bounce buffers for. */
static uint32_t count_fillable(const struct touched *touched, uint32_t count)
{
    uint32_t n = 0;
    for (uint32_t bounced = 0; n < count; n++)
        if (touched[n].bounced != NOT_BOUNCED && ++bounced > BOUNCES)
            break;
    return n;
}

/* Fills and writes.  *failed_target is NO_TARGET if the bytes could not be had. */
static cte_status write_run(struct put *put, size_t first, const struct cte__page_run *run,
                            uint32_t *failed_target)
{
    cte_status status = CTE_OK;
    for (uint32_t done = 0, n; done < run->count && status == CTE_OK; done += n) {
        struct touched *touched = &put->touched[first + done];
        n = run->count - done;
        if (put->bounced_count > 0)
            n = count_fillable(touched, n);
        *failed_target = NO_TARGET;
        status = fill_bounces(put, touched, put->bounced_count > 0 ? n : 0);
        if (status != CTE_OK)
            break;
        *failed_target = cte__page_target(run->page);
        status = write_pages(put, first + done, run->page + done, n);
    }
    return status;
}

static cte_status write_runs(struct put *put, uint32_t *failed_target)
{
    cte_status status = CTE_OK;
    size_t first = 0;
    for (uint32_t r = 0; r < put->run_count && status == CTE_OK; r++) {
        status = write_run(put, first, &put->runs[r], failed_target);
        first += put->runs[r].count;
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
        if (failed_target == NO_TARGET)
            return status;
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

/* Keeps the old pages in [from, to), or drops them, but for those in which `kept` has runs. */
static cte_status pass_old(struct cte__change *change, size_t *o, uint64_t from, uint64_t to,
                           bool drop, const struct cte__run_list *kept)
{
    cte_status status = CTE_OK;
    while (*o < change->old.count && change->old.spans[*o].index < to && status == CTE_OK) {
        const struct cte__span *old = &change->old.spans[*o];
        uint64_t old_end = old->index + old->count;
        uint64_t start = cte__max(old->index, from), end = cte__min(old_end, to);
        if (start < end) {
            struct cte__span part =
                cte__span_part(old, (uint32_t)(start - old->index), (uint32_t)(end - start));
            status =
                drop ? cte__change_replace(change, &part, kept) : cte__change_keep(change, &part);
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
            status = pass_old(change, &o, at, span.index, replace, NULL);
            at = span.index + span.count;
            if (status == CTE_OK)
                status = pass_old(change, &o, span.index, at, true, span.run_list);
            if (status == CTE_OK)
                status = cte__change_add(change, &span);
            used += span.count;
            i += span.count;
        }
    }
    return status == CTE_OK ? pass_old(change, &o, at, UINT64_MAX, replace, NULL) : status;
}

static cte_status publish(struct put *put, struct cte__change *change, float score, bool replace)
{
    uint64_t end = cte__pieces_end(put->pieces, put->piece_count);
    cte_status status = resolve_bounced(put, change, replace);
    if (status == CTE_OK)
        status = assemble(put, change, replace);
    if (status == CTE_OK) {
        change->size_bytes = replace ? end : cte__max(change->size_bytes, end);
        change->score = score;
        status = cte__change_commit(change);
    }
    if (status == CTE_OK)
        put->run_count = 0; /* the blob has them now */
    return status;
}

/* Of the old blob, a put needs to know what it touches; one that replaces it, all. */
static cte_status begin(const struct put *put, struct cte__change *change, bool replace)
{
    if (replace || put->count == 0)
        return cte__change_begin(change, put->store, put->key);
    return cte__change_begin_range(change, put->store, put->key, put->touched[0].index,
                                   put->touched[put->count - 1].index + 1);
}

/* -EAGAIN: bounced pages must be merged, or the blob changed where they were. */
static cte_status put_unlocked(struct put *put, float score, bool replace)
{
    struct cte__snapshot snapshot;
    struct cte__change change;
    cte_status status = CTE_OK;
    cte__snapshot_init(&snapshot);
    put->before = &snapshot;
    if (put->merging)
        status = cte__blob_snapshot(put->store, put->key, &snapshot);
    if (status == CTE_OK && snapshot.small_bytes > 0)
        status = CTE__PUT_SMALL_IN_THE_WAY;
    if (status == CTE_OK)
        status = store_pages(put, score);
    if (status == CTE_ERR_CHECKSUM && !cte__blob_is_current(put->store, put->key, &snapshot))
        status = -EAGAIN; /* a page was reused while it was read */
    if (status == CTE_OK)
        status = begin(put, &change, replace);
    if (status == CTE_OK) {
        if (!cte__is_expected(put->expected, &change))
            status = -ESTALE;
        else if (change.old_small && !replace)
            status = CTE__PUT_SMALL_IN_THE_WAY;
        else if (!merge_is_current(put, &change, &snapshot))
            status = -EAGAIN;
        else
            status = publish(put, &change, score, replace);
        cte__change_end(&change);
    }
    cte__snapshot_free(&snapshot);
    return status;
}

/* The last resort under contention: everything with the blob's shard locked. */
static cte_status put_locked(struct put *put, float score, bool replace)
{
    struct cte__change change;
    struct cte__snapshot snapshot;
    cte_status status = begin(put, &change, replace);
    if (status != CTE_OK)
        return status;
    status = !cte__is_expected(put->expected, &change) ? -ESTALE
             : change.old_small && !replace
                 ? CTE__PUT_SMALL_IN_THE_WAY
                 : cte__snapshot_locked(put->store, change.entry, 0, UINT64_MAX, &snapshot);
    put->before = &snapshot;
    if (status == CTE_OK) {
        status = store_pages(put, score);
        if (status == CTE_OK)
            status = publish(put, &change, score, replace);
        cte__snapshot_free(&snapshot);
    }
    cte__change_end(&change);
    return status;
}

cte_status cte__put_pages(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__piece *pieces, size_t count, float score, bool replace,
                          const struct cte__snapshot *expected)
{
    cte_status status = -EAGAIN;
    for (int i = 0; i <= PUT_TRIES_UNLOCKED && status == -EAGAIN; i++) {
        struct put put = {.store = store, .key = key, .pieces = pieces, .piece_count = count};
        put.expected = expected;
        put.merging = i > 0 && !replace;
        status = plan(&put);
        if (status == CTE_OK && (put.count > 0 || replace))
            status = i == PUT_TRIES_UNLOCKED ? put_locked(&put, score, replace)
                                             : put_unlocked(&put, score, replace);
        put_free(&put);
    }
    return status;
}
