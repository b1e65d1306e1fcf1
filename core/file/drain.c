/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Draining: dirty bytes to the real file, in large ascending runs, verified on the way.
 *
 * Chunks are drained in windows: aligned pieces of the file, whose dirty bytes are gathered in a
 * buffer from all their chunks, so that what ranks wrote in turns is written as one.
 *
 * A chunk is drained by one process at a time (its lane is locked), so an older version of it can
 * never land on a newer one (I6).  What was written is marked clean only if it is still the same;
 * whatever fails stays dirty.
 *
 * When is it clean?  A local file system takes what it can keep; what happens to its disk happens
 * to files written without cte, too.  Network file systems may take bytes and refuse them later:
 * there, and where the configuration asks for it, nothing is clean before fdatasync() said so.
 */
#include "file/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "blob/verify.h"
#include "file/outside.h"

enum {
    WINDOW_BYTES = 4 << 20,
    DURABLE_BYTES = 64 << 20, /* of one lane between two fdatasync() */
    TRIES_MAX = 64,           /* who overwrites a chunk for ever is told, not followed */
};

struct cte__drain_pending {
    uint64_t chunk;
    struct cte__snapshot *snapshot;
};

/* ---- life ----------------------------------------------------------------------------------- */

bool cte__drain_reports_late(int fd)
{
    /* NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS, Lustre, GPFS, BeeGFS, PanFS, OrangeFS. */
    static const uint32_t network[] = {0x6969,     0x517b,     0xff534d42, 0xfe534d42, 0x65735546,
                                       0x01021997, 0x00c36400, 0x5346414f, 0x0bd00bd0, 0x47504653,
                                       0x19830326, 0xaad7aaea, 0x20030528};
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return true;
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++)
        if ((uint32_t)fs.f_type == network[i])
            return true;
    return false;
}

cte_status cte__drain_begin(struct cte__drain *drain)
{
    drain->store = drain->client->store;
    drain->record = cte__tag_at(drain->store, drain->tag);
    drain->durable = drain->client->config->sync_pfs || cte__drain_reports_late(drain->fd);
    drain->window_bytes = cte__max(WINDOW_BYTES, drain->record->chunk_bytes);
    if (posix_memalign((void **)&drain->buffer, CTE__PAGE_BYTES, drain->window_bytes) != 0)
        return -ENOMEM;
    cte__real_begin(drain->store, drain->tag, drain->fd);
    return CTE_OK;
}

void cte__drain_end(struct cte__drain *drain)
{
    cte__real_end(drain->store, drain->tag, drain->fd);
    free(drain->ranges.pieces);
    free(drain->chunk_ranges.pieces);
    free(drain->pending);
    free(drain->buffer);
}

