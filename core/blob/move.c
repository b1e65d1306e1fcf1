/* SPDX-License-Identifier: BSD-3-Clause */
/* Moving: the pages are copied outside all locks, then published in their new place by one store,
 * as a put does.  If the blob changed meanwhile the copy is thrown away and made again; the last
 * try runs with the blob's shard locked. */
#include "blob/move.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/log.h"
#include "blob/change.h"
#include "store/journal.h"

enum {
    MOVE_TRIES_UNLOCKED = 4,
    COPY_PAGES_MAX = 256,  /* copied at once */
    PLACEMENT_STATES = 32, /* answers of the engine that are asked for */
};

/* Consecutive pages of one span that move; one page of a PARTIAL span. */
struct source {
    size_t span;    /* of the snapshot */
    uint32_t count; /* pages, from its first on; as many fresh ones take their place */
};

struct moving {
    struct cte__store *store;
    const struct cte__blob_key *key;
    const struct cte__move *request;
    struct cte__snapshot snapshot;
    struct source *sources;
    size_t source_count;
    uint64_t page_count; /* of all sources */
    struct cte__page_run *runs;
    uint32_t run_count;
    uint32_t *checksums; /* of the fresh pages */
    char *buffer;
    struct cte__run_lists run_lists;
};

static void give_back_pages(struct moving *moving)
{
    for (uint32_t r = 0; r < moving->run_count; r++)
        cte__pages_free(moving->store, moving->runs[r].page, moving->runs[r].count);
    moving->run_count = 0;
}

static void moving_free(struct moving *moving)
{
    give_back_pages(moving);
    cte__snapshot_free(&moving->snapshot);
    free(moving->sources);
    free(moving->runs);
    free(moving->checksums);
    free(moving->buffer);
    cte__run_lists_free(&moving->run_lists);
}

/* ---- where the pages lie, and where they should ------------------------------------------------
 */

/* The pages of a span by target: of a PARTIAL one those that its runs lie in. */
static void count_span(const struct cte__store *store, const struct cte__span *span,
                       uint64_t pages[CTE__TARGETS_MAX])
{
    if (span->state != CTE__PAGE_PARTIAL) {
        pages[cte__page_target(span->page)] += span->count;
        return;
    }
    const struct cte__runs *runs = span->run_list ? NULL : cte__unit_at(store, span->runs);
    const struct cte__run *run = runs ? runs->run : span->run_list->run;
    cte__page different[CTE__RUN_PAGES_MAX];
    uint32_t count = cte__runs_pages(run, runs ? runs->count : span->run_list->count, different);
    for (uint32_t i = 0; i < count && i < CTE__RUN_PAGES_MAX; i++)
        pages[cte__page_target(different[i])]++;
}

static void count_pages(const struct cte__store *store, const struct cte__span_list *list,
                        uint64_t pages[CTE__TARGETS_MAX])
{
    memset(pages, 0, CTE__TARGETS_MAX * sizeof *pages);
    for (size_t i = 0; i < list->count; i++)
        count_span(store, &list->spans[i], pages);
}

/* How many pages of each target are too many for one answer of the engine; their sum. */
static uint64_t surplus(const uint64_t have[CTE__TARGETS_MAX],
                        const struct cte_placement_extent *extents, size_t extent_count,
                        uint64_t quota[CTE__TARGETS_MAX], uint32_t *skip)
{
    uint64_t want[CTE__TARGETS_MAX] = {0}, sum = 0;
    *skip = 0;
    for (size_t i = 0; i < extent_count; i++)
        want[extents[i].target] += cte__bytes_to_pages(extents[i].bytes);
    for (uint32_t t = 0; t < CTE__TARGETS_MAX; t++) {
        quota[t] = have[t] > want[t] ? have[t] - want[t] : 0;
        sum += quota[t];
        if (want[t] <= have[t])
            *skip |= 1u << t;
    }
    return sum;
}

/* What would have to move for the blob to lie where the engine puts it.  An engine that rotates or
 * draws has several answers: the one nearest to what is there is taken, so that a blob that lies
 * well stays. */
