/* SPDX-License-Identifier: BSD-3-Clause */
/* Persistent memory, mapped through libpmem: a /dev/dax device, or a file.  A file on a file system
 * with direct access is persistent memory too; any other one stands in for it: what is written
 * there is in the page cache until sync.
 *
 * Files are reserved as a whole when they are made, and their size is looked at before each
 * transfer: a missing block would raise SIGBUS. */
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
    bool device;     /* else a file */
    bool persistent; /* what left the processor's caches is durable */
    char *base;
    size_t mapped_bytes;
    uint64_t capacity_bytes;
    uint64_t arena_bytes;
    char path[];
};

/* ---- mapping ---- */

/* Maps what `fd` has open, whatever stands at its path by now.  `base` NULL: nothing mapped yet. */
static cte_status map_descriptor(int fd, const char *path, char **base, size_t *bytes,
                                 bool *persistent)
{
    char name[64];
    int is_pmem = 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    *base = pmem_map_file(name, 0, 0, 0, bytes, &is_pmem);
    if (!*base) {
        int error = errno ? errno : EIO;
        cte__log_error("cannot map target %s: %s (%s)", path, strerror(error), pmem_errormsg());
        return -error;
    }
    *persistent = is_pmem;
    return 0;
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
    rc = map_descriptor(fd, spec->path, &region.base, &bytes, &persistent);
    if (rc == 0) {
        region.bytes = bytes;
        rc = call(&region, spec);
        pmem_unmap(region.base, bytes);
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

static void dax_close(void *opaque)
{
    struct dax_state *state = opaque;
    if (!state)
        return;
    if (state->base && pmem_unmap(state->base, state->mapped_bytes) != 0)
        cte__log_warn("target %s could not be unmapped: %s", state->path, pmem_errormsg());
    if (state->fd >= 0)
        close(state->fd);
    free(state);
}

/* A file: its mark was checked through the descriptor, its size might have changed since. */
static cte_status check_mapping(const struct dax_state *state, const struct cte__target_spec *spec)
{
    struct cte__dax_region region = {.base = state->base, .bytes = state->mapped_bytes};
    if (state->device)
        return cte__dax_region_check(&region, spec);
    if (state->mapped_bytes >= spec->capacity_bytes)
        return 0;
    cte__log_error("target %s was cut while it was opened", spec->path);
    return CTE_ERR_STORE_CORRUPT;
}

/* Fills in the state; what was opened is closed by dax_close() also on failure. */
static cte_status open_backing(struct dax_state *state, const struct cte__target_spec *spec)
{
    state->device = names_device(spec->path);
    state->fd = state->device ? open_device(spec->path, false) : cte__plain_file_open(spec);
    if (state->fd < 0)
        return state->fd;
    cte_status rc = map_descriptor(state->fd, spec->path, &state->base, &state->mapped_bytes,
                                   &state->persistent);
    return rc == 0 ? check_mapping(state, spec) : rc;
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

static void copy_out(const struct cte__target_io *io, const char *from)
{
    for (int i = 0; i < io->iov_count; i++) {
        if (io->iov[i].iov_len > 0)
            memcpy(io->iov[i].iov_base, from, io->iov[i].iov_len);
        from += io->iov[i].iov_len;
    }
}

static void copy_in(const struct dax_state *state, const struct cte__target_io *io, char *to)
{
    for (int i = 0; i < io->iov_count; i++) {
        size_t bytes = io->iov[i].iov_len;
        if (bytes > 0 && state->persistent)
            pmem_memcpy(to, io->iov[i].iov_base, bytes, PMEM_F_MEM_NODRAIN);
        else if (bytes > 0)
            memcpy(to, io->iov[i].iov_base, bytes);
        to += bytes;
    }
    /* Here and not at sync: that may be done by another process. */
    if (state->persistent)
        pmem_drain();
}

static cte_status dax_io(void *opaque, const struct cte__target_io *io)
{
    const struct dax_state *state = opaque;
    cte_status rc = cte__target_check_io(io, state->capacity_bytes, state->arena_bytes);
    if (rc == 0)
        rc = check_size(state);
    if (rc == 0 && io->write)
        copy_in(state, io, state->base + io->offset);
    else if (rc == 0)
        copy_out(io, state->base + io->offset);
    if (rc != 0 && rc != -EINVAL)
        cte__log_error("cannot %s %llu bytes at %llu of target %s: %s",
                       io->write ? "write" : "read", (unsigned long long)io->bytes,
                       (unsigned long long)io->offset, state->path, cte_status_string(rc));
    return rc;
}

/* Devices have everything already.  So has persistent memory that is a file, which makes this cheap
 * there; but whether it is was only the file system's word. */
static cte_status dax_sync(void *opaque)
{
    const struct dax_state *state = opaque;
    return state->device ? 0 : cte__plain_file_sync(state->fd, state->path);
}

const struct cte__target_ops cte__target_dev_dax = {
    .kind = "dev_dax",
    .capabilities =
        CTE__TARGET_SURVIVES_PROCESS | CTE__TARGET_SURVIVES_NODE | CTE__TARGET_BY_MEMORY,
    .nominal_score = 0.8f,
    .nominal_bytes_per_s = 4000000000,
    .create = dax_create,
    .open = dax_open,
    .io = dax_io,
    .sync = dax_sync,
    .close = dax_close,
    .destroy = dax_destroy,
};
