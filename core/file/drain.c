/* SPDX-License-Identifier: BSD-3-Clause */
/* Draining: dirty bytes to the real file, in ascending runs as long as they come, verified on the
 * way.
 *
 * A chunk is drained by one process at a time (its lane is locked), so an older version of it can
 * never land on a newer one (I6).  What was written is marked clean only if it is still the same;
 * whatever fails stays dirty. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "file/outside.h"
#include "file/tracked.h"

struct drain {
    struct cte__store *store;
    struct cte__tag_record *record;
    cte__unit tag;
    int fd;
    char *buffer; /* a chunk */
    uint64_t bytes;
    cte_status first_error;
};

/* Reads a range of a chunk as the snapshot has it, and writes it to the real file. */
static cte_status drain_range(struct drain *drain, const struct cte__snapshot *snapshot,
                              uint64_t chunk, const struct cte__piece *range)
{
    struct cte__piece_list missing = {0};
    cte_status status = cte__snapshot_read(drain->store, snapshot, range, 1, &missing);
    if (status == CTE_OK && missing.count > 0)
        status = CTE_ERR_STORE_CORRUPT;
    free(missing.pieces);
    if (status == CTE_OK)
        status = cte__fd_write_all(drain->fd, range->base, range->length,
                                   chunk * drain->record->chunk_bytes + range->offset);
    if (status == CTE_OK)
        drain->bytes += range->length;
    return status;
}

/* The dirty byte ranges of a chunk, joined where they touch; each has its place in the buffer. */
static cte_status dirty_ranges(const struct drain *drain, const struct cte__snapshot *snapshot,
                               struct cte__piece_list *ranges)
{
    cte_status status = CTE_OK;
    for (size_t i = 0; i < snapshot->list.count && status == CTE_OK; i++) {
        const struct cte__span *span = &snapshot->list.spans[i];
        uint64_t start = cte__pages_to_bytes(span->index);
        if (span->state == CTE__PAGE_DIRTY)
            status = cte__piece_list_add(ranges, start, cte__pages_to_bytes(span->count),
                                         drain->buffer + start);
        if (span->state != CTE__PAGE_PARTIAL)
            continue;
        for (uint32_t r = 0; r < span->run_list->count && status == CTE_OK; r++) {
            struct cte__run run = span->run_list->run[r];
            if (cte__run_dirty(run))
                status = cte__piece_list_add(ranges, start + run.start, cte__run_length(run),
                                             drain->buffer + start + run.start);
        }
    }
    return status;
}

static cte_status drain_chunk(struct drain *drain, uint64_t chunk)
{
    struct cte__blob_key key = cte__chunk_key(drain->tag, &chunk);
    struct cte__snapshot snapshot;
    struct cte__piece_list ranges = {0};
    cte_status status = cte__blob_snapshot(drain->store, &key, &snapshot);
    if (status != CTE_OK)
        return status;
    status = dirty_ranges(drain, &snapshot, &ranges);
    for (size_t i = 0; i < ranges.count && status == CTE_OK; i++)
        status = drain_range(drain, &snapshot, chunk, &ranges.pieces[i]);
    if (status == CTE_ERR_CHECKSUM && !cte__blob_is_current(drain->store, &key, &snapshot))
        status = -EAGAIN;
    if (status == CTE_OK && ranges.count > 0)
        status = cte__blob_mark_clean(drain->store, &key, &snapshot);
    free(ranges.pieces);
    cte__snapshot_free(&snapshot);
    return status;
}

/* A chunk that is overwritten while it is drained is taken again; somebody who overwrites it for
 * ever is told, not followed. */
static void drain_chunk_until_done(struct drain *drain, uint64_t chunk)
{
    enum { TRIES_MAX = 64 };
    cte_status status = -EAGAIN;
    for (int i = 0; i < TRIES_MAX && status == -EAGAIN; i++)
        status = drain_chunk(drain, chunk);
    if (status == CTE_OK)
        return;
    if (drain->first_error == CTE_OK)
        cte__log_error("%s: bytes from %llu could not be drained: %s; they are kept in the store "
                       "(cte drain retries)",
                       drain->record->path,
                       (unsigned long long)(chunk * drain->record->chunk_bytes),
                       cte_status_string(status));
    drain->first_error = drain->first_error != CTE_OK ? drain->first_error : status;
}

static void drain_lane(struct drain *drain, const struct cte__mutex *lane, const uint64_t *chunks,
                       size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (cte__tracked_lane(drain->record, chunks[i]) == lane)
            drain_chunk_until_done(drain, chunks[i]);
}