static void plan_by_engine(const struct moving *moving, float score,
                           const uint64_t have[CTE__TARGETS_MAX], uint64_t quota[CTE__TARGETS_MAX],
                           uint32_t *skip)
{
    struct cte__store *store = moving->store;
    struct cte_placement_target targets[CTE__TARGETS_MAX];
    struct cte_placement_extent extents[CTE__TARGETS_MAX];
    uint32_t count = cte__placement_targets(store, 0, targets);
    uint64_t total = 0, best = UINT64_MAX,
             states = store->placement->stateful ? PLACEMENT_STATES : 1;
    memset(quota, 0, CTE__TARGETS_MAX * sizeof *quota);
    for (uint32_t t = 0; t < count; t++) {
        total += have[t];
        targets[t].free_bytes += cte__pages_to_bytes(have[t]); /* room for itself where it lies */
    }
    for (uint64_t state = 0; state < states && total > 0 && best > 0; state++) {
        struct cte_placement_request request = {cte__pages_to_bytes(total), score, state};
        uint64_t answer[CTE__TARGETS_MAX];
        uint32_t answer_skip;
        size_t n = cte__placement_place(store->placement, targets, count, &request, extents);
        uint64_t sum = n > 0 ? surplus(have, extents, n, answer, &answer_skip) : UINT64_MAX;
        if (sum >= best)
            continue;
        best = sum;
        *skip = answer_skip;
        memcpy(quota, answer, sizeof answer);
    }
}

/* True if each target that gets pages scores higher than each that loses some, and no higher than
 * the blob deserves. */
static bool goes_up(const struct cte__store *store, const uint64_t quota[CTE__TARGETS_MAX],
                    uint32_t skip, float score)
{
    float highest_source = 0, lowest_destination = 2, highest_destination = 0;
    for (uint32_t t = 0; t < store->header->target_count; t++) {
        float target_score = store->header->targets[t].score;
        if (quota[t] > 0 && target_score > highest_source)
            highest_source = target_score;
        if (skip & 1u << t)
            continue;
        if (target_score < lowest_destination)
            lowest_destination = target_score;
        if (target_score > highest_destination)
            highest_destination = target_score;
    }
    return lowest_destination > highest_source && highest_destination <= score;
}

static uint64_t sum_of(const uint64_t pages[CTE__TARGETS_MAX])
{
    uint64_t sum = 0;
    for (uint32_t t = 0; t < CTE__TARGETS_MAX; t++)
        sum += pages[t];
    return sum;
}

/* How many pages must leave each target, and which targets may not take them. */
static void plan_quota(const struct moving *moving, float score, uint64_t quota[CTE__TARGETS_MAX],
                       uint32_t *skip)
{
    const struct cte__move *request = moving->request;
    uint64_t have[CTE__TARGETS_MAX];
    count_pages(moving->store, &moving->snapshot.list, have);
    *skip = request->avoid;
    for (uint32_t t = 0; t < CTE__TARGETS_MAX; t++)
        quota[t] = request->avoid & 1u << t ? have[t] : 0;
    if (request->avoid == 0)
        plan_by_engine(moving, score, have, quota, skip);
    if ((request->only_up && !goes_up(moving->store, quota, *skip, score)) ||
        (request->pages_max > 0 && sum_of(quota) > request->pages_max))
        memset(quota, 0, CTE__TARGETS_MAX * sizeof *quota);
}

/* The pages of a span that move: as long as there are too many on its target, from its start. */
static uint32_t pages_to_move(const struct cte__store *store, const struct cte__span *span,
                              uint64_t quota[CTE__TARGETS_MAX])
{
    uint64_t pages[CTE__TARGETS_MAX] = {0};
    bool moves = false;
    count_span(store, span, pages);
    if (span->state != CTE__PAGE_PARTIAL) {
        uint64_t *left = &quota[cte__page_target(span->page)];
        uint32_t count = (uint32_t)cte__min(span->count, *left);
        *left -= count;
        return count;
    }
    for (uint32_t t = 0; t < CTE__TARGETS_MAX; t++)
        moves = moves || (pages[t] > 0 && quota[t] > 0);
    for (uint32_t t = 0; t < CTE__TARGETS_MAX && moves; t++)
        quota[t] -= cte__min(quota[t], pages[t]);
    return moves;
}

