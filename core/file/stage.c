/* SPDX-License-Identifier: BSD-3-Clause */
/* Staging: threads take the chunks of a file one by one.  Each reads what the tiers do not have of
 * it, keeps that as any reader does (fill.c), and compares what the tiers give back.  The copies
 * are clean, so dying here leaves nothing that anybody would miss. */
#include <cte/stage.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/thread.h"
#include "base/util.h"
#include "file/outside.h"
#include "file/retain.h"
#include "file/tracked.h"

enum {
    THREADS_DEFAULT = 4,
    THREADS_MAX = 64,
    SETTLE_MS_MAX = 5000, /* how long a file may need to be old enough for copies */
    SETTLE_STEP_MS = 50,
};

struct staging {
    cte_file *file;
    struct cte__store *store;
    float score;
    const cte_stage_options *options;
    uint64_t size_bytes, chunk_count;
    _Atomic uint64_t next; /* chunk that nobody has taken */
    _Atomic uint64_t bytes_present, bytes_staged;
    _Atomic int failure; /* the first one ends the work */
};

static void fail(struct staging *staging, cte_status status)
{
    int none = CTE_OK;
    atomic_compare_exchange_strong(&staging->failure, &none, status);
}

/* A file that changed a moment ago has to become a little older first (retain.h). */
static cte_status begin_fill(struct staging *staging, struct cte__fill *fill)
{
    struct timespec step = {0, SETTLE_STEP_MS * 1000000L};
    for (int ms = 0; ms <= SETTLE_MS_MAX; ms += SETTLE_STEP_MS) {
        cte__fill_begin(fill);
        if (fill->keep)
            return CTE_OK;
        if (atomic_load(&staging->failure) != CTE_OK)
            break;
        nanosleep(&step, NULL);
    }
    return -EBUSY;
}

/* Reads what is missing of a chunk's buffer from the file, and keeps it. */
static cte_status fill_missing(struct staging *staging, uint64_t chunk,
                               const struct cte__piece_list *missing)
{
    struct cte__fill fill = {.store = staging->store,
                             .tag = staging->file->tag,
                             .fd = staging->file->fd,
                             .score = staging->score,
                             .wanted = true};
    for (size_t i = 0; i < missing->count; i++) {
        cte_status status = begin_fill(staging, &fill);
        if (status == CTE_OK)
            status = cte__fill_read(&fill, chunk, &missing->pieces[i]);
        /* Bytes that were written meanwhile are newer and need no copy. */
        if (status == CTE_OK && fill.kept != CTE_OK && fill.kept != -EEXIST)
            status = fill.kept;
        if (status != CTE_OK)
            return status;
    }
    return CTE_OK;
}

/* What the tiers give back of the pieces must be what was read from the file. */
static cte_status compare(struct staging *staging, uint64_t chunk, char *again,
                          const struct cte__piece_list *pieces, uint64_t *staged)
{
    struct cte__blob_key key = cte__chunk_key(staging->file->tag, &chunk);
    cte_status status = CTE_OK;
    for (size_t i = 0; i < pieces->count && status == CTE_OK; i++) {
        struct cte__piece_list missing = {0};
        struct cte__piece piece = pieces->pieces[i];
        piece.base = again;
        status = cte__blob_get(staging->store, &key, &piece, 1, &missing, NULL);
        bool all = missing.count == 0;
        free(missing.pieces);
        if (status != CTE_OK || !all)
            continue; /* taken away again, or partly written */
        if (memcmp(again, pieces->pieces[i].base, piece.length) != 0)
            status = -ESTALE; /* written meanwhile */
        else
            *staged += piece.length;
    }
    return status;
}

static cte_status stage_chunk(struct staging *staging, uint64_t chunk, char *bytes, char *again)
{
    struct cte__blob_key key = cte__chunk_key(staging->file->tag, &chunk);
    struct cte__piece_list missing = {0};
    uint64_t start = chunk * staging->file->chunk_bytes, absent = 0, staged = 0;
    uint64_t length = cte__min(staging->file->chunk_bytes, staging->size_bytes - start);
    struct cte__piece whole = {0, length, bytes};
    cte_status status = cte__blob_get(staging->store, &key, &whole, 1, &missing, NULL);
    for (size_t i = 0; i < missing.count; i++)
        absent += missing.pieces[i].length;
    if (status == CTE_OK)
        status = fill_missing(staging, chunk, &missing);
    if (status == CTE_OK)
        status = compare(staging, chunk, again, &missing, &staged);
    /* Somebody writes to the file by cte: what the tiers have is right all the same. */
    if (status == -ESTALE &&
        !atomic_load(&cte__tag_at(staging->store, staging->file->tag)->file.real_foreign))
        status = CTE_OK;
    free(missing.pieces);
    if (status != CTE_OK)
        return status;
    atomic_fetch_add(&staging->bytes_present, length - absent);
    atomic_fetch_add(&staging->bytes_staged, staged);
    if (staging->options->progress)
        staging->options->progress(staging->options->context, length);
    return CTE_OK;
}

