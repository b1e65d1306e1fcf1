/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading pieces as of a snapshot.
 *
 * What is read in part goes through bounce buffers, since a page is verified as a whole.  All that
 * is to be read is noted first, up to a bound, and then read by as few transfers as there are rows
 * of pages in the targets: pages that one put stored lie in a row, also those that it filled only
 * in part. */
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "blob/cache.h"
#include "blob/change.h"

enum {
    READS_MAX = 64,
    PARTS_MAX = 256,
    BOUNCES = 64,    /* pages */
    BOUNCES_FEW = 2, /* that need no memory of their own */
    ROW_PAGES_MAX = 1024,
};

/* Target pages in a row that are to be read. */
struct page_read {
    cte__page page;
    uint64_t index; /* number of the first one in the blob */
    const uint32_t *checksums;
    char *into;
    uint32_t count; /* 1 if `into` is a bounce buffer */
};

/* Bytes of a bounce buffer that are wanted. */
struct part {
    const char *from;
    char *to;
    size_t length;
};

struct reading {
    struct cte__store *store;
    const struct cte__snapshot *snapshot;
    struct cte__piece_list *missing;
    uint32_t read_count, part_count, bounced;
    char *bounces; /* of BOUNCES pages; NULL: none yet */
    struct page_read reads[READS_MAX];
    struct part parts[PARTS_MAX];
    _Alignas(64) char few[BOUNCES_FEW * CTE__PAGE_BYTES];
};

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

/* ---- what was noted ------------------------------------------------------------------------- */

/* By place in the targets.  They mostly are in that order, or nearly. */
static void sort_reads(struct reading *reading)
{
    struct page_read *reads = reading->reads;
    for (uint32_t i = 1; i < reading->read_count; i++) {
        struct page_read read = reads[i];
        uint32_t at = i;
        for (; at > 0 && reads[at - 1].page > read.page; at--)
            reads[at] = reads[at - 1];
        reads[at] = read;
    }
}

/* How many of the reads from the first on go on in the targets where the one before ends. */
static uint32_t count_row(const struct reading *reading, const struct page_read *reads,
                          uint32_t count)
{
    uint32_t n = 1, pages = reads[0].count;
    while (n < count && reads[n].page == reads[n - 1].page + reads[n - 1].count &&
           cte__same_arena(reading->store, reads[0].page, reads[n].page) &&
           pages + reads[n].count <= ROW_PAGES_MAX)
        pages += reads[n++].count;
    return n;
}

static cte_status verify_row(const struct page_read *reads, uint32_t count, const uint32_t *sums)
{
    uint32_t differs = 0;
    for (uint32_t n = 0; n < count; n++)
        for (uint32_t i = 0; i < reads[n].count; i++)
            differs |= cte__checksum_of_sum(*sums++, reads[n].index + i) ^ reads[n].checksums[i];
    return differs == 0 ? CTE_OK : CTE_ERR_CHECKSUM;
}

/* By one transfer. */
static cte_status read_row(struct cte__store *store, const struct page_read *reads, uint32_t count)
{
    struct iovec iov[READS_MAX];
    uint32_t sums[ROW_PAGES_MAX];
    uint64_t bytes = 0;
    int n = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t length = cte__pages_to_bytes(reads[i].count);
        if (n > 0 && (char *)iov[n - 1].iov_base + iov[n - 1].iov_len == reads[i].into)
            iov[n - 1].iov_len += length;
        else
            iov[n++] = (struct iovec){reads[i].into, length};
        bytes += length;
    }
    if (!store->checksum)
        return cte__pages_io(store, false, reads[0].page, 0, iov, n, bytes);
    cte_status status = cte__pages_io_summed(store, false, reads[0].page, iov, n, bytes, sums);
    return status == CTE_OK ? verify_row(reads, count, sums) : status;
}

/* Reads what was noted, and forgets it. */
static cte_status read_noted(struct reading *reading)
{
    cte_status status = CTE_OK;
    sort_reads(reading);
    for (uint32_t i = 0, n; i < reading->read_count && status == CTE_OK; i += n) {
        n = count_row(reading, &reading->reads[i], reading->read_count - i);
        status = read_row(reading->store, &reading->reads[i], n);
    }
    for (uint32_t i = 0; i < reading->part_count && status == CTE_OK; i++) {
        const struct part *part = &reading->parts[i];
        memcpy(part->to, part->from, part->length);
    }
    reading->read_count = reading->part_count = reading->bounced = 0;
    return status;
}