/* The first error is the one to be told; all that fails because the real file refuses is one. */
static void note_error(struct cte__drain *drain, uint64_t offset, cte_status status)
{
    if (drain->first_error != CTE_OK)
        return;
    drain->first_error = status;
    cte__log_error("%s: bytes from %llu could not be drained: %s; they are kept in the store "
                   "(cte drain retries)",
                   drain->record->path, (unsigned long long)offset, cte_status_string(status));
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The dirty byte ranges of a chunk, joined where they touch; each has its place in `buffer`. */
static cte_status dirty_ranges(const struct cte__snapshot *snapshot, char *buffer,
                               struct cte__piece_list *ranges)
{
    cte_status status = CTE_OK;
    ranges->count = 0;
    for (size_t i = 0; i < snapshot->list.count && status == CTE_OK; i++) {
        const struct cte__span *span = &snapshot->list.spans[i];
        uint64_t start = cte__pages_to_bytes(span->index);
        if (span->state == CTE__PAGE_DIRTY)
            status = cte__piece_list_add(ranges, start, cte__pages_to_bytes(span->count),
                                         buffer + start);
        if (span->state != CTE__PAGE_PARTIAL)
            continue;
        for (uint32_t r = 0; r < span->run_list->count && status == CTE_OK; r++) {
            struct cte__run run = span->run_list->run[r];
            if (cte__run_dirty(run))
                status = cte__piece_list_add(ranges, start + run.start, cte__run_length(run),
                                             buffer + start + run.start);
        }
    }
    return status;
}

static cte_status read_ranges(const struct cte__drain *drain, const struct cte__snapshot *snapshot)
{
    const struct cte__piece_list *ranges = &drain->chunk_ranges;
    struct cte__piece_list missing = {0};
    uint64_t bytes = 0;
    for (size_t i = 0; i < ranges->count; i++)
        bytes += ranges->pieces[i].length;
    /* Before they are read: or they would look like a program's, for which drains make way. */
    atomic_fetch_add_explicit(&drain->store->header->drain.bytes_read, bytes, memory_order_relaxed);
    cte_status status =
        cte__snapshot_read(drain->store, snapshot, ranges->pieces, ranges->count, &missing);
    if (status == CTE_OK && missing.count > 0)
        status = CTE_ERR_STORE_CORRUPT;
    free(missing.pieces);
    return status;
}

/* Adds what was read of a chunk to what the window writes. */
static cte_status add_to_window(struct cte__drain *drain, uint64_t at)
{
    cte_status status = CTE_OK;
    for (size_t i = 0; i < drain->chunk_ranges.count && status == CTE_OK; i++) {
        const struct cte__piece *piece = &drain->chunk_ranges.pieces[i];
        status =
            cte__piece_list_add(&drain->ranges, at + piece->offset, piece->length, piece->base);
    }
    return status;
}

static cte_status reserve_pending(struct cte__drain *drain)
{
    struct cte__drain_pending *pending = cte__array_reserve(
        drain->pending, drain->pending_count, &drain->pending_capacity, sizeof *pending);
    if (!pending)
        return -ENOMEM;
    drain->pending = pending;
    return CTE_OK;
}

static void free_snapshot(struct cte__snapshot *snapshot)
{
    cte__snapshot_free(snapshot);
    free(snapshot);
}

/* Pages of the chunk cannot be had: says which, and reads the others. */
static cte_status read_undamaged(struct cte__drain *drain, const struct cte__blob_key *key,
                                 struct cte__snapshot *snapshot, uint64_t at)
{
    struct cte__verified verified;
    char *buffer;
    if (posix_memalign((void **)&buffer, CTE__PAGE_BYTES, CTE__VERIFY_BYTES) != 0)
        return -ENOMEM;
    cte_status status = cte__snapshot_leave_out_damaged(drain->store, snapshot, buffer, &verified);
    if (status == CTE_OK)
        cte__verified_log(drain->store, key, &verified, true);
    cte__verified_free(&verified);
    free(buffer);
    if (status == CTE_OK)
        status = dirty_ranges(snapshot, drain->buffer + at, &drain->chunk_ranges);
    if (status == CTE_OK && drain->chunk_ranges.count > 0)
        status = read_ranges(drain, snapshot);
    return status;
}

static bool is_damage(cte_status status)
{
    return status == CTE_ERR_CHECKSUM || status == -EIO;
}

/* One try to read what is dirty of a chunk, whose place in the window is `at`.  -EAGAIN: it changed
 * meanwhile.  What is damaged of it is an error, but all else is read. */
static cte_status read_chunk(struct cte__drain *drain, uint64_t chunk, uint64_t at)
{
    struct cte__blob_key key = cte__chunk_key(drain->tag, &chunk);
    cte_status status = reserve_pending(drain);
    struct cte__snapshot *snapshot = malloc(sizeof *snapshot);
    if (status == CTE_OK && !snapshot)
        status = -ENOMEM;
    if (status == CTE_OK)
        status = cte__blob_snapshot(drain->store, &key, snapshot);
    if (status != CTE_OK) {
        free(snapshot);
        return status;
    }
    status = dirty_ranges(snapshot, drain->buffer + at, &drain->chunk_ranges);
    cte_status damage = CTE_OK;
    if (status == CTE_OK && drain->chunk_ranges.count > 0)
        status = read_ranges(drain, snapshot);
    if (is_damage(status) && !cte__blob_is_current(drain->store, &key, snapshot)) {
        status = -EAGAIN;
    } else if (is_damage(status)) {
        damage = status;
        status = read_undamaged(drain, &key, snapshot, at);
    }
    bool any = drain->chunk_ranges.count > 0;
    if (status == CTE_OK && any)
        status = add_to_window(drain, at);
    if (status == CTE_OK && any)
        drain->pending[drain->pending_count++] = (struct cte__drain_pending){chunk, snapshot};
    else
        free_snapshot(snapshot);
    return status == CTE_OK ? damage : status;
}

/* Gathers what is dirty of the chunks, which lie in one window. */
static void read_window(struct cte__drain *drain, uint64_t start, const uint64_t *chunks,
                        size_t count)
{
    drain->ranges.count = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t at = chunks[i] * drain->record->chunk_bytes - start;
        cte_status status = -EAGAIN;
        for (int try = 0; try < TRIES_MAX && status == -EAGAIN; try++)
            status = read_chunk(drain, chunks[i], at);
        if (status != CTE_OK)
            note_error(drain, start + at, status);
    }
}

/* ---- writing -------------------------------------------------------------------------------- */

static cte_status write_ranges(struct cte__drain *drain, uint64_t start)
{
    cte_status status = CTE_OK;
    for (size_t i = 0; i < drain->ranges.count && status == CTE_OK; i++) {
        const struct cte__piece *range = &drain->ranges.pieces[i];
        status = cte__fd_write_all(drain->fd, range->base, range->length, start + range->offset);
        drain->pending_bytes += status == CTE_OK ? range->length : 0;
    }
    return status;
}