static void *work(void *context)
{
    struct staging *staging = context;
    uint64_t chunk;
    char *buffer;
    if (posix_memalign((void **)&buffer, CTE__PAGE_BYTES, 2 * staging->file->chunk_bytes) != 0) {
        fail(staging, -ENOMEM);
        return NULL;
    }
    while (atomic_load(&staging->failure) == CTE_OK &&
           (chunk = atomic_fetch_add(&staging->next, 1)) < staging->chunk_count) {
        cte_status status =
            stage_chunk(staging, chunk, buffer, buffer + staging->file->chunk_bytes);
        if (status != CTE_OK)
            fail(staging, status);
    }
    free(buffer);
    return NULL;
}

/* The caller works too; without threads it works alone. */
static void work_together(struct staging *staging)
{
    pthread_t threads[THREADS_MAX];
    uint32_t wanted = staging->options->threads != 0 ? staging->options->threads : THREADS_DEFAULT;
    uint32_t most = (uint32_t)cte__min(cte__min(wanted, THREADS_MAX), staging->chunk_count);
    uint32_t count = 0;
    while (count + 1 < most && cte__thread_start(&threads[count], "cte-stage", work, staging) == 0)
        count++;
    work(staging);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* Nothing of the file is worth keeping if somebody else changed it while it was read. */
static cte_status check_unchanged(const struct staging *staging)
{
    const cte_file *file = staging->file;
    const struct cte__file_state *state = &cte__tag_at(staging->store, file->tag)->file;
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return -errno;
    if (atomic_load(&state->real_writers) != 0 ||
        (!atomic_load(&state->real_foreign) && cte__real_is_marked(state, &st)))
        return CTE_OK;
    cte_status status = cte__tracked_refresh(staging->store, file->tag, file->fd);
    return status == CTE_OK ? -ESTALE : status;
}

static cte_status stage_file(struct staging *staging)
{
    struct cte__file_state *state = &cte__tag_at(staging->store, staging->file->tag)->file;
    cte_status status = cte_file_size(staging->file, &staging->size_bytes);
    if (status != CTE_OK)
        return status;
    staging->chunk_count =
        (staging->size_bytes + staging->file->chunk_bytes - 1) / staging->file->chunk_bytes;
    /* Before anything is read, so that what is there stays if this process dies. */
    atomic_fetch_or(&state->retain, CTE__RETAIN_STAGED);
    if (staging->chunk_count > 0)
        work_together(staging);
    cte_status changed = check_unchanged(staging);
    status = atomic_load(&staging->failure);
    return changed != CTE_OK ? changed : status;
}

static cte_stage_options options_of(const cte_stage_options *given)
{
    cte_stage_options options = CTE_STAGE_OPTIONS_INIT;
    if (given)
        memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    return options;
}

cte_status cte_stage_in(cte_client *client, const char *path, const cte_stage_options *given,
                        cte_stage_result *result)
{
    cte_stage_options options = options_of(given);
    struct staging staging = {.options = &options};
    if (result)
        *result = (cte_stage_result){0};
    if (!path || options.threads > THREADS_MAX || options.score > 1.0f)
        return -EINVAL;
    cte_status status = client ? CTE_OK : cte_client_default(&client);
    /* Not blocking: what is opened may be a pipe. */
    if (status == CTE_OK)
        status = cte_file_open(client, path, O_RDONLY | O_NONBLOCK, 0, NULL, &staging.file);
    if (status != CTE_OK)
        return status;
    if (staging.file->client) {
        staging.store = client->store;
        staging.score = options.score < 0 ? staging.file->score : options.score;
        status = staging.file->scratch ? -ENOTSUP : stage_file(&staging);
    } else {
        status = -ENOTSUP;
    }
    if (result)
        *result =
            (cte_stage_result){staging.size_bytes, staging.bytes_present, staging.bytes_staged};
    cte_status closed = cte_file_close(staging.file);
    return status == CTE_OK ? closed : status;
}