/* Processes that drain the same file together share the lanes: first whichever is free, then, since
 * the caller was promised everything, those that others were busy with. */
static void drain_lanes(struct drain *drain, const uint64_t *chunks, size_t count)
{
    struct cte__file_state *file = &drain->record->file;
    uint32_t first = cte__store_self(drain->store), busy = 0;
    for (uint32_t i = 0; i < CTE__DRAIN_LANES; i++) {
        uint32_t lane = (first + i) % CTE__DRAIN_LANES;
        bool died;
        if (!cte__mutex_trylock(&file->lane[lane], &died)) {
            busy |= 1u << lane;
            continue;
        }
        drain_lane(drain, &file->lane[lane], chunks, count);
        cte__mutex_unlock(&file->lane[lane]);
    }
    for (uint32_t lane = 0; lane < CTE__DRAIN_LANES; lane++) {
        if (!(busy & 1u << lane))
            continue;
        cte__lane_lock(&file->lane[lane]);
        drain_lane(drain, &file->lane[lane], chunks, count);
        cte__mutex_unlock(&file->lane[lane]);
    }
}

/* Bytes that were never written at the end of a file exist by its size only. */
static cte_status drain_size(struct drain *drain)
{
    struct stat st;
    cte_status status = CTE_OK;
    cte__tracked_lock(drain->store, drain->tag, drain->fd);
    uint64_t size = atomic_load(&drain->record->file.size_bytes);
    if (fstat(drain->fd, &st) != 0)
        status = -errno;
    else if ((uint64_t)st.st_size < size && ftruncate(drain->fd, (off_t)size) != 0)
        status = -errno;
    else
        atomic_store(&drain->record->file.real_bytes, size);
    cte__tracked_unlock(drain->store, drain->tag);
    return status;
}

cte_status cte__drain(struct cte__store *store, cte__unit tag, int fd, uint64_t *bytes)
{
    struct cte__tag_record *record = cte__tag_at(store, tag);
    struct drain drain = {.store = store, .record = record, .tag = tag, .fd = fd};
    uint64_t *chunks = NULL;
    size_t count = 0;
    *bytes = 0;
    cte__store_sweep_if_wanted(store);
    cte_status status = cte__tracked_chunks(store, tag, &chunks, &count);
    if (status == CTE_OK && count > 0 &&
        posix_memalign((void **)&drain.buffer, CTE__PAGE_BYTES, record->chunk_bytes) != 0)
        status = -ENOMEM;
    cte__real_begin(store, tag, fd);
    if (status == CTE_OK && count > 0) {
        drain_lanes(&drain, chunks, count);
        status = drain.first_error;
    }
    if (status == CTE_OK)
        status = drain_size(&drain);
    cte__real_end(store, tag, fd);
    free(drain.buffer);
    free(chunks);
    *bytes = drain.bytes;
    return status;
}

/* ---- files that nobody has open ------------------------------------------------------------- */

/* What is needed of a record, copied while the list of names is locked. */
struct unopened_file {
    char *path;
    uint64_t device, inode;
    cte_file_mode mode;
    cte_file_drain_policy drain;
};

struct unopened {
    struct cte__store *store;
    const char *path; /* NULL: all */
    bool force;
    bool leaving; /* others that have the store may do it */
    struct unopened_file *files;
    size_t count, capacity;
};

static bool wanted(const struct unopened *list, const struct cte__tag_record *record)
{
    if (list->path && strcmp(list->path, record->path) != 0)
        return false;
    if (record->file.mode == CTE_FILE_MODE_SCRATCH || cte__file_has_openers(&record->file) ||
        atomic_load(&record->file.settled))
        return false;
    return list->force || record->file.drain != CTE_FILE_DRAIN_NEVER;
}

static cte_status add_file(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct unopened *list = context;
    (void)unit;
    if (entry->type != CTE__ENTRY_FILE)
        return CTE_OK;
    struct cte__tag_record *record = cte__tag_at(list->store, cte__entry_record(entry));
    if (!wanted(list, record))
        return CTE_OK;
    /* Who names the file, or asks for all, takes its kept data for the right one. */
    if (list->force)
        atomic_store(&record->file.orphaned, 0);
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct unopened_file *larger = realloc(list->files, capacity * sizeof *larger);
        if (!larger)
            return -ENOMEM;
        list->files = larger;
        list->capacity = capacity;
    }
    char *path = strdup(record->path);
    if (!path)
        return -ENOMEM;
    list->files[list->count++] = (struct unopened_file){
        path, record->file.device, record->file.inode, (cte_file_mode)record->file.mode,
        (cte_file_drain_policy)record->file.drain};
    return CTE_OK;
}