/* What must become durable goes to the disk while the next window is read.  A hint: that it cannot
 * be given does no harm, and what goes wrong with the bytes is said by the sync. */
static void start_writeback(const struct cte__drain *drain, uint64_t start)
{
    if (drain->durable && drain->ranges.count > 0)
        (void)sync_file_range(drain->fd, (off_t)start, (off_t)drain->window_bytes,
                              SYNC_FILE_RANGE_WRITE);
}

/* While the PFS is waited for, nothing of this process is in the way of forks. */
static cte_status write_window(struct cte__drain *drain, uint64_t start)
{
    if (drain->background)
        cte__background_block(drain->background);
    cte_status status = write_ranges(drain, start);
    if (status == CTE_OK)
        start_writeback(drain, start);
    if (drain->background)
        cte__background_unblock(drain->background);
    return status;
}

static cte_status sync_real(struct cte__drain *drain)
{
    if (drain->background)
        cte__background_block(drain->background);
    cte_status status = fdatasync(drain->fd) == 0 ? CTE_OK : -errno;
    if (drain->background)
        cte__background_unblock(drain->background);
    return status;
}

static cte_status mark_clean(struct cte__drain *drain, const struct cte__drain_pending *pending)
{
    struct cte__blob_key key = cte__chunk_key(drain->tag, &pending->chunk);
    cte_status status = cte__blob_mark_clean(drain->store, &key, pending->snapshot);
    if (status == CTE_OK && drain->drop)
        status = cte__blob_drop_clean(drain->store, &key);
    return status;
}

/* What was written becomes clean; or, `refused`, stays as it is. */
static void settle(struct cte__drain *drain, cte_status refused)
{
    uint64_t chunk_bytes = drain->record->chunk_bytes;
    if (drain->pending_count > 0 && refused == CTE_OK && drain->durable)
        refused = sync_real(drain);
    if (refused != CTE_OK) {
        drain->stopped = true;
        note_error(drain, drain->pending[0].chunk * chunk_bytes, refused);
    }
    for (size_t i = 0; i < drain->pending_count; i++) {
        cte_status status = refused == CTE_OK ? mark_clean(drain, &drain->pending[i]) : CTE_OK;
        if (status != CTE_OK)
            note_error(drain, drain->pending[i].chunk * chunk_bytes, status);
        free_snapshot(drain->pending[i].snapshot);
    }
    drain->bytes += refused == CTE_OK ? drain->pending_bytes : 0;
    drain->pending_count = 0;
    drain->pending_bytes = 0;
}

static uint64_t window_of(const struct cte__drain *drain, uint64_t chunk)
{
    return chunk * drain->record->chunk_bytes / drain->window_bytes;
}

static size_t window_chunks(const struct cte__drain *drain, const uint64_t *chunks, size_t count)
{
    size_t n = 1;
    while (n < count && window_of(drain, chunks[n]) == window_of(drain, chunks[0]))
        n++;
    return n;
}

void cte__drain_chunks(struct cte__drain *drain, const uint64_t *chunks, size_t count)
{
    for (size_t i = 0, n; i < count && !drain->stopped; i += n) {
        uint64_t start = window_of(drain, chunks[i]) * drain->window_bytes;
        n = window_chunks(drain, chunks + i, count - i);
        read_window(drain, start, chunks + i, n);
        cte_status status = write_window(drain, start);
        if (status != CTE_OK || !drain->durable)
            settle(drain, status);
    }
    if (drain->pending_count > 0)
        settle(drain, CTE_OK);
}

/* ---- order ---------------------------------------------------------------------------------- */

static uint32_t lane_number(const struct cte__drain *drain, uint64_t chunk)
{
    return (uint32_t)(cte__tracked_lane(drain->record, chunk) - drain->record->file.lane);
}

static int compare_chunks(const void *a, const void *b, void *context)
{
    const struct cte__drain *drain = context;
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    if (drain->durable && lane_number(drain, x) != lane_number(drain, y))
        return lane_number(drain, x) < lane_number(drain, y) ? -1 : 1;
    return (x > y) - (x < y);
}

void cte__drain_sort(const struct cte__drain *drain, uint64_t *chunks, size_t count)
{
    if (count > 0)
        qsort_r(chunks, count, sizeof *chunks, compare_chunks, (void *)drain);
}

size_t cte__drain_group(const struct cte__drain *drain, const uint64_t *chunks, size_t count)
{
    if (!drain->durable)
        return window_chunks(drain, chunks, count);
    size_t n = 1, most = cte__max(DURABLE_BYTES / drain->record->chunk_bytes, 1);
    while (n < count && n < most && lane_number(drain, chunks[n]) == lane_number(drain, chunks[0]))
        n++;
    return n;
}

