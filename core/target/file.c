/* SPDX-License-Identifier: BSD-3-Clause */
/* One preallocated file.  Buffered I/O, or past the page cache by io_uring; processes that do one
 * and processes that do the other may share a file, as the kernel keeps the two views equal. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "target/backing.h"
#include "target/plain_file.h"
#include "target/uring.h"

struct file_state {
    int fd;
    struct cte__uring *uring; /* NULL: buffered */
    uint64_t capacity_bytes;
    uint64_t arena_bytes;
    char path[];
};

static cte_status file_create(const struct cte__target_spec *spec)
{
    return cte__plain_file_create(spec, CTE__PLAIN_FILE_RESERVE_OR_NOT);
}

static cte_status file_open(const struct cte__target_spec *spec, void **out)
{
    int fd = cte__plain_file_open(spec);
    if (fd < 0)
        return fd;
    size_t path_bytes = strlen(spec->path) + 1;
    struct file_state *state = malloc(sizeof *state + path_bytes);
    if (!state) {
        close(fd);
        return -ENOMEM;
    }
    state->fd = fd;
    state->uring = spec->engine == CTE__TARGET_URING ? cte__uring_open(fd, spec->path) : NULL;
    state->capacity_bytes = spec->capacity_bytes;
    state->arena_bytes = spec->arena_bytes;
    memcpy(state->path, spec->path, path_bytes);
    *out = state;
    return 0;
}

static cte_status buffered_io(const struct file_state *state, const struct cte__target_io *io)
{
    if (io->sums && io->write)
        cte__target_sum(io);
    cte_status rc = cte__target_transfer(state->fd, io->offset, io);
    if (rc == 0 && io->sums && !io->write)
        cte__target_sum(io);
    return rc;
}

static cte_status file_io(void *opaque, const struct cte__target_io *io)
{
    const struct file_state *state = opaque;
    cte_status rc = cte__target_check_io(io, state->capacity_bytes, state->arena_bytes);
    if (rc != 0)
        return rc;
    rc = state->uring ? cte__uring_transfer(state->uring, io) : buffered_io(state, io);
    /* A full medium is the caller's business: it has other targets. */
    if (rc != 0 && rc != -ENOSPC)
        cte__log_error("cannot %s %llu bytes at %llu of target %s: %s",
                       io->write ? "write" : "read", (unsigned long long)io->bytes,
                       (unsigned long long)io->offset, state->path, cte_status_string(rc));
    return rc;
}

/* Also what went past the page cache: the device may hold it in a cache of its own, and the file
 * system has to note that the blocks are written. */
static cte_status file_sync(void *opaque)
{
    const struct file_state *state = opaque;
    return cte__target_fdatasync(state->fd, state->path);
}

static void file_close(void *opaque)
{
    struct file_state *state = opaque;
    if (!state)
        return;
    cte__uring_close(state->uring);
    close(state->fd);
    free(state);
}

const struct cte__target_ops cte__target_file = {
    .kind = "file",
    .capabilities = CTE__TARGET_SURVIVES_PROCESS | CTE__TARGET_SURVIVES_NODE | CTE__TARGET_SUMS,
    .kind_rank = 0.5f,
    .nominal_bytes_per_s = 1000000000,
    .nominal_latency_ns = 100000,
    .create = file_create,
    .open = file_open,
    .io = file_io,
    .sync = file_sync,
    .close = file_close,
    .destroy = cte__plain_file_destroy,
};
