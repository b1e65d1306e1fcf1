/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory of arenas (arenas.h) on any file system.  Space is taken as it is written: a file
 * system that others fill up is an ordinary error then. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "target/arenas.h"

static cte_status posix_create(const struct cte__target_spec *spec)
{
    return cte__arenas_create(spec, true);
}

static cte_status posix_open(const struct cte__target_spec *spec, void **out)
{
    struct cte__arenas *arenas = malloc(sizeof *arenas);
    if (!arenas)
        return -ENOMEM;
    cte_status rc = cte__arenas_open(arenas, spec);
    if (rc != 0) {
        free(arenas);
        return rc;
    }
    *out = arenas;
    return 0;
}

static void posix_close(void *opaque)
{
    if (opaque)
        cte__arenas_close(opaque);
    free(opaque);
}

static cte_status posix_io(void *opaque, const struct cte__target_io *io)
{
    struct cte__arenas *arenas = opaque;
    cte_status rc = cte__target_check_io(io, arenas->capacity_bytes, arenas->arena_bytes);
    if (rc != 0 || io->bytes == 0)
        return rc;
    rc = cte__arenas_transfer(arenas, io);
    if (rc == -ENOENT && !io->write)
        rc = cte__arenas_read_zeros(arenas, io);
    /* A full medium is the caller's business: it has other targets. */
    if (rc != 0 && rc != -ENOSPC)
        cte__log_error("cannot %s %llu bytes at %llu of target %s: %s",
                       io->write ? "write" : "read", (unsigned long long)io->bytes,
                       (unsigned long long)io->offset, arenas->path, cte_status_string(rc));
    return rc;
}

/* Another process may have written an arena, so all that exist are synced; one without changes
 * costs a system call or three. */
static cte_status sync_arena(struct cte__arenas *arenas, uint64_t index)
{
    struct cte__arena_use use;
    cte_status rc = cte__arenas_use(arenas, index, false, &use);
    if (rc == -ENOENT)
        return 0; /* nobody wrote it */
    if (rc != 0) {
        cte__log_error("cannot make target %s durable: %s", arenas->path, cte_status_string(rc));
        return rc;
    }
    rc = cte__target_fdatasync(use.fd, arenas->path);
    cte__arenas_done(&use);
    return rc;
}

/* The directory last: the names of new arenas. */
static cte_status posix_sync(void *opaque)
{
    struct cte__arenas *arenas = opaque;
    cte_status rc = 0;
    for (uint64_t i = 0; rc == 0 && i < arenas->count; i++)
        rc = sync_arena(arenas, i);
    if (rc != 0)
        return rc;
    rc = cte__target_sync_directory(arenas->dir_fd);
    if (rc != 0)
        cte__log_error("cannot make target %s durable: %s", arenas->path, cte_status_string(rc));
    return rc;
}

const struct cte__target_ops cte__target_posix = {
    .kind = "posix",
    .capabilities = CTE__TARGET_SURVIVES_PROCESS | CTE__TARGET_SURVIVES_NODE,
    .kind_rank = 0.3f,
    .nominal_bytes_per_s = 500000000,
    .nominal_latency_ns = 200000,
    .create = posix_create,
    .open = posix_open,
    .io = posix_io,
    .sync = posix_sync,
    .close = posix_close,
    .destroy = cte__arenas_destroy,
};
