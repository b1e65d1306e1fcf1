/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/prefetch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "file/retain.h"
#include "file/tracked.h"
#include "task/task.h"

enum {
    RANGES_MAX = 8,
    SEQUENTIAL_MIN =
        2,           /* reads that go on where the last one ended, before anything is read ahead */
    STRIDES_MIN = 3, /* equal distances, likewise */
    PART_BYTES_MIN = 256 << 10, /* of a chunk, unless it ends there */
};

enum range_state { RANGE_FREE, RANGE_QUEUED, RANGE_RUNNING };

/* A part of a chunk that is read ahead. */
struct range {
    enum range_state state;
    uint32_t serial; /* of its use: a task of an earlier one finds another */
    uint64_t chunk, offset, length;
};

struct cte__prefetch {
    struct cte__store *store;
    cte__unit tag;
    int fd;
    _Atomic(float) score;
    uint64_t chunk_bytes;
    bool strided;
    uint32_t generation; /* of forks: a child has none of the tasks, and reads nothing ahead */
    _Atomic uint32_t references; /* the handle, and each task */
    pthread_mutex_t lock;        /* what follows; before pool.lock */
    pthread_cond_t done;
    bool closing;
    bool useless; /* what was to be read ahead was there already, and nothing was missed since */
    uint64_t start, end, stride; /* of the last read, and from the one before */
    uint64_t streak_bytes;
    uint32_t sequential, strides; /* reads that kept to the pattern */
    uint64_t ahead;               /* everything of the pattern below it is taken care of */
    struct range ranges[RANGES_MAX];
};

struct cte__prefetch *cte__prefetch_new(const cte_file *file)
{
    const cte_config *config = file->client->config;
    struct cte__prefetch *prefetch = config->prefetch != CTE__PREFETCH_NONE && file->readable
                                         ? calloc(1, sizeof *prefetch)
                                         : NULL;
    if (!prefetch)
        return NULL;
    prefetch->store = file->client->store;
    prefetch->tag = file->tag;
    prefetch->fd = file->fd;
    prefetch->score = file->score;
    prefetch->chunk_bytes = file->chunk_bytes;
    prefetch->strided = config->prefetch == CTE__PREFETCH_STRIDED;
    prefetch->generation = cte__task_generation();
    prefetch->references = 1;
    prefetch->end = UINT64_MAX; /* nothing was read yet */
    pthread_mutex_init(&prefetch->lock, NULL);
    pthread_cond_init(&prefetch->done, NULL);
    return prefetch;
}

void cte__prefetch_set_score(struct cte__prefetch *prefetch, float score)
{
    if (prefetch)
        prefetch->score = score;
}

static bool is_of_parent(const struct cte__prefetch *prefetch)
{
    return prefetch->generation != cte__task_generation();
}

static void release(struct cte__prefetch *prefetch)
{
    if (atomic_fetch_sub(&prefetch->references, 1) > 1)
        return;
    pthread_mutex_destroy(&prefetch->lock);
    pthread_cond_destroy(&prefetch->done);
    free(prefetch);
}

void cte__prefetch_free(struct cte__prefetch *prefetch)
{
    if (!prefetch)
        return;
    if (is_of_parent(prefetch)) {
        free(prefetch); /* its lock may be held by a thread that is not in this process */
        return;
    }
    pthread_mutex_lock(&prefetch->lock);
    prefetch->closing = true;
    for (uint32_t i = 0; i < RANGES_MAX; i++)
        while (prefetch->ranges[i].state == RANGE_RUNNING)
            pthread_cond_wait(&prefetch->done, &prefetch->lock);
    pthread_mutex_unlock(&prefetch->lock);
    release(prefetch);
}

bool cte__prefetch_wait(struct cte__prefetch *prefetch, uint64_t chunk)
{
    bool waited = false;
    if (!prefetch || is_of_parent(prefetch))
        return false;
    pthread_mutex_lock(&prefetch->lock);
    prefetch->useless = false; /* something is missed */
    for (uint32_t i = 0; i < RANGES_MAX; i++) {
        struct range *range = &prefetch->ranges[i];
        if (range->chunk != chunk)
            continue;
        if (range->state == RANGE_QUEUED)
            range->state = RANGE_FREE;
        for (uint32_t serial = range->serial;
             range->state == RANGE_RUNNING && range->serial == serial; waited = true)
            pthread_cond_wait(&prefetch->done, &prefetch->lock);
    }
    pthread_mutex_unlock(&prefetch->lock);
    return waited;
}