static cte_status plan(struct moving *moving, float score, uint32_t *skip)
{
    const struct cte__span_list *list = &moving->snapshot.list;
    uint64_t quota[CTE__TARGETS_MAX];
    plan_quota(moving, score, quota, skip);
    moving->sources = malloc((list->count + 1) * sizeof *moving->sources);
    if (!moving->sources)
        return -ENOMEM;
    for (size_t i = 0; i < list->count; i++) {
        uint32_t count = pages_to_move(moving->store, &list->spans[i], quota);
        if (count == 0)
            continue;
        moving->sources[moving->source_count++] = (struct source){i, count};
        moving->page_count += count;
    }
    return CTE_OK;
}

/* ---- copying -------------------------------------------------------------------------------- */

/* Reads `count` pages of a source, from its page `first` on, into the buffer. */
static cte_status read_source(struct moving *moving, const struct source *source, uint32_t first,
                              uint32_t count, uint32_t *checksums)
{
    const struct cte__span *span = &moving->snapshot.list.spans[source->span];
    if (span->state == CTE__PAGE_PARTIAL) {
        memset(moving->buffer, 0, CTE__PAGE_BYTES);
        cte_status status = cte__partial_read(moving->store, span, moving->buffer);
        if (status == CTE_OK && moving->store->checksum)
            checksums[0] = cte__page_checksum(moving->buffer, span->index);
        return status;
    }
    struct iovec iov = {moving->buffer, cte__pages_to_bytes(count)};
    cte_status status =
        cte__pages_io(moving->store, false, span->page + first, 0, &iov, 1, iov.iov_len);
    for (uint32_t n = 0; n < count && status == CTE_OK; n++) {
        checksums[n] = span->checksums[first + n];
        if (moving->store->checksum && cte__page_checksum(moving->buffer + cte__pages_to_bytes(n),
                                                          span->index + first + n) != checksums[n])
            status = CTE_ERR_CHECKSUM;
    }
    return status;
}

/* Goes through the fresh pages in order. */
struct cursor {
    uint32_t run;  /* of moving.runs */
    uint32_t used; /* pages of it */
    uint64_t at;   /* pages of all */
};

/* The next fresh pages in a row, `limit` at most. */
static struct cte__page_run take_fresh(const struct moving *moving, struct cursor *cursor,
                                       uint32_t limit)
{
    assert(cursor->run < moving->run_count);
    const struct cte__page_run *run = &moving->runs[cursor->run];
    struct cte__page_run fresh = {run->page + cursor->used,
                                  (uint32_t)cte__min(limit, run->count - cursor->used)};
    cursor->at += fresh.count;
    cursor->used += fresh.count;
    if (cursor->used == run->count) {
        cursor->run++;
        cursor->used = 0;
    }
    return fresh;
}

static cte_status copy_source(struct moving *moving, const struct source *source,
                              struct cursor *cursor)
{
    cte_status status = CTE_OK;
    for (uint32_t first = 0; first < source->count && status == CTE_OK;) {
        uint32_t *checksums = moving->checksums + cursor->at;
        struct cte__page_run fresh =
            take_fresh(moving, cursor, (uint32_t)cte__min(source->count - first, COPY_PAGES_MAX));
        struct iovec iov = {moving->buffer, cte__pages_to_bytes(fresh.count)};
        status = read_source(moving, source, first, fresh.count, checksums);
        if (status == CTE_OK)
            status = cte__pages_io(moving->store, true, fresh.page, 0, &iov, 1, iov.iov_len);
        first += fresh.count;
    }
    return status;
}