static void reading_free(struct reading *reading)
{
    free(reading->bounces);
}

/* ---- noting --------------------------------------------------------------------------------- */

/* The bounce buffer of a page that is to be read already; NULL: there is none. */
static char *find_bounce(const struct reading *reading, cte__page page, uint64_t index)
{
    for (uint32_t i = reading->read_count; i > 0 && reading->reads[i - 1].index == index; i--)
        if (reading->reads[i - 1].page == page)
            return reading->reads[i - 1].into;
    return NULL;
}

/* NULL: all are in use. */
static char *take_bounce(struct reading *reading)
{
    if (reading->bounced < BOUNCES_FEW)
        return reading->few + cte__pages_to_bytes(reading->bounced++);
    if (!reading->bounces && posix_memalign((void **)&reading->bounces, CTE__CACHE_LINE,
                                            cte__pages_to_bytes(BOUNCES)) != 0)
        reading->bounces = NULL;
    if (!reading->bounces || reading->bounced == BOUNCES_FEW + BOUNCES)
        return NULL;
    return reading->bounces + cte__pages_to_bytes(reading->bounced++ - BOUNCES_FEW);
}

/* Bytes [start, end) of a page.  The checksum must stay where it is. */
static cte_status note_part(struct reading *reading, cte__page page, uint64_t index,
                            const uint32_t *checksum, uint32_t start, uint32_t end, char *base)
{
    cte_status status = CTE_OK;
    if (reading->part_count == PARTS_MAX)
        status = read_noted(reading);
    if (status != CTE_OK)
        return status;
    char *bounce = find_bounce(reading, page, index);
    if (!bounce) {
        bounce = reading->read_count < READS_MAX ? take_bounce(reading) : NULL;
        if (!bounce) {
            status = read_noted(reading);
            bounce = take_bounce(reading);
        }
        if (status != CTE_OK)
            return status;
        reading->reads[reading->read_count++] =
            (struct page_read){page, index, checksum, bounce, 1};
    }
    reading->parts[reading->part_count++] = (struct part){bounce + start, base, end - start};
    return CTE_OK;
}

