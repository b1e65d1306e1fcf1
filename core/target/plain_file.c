/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/plain_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "target/backing.h"

enum { ZEROS_BYTES = 1 << 16 };

/* Reserving goes by steps, so that a signal repeats only the last one. */
#define RESERVE_STEP_BYTES ((uint64_t)256 << 20)

static uint64_t file_bytes(const struct cte__target_spec *spec)
{
    return spec->capacity_bytes + CTE__TARGET_MARK_BYTES;
}

/* The name of the file in its parent directory. */
static const char *base_name(const char *path)
{
    return strrchr(path, '/') + 1;
}

/* Opens what is there, refusing what cannot be ours.  -ENOENT is not logged. */
static int open_existing(int parent_fd, const char *path, struct stat *status)
{
    if (fstatat(parent_fd, base_name(path), status, AT_SYMLINK_NOFOLLOW) != 0) {
        int error = errno;
        if (error != ENOENT)
            cte__log_error("cannot look at target %s: %s", path, strerror(error));
        return -error;
    }
    cte_status rc = cte__target_check_stat(status, S_IFREG, path);
    if (rc != 0)
        return rc;
    int fd = cte__target_openat(parent_fd, base_name(path), O_RDWR, 0);
    if (fd < 0) {
        cte__log_error("cannot open target %s for reading and writing: %s", path, strerror(-fd));
        return fd;
    }
    /* Again, on what was really opened. */
    rc = fstat(fd, status) != 0 ? -errno : cte__target_check_stat(status, S_IFREG, path);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

/* Reads the mark at the end of a file: -ENOENT if it is none of ours. */
static cte_status read_mark(int fd, const struct stat *status, struct cte__target_mark *mark)
{
    uint64_t size = (uint64_t)status->st_size;
    if (size < CTE__TARGET_MARK_BYTES)
        return -ENOENT;
    cte_status rc = cte__target_mark_read(fd, size - CTE__TARGET_MARK_BYTES, mark);
    if (rc == 0 && mark->capacity_bytes != size - CTE__TARGET_MARK_BYTES)
        rc = -ENOENT;
    return rc;
}

/* May the existing file be overwritten or removed?  Only a backing of this store; `empty_too`: or a
 * file without any byte that could be lost. */
static cte_status check_ours(int fd, const struct stat *status, const struct cte__target_spec *spec,
                             bool empty_too)
{
    struct cte__target_mark mark;
    if (empty_too && status->st_size == 0)
        return 0;
    cte_status rc = read_mark(fd, status, &mark);
    if (rc == 0 && mark.store_id == spec->store_id)
        return 0;
    if (rc != 0 && rc != -ENOENT) {
        cte__log_error("cannot read target %s: %s", spec->path, cte_status_string(rc));
        return rc;
    }
    cte__log_error("file %s %s and is left alone; give the target another path, or remove the file "
                   "if its data is not needed",
                   spec->path, rc == 0 ? "holds the data of another store" : "was not made by cte");
    return -EEXIST;
}

/* The slow way to have blocks. */
static cte_status write_zeros(int fd, const struct cte__target_spec *spec)
{
    static const char zeros[ZEROS_BYTES];
    static_assert(CTE__TARGET_ARENA_UNIT % ZEROS_BYTES == 0, "a capacity is whole pieces of zeros");
    struct iovec iov = {.iov_base = (char *)zeros, .iov_len = sizeof zeros};
    struct cte__target_io io = {.write = true, .iov = &iov, .iov_count = 1, .bytes = sizeof zeros};
    cte_status rc = 0;
    for (uint64_t offset = 0; rc == 0 && offset < spec->capacity_bytes; offset += sizeof zeros)
        rc = cte__target_transfer(fd, offset, &io);
    return rc;
}

/* Asks the file system for the blocks, so that no later write finds it full. */
static cte_status reserve_blocks(int fd, const struct cte__target_spec *spec,
                                 enum cte__plain_file_reserve reserve)
{
    for (uint64_t offset = 0; offset < spec->capacity_bytes;) {
        uint64_t step = cte__min(spec->capacity_bytes - offset, RESERVE_STEP_BYTES);
        if (fallocate(fd, 0, (off_t)offset, (off_t)step) == 0) {
            offset += step;
        } else if (errno == EOPNOTSUPP || errno == ENOSYS) {
            if (reserve == CTE__PLAIN_FILE_RESERVE_OR_WRITE)
                return write_zeros(fd, spec);
            cte__log_info("target %s: its file system cannot reserve space; it may fill up early",
                          spec->path);
            return 0;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* The mark comes first: whatever a killed process leaves behind is known as ours. */
static cte_status fill(int fd, const struct cte__target_spec *spec,
                       enum cte__plain_file_reserve reserve)
{
    if (ftruncate(fd, 0) != 0 || fchmod(fd, 0600) != 0)
        return -errno;
    cte_status rc = cte__target_mark_write(fd, spec->capacity_bytes, spec);
    if (rc == 0)
        rc = reserve_blocks(fd, spec, reserve);
    if (rc == 0 && fsync(fd) != 0)
        rc = -errno;
    return rc;
}

/* Fills the locked file; on failure takes back what it did: a file the user had made empty stays.
 */
static cte_status make_backing(int parent_fd, int fd, bool keep_on_failure,
                               const struct cte__target_spec *spec,
                               enum cte__plain_file_reserve reserve)
{
    cte_status rc = fill(fd, spec, reserve);
    if (rc == 0)
        rc = cte__target_sync_directory(parent_fd);
    if (rc == 0)
        return 0;
    cte__log_error(
        "cannot make target %s of %llu bytes: %s; lower its capacity or give another path",
        spec->path, (unsigned long long)spec->capacity_bytes, cte_status_string(rc));
    bool undone = ftruncate(fd, 0) == 0;
    if (!keep_on_failure)
        undone = unlinkat(parent_fd, base_name(spec->path), 0) == 0;
    if (!undone)
        cte__log_warn("%s could not be removed: %s", spec->path, strerror(errno));
    return rc;
}

static cte_status create_new(int parent_fd, const struct cte__target_spec *spec,
                             enum cte__plain_file_reserve reserve)
{
    cte_status rc = cte__target_check_space(parent_fd, spec->path, file_bytes(spec), 0);
    if (rc != 0)
        return rc;
    int fd = cte__target_openat(parent_fd, base_name(spec->path), O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        cte__log_error("cannot make target %s: %s; give a path in a directory you may write to",
                       spec->path, strerror(-fd));
        return fd;
    }
    rc = cte__target_lock(fd, true, spec->path);
    if (rc == 0)
        rc = make_backing(parent_fd, fd, false, spec, reserve);
    close(fd);
    return rc;
}

static cte_status replace(int parent_fd, int fd, const struct stat *status,
                          const struct cte__target_spec *spec, enum cte__plain_file_reserve reserve)
{
    cte_status rc = cte__target_lock(fd, true, spec->path);
    if (rc == 0)
        rc = check_ours(fd, status, spec, true);
    if (rc == 0)
        rc = cte__target_check_space(fd, spec->path, file_bytes(spec),
                                     (uint64_t)status->st_blocks * 512);
    if (rc == 0)
        rc = make_backing(parent_fd, fd, status->st_size == 0, spec, reserve);
    return rc;
}

cte_status cte__plain_file_create(const struct cte__target_spec *spec,
                                  enum cte__plain_file_reserve reserve)
{
    cte_status rc = cte__target_check_spec(spec, file_bytes(spec));
    if (rc != 0)
        return rc;
    int parent_fd = cte__target_open_parent(spec->path);
    if (parent_fd < 0) {
        cte__log_error("cannot make target %s: its directory: %s; make the directory first",
                       spec->path, strerror(-parent_fd));
        return parent_fd;
    }
    struct stat status;
    int fd = open_existing(parent_fd, spec->path, &status);
    if (fd == -ENOENT) {
        rc = create_new(parent_fd, spec, reserve);
    } else if (fd < 0) {
        rc = fd;
    } else {
        rc = replace(parent_fd, fd, &status, spec, reserve);
        close(fd);
    }
    close(parent_fd);
    return rc;
}

/* Type and owner are checked already. */
static cte_status check_backing(int fd, const struct stat *status,
                                const struct cte__target_spec *spec)
{
    struct cte__target_mark mark;
    cte_status rc = read_mark(fd, status, &mark);
    if (rc == -ENOENT) {
        cte__log_error("target %s is damaged or was not made by cte", spec->path);
        return CTE_ERR_STORE_CORRUPT;
    }
    if (rc == 0)
        rc = cte__target_mark_check(&mark, spec);
    if (rc == 0)
        rc = cte__target_lock(fd, false, spec->path);
    return rc;
}

int cte__plain_file_open(const struct cte__target_spec *spec)
{
    cte_status rc = cte__target_check_spec(spec, file_bytes(spec));
    if (rc != 0)
        return rc;
    int parent_fd = cte__target_open_parent(spec->path);
    struct stat status;
    int fd = parent_fd < 0 ? parent_fd : open_existing(parent_fd, spec->path, &status);
    if (parent_fd >= 0)
        close(parent_fd);
    if (fd == -ENOENT || parent_fd < 0)
        cte__log_error("cannot open target %s: %s", spec->path, cte_status_string(fd));
    if (fd < 0)
        return fd;
    rc = check_backing(fd, &status, spec);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

static cte_status remove_backing(int parent_fd, const struct cte__target_spec *spec)
{
    struct stat status;
    int fd = open_existing(parent_fd, spec->path, &status);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return fd;
    cte_status rc = check_ours(fd, &status, spec, false);
    if (rc == 0 && unlinkat(parent_fd, base_name(spec->path), 0) != 0) {
        rc = -errno;
        cte__log_error("cannot remove target %s: %s", spec->path, strerror(-rc));
    }
    close(fd);
    return rc;
}

cte_status cte__plain_file_destroy(const struct cte__target_spec *spec)
{
    cte_status rc = cte__target_check_spec(spec, 0);
    if (rc != 0)
        return rc;
    int parent_fd = cte__target_open_parent(spec->path);
    if (parent_fd == -ENOENT)
        return 0;
    if (parent_fd < 0) {
        cte__log_error("cannot remove target %s: its directory: %s", spec->path,
                       strerror(-parent_fd));
        return parent_fd;
    }
    rc = remove_backing(parent_fd, spec);
    close(parent_fd);
    return rc;
}