/* Claims fresh pages and fills them. */
static cte_status copy(struct moving *moving, float score, uint32_t skip)
{
    if (moving->page_count > UINT32_MAX)
        return -EFBIG;
    uint32_t count = (uint32_t)moving->page_count;
    moving->runs = malloc(count * sizeof *moving->runs);
    moving->checksums = calloc(count, sizeof *moving->checksums);
    if (!moving->runs || !moving->checksums ||
        posix_memalign((void **)&moving->buffer, CTE__PAGE_BYTES,
                       cte__pages_to_bytes(cte__min(count, COPY_PAGES_MAX))) != 0)
        return -ENOMEM;
    cte_status status = cte__pages_claim(moving->store, count, score, skip, moving->runs, count,
                                         &moving->run_count);
    struct cursor cursor = {0};
    for (size_t i = 0; i < moving->source_count && status == CTE_OK; i++)
        status = copy_source(moving, &moving->sources[i], &cursor);
    return status;
}

/* ---- publishing ----------------------------------------------------------------------------- */

/* A PARTIAL page whose bytes now all lie in one fresh page. */
static cte_status add_partial(struct moving *moving, struct cte__change *change,
                              const struct cte__span *old, struct cursor *cursor)
{
    struct cte__run_list *list = cte__run_list_new(&moving->run_lists, old->run_list->count);
    const uint32_t *checksum = moving->checksums + cursor->at;
    struct cte__page_run fresh = take_fresh(moving, cursor, 1);
    if (!list)
        return -ENOMEM;
    for (uint32_t r = 0; r < old->run_list->count; r++) {
        struct cte__run run = old->run_list->run[r];
        cte__run_list_append(list, cte__run_make(run.start, cte__run_end(run), cte__run_dirty(run),
                                                 fresh.page, *checksum));
    }
    struct cte__span span = {.index = old->index,
                             .page = fresh.page,
                             .count = 1,
                             .state = CTE__PAGE_PARTIAL,
                             .checksums = checksum,
                             .fresh = true,
                             .run_list = list};
    return cte__change_add(change, &span);
}

static cte_status add_whole(struct moving *moving, struct cte__change *change,
                            const struct cte__span *old, struct cursor *cursor)
{
    cte_status status = CTE_OK;
    for (uint32_t first = 0; first < old->count && status == CTE_OK;) {
        const uint32_t *checksums = moving->checksums + cursor->at;
        struct cte__page_run fresh = take_fresh(moving, cursor, old->count - first);
        struct cte__span span = {.index = old->index + first,
                                 .page = fresh.page,
                                 .count = fresh.count,
                                 .state = old->state,
                                 .checksums = checksums,
                                 .fresh = true};
        status = cte__change_add(change, &span);
        first += fresh.count;
    }
    return status;
}

/* What becomes of a span of which pages move, the first `count` ones. */
static cte_status replace_span(struct moving *moving, struct cte__change *change, size_t index,
                               uint32_t count, struct cursor *cursor)
{
    const struct cte__span *old = &change->old.spans[index];
    if (old->state == CTE__PAGE_PARTIAL) {
        cte_status status = cte__change_drop(change, old);
        return status == CTE_OK
                   ? add_partial(moving, change, &moving->snapshot.list.spans[index], cursor)
                   : status;
    }
    struct cte__span leaving = cte__span_part(old, 0, count);
    cte_status status = cte__change_drop(change, &leaving);
    if (status == CTE_OK)
        status = add_whole(moving, change, &leaving, cursor);
    if (status != CTE_OK || count == old->count)
        return status;
    struct cte__span staying = cte__span_part(old, count, old->count - count);
    return cte__change_keep(change, &staying);
}

/* The new state: the locked blob is what the snapshot saw, with the sources in their new place. */
static cte_status assemble(struct moving *moving, struct cte__change *change)
{
    const struct source *source = moving->sources, *end = source + moving->source_count;
    struct cursor cursor = {0};
    cte_status status = CTE_OK;
    for (size_t i = 0; i < change->old.count && status == CTE_OK; i++) {
        if (source < end && source->span == i) {
            status = replace_span(moving, change, i, source->count, &cursor);
            source++;
        } else {
            status = cte__change_keep(change, &change->old.spans[i]);
        }
    }
    return status;
}

