/* SPDX-License-Identifier: BSD-3-Clause */
/* Persistent memory, mapped through libpmem: a /dev/dax device, or a file on a file system with
 * direct access.  Files are reserved as a whole when they are made, and their size is looked at
 * before each transfer: a missing block would raise SIGBUS.
 *
 * A file anywhere else stands in for persistent memory.  It is read and written by system calls: a
 * mapping would bring no durability, and a disk error would be a signal. */
#include <errno.h>
#include <libpmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "target/backing.h"
#include "target/dax_region.h"
#include "target/plain_file.h"

struct dax_state {
    int fd;
    bool device; /* else a file */
    char *base;  /* persistent memory; NULL: a file that stands in for it */
    size_t mapped_bytes;
    uint64_t capacity_bytes;
    uint64_t arena_bytes;
    char path[];
};

/* ---- mapping ---- */

/* Maps what `fd` has open, whatever stands at its path by now.  Not logged. */
static cte_status map_descriptor(int fd, char **base, size_t *bytes, bool *persistent)
{
    char name[64];
    int is_pmem = 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    *base = pmem_map_file(name, 0, 0, 0, bytes, &is_pmem);
    if (!*base)
        return errno ? -errno : -EIO;
    *persistent = is_pmem;
    return 0;
}

static cte_status log_not_mapped(const char *path, cte_status rc)
{
    cte__log_error("cannot map target %s: %s (%s)", path, cte_status_string(rc), pmem_errormsg());
    return rc;
}

/* ---- devices ---- */

/* True for a character device of the dax driver. */
static bool is_dax_device(const struct stat *status)
{
    char name[64], target[256];
    snprintf(name, sizeof name, "/sys/dev/char/%u:%u/subsystem", major(status->st_rdev),
             minor(status->st_rdev));
    ssize_t length = readlink(name, target, sizeof target - 1);
    if (length <= 0)
        return false;
    target[length] = '\0';
    const char *last = strrchr(target, '/');
    return strcmp(last ? last + 1 : target, "dax") == 0;
}

/* Is there a character device at the path?  Everything else is for plain_file.c to judge. */
static bool names_device(const char *path)
{
    struct stat status;
    return path && lstat(path, &status) == 0 && S_ISCHR(status.st_mode);
}