/* Opens the real file, if it is still the same one. */
static cte_status open_real(const struct unopened_file *file, int *fd)
{
    struct stat st;
    *fd = open(file->path, O_RDWR | O_CLOEXEC);
    if (*fd < 0 && errno == EACCES)
        *fd = open(file->path, O_WRONLY | O_CLOEXEC);
    cte_status status = *fd < 0 || fstat(*fd, &st) != 0 ? -errno : CTE_OK;
    if (status == CTE_OK &&
        ((uint64_t)st.st_dev != file->device || (uint64_t)st.st_ino != file->inode))
        status = -ESTALE;
    if (status != CTE_OK && *fd >= 0)
        close(*fd);
    return status;
}

/* Opens the file as any program does, so that nobody takes its record away meanwhile. */
cte_status cte__drain_closed(cte_client *client, const char *path, int fd, cte_file_mode mode,
                             cte_file_drain_policy drain, uint64_t *bytes)
{
    cte__unit tag;
    *bytes = 0;
    cte_status status = cte__tracked_open(client, fd, path, mode, drain, 0, &tag);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__monotonic_ns();
    status = cte__drain(client->store, tag, fd, bytes);
    cte__tracked_close(client, tag, fd);
    cte_file_stats stats = {.bytes_drained = *bytes, .drain_ns = cte__monotonic_ns() - start};
    cte__client_summarise(client, path, &stats);
    return status;
}

static cte_status drain_unopened_file(cte_client *client, const struct unopened_file *file,
                                      uint64_t *bytes)
{
    int fd;
    *bytes = 0;
    cte_status status = open_real(file, &fd);
    if (status != CTE_OK) {
        cte__log_error(
            "%s: cannot be opened to take what was written to it: %s; the data is kept in "
            "the store",
            file->path, cte_status_string(status));
        return status;
    }
    status = cte__drain_closed(client, file->path, fd, file->mode, file->drain, bytes);
    close(fd);
    return status;
}

/* True for a file that is not where it was while others have the store: whoever closed it may have
 * kept its descriptor (kept.c).  The last to leave tells if nobody had. */
static bool is_left_to_others(const struct unopened *list, const struct unopened_file *file)
{
    struct stat st;
    bool in_place = stat(file->path, &st) == 0 && (uint64_t)st.st_dev == file->device &&
                    (uint64_t)st.st_ino == file->inode;
    return list->leaving && !in_place && cte__slots_live(list->store) > 1;
}

/* Drains the files that nobody has open right now; `*found` is their number. */
static cte_status drain_pass(cte_client *client, struct unopened *list, cte__drained_visitor visit,
                             void *context, size_t *found)
{
    struct cte__store *store = client->store;
    cte_status status =
        cte__tag_each(store, cte__tag_at(store, store->header->root_tag), add_file, list);
    *found = 0;
    for (size_t i = 0; i < list->count; i++) {
        cte_store_drained drained = {.path = list->files[i].path};
        if (!is_left_to_others(list, &list->files[i])) {
            drained.status = drain_unopened_file(client, &list->files[i], &drained.bytes_drained);
            cte_status visited = visit ? visit(context, &drained) : CTE_OK;
            status = status != CTE_OK           ? status
                     : drained.status != CTE_OK ? drained.status
                                                : visited;
            ++*found;
        }
        free(list->files[i].path);
    }
    free(list->files);
    return status;
}

cte_status cte__drain_unopened_each(cte_client *client, const char *path, bool force,
                                    cte__drained_visitor visit, void *context)
{
    enum { PASSES_MAX = 64 };
    cte_status status = CTE_OK;
    size_t found = 1;
    /* Who wrote to a file and left while this process had it open to drain it, left the rest to
     * this process: look again until nothing is left. */
    for (int i = 0; i < PASSES_MAX && found > 0 && status == CTE_OK; i++) {
        struct unopened list = {
            .store = client->store, .path = path, .force = force, .leaving = !visit};
        status = drain_pass(client, &list, visit, context, &found);
    }
    return status;
}

cte_status cte__drain_unopened(cte_client *client, const char *path, bool force)
{
    return cte__drain_unopened_each(client, path, force, NULL, NULL);
}
