/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/backing.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/checksum.h"
#include "base/log.h"
#include "base/util.h"
#include "target/cursor.h"

enum { MARK_VERSION = 1 };

static const char mark_magic[16] = "cte target mark";

static_assert(sizeof(struct cte__target_mark) <= CTE__TARGET_MARK_BYTES, "mark exceeds its page");
static_assert(sizeof(off_t) == sizeof(int64_t), "files must be addressed by 64 bits");

/* ---- mark ---- */

static uint64_t mark_checksum(const struct cte__target_mark *mark)
{
    return XXH3_64bits(mark, offsetof(struct cte__target_mark, checksum));
}

void cte__target_mark_fill(union cte__target_mark_page *page, const struct cte__target_spec *spec)
{
    memset(page, 0, sizeof *page);
    memcpy(page->mark.magic, mark_magic, sizeof mark_magic);
    page->mark.version = MARK_VERSION;
    page->mark.capacity_bytes = spec->capacity_bytes;
    page->mark.arena_bytes = spec->arena_bytes;
    page->mark.store_id = spec->store_id;
    page->mark.checksum = mark_checksum(&page->mark);
}

bool cte__target_mark_is_valid(const struct cte__target_mark *mark)
{
    return memcmp(mark->magic, mark_magic, sizeof mark_magic) == 0 &&
           mark->checksum == mark_checksum(mark);
}

cte_status cte__target_mark_write(int fd, uint64_t offset, const struct cte__target_spec *spec)
{
    union cte__target_mark_page page;
    cte__target_mark_fill(&page, spec);
    struct iovec iov = {.iov_base = &page, .iov_len = sizeof page};
    struct cte__target_io io = {.write = true, .iov = &iov, .iov_count = 1, .bytes = sizeof page};
    return cte__target_transfer(fd, offset, &io);
}

cte_status cte__target_mark_read(int fd, uint64_t offset, struct cte__target_mark *mark)
{
    struct iovec iov = {.iov_base = mark, .iov_len = sizeof *mark};
    struct cte__target_io io = {.iov = &iov, .iov_count = 1, .bytes = sizeof *mark};
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    if ((uint64_t)status.st_size < offset + CTE__TARGET_MARK_BYTES)
        return -ENOENT;
    cte_status rc = cte__target_transfer(fd, offset, &io);
    if (rc != 0)
        return rc;
    return cte__target_mark_is_valid(mark) ? 0 : -ENOENT;
}

cte_status cte__target_mark_check(const struct cte__target_mark *mark,
                                  const struct cte__target_spec *spec)
{
    if (mark->version == MARK_VERSION && mark->capacity_bytes == spec->capacity_bytes &&
        mark->arena_bytes == spec->arena_bytes && mark->store_id == spec->store_id)
        return 0;
    cte__log_error(
        "target %s was made for another store, another size or by another version of cte "
        "(it has %" PRIu64 " bytes, %" PRIu64 " are expected); use the configuration it "
        "was made with, or remove it if its data is not needed",
        spec->path, mark->capacity_bytes, spec->capacity_bytes);
    return CTE_ERR_STORE_LAYOUT;
}

/* ---- opening ---- */

int cte__target_openat(int dir_fd, const char *name, int flags, mode_t perm)
{
    int fd;
    do {
        fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, perm);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    if (fd > STDERR_FILENO)
        return fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int rc = higher < 0 ? -errno : higher;
    close(fd);
    return rc;
}

int cte__target_open_parent(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    /* The parent may be reached through links: only the target itself must not be one. */
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : fd;
    free(copy);
    return rc;
}

static cte_status wrong_type(const struct stat *status, mode_t type)
{
    if (S_ISLNK(status->st_mode))
        return -ELOOP;
    if (type == S_IFDIR)
        return -ENOTDIR;
    return S_ISDIR(status->st_mode) ? -EISDIR : -EINVAL;
}

cte_status cte__target_check_stat(const struct stat *status, mode_t type, const char *path)
{
    const char *wanted = type == S_IFDIR ? "directory" : "regular file";
    if ((status->st_mode & S_IFMT) != type) {
        cte__log_error("target %s is %s, not a %s; give a path of its own", path,
                       S_ISLNK(status->st_mode)   ? "a symbolic link"
                       : S_ISDIR(status->st_mode) ? "a directory"
                       : S_ISREG(status->st_mode) ? "a file"
                                                  : "a device, pipe or socket",
                       wanted);
        return wrong_type(status, type);
    }
    if (status->st_uid != geteuid()) {
        cte__log_error("target %s belongs to user %u, not to user %u who runs this program; give a "
                       "path of your own",
                       path, (unsigned)status->st_uid, (unsigned)geteuid());
        return CTE_ERR_STORE_OWNER;
    }
    return 0;
}

/* ---- checks ---- */

/* A write beyond the limit would raise SIGXFSZ, which kills by default. */
static cte_status check_file_limit(const char *path, uint64_t file_bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0)
        return -errno;
    if (limit.rlim_cur == RLIM_INFINITY || file_bytes <= limit.rlim_cur)
        return 0;
    cte__log_error("target %s needs files of %" PRIu64
                   " bytes, but this process may only write %" PRIu64
                   "; raise the limit (ulimit -f)",
                   path, file_bytes, (uint64_t)limit.rlim_cur);
    return -EFBIG;
}