/* `count` whole pages of a span, from its page `i` on. */
static cte_status note_whole(struct reading *reading, const struct cte__span *span, uint32_t i,
                             uint32_t count, char *base)
{
    cte_status status = CTE_OK;
    if (reading->read_count == READS_MAX)
        status = read_noted(reading);
    if (status == CTE_OK)
        reading->reads[reading->read_count++] =
            (struct page_read){span->page + i, span->index + i, span->checksums + i, base, count};
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
static cte_status note_runs(struct reading *reading, const struct cte__span *span, uint32_t start,
                            uint32_t end, char *base)
{
    uint64_t page_offset = cte__pages_to_bytes(span->index);
    uint32_t at = start;
    cte_status status = CTE_OK;
    for (uint32_t r = 0; r < span->run_list->count && at < end && status == CTE_OK; r++) {
        const struct cte__run *run = &span->run_list->run[r];
        uint32_t from = (uint32_t)cte__max(run->start, at);
        uint32_t to = (uint32_t)cte__min(cte__run_end(*run), end);
        if (from >= to)
            continue;
        status = miss(reading->missing, page_offset + at, from - at, base + (at - start));
        if (status == CTE_OK)
            status = note_part(reading, run->page, span->index, &run->checksum, from, to,
                               base + (from - start));
        at = to;
    }
    return status == CTE_OK
               ? miss(reading->missing, page_offset + at, end - at, base + (at - start))
               : status;
}

/* ---- by way of the cache -------------------------------------------------------------------- */

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

/* Bytes [start, end) of page `i` of a span. */
static cte_status read_part_cached(struct cte__store *store, const struct cte__span *span,
                                   struct cte__cache_use *cache, uint32_t i, uint32_t start,
                                   uint32_t end, char *base)
{
    _Alignas(64) char bounce[CTE__PAGE_BYTES];
    cte_status status = CTE_OK;
    if (!find_cached(store, cache, span, i, bounce)) {
        status = cte__page_read(store, span->page + i, span->index + i, span->checksums[i], bounce);
        if (status == CTE_OK)
            cte__cache_keep(cache, span->index + i, bounce);
    }
    if (status == CTE_OK)
        memcpy(base, bounce + start, end - start);
    return status;
}

/* `count` whole pages of a span, from its page `i` on, which are kept. */
static cte_status read_and_keep(struct cte__store *store, const struct cte__span *span,
                                struct cte__cache_use *cache, uint32_t i, uint32_t count,
                                char *base)
{
    struct page_read read = {span->page + i, span->index + i, span->checksums + i, base, count};
    cte_status status = count > 0 ? read_row(store, &read, 1) : CTE_OK;
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

/* ---- pieces --------------------------------------------------------------------------------- */

/* Bytes [start, end) of page `i` of a span. */
static cte_status read_part(struct reading *reading, const struct cte__span *span, uint32_t i,
                            uint32_t start, uint32_t end, char *base)
{
    struct cte__cache_use *cache = cache_for(reading->store, reading->snapshot, span);
    if (cache)
        return read_part_cached(reading->store, span, cache, i, start, end, base);
    return note_part(reading, span->page + i, span->index + i, &span->checksums[i], start, end,
                     base);
}

/* Reads, or notes, [at, *stop) of a piece in a span that covers `at`; *stop is set to where it
 * got. */
static cte_status read_span(struct reading *reading, const struct cte__span *span, uint64_t at,
                            uint64_t end, char *base, uint64_t *stop)
{
    struct cte__cache_use *cache;
    uint32_t i = (uint32_t)((at >> CTE__PAGE_SHIFT) - span->index);
    uint64_t page_start = cte__align_down(at, CTE__PAGE_BYTES);
    *stop = cte__min(page_start + CTE__PAGE_BYTES, end);
    uint32_t start = (uint32_t)(at - page_start), length = (uint32_t)(*stop - at);
    if (span->state == CTE__PAGE_PARTIAL)
        return note_runs(reading, span, start, start + length, base);
    if (length < CTE__PAGE_BYTES)
        return read_part(reading, span, i, start, start + length, base);
    uint32_t count =
        (uint32_t)cte__min((end - at) >> CTE__PAGE_SHIFT, cte__min(span->count - i, ROW_PAGES_MAX));
    *stop = at + cte__pages_to_bytes(count);
    cache = cache_for(reading->store, reading->snapshot, span);
    return cache ? read_cached(reading->store, span, cache, i, count, base)
                 : note_whole(reading, span, i, count, base);
}

static cte_status read_piece(struct reading *reading, const struct cte__piece *piece, size_t *hint)
{
    const struct cte__span_list *list = &reading->snapshot->list;
    uint64_t at = piece->offset, end = piece->offset + piece->length;
    size_t i = cte__span_find_from(list, at >> CTE__PAGE_SHIFT, *hint);
    cte_status status = CTE_OK;
    *hint = i;
    while (at < end && status == CTE_OK) {
        char *base = piece->base + (at - piece->offset);
        const struct cte__span *span = i < list->count ? &list->spans[i] : NULL;
        uint64_t start = span ? cte__pages_to_bytes(span->index) : UINT64_MAX, stop;
        if (start > at) {
            stop = cte__min(start, end);
            status = miss(reading->missing, at, stop - at, base);
        } else {
            status = read_span(reading, span, at, end, base, &stop);
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
    struct reading reading;
    cte_status status = CTE_OK;
    size_t hint = 0;
    if (snapshot->small_bytes > 0)
        return read_small(store, snapshot, pieces, count, missing);
    reading.store = store;
    reading.snapshot = snapshot;
    reading.missing = missing;
    reading.read_count = reading.part_count = reading.bounced = 0;
    reading.bounces = NULL;
    for (size_t i = 0; i < count && status == CTE_OK; i++)
        status = read_piece(&reading, &pieces[i], &hint);
    if (status == CTE_OK)
        status = read_noted(&reading);
    reading_free(&reading);
    return status;
}
