/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/arenas.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "target/fork.h"

enum {
    /* Of the descriptors a process may have, one in so many is ours at most, but some at least. */
    FD_SHARE_DIVISOR = 8,
    FD_SHARE_MIN = 8,
};

static long fd_share(uint64_t arena_count)
{
    struct rlimit limit;
    uint64_t share = FD_SHARE_MIN;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        share = cte__max(share, limit.rlim_cur / FD_SHARE_DIVISOR);
    return (long)cte__min(share, arena_count);
}

/* ---- open and close ---- */

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

void cte__arenas_close(struct cte__arenas *arenas)
{
    for (uint64_t i = 0; i < arenas->count; i++)
        close_if_open(atomic_load_explicit(&arenas->fds[i], memory_order_relaxed));
    close_if_open(arenas->spare_fd);
    close_if_open(arenas->mark_fd);
    close_if_open(arenas->dir_fd);
    free(arenas->fds);
    free(arenas->path);
}

/* Fills in the descriptors; what was opened is closed by cte__arenas_close() also on failure. */
static cte_status open_backing(struct cte__arenas *arenas, const struct cte__target_spec *spec)
{
    arenas->dir_fd = cte__arenas_open_directory(spec->path);
    if (arenas->dir_fd < 0)
        return arenas->dir_fd;
    struct cte__target_mark mark;
    arenas->mark_fd = cte__arenas_open_mark(arenas->dir_fd, spec->path, &mark);
    if (arenas->mark_fd == -ENOENT)
        return CTE_ERR_STORE_CORRUPT;
    if (arenas->mark_fd < 0)
        return arenas->mark_fd;
    cte_status rc = cte__target_mark_check(&mark, spec);
    if (rc == 0)
        rc = cte__target_lock(arenas->mark_fd, false, spec->path);
    if (rc != 0)
        return rc;
    arenas->spare_fd = fcntl(arenas->dir_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return arenas->spare_fd < 0 ? -errno : 0;
}

static bool init(struct cte__arenas *arenas, const struct cte__target_spec *spec)
{
    *arenas = (struct cte__arenas){
        .dir_fd = CTE__ARENA_NO_FD,
        .mark_fd = CTE__ARENA_NO_FD,
        .spare_fd = CTE__ARENA_NO_FD,
        .arena_bytes = spec->arena_bytes,
        .capacity_bytes = spec->capacity_bytes,
        .count = spec->capacity_bytes / spec->arena_bytes,
        .path = strdup(spec->path),
    };
    arenas->fds = malloc(arenas->count * sizeof arenas->fds[0]);
    if (!arenas->path || !arenas->fds) {
        free(arenas->path);
        free(arenas->fds);
        return false;
    }
    atomic_init(&arenas->fd_budget, fd_share(arenas->count));
    for (uint64_t i = 0; i < arenas->count; i++)
        atomic_init(&arenas->fds[i], CTE__ARENA_NO_FD);
    return true;
}

cte_status cte__arenas_open(struct cte__arenas *arenas, const struct cte__target_spec *spec)
{
    cte_status rc = cte__target_check_spec(spec, spec->arena_bytes);
    if (rc == 0)
        rc = cte__target_watch_forks();
    if (rc != 0)
        return rc;
    if (!init(arenas, spec))
        return -ENOMEM;
    rc = open_backing(arenas, spec);
    if (rc != 0) {
        cte__log_error("cannot open target %s: %s", spec->path, cte_status_string(rc));
        cte__arenas_close(arenas);
    }
    return rc;
}

/* ---- arenas ---- */

/* Whoever opens an arena gives it its size: its maker may have died before doing so.  Nobody writes
 * before the size is right, and racing openers set the same one. */
static cte_status size_arena(const struct cte__arenas *arenas, int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    cte_status rc = cte__target_check_stat(&status, S_IFREG, arenas->path);
    if (rc != 0 || (uint64_t)status.st_size == arenas->arena_bytes)
        return rc;
    if (status.st_size != 0)
        return CTE_ERR_STORE_CORRUPT;
    return ftruncate(fd, (off_t)arenas->arena_bytes) != 0 ? -errno : 0;
}

/* Returns a descriptor; -ENOENT when reading what was never written. */
static int open_arena(const struct cte__arenas *arenas, uint64_t index, bool write)
{
    char name[CTE__ARENA_NAME_BYTES];
    snprintf(name, sizeof name, CTE__ARENA_PREFIX "%" PRIu64, index);
    int fd = cte__target_openat(arenas->dir_fd, name, O_RDWR | (write ? O_CREAT : 0), 0600);
    if (fd < 0)
        return fd;
    cte_status rc = size_arena(arenas, fd);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

/* Keeps the descriptor for later if there is room. */
static void keep_arena(struct cte__arenas *arenas, uint64_t index, struct cte__arena_use *use)
{
    use->how = CTE__ARENA_TRANSIENT;
    if (atomic_fetch_sub_explicit(&arenas->fd_budget, 1, memory_order_relaxed) > 0) {
        int kept = CTE__ARENA_NO_FD;
        use->how = CTE__ARENA_KEPT;
        /* Release: whoever sees the number sees an open descriptor of an arena of full size. */
        if (atomic_compare_exchange_strong_explicit(&arenas->fds[index], &kept, use->fd,
                                                    memory_order_release, memory_order_acquire))
            return;
        close(use->fd);
        use->fd = kept; /* another thread was first */
    }
    atomic_fetch_add_explicit(&arenas->fd_budget, 1, memory_order_relaxed);
}

/* Holds the lock of fork.h if it succeeds. */
static cte_status use_spare(struct cte__arenas *arenas, uint64_t index, bool write,
                            struct cte__arena_use *use)
{
    cte__target_fork_lock();
    if (arenas->spare_fd >= 0)
        close(arenas->spare_fd);
    arenas->spare_fd = open_arena(arenas, index, write);
    *use = (struct cte__arena_use){.fd = arenas->spare_fd, .how = CTE__ARENA_SPARE};
    if (use->fd >= 0)
        return 0;
    arenas->spare_fd = fcntl(arenas->dir_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    cte__target_fork_unlock();
    return use->fd;
}

cte_status cte__arenas_use(struct cte__arenas *arenas, uint64_t index, bool write,
                           struct cte__arena_use *use)
{
    use->how = CTE__ARENA_KEPT;
    use->fd = atomic_load_explicit(&arenas->fds[index], memory_order_acquire);
    if (use->fd >= 0)
        return 0;
    cte__target_fork_lock();
    use->fd = open_arena(arenas, index, write);
    if (use->fd >= 0)
        keep_arena(arenas, index, use);
    cte__target_fork_unlock();
    if (use->fd == -EMFILE || use->fd == -ENFILE)
        return use_spare(arenas, index, write, use);
    return use->fd < 0 ? use->fd : 0;
}

void cte__arenas_done(const struct cte__arena_use *use)
{
    if (use->how == CTE__ARENA_TRANSIENT)
        close(use->fd);
    if (use->how == CTE__ARENA_SPARE)
        cte__target_fork_unlock();
}

/* ---- transfer ---- */

cte_status cte__arenas_transfer(struct cte__arenas *arenas, const struct cte__target_io *io)
{
    struct cte__arena_use use;
    cte_status rc = cte__arenas_use(arenas, io->offset / arenas->arena_bytes, io->write, &use);
    if (rc != 0)
        return rc;
    rc = cte__target_transfer(use.fd, io->offset % arenas->arena_bytes, io);
    cte__arenas_done(&use);
    return rc;
}

/* That it was never written is only true as long as nobody removed the target behind our back, as
 * some systems do when a user logs out. */
cte_status cte__arenas_read_zeros(const struct cte__arenas *arenas, const struct cte__target_io *io)
{
    struct stat status;
    if (fstat(arenas->mark_fd, &status) != 0)
        return -errno;
    if (status.st_nlink == 0) {
        cte__log_error("target %s was removed while in use; its data is lost", arenas->path);
        return CTE_ERR_STORE_CORRUPT;
    }
    for (int i = 0; i < io->iov_count; i++)
        if (io->iov[i].iov_len > 0)
            memset(io->iov[i].iov_base, 0, io->iov[i].iov_len);
    return 0;
}