cte_status cte__target_check_spec(const struct cte__target_spec *spec, uint64_t file_bytes)
{
    if (!spec->path || spec->path[0] != '/' || spec->path[strlen(spec->path) - 1] == '/') {
        cte__log_error("target path '%s' is not an absolute path of a file or directory",
                       spec->path ? spec->path : "");
        return -EINVAL;
    }
    if (spec->arena_bytes == 0 || spec->arena_bytes % CTE__TARGET_ARENA_UNIT != 0 ||
        spec->capacity_bytes == 0 || spec->capacity_bytes % spec->arena_bytes != 0 ||
        spec->capacity_bytes > INT64_MAX - CTE__TARGET_MARK_BYTES) {
        cte__log_error("target %s: a capacity of %" PRIu64
                       " bytes cannot be cut into arenas of %" PRIu64 " bytes",
                       spec->path, spec->capacity_bytes, spec->arena_bytes);
        return -EINVAL;
    }
    return check_file_limit(spec->path, file_bytes);
}

cte_status cte__target_check_space(int fd, const char *path, uint64_t bytes, uint64_t reclaimable)
{
    struct statvfs fs;
    if (fstatvfs(fd, &fs) != 0) {
        int error = errno;
        cte__log_error("target %s: cannot ask its file system for free space: %s", path,
                       strerror(error));
        return -error;
    }
    if (fs.f_blocks == 0) /* a tmpfs without a limit says so */
        return 0;
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes <= available || bytes - available <= reclaimable)
        return 0;
    cte__log_error("target %s needs %" PRIu64 " bytes, its file system has %" PRIu64
                   " left; lower the capacity or free some space",
                   path, bytes, available + reclaimable);
    return -ENOSPC;
}

cte_status cte__target_lock(int fd, bool exclusive, const char *path)
{
    int rc;
    do {
        rc = flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return 0;
    if (errno == EWOULDBLOCK) {
        cte__log_error("target %s is in use by another store; give each store targets of its own",
                       path);
        return -EBUSY;
    }
    cte__log_info(
        "target %s: its file system has no locks (%s); nothing guards it against use by two "
        "stores at once",
        path, strerror(errno));
    return 0;
}

cte_status cte__target_check_io(const struct cte__target_io *io, uint64_t capacity_bytes,
                                uint64_t arena_bytes)
{
    if (io->iov_count < 0 || io->bytes > arena_bytes || io->offset > capacity_bytes - io->bytes ||
        io->offset % arena_bytes > arena_bytes - io->bytes)
        return -EINVAL;
    if (io->write && (io->offset % CTE__PAGE_BYTES != 0 || io->bytes % CTE__PAGE_BYTES != 0))
        return -EINVAL;
    uint64_t left = io->bytes;
    for (int i = 0; i < io->iov_count; i++) {
        if (io->iov[i].iov_len > left)
            return -EINVAL;
        left -= io->iov[i].iov_len;
    }
    return left == 0 ? 0 : -EINVAL;
}

/* ---- transfer ---- */

/* One system call: the rest of an element begun, else as many whole ones as the kernel takes. */
static ssize_t move_some(int fd, off_t offset, bool write, const struct cte__cursor *at)
{
    const struct iovec *iov = at->iov + at->index;
    struct iovec rest;
    int count = (int)cte__min((uint64_t)(at->count - at->index), IOV_MAX);
    if (at->skip > 0) {
        rest.iov_base = cte__cursor_memory(at, &rest.iov_len);
        iov = &rest;
        count = 1;
    }
    return write ? pwritev(fd, iov, count, offset) : preadv(fd, iov, count, offset);
}

cte_status cte__target_transfer(int fd, uint64_t file_offset, const struct cte__target_io *io)
{
    struct cte__cursor at = cte__cursor_begin(io->iov, io->iov_count);
    uint64_t done = 0;
    while (done < io->bytes) {
        ssize_t moved = move_some(fd, (off_t)(file_offset + done), io->write, &at);
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved < 0)
            return -errno;
        if (moved == 0)
            return -EIO;
        done += (uint64_t)moved;
        cte__cursor_advance(&at, (size_t)moved);
    }
    return 0;
}

void cte__target_sum(const struct cte__target_io *io)
{
    uint32_t *sum = io->sums;
    for (int i = 0; i < io->iov_count; i++) {
        const char *memory = io->iov[i].iov_base;
        assert(io->iov[i].iov_len % CTE__PAGE_BYTES == 0);
        for (size_t at = 0; at < io->iov[i].iov_len; at += CTE__PAGE_BYTES)
            *sum++ = cte__page_sum(memory + at);
    }
}

cte_status cte__target_fdatasync(int fd, const char *path)
{
    while (fdatasync(fd) != 0) {
        int error = errno;
        if (error == EINTR)
            continue;
        cte__log_error("cannot make target %s durable: %s; its device may be failing", path,
                       strerror(error));
        return -error;
    }
    return 0;
}

cte_status cte__target_sync_directory(int fd)
{
    int rc;
    do {
        rc = fsync(fd);
    } while (rc != 0 && errno == EINTR);
    return rc == 0 || errno == EINVAL ? 0 : -errno; /* EINVAL: there is no such thing here */
}
