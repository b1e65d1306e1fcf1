/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "file/drain.h"
#include "file/grace.h"
#include "file/kept.h"
#include "file/pointer.h"
#include "file/prefetch.h"
#include "file/tracked.h"

/* ---- open ----------------------------------------------------------------------------------- */

/* Where permissions allow, a file asked for writing is opened for reading too. */
static int open_fd(const char *path, int flags, mode_t perm)
{
    int fd = -1;
    if ((flags & O_ACCMODE) == O_WRONLY)
        fd = open(path, (flags & ~O_ACCMODE) | O_RDWR, perm);
    if (fd < 0)
        fd = open(path, flags, perm);
    return fd;
}

static cte_file_options options_of(const cte_file_options *given)
{
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    if (given)
        memcpy(&options, given, given->size < sizeof options ? given->size : sizeof options);
    options.size = sizeof options;
    return options;
}

static bool is_chunk_size(uint64_t bytes)
{
    return bytes >= CTE__CHUNK_BYTES_MIN && bytes <= CTE__CHUNK_BYTES_MAX &&
           (bytes & (bytes - 1)) == 0;
}

static bool wants_tiers(cte_client *client, const char *absolute_path, cte_file_mode *mode)
{
    struct stat st;
    if (*mode == CTE_FILE_MODE_CONFIG)
        *mode = cte__config_mode_for(client->config, absolute_path);
    if (*mode == CTE_FILE_MODE_BYPASS)
        return false;
    return stat(absolute_path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Joins the store's state of the file.  Where a full store has no room for its record, the file is
 * handled without the store, which has nothing of it then.  After any other failure it may: going
 * past it would show old bytes, and lose new ones when the old are drained. */
static cte_status track(cte_file *file, cte_client *client, const cte_file_options *options)
{
    cte_file_mode mode = options->mode;
    cte_status status = CTE_OK;
    if (wants_tiers(client, file->path, &mode)) {
        file->drain =
            options->drain == CTE_FILE_DRAIN_CONFIG ? client->config->drain : options->drain;
        file->score = options->score < 0 ? client->config->score : options->score;
        file->scratch = mode == CTE_FILE_MODE_SCRATCH;
        status = cte__tracked_open(client, file->fd, file->path, mode, file->drain,
                                   options->chunk_bytes, &file->tag);
        if (status == CTE_OK) {
            cte__client_retain(client);
            file->client = client;
            file->chunk_bytes = cte__tag_at(client->store, file->tag)->chunk_bytes;
            cte__eager_join(file);
            if (file->writable && !file->scratch && file->drain != CTE_FILE_DRAIN_NEVER)
                cte__grace_add(client);
            file->prefetch = cte__prefetch_new(file);
            return CTE_OK;
        }
        if (status == -ENOSPC) {
            cte__log_warn("%s: handled without the store, which is full", file->path);
            status = CTE_OK;
        } else if (status == -ESTALE) {
            status = CTE_OK; /* the real file is the newer one; what is kept was reported */
        } else {
            cte__log_error("%s: cannot join the store: %s", file->path, cte_status_string(status));
        }
    }
    return status;
}

/* Gives up what a handle holds; returns the first error. */
static cte_status discard(cte_file *file)
{
    cte_status status = CTE_OK;
    if (file->client) {
        cte__prefetch_free(file->prefetch);
        cte__pointer_release(file);
        cte__eager_leave(file);
        cte__tracked_close(file->client, file->tag, file->fd);
        status = cte__client_release(file->client);
    }
    if (file->fd >= 0 && close(file->fd) != 0 && status == CTE_OK)
        status = -errno;
    free(file->path);
    free(file);
    return status;
}

cte_status cte_file_open(cte_client *client, const char *path, int flags, mode_t perm,
                         const cte_file_options *given, cte_file **out)
{
    cte_file_options options = options_of(given);
    if (options.chunk_bytes != 0 && !is_chunk_size(options.chunk_bytes))
        return -EINVAL;
    cte_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    if (!client && options.mode != CTE_FILE_MODE_BYPASS && cte_client_default(&client) != CTE_OK)
        client = NULL;
    /* Truncating goes through the store, which may hold data of the file. */
    file->fd = open_fd(path, (flags & ~O_TRUNC) | O_CLOEXEC, perm);
    cte_status status = file->fd < 0 ? -errno : CTE_OK;
    if (status == CTE_OK) {
        file->readable = (fcntl(file->fd, F_GETFL) & O_ACCMODE) != O_WRONLY;
        file->writable = (flags & O_ACCMODE) != O_RDONLY;
        file->comm = options.comm ? *options.comm : (cte_comm){.rank_count = 1, .node_count = 1};
        file->coherence = cte__coherence_for(&file->comm);
        file->path = realpath(path, NULL);
        if (client && file->coherence)
            status = file->path ? track(file, client, &options) : -errno;
    }
    if (status == CTE_OK && flags & O_TRUNC)
        status = cte_file_truncate(file, 0);
    if (status != CTE_OK) {
        discard(file);
        return status;
    }
    *out = file;
    return CTE_OK;
}

uint64_t cte_file_chunk_bytes(const cte_file *file)
{
    return file->client ? file->chunk_bytes : 0;
}

/* ---- options ----------------------------------------------------------------------------------
 */

void cte_file_get_options(cte_file *file, cte_file_options *options)
{
    cte_file_options all = CTE_FILE_OPTIONS_INIT;
    size_t size = options->size < sizeof all ? options->size : sizeof all;
    all.mode = CTE_FILE_MODE_BYPASS;
    if (file->client) {
        all.mode = file->scratch ? CTE_FILE_MODE_SCRATCH : CTE_FILE_MODE_DEFAULT;
        all.drain = file->drain;
        all.score = file->score;
        all.chunk_bytes = file->chunk_bytes;
    }
    all.size = options->size;
    memcpy(options, &all, size);
}

cte_status cte_file_set_options(cte_file *file, const cte_file_options *given)
{
    cte_file_options options = options_of(given);
    if (options.score > 1.0f || (unsigned)options.drain > CTE_FILE_DRAIN_NEVER)
        return -EINVAL;
    if (!file->client)
        return CTE_OK;
    if (options.score >= 0) {
        file->score = options.score;
        cte__prefetch_set_score(file->prefetch, options.score);
    }
    if (options.drain == CTE_FILE_DRAIN_CONFIG || options.drain == file->drain)
        return CTE_OK;
    file->drain = options.drain;
    cte__tracked_set_drain(file->client->store, file->tag, file->fd, options.drain);
    cte__eager_adapt(file);
    if (file->writable && !file->scratch && options.drain != CTE_FILE_DRAIN_NEVER)
        cte__grace_add(file->client);
    return CTE_OK;
}

bool cte_file_is_tracked(const cte_file *file)
{
    return file->client != NULL;
}

/* ---- transfers ------------------------------------------------------------------------------ */

static cte_status check_segments(const cte_file_segment *segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (segments[i].offset > INT64_MAX)
            return -EINVAL;
        if (segments[i].length > INT64_MAX - segments[i].offset)
            return -EFBIG;
    }
    return CTE_OK;
}

cte_status cte_file_write(cte_file *file, const cte_file_segment *segments, size_t count)
{
    if (!file->writable)
        return -EBADF;
    cte_status status = check_segments(segments, count);
    if (status != CTE_OK)
        return status;
    file->stats.writes++;
    return file->client ? cte__tracked_write(file, segments, count)
                        : cte__passthrough_write(file, segments, count);
}

cte_status cte_file_read(cte_file *file, const cte_file_segment *segments, size_t count,
                         uint64_t *transferred)
{
    uint64_t unused;
    cte_status status = check_segments(segments, count);
    if (!transferred)
        transferred = &unused;
    *transferred = 0;
    if (status != CTE_OK)
        return status;
    file->stats.reads++;
    return file->client ? cte__tracked_read(file, segments, count, transferred)
                        : cte__passthrough_read(file, segments, count, transferred);
}

/* ---- size, durability ----------------------------------------------------------------------- */

cte_status cte_file_size(cte_file *file, uint64_t *size_bytes)
{
    struct stat st;
    if (file->client) {
        *size_bytes = atomic_load(&cte__tag_at(file->client->store, file->tag)->file.size_bytes);
        return CTE_OK;
    }
    if (fstat(file->fd, &st) != 0)
        return -errno;
    *size_bytes = (uint64_t)st.st_size;
    return CTE_OK;
}

cte_status cte_file_truncate(cte_file *file, uint64_t size_bytes)
{
    if (!file->writable)
        return -EINVAL; /* as ftruncate(2) */
    if (size_bytes > INT64_MAX)
        return -EFBIG;
    if (file->client)
        return cte__tracked_truncate(file->client->store, file->tag, file->fd, size_bytes);
    return ftruncate(file->fd, (off_t)size_bytes) == 0 ? CTE_OK : -errno;
}

cte_status cte_file_allocate(cte_file *file, uint64_t size_bytes)
{
    if (!file->writable)
        return -EINVAL;
    if (size_bytes > INT64_MAX)
        return -EFBIG;
    if (size_bytes == 0)
        return CTE_OK;
    if (file->client)
        return cte__tracked_allocate(file->client->store, file->tag, file->fd, size_bytes,
                                     !file->scratch);
    return -posix_fallocate(file->fd, 0, (off_t)size_bytes);
}

/* A descriptor to drain to.  Who opened the file for reading only drains others' data all the same,
 * by the way of /proc, which also finds a file that was renamed. */
static cte_status drain_fd(const cte_file *file, int *fd)
{
    char path[64];
    *fd = file->fd;
    if ((fcntl(file->fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
        return CTE_OK;
    snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
    *fd = open(path, O_WRONLY | O_CLOEXEC);
    return *fd >= 0 ? CTE_OK : -errno;
}

cte_status cte_file_drain(cte_file *file)
{
    uint64_t bytes = 0, start = cte__monotonic_ns();
    int fd;
    if (!file->client)
        return CTE_OK;
    if (!file->writable && !cte__tracked_is_dirty(file->client->store, file->tag))
        return CTE_OK;
    cte_status status = drain_fd(file, &fd);
    if (status != CTE_OK)
        return status;
    status = cte__drain(file->client, file->tag, fd, NULL, &bytes);
    if (fd != file->fd && close(fd) != 0 && status == CTE_OK)
        status = -errno;
    file->stats.bytes_drained += bytes;
    file->stats.drain_ns += cte__monotonic_ns() - start;
    return status;
}

cte_status cte_file_flush(cte_file *file)
{
    if (!file->client)
        return !file->writable || fdatasync(file->fd) == 0 ? CTE_OK : -errno;
    /* Nobody waited when draining in the background failed: whoever asks next is told. */
    if (!file->client->config->sync_pfs || file->scratch)
        return cte__drain_take_failure(&cte__tag_at(file->client->store, file->tag)->file);
    cte_status status = cte_file_drain(file);
    if (status == CTE_OK && file->writable && fdatasync(file->fd) != 0)
        status = -errno;
    return status;
}

/* What was drained is in the page cache only, as after write(2); what is in the store stays there.
 */
static cte_status sync_drained(const cte_file *file)
{
    struct cte__file_state *state = &cte__tag_at(file->client->store, file->tag)->file;
    uint64_t changes = atomic_load(&state->real_changes);
    if (changes == atomic_load(&state->real_synced))
        return CTE_OK;
    if (fdatasync(file->fd) != 0)
        return -errno;
    atomic_store(&state->real_synced, changes);
    return CTE_OK;
}

cte_status cte_file_sync(cte_file *file)
{
    cte_status status = cte_file_flush(file);
    bool drained = file->client && file->writable && !file->scratch &&
                   !file->client->config->sync_pfs; /* else that was done */
    return status == CTE_OK && drained ? sync_drained(file) : status;
}

cte_status cte_file_refresh(cte_file *file)
{
    return file->client ? cte__tracked_refresh(file->client->store, file->tag, file->fd) : CTE_OK;
}

void cte_file_get_stats(const cte_file *file, cte_file_stats *stats)
{
    *stats = (cte_file_stats){
        .bytes_written = file->stats.bytes_written,
        .bytes_read = file->stats.bytes_read,
        .bytes_written_through = file->stats.bytes_written_through,
        .bytes_read_store = file->stats.bytes_read_store,
        .bytes_drained = file->stats.bytes_drained,
        .drain_ns = file->stats.drain_ns,
        .bytes_drained_background = file->client ? atomic_load(&file->open->bytes_drained) : 0,
        .writes = file->stats.writes,
        .reads = file->stats.reads,
    };
}

/* ---- close ---------------------------------------------------------------------------------- */

/* Brings what was written to where the policy wants it before the handle goes. */
static cte_status drain_at_close(cte_file *file)
{
    if (!file->writable || file->scratch || file->drain == CTE_FILE_DRAIN_NEVER)
        return CTE_OK;
    if (file->drain == CTE_FILE_DRAIN_ASYNC && cte__kept_add(file->client, file) == CTE_OK)
        return cte__drain_take_failure(&cte__tag_at(file->client->store, file->tag)->file);
    return cte_file_drain(file);
}

cte_status cte_file_close(cte_file *file)
{
    cte_status status = CTE_OK;
    if (!file)
        return CTE_OK;
    /* All writes of those that close together are in before anybody drains. */
    if (file->comm.rank_count > 1 && file->comm.barrier)
        status = file->comm.barrier(file->comm.context);
    if (file->client) {
        cte__eager_close(file);
        cte_status drained = drain_at_close(file);
        status = status == CTE_OK ? drained : status;
    }
    cte_file_stats stats;
    cte_file_get_stats(file, &stats);
    /* One that passed through and was not used has nothing to tell. */
    if (file->client || (file->path && stats.reads + stats.writes > 0))
        cte__client_summarise(file->client, file->path, &stats);
    cte_status discarded = discard(file);
    return status == CTE_OK ? discarded : status;
}
