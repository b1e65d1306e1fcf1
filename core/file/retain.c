/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/retain.h"

#include "file/outside.h"

bool cte__retained_is_valid(const struct cte__file_state *file, const struct stat *st)
{
    return atomic_load(&file->retain) != 0 && atomic_load(&file->real_writers) == 0 &&
           !atomic_load(&file->real_ours) && !atomic_load(&file->real_foreign) &&
           cte__real_is_marked(file, st);
}

bool cte__retained_is_stale(const struct cte__file_state *file, const struct stat *st)
{
    return atomic_load(&file->retain) != 0 && atomic_load(&file->real_writers) == 0 &&
           (atomic_load(&file->real_foreign) || !cte__real_is_marked(file, st));
}

/* Gives the file, which cte has changed, a time that no later change has by accident: the kernel
 * stamps changes with the time of its last tick, or one that nobody has seen yet. */
static bool stamp(struct cte__file_state *file, int fd, struct stat *st)
{
    struct timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
    clock_gettime(CLOCK_REALTIME, &times[1]);
    if (futimens(fd, times) != 0 || fstat(fd, st) != 0)
        return false; /* the file is somebody else's */
    bool precise = st->st_mtim.tv_nsec != 0 && (st->st_mtim.tv_sec != st->st_ctim.tv_sec ||
                                                st->st_mtim.tv_nsec != st->st_ctim.tv_nsec);
    cte__real_stamped(file, st);
    return precise;
}

/* No change by cte is under way, and none will be noted before this is done. */
static bool settle(struct cte__file_state *file, int fd)
{
    struct stat st;
    if (atomic_load(&file->real_foreign) || fstat(fd, &st) != 0 || st.st_nlink == 0)
        return false;
    if (!cte__real_is_marked(file, &st)) {
        atomic_store(&file->real_foreign, 1);
        return false;
    }
    if (!atomic_load(&file->real_ours))
        return true;
    if (!stamp(file, fd, &st))
        return false;
    atomic_store(&file->real_ours, 0);
    return true;
}

bool cte__retain_settle(struct cte__store *store, cte__unit tag, int fd)
{
    struct cte__file_state *file = &cte__tag_at(store, tag)->file;
    if (atomic_load(&file->retain) == 0)
        return false;
    /* As a writer, so that nobody who begins to write takes the new time for a change by others.
     * Whoever writes already settles later. */
    bool settled = atomic_fetch_add(&file->real_writers, 1) == 0 && settle(file, fd);
    atomic_fetch_sub(&file->real_writers, 1);
    return settled;
}
