/* SPDX-License-Identifier: BSD-3-Clause */
/* The ram target's arenas: one file each, and the few descriptors there are for them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "target/fork.h"
#include "target/ram.h"

enum {
    /* Of the descriptors a process may have, one in so many is ours at most, but some at least. */
    FD_SHARE_DIVISOR = 8,
    FD_SHARE_MIN = 8,
};

long cte__ram_fd_share(uint64_t arena_count)
{
    struct rlimit limit;
    uint64_t share = FD_SHARE_MIN;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        share = cte__max(share, limit.rlim_cur / FD_SHARE_DIVISOR);
    return (long)cte__min(share, arena_count);
}

/* Whoever opens an arena gives it its size: its maker may have died before doing so.  Nobody writes
 * before the size is right, and racing openers set the same one. */
static cte_status size_arena(const struct cte__ram_state *state, int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    cte_status rc = cte__target_check_stat(&status, S_IFREG, state->path);
    if (rc != 0 || (uint64_t)status.st_size == state->arena_bytes)
        return rc;
    if (status.st_size != 0)
        return CTE_ERR_STORE_CORRUPT;
    return ftruncate(fd, (off_t)state->arena_bytes) != 0 ? -errno : 0;
}

/* Returns a descriptor; -ENOENT when reading what was never written. */
static int open_arena(const struct cte__ram_state *state, uint64_t index, bool write)
{
    char name[CTE__RAM_NAME_BYTES];
    snprintf(name, sizeof name, CTE__RAM_ARENA_PREFIX "%" PRIu64, index);
    int fd = cte__target_openat(state->dir_fd, name, O_RDWR | (write ? O_CREAT : 0), 0600);
    if (fd < 0)
        return fd;
    cte_status rc = size_arena(state, fd);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

/* Keeps the descriptor for later if there is room. */
static void keep_arena(struct cte__ram_state *state, uint64_t index, struct cte__ram_use *use)
{
    use->how = CTE__RAM_TRANSIENT;
    if (atomic_fetch_sub_explicit(&state->fd_budget, 1, memory_order_relaxed) > 0) {
        int kept = CTE__RAM_NO_FD;
        use->how = CTE__RAM_KEPT;
        /* Release: whoever sees the number sees an open descriptor of an arena of full size. */
        if (atomic_compare_exchange_strong_explicit(&state->arenas[index].fd, &kept, use->fd,
                                                    memory_order_release, memory_order_acquire))
            return;
        close(use->fd);
        use->fd = kept; /* another thread was first */
    }
    atomic_fetch_add_explicit(&state->fd_budget, 1, memory_order_relaxed);
}

/* Holds the lock of fork.h if it succeeds. */
static cte_status use_spare(struct cte__ram_state *state, uint64_t index, bool write,
                            struct cte__ram_use *use)
{
    cte__target_fork_lock();
    if (state->spare_fd >= 0)
        close(state->spare_fd);
    state->spare_fd = open_arena(state, index, write);
    *use = (struct cte__ram_use){.fd = state->spare_fd, .how = CTE__RAM_SPARE};
    if (use->fd >= 0)
        return 0;
    state->spare_fd = fcntl(state->dir_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    cte__target_fork_unlock();
    return use->fd;
}

cte_status cte__ram_use(struct cte__ram_state *state, uint64_t index, bool write,
                        struct cte__ram_use *use)
{
    use->how = CTE__RAM_KEPT;
    use->fd = atomic_load_explicit(&state->arenas[index].fd, memory_order_acquire);
    if (use->fd >= 0)
        return 0;
    cte__target_fork_lock();
    use->fd = open_arena(state, index, write);
    if (use->fd >= 0)
        keep_arena(state, index, use);
    cte__target_fork_unlock();
    if (use->fd == -EMFILE || use->fd == -ENFILE)
        return use_spare(state, index, write, use);
    return use->fd < 0 ? use->fd : 0;
}

void cte__ram_done(const struct cte__ram_use *use)
{
    if (use->how == CTE__RAM_TRANSIENT)
        close(use->fd);
    if (use->how == CTE__RAM_SPARE)
        cte__target_fork_unlock();
}