/* ---- a whole file --------------------------------------------------------------------------- */

/* Who waits pays for what it wrote before it goes on, with no lane locked. */
static void pay(struct cte__drain *drain, uint64_t bytes_before)
{
    uint64_t ns = cte__drain_pace(drain->store, drain->bytes - bytes_before,
                                  drain->client->config->drain_bytes_per_s_max);
    struct timespec rest = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    if (drain->background && ns > 0) {
        cte__background_nap(drain->background, ns); /* less only if the client is being closed */
        return;
    }
    while (ns > 0 && nanosleep(&rest, &rest) != 0 && errno == EINTR)
        ;
}

/* Who has the lane may need the gate to go on. */
static void wait_for_lane(const struct cte__drain *drain, struct cte__mutex *lane)
{
    if (drain->background)
        cte__background_block(drain->background);
    cte__lane_lock(lane);
    if (drain->background)
        cte__background_unblock(drain->background);
}

/* Drains a group if nobody has its lane, or (`wait`) when they are done.  False: busy. */
static bool drain_group(struct cte__drain *drain, const uint64_t *chunks, size_t count, bool wait)
{
    struct cte__mutex *lane = cte__tracked_lane(drain->record, chunks[0]);
    uint64_t before = drain->bytes;
    bool died;
    cte__drain_hurry(drain->store);
    if (wait)
        wait_for_lane(drain, lane);
    else if (!cte__mutex_trylock(lane, &died))
        return false;
    cte__drain_chunks(drain, chunks, count);
    cte__mutex_unlock(lane);
    pay(drain, before);
    return true;
}

struct group {
    size_t first, count;
    bool done;
};

/* Processes that drain the same file together begin at different places and take what is free;
 * then, since each was promised everything, they wait for what others were busy with. */
static void drain_groups(struct cte__drain *drain, struct group *groups, size_t count,
                         const uint64_t *chunks)
{
    size_t share = (cte__store_self(drain->store) - 1u) % CTE__DRAIN_LANES;
    size_t begin = count * share / CTE__DRAIN_LANES;
    for (int wait = 0; wait <= 1; wait++)
        for (size_t i = 0; i < count && !drain->stopped; i++) {
            struct group *group = &groups[(begin + i) % count];
            if (!group->done)
                group->done = drain_group(drain, chunks + group->first, group->count, wait);
        }
}

static cte_status drain_all(struct cte__drain *drain, uint64_t *chunks, size_t count)
{
    struct group *groups = malloc(count * sizeof *groups);
    size_t group_count = 0;
    if (!groups)
        return -ENOMEM;
    cte__drain_sort(drain, chunks, count);
    for (size_t i = 0, n; i < count; i += n) {
        n = cte__drain_group(drain, chunks + i, count - i);
        groups[group_count++] = (struct group){.first = i, .count = n};
    }
    drain_groups(drain, groups, group_count, chunks);
    free(groups);
    return drain->first_error;
}

/* Bytes that were never written at the end of a file exist by its size only. */
static cte_status drain_size(struct cte__drain *drain)
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

/* The store has nothing of the file, and never failed to drain it: most files that are opened and
 * closed again. */
static bool has_nothing(const struct cte__tag_record *record)
{
    const struct cte__file_state *file = &record->file;
    return atomic_load(&record->list_head) == 0 && atomic_load(&file->truncate_to) == 0 &&
           atomic_load(&file->size_bytes) == atomic_load(&file->real_bytes) &&
           atomic_load(&file->drain_failure) == CTE_OK;
}

cte_status cte__drain(cte_client *client, cte__unit tag, int fd, struct cte__background *background,
                      uint64_t *bytes)
{
    struct cte__drain drain = {.client = client, .tag = tag, .fd = fd, .background = background};
    uint64_t *chunks = NULL;
    size_t count = 0;
    *bytes = 0;
    cte__store_sweep_if_wanted(client->store);
    if (has_nothing(cte__tag_at(client->store, tag)))
        return CTE_OK;
    cte_status status = cte__tracked_chunks(client->store, tag, &chunks, &count);
    if (status == CTE_OK)
        status = cte__drain_begin(&drain);
    if (status != CTE_OK) {
        free(chunks);
        return status;
    }
    if (count > 0)
        status = drain_all(&drain, chunks, count);
    if (!drain.stopped) {
        cte_status sized = drain_size(&drain);
        status = status == CTE_OK ? sized : status;
    }
    cte__drain_end(&drain);
    free(chunks);
    *bytes = drain.bytes;
    /* The caller is told now. */
    cte__drain_note(&drain.record->file, status);
    (void)cte__drain_take_failure(&drain.record->file);
    return status;
}