/* ---- the worker ------------------------------------------------------------------------------ */

struct order {
    struct cte__prefetch *prefetch;
    uint32_t number, serial;
};

/* The parts of a range in whose pages the chunk has nothing. */
static cte_status find_gaps(const struct cte__prefetch *prefetch, const struct range *range,
                            char *buffer, struct cte__piece_list *gaps)
{
    struct cte__blob_key key = cte__chunk_key(prefetch->tag, &range->chunk);
    struct cte__snapshot snapshot;
    uint64_t at = range->offset, end = range->offset + range->length;
    cte_status status = cte__blob_snapshot(prefetch->store, &key, &snapshot);
    if (status != CTE_OK)
        return status;
    size_t i = cte__span_find(&snapshot.list, at >> CTE__PAGE_SHIFT);
    for (; at < end && status == CTE_OK; i++) {
        const struct cte__span *span = i < snapshot.list.count ? &snapshot.list.spans[i] : NULL;
        uint64_t stop = span ? cte__min(cte__pages_to_bytes(span->index), end) : end;
        if (stop > at)
            status = cte__piece_list_add(gaps, at, stop - at, buffer + (at - range->offset));
        at = span ? cte__pages_to_bytes(span->index + span->count) : end;
    }
    cte__snapshot_free(&snapshot);
    return status;
}

/* True if anything was read. */
static bool read_ahead(const struct cte__prefetch *prefetch, const struct range *range)
{
    struct cte__fill fill = {.store = prefetch->store,
                             .tag = prefetch->tag,
                             .fd = prefetch->fd,
                             .score = prefetch->score};
    struct cte__piece_list gaps = {0};
    void *buffer = NULL;
    if (posix_memalign(&buffer, CTE__PAGE_BYTES, range->length) != 0)
        return false;
    cte_status status = find_gaps(prefetch, range, buffer, &gaps);
    bool any = status == CTE_OK && gaps.count > 0;
    for (size_t i = 0; i < gaps.count && status == CTE_OK; i++) {
        cte__fill_begin(&fill);
        /* What cannot be kept need not be read. */
        status = fill.keep ? cte__fill_read(&fill, range->chunk, &gaps.pieces[i]) : -EAGAIN;
    }
    free(gaps.pieces);
    free(buffer);
    return any && status == CTE_OK && fill.kept == CTE_OK;
}

static cte_status run(const void *arguments, const char *const *names)
{
    const struct order *order = arguments;
    struct cte__prefetch *prefetch = order->prefetch;
    struct range *range = &prefetch->ranges[order->number], copy;
    (void)names;
    pthread_mutex_lock(&prefetch->lock);
    bool begin =
        !prefetch->closing && range->state == RANGE_QUEUED && range->serial == order->serial;
    if (begin)
        range->state = RANGE_RUNNING;
    copy = *range;
    pthread_mutex_unlock(&prefetch->lock);
    if (begin) {
        bool useful = read_ahead(prefetch, &copy);
        pthread_mutex_lock(&prefetch->lock);
        range->state = RANGE_FREE;
        prefetch->useless = !useful;
        pthread_cond_broadcast(&prefetch->done);
        pthread_mutex_unlock(&prefetch->lock);
    }
    release(prefetch);
    return CTE_OK;
}

/* ---- the pattern ----------------------------------------------------------------------------- */