static void fill_result(const struct moving *moving, const struct cte__change *change,
                        struct cte__move_result *result)
{
    if (!result)
        return;
    count_pages(moving->store, change->committed ? &change->new : &change->old, result->pages);
    result->pages_moved = moving->page_count;
    result->size_bytes = change->size_bytes;
    result->score = change->score;
}

/* The blob is locked and as the snapshot saw it. */
static cte_status publish(struct moving *moving, struct cte__change *change,
                          struct cte__move_result *result)
{
    struct cte__entry *entry = cte__entry_at(moving->store, change->entry);
    if (moving->request->score >= 0)
        change->score = moving->request->score;
    if (moving->page_count == 0) {
        entry->score = change->score;
        cte__journal_score(change->store, change->shard, change->hash, change->entry);
        fill_result(moving, change, result);
        return CTE_OK;
    }
    cte_status status = assemble(moving, change);
    if (status != CTE_OK)
        return status;
    change->modified_ns = entry->modified_ns; /* its bytes did not change */
    status = cte__change_commit(change);
    if (status != CTE_OK)
        return status;
    moving->run_count = 0; /* the blob has them now */
    fill_result(moving, change, result);
    return CTE_OK;
}

/* Finds out what has to move and copies it. */
static cte_status prepare(struct moving *moving)
{
    uint32_t skip;
    float score = moving->request->score >= 0 ? moving->request->score : moving->snapshot.score;
    if (moving->snapshot.entry == 0)
        return CTE_ERR_NOT_FOUND;
    cte_status status = plan(moving, score, &skip);
    if (status == CTE_OK && moving->page_count > 0)
        status = copy(moving, score, skip);
    return status;
}

/* -EAGAIN: the blob changed meanwhile. */
static cte_status move_unlocked(struct moving *moving, struct cte__move_result *result)
{
    struct cte__change change;
    cte_status status = cte__blob_snapshot(moving->store, moving->key, &moving->snapshot);
    if (status == CTE_OK)
        status = prepare(moving);
    if (status == CTE_ERR_CHECKSUM &&
        !cte__blob_is_current(moving->store, moving->key, &moving->snapshot))
        status = -EAGAIN; /* a page was reused while it was read */
    if (status == CTE_OK)
        status = cte__change_begin(&change, moving->store, moving->key);
    if (status != CTE_OK)
        return status;
    status = change.entry == moving->snapshot.entry && change.version == moving->snapshot.version
                 ? publish(moving, &change, result)
                 : -EAGAIN;
    cte__change_end(&change);
    return status;
}

static cte_status move_locked(struct moving *moving, struct cte__move_result *result)
{
    struct cte__change change;
    cte_status status = cte__change_begin(&change, moving->store, moving->key);
    if (status != CTE_OK)
        return status;
    status = cte__snapshot_locked(moving->store, change.entry, 0, UINT64_MAX, &moving->snapshot);
    if (status == CTE_OK)
        status = prepare(moving);
    if (status == CTE_OK)
        status = publish(moving, &change, result);
    cte__change_end(&change);
    return status;
}

cte_status cte__blob_move(struct cte__store *store, const struct cte__blob_key *key,
                          const struct cte__move *move, struct cte__move_result *result)
{
    cte_status status = -EAGAIN;
    cte__store_sweep_if_wanted(store);
    for (int i = 0; i <= MOVE_TRIES_UNLOCKED && status == -EAGAIN; i++) {
        struct moving moving = {.store = store, .key = key, .request = move};
        cte__snapshot_init(&moving.snapshot);
        status = i == MOVE_TRIES_UNLOCKED ? move_locked(&moving, result)
                                          : move_unlocked(&moving, result);
        moving_free(&moving);
    }
    return status;
}