static int open_device(const char *path, bool exclusive)
{
    struct stat status;
    int fd = cte__target_openat(AT_FDCWD, path, O_RDWR, 0);
    if (fd < 0) {
        cte__log_error("cannot open target %s for reading and writing: %s", path, strerror(-fd));
        return fd;
    }
    cte_status rc = fstat(fd, &status) != 0 ? -errno : 0;
    if (rc == 0 && (!S_ISCHR(status.st_mode) || !is_dax_device(&status))) {
        cte__log_error(
            "target %s is a device, but no persistent memory; give a /dev/dax device, or "
            "a file",
            path);
        rc = -ENODEV;
    }
    if (rc == 0)
        rc = cte__target_lock(fd, exclusive, path);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

/* Opens and maps the device, and does `call` with its memory. */
static cte_status with_device(const struct cte__target_spec *spec,
                              cte_status (*call)(const struct cte__dax_region *,
                                                 const struct cte__target_spec *))
{
    struct cte__dax_region region = {.set = pmem_memset_persist, .copy = pmem_memcpy_persist};
    size_t bytes;
    bool persistent;
    cte_status rc = cte__target_check_spec(spec, 0);
    if (rc != 0)
        return rc;
    int fd = open_device(spec->path, true);
    if (fd < 0)
        return fd;
    rc = map_descriptor(fd, &region.base, &bytes, &persistent);
    if (rc == 0) {
        region.bytes = bytes;
        rc = call(&region, spec);
        pmem_unmap(region.base, bytes);
    } else {
        log_not_mapped(spec->path, rc);
    }
    close(fd);
    return rc;
}

/* ---- operations ---- */

static cte_status dax_create(const struct cte__target_spec *spec)
{
    if (names_device(spec->path))
        return with_device(spec, cte__dax_region_create);
    return cte__plain_file_create(spec, CTE__PLAIN_FILE_RESERVE_OR_WRITE);
}

static cte_status dax_destroy(const struct cte__target_spec *spec)
{
    if (names_device(spec->path))
        return with_device(spec, cte__dax_region_destroy);
    return cte__plain_file_destroy(spec);
}

static void unmap(struct dax_state *state)
{
    if (state->base && pmem_unmap(state->base, state->mapped_bytes) != 0)
        cte__log_warn("target %s could not be unmapped: %s", state->path, pmem_errormsg());
    state->base = NULL;
}

static void dax_close(void *opaque)
{
    struct dax_state *state = opaque;
    if (!state)
        return;
    unmap(state);
    if (state->fd >= 0)
        close(state->fd);
    free(state);
}

static cte_status map_device(struct dax_state *state, const struct cte__target_spec *spec)
{
    bool persistent;
    cte_status rc = map_descriptor(state->fd, &state->base, &state->mapped_bytes, &persistent);
    if (rc != 0)
        return log_not_mapped(spec->path, rc);
    struct cte__dax_region region = {.base = state->base, .bytes = state->mapped_bytes};
    return cte__dax_region_check(&region, spec);
}

/* A file is as good without a mapping, only slower.  Its mark was checked through the descriptor,
 * its size may have changed since. */
static void map_file(struct dax_state *state, const struct cte__target_spec *spec)
{
    bool persistent;
    cte_status rc = map_descriptor(state->fd, &state->base, &state->mapped_bytes, &persistent);
    if (rc == 0 && persistent && state->mapped_bytes >= spec->capacity_bytes)
        return;
    cte__log_info("target %s %s: it is used through the page cache", spec->path,
                  rc == 0 ? "is a file, not persistent memory" : "could not be mapped");
    unmap(state);
}

/* Fills in the state; what was opened is closed by dax_close() also on failure. */
static cte_status open_backing(struct dax_state *state, const struct cte__target_spec *spec)
{
    state->device = names_device(spec->path);
    state->fd = state->device ? open_device(spec->path, false) : cte__plain_file_open(spec);
    if (state->fd < 0)
        return state->fd;
    if (state->device)
        return map_device(state, spec);
    map_file(state, spec);
    return 0;
}

static cte_status dax_open(const struct cte__target_spec *spec, void **out)
{
    cte_status rc = cte__target_check_spec(spec, 0);
    if (rc != 0)
        return rc;
    size_t path_bytes = strlen(spec->path) + 1;
    struct dax_state *state = calloc(1, sizeof *state + path_bytes);
    if (!state)
        return -ENOMEM;
    state->capacity_bytes = spec->capacity_bytes;
    state->arena_bytes = spec->arena_bytes;
    memcpy(state->path, spec->path, path_bytes);
    rc = open_backing(state, spec);
    if (rc != 0) {
        dax_close(state);
        return rc;
    }
    *out = state;
    return 0;
}

/* Touching what a file lost would raise SIGBUS. */
static cte_status check_size(const struct dax_state *state)
{
    struct stat status;
    if (state->device)
        return 0;
    if (fstat(state->fd, &status) != 0)
        return -errno;
    return (uint64_t)status.st_size >= state->capacity_bytes ? 0 : -EIO;
}

static void copy(const struct cte__target_io *io, char *memory)
{
    for (int i = 0; i < io->iov_count; i++) {
        size_t bytes = io->iov[i].iov_len;
        if (bytes > 0 && io->write)
            pmem_memcpy(memory, io->iov[i].iov_base, bytes, PMEM_F_MEM_NODRAIN);
        else if (bytes > 0)
            memcpy(io->iov[i].iov_base, memory, bytes);
        memory += bytes;
    }
    /* Here and not at sync: that may be done by another process. */
    if (io->write)
        pmem_drain();
}

static cte_status move(const struct dax_state *state, const struct cte__target_io *io)
{
    if (!state->base)
        return cte__target_transfer(state->fd, io->offset, io);
    cte_status rc = check_size(state);
    if (rc == 0)
        copy(io, state->base + io->offset);
    return rc;
}

static cte_status dax_io(void *opaque, const struct cte__target_io *io)
{
    const struct dax_state *state = opaque;
    cte_status rc = cte__target_check_io(io, state->capacity_bytes, state->arena_bytes);
    if (rc != 0)
        return rc;
    rc = move(state, io);
    if (rc != 0 && rc != -ENOSPC)
        cte__log_error("cannot %s %llu bytes at %llu of target %s: %s",
                       io->write ? "write" : "read", (unsigned long long)io->bytes,
                       (unsigned long long)io->offset, state->path, cte_status_string(rc));
    return rc;
}

/* Devices have everything already.  So has a file that is persistent memory: it costs little there.
 */
static cte_status dax_sync(void *opaque)
{
    const struct dax_state *state = opaque;
    return state->device ? 0 : cte__target_fdatasync(state->fd, state->path);
}

const struct cte__target_ops cte__target_dev_dax = {
    .kind = "dev_dax",
    .capabilities = CTE__TARGET_SURVIVES_PROCESS | CTE__TARGET_SURVIVES_NODE |
                    CTE__TARGET_BY_MEMORY | CTE__TARGET_AS_MEMORY,
    .kind_rank = 0.8f,
    .nominal_bytes_per_s = 4000000000,
    .nominal_latency_ns = 2000,
    .create = dax_create,
    .open = dax_open,
    .io = dax_io,
    .sync = dax_sync,
    .close = dax_close,
    .destroy = dax_destroy,
};