/* Hands a part of a chunk to a worker.  False: not now.  The lock is held. */
static bool order_locked(struct cte__prefetch *prefetch, uint64_t offset, uint64_t length)
{
    uint32_t number = 0;
    while (number < RANGES_MAX && prefetch->ranges[number].state != RANGE_FREE)
        number++;
    if (number == RANGES_MAX)
        return false;
    struct range *range = &prefetch->ranges[number];
    uint64_t start = cte__align_down(offset, CTE__PAGE_BYTES);
    *range = (struct range){.state = RANGE_QUEUED,
                            .serial = range->serial + 1,
                            .chunk = start / prefetch->chunk_bytes,
                            .offset = start % prefetch->chunk_bytes,
                            .length = cte__align_up(offset + length, CTE__PAGE_BYTES) - start};
    struct order order = {prefetch, number, range->serial};
    struct cte__task_call call = {.class = CTE__QUEUE_BLOBS,
                                  .key = number,
                                  .run = run,
                                  .arguments = &order,
                                  .argument_bytes = sizeof order,
                                  .spare = true};
    atomic_fetch_add(&prefetch->references, 1);
    if (cte__task_submit(prefetch->store->tasks, &call, NULL) == CTE_OK)
        return true;
    range->state = RANGE_FREE;
    atomic_fetch_sub(&prefetch->references, 1);
    return false;
}

/* The further it went, the further ahead. */
static void go_on_locked(struct cte__prefetch *prefetch, uint64_t size)
{
    uint64_t window = cte__min(prefetch->streak_bytes, CTE__PREFETCH_BYTES_MAX);
    uint64_t until = cte__min(prefetch->end + window, size);
    prefetch->ahead = cte__max(prefetch->ahead, prefetch->end);
    while (prefetch->ahead < until) {
        uint64_t border =
            cte__align_down(prefetch->ahead, prefetch->chunk_bytes) + prefetch->chunk_bytes;
        uint64_t stop = cte__min(cte__min(border, size), until), length = stop - prefetch->ahead;
        if (length < PART_BYTES_MIN && stop != border && stop != size)
            return;
        if (!order_locked(prefetch, prefetch->ahead, length))
            return;
        prefetch->ahead = stop;
    }
}

static void stride_on_locked(struct cte__prefetch *prefetch, uint64_t size)
{
    uint64_t length = prefetch->end - prefetch->start, at = prefetch->start + prefetch->stride;
    for (uint32_t i = 0; i < RANGES_MAX && at < size; i++, at += prefetch->stride) {
        uint64_t border = cte__align_down(at, prefetch->chunk_bytes) + prefetch->chunk_bytes;
        uint64_t stop = cte__min(cte__min(at + length, border), size);
        if (at < prefetch->ahead)
            continue;
        if ((i + 1) * length > CTE__PREFETCH_BYTES_MAX || !order_locked(prefetch, at, stop - at))
            return;
        prefetch->ahead = at + 1;
    }
}

/* Does a read keep to the pattern of the last ones?  The lock is held. */
static void watch_locked(struct cte__prefetch *prefetch, uint64_t offset, uint64_t length)
{
    bool goes_on = offset == prefetch->end;
    uint64_t stride = offset - prefetch->start;
    bool strides = offset > prefetch->end && stride == prefetch->stride &&
                   length == prefetch->end - prefetch->start;
    prefetch->sequential = goes_on ? prefetch->sequential + 1 : 0;
    prefetch->strides = strides ? prefetch->strides + 1 : 0;
    prefetch->streak_bytes = goes_on ? prefetch->streak_bytes + length : length;
    if (!goes_on && !strides)
        prefetch->ahead = 0;
    prefetch->stride = stride;
    prefetch->start = offset;
    prefetch->end = offset + length;
}

void cte__prefetch_note(struct cte__prefetch *prefetch, uint64_t offset, uint64_t length)
{
    if (!prefetch || length == 0 || is_of_parent(prefetch))
        return;
    const struct cte__file_state *state = &cte__tag_at(prefetch->store, prefetch->tag)->file;
    uint64_t size = cte__min(atomic_load(&state->size_bytes), atomic_load(&state->real_bytes));
    pthread_mutex_lock(&prefetch->lock);
    watch_locked(prefetch, offset, length);
    if (!prefetch->useless && prefetch->sequential >= SEQUENTIAL_MIN)
        go_on_locked(prefetch, size);
    else if (!prefetch->useless && prefetch->strided && prefetch->strides >= STRIDES_MIN)
        stride_on_locked(prefetch, size);
    pthread_mutex_unlock(&prefetch->lock);
}
