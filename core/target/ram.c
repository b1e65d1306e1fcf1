/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory on tmpfs with one file per arena (concurrent writes to one inode would wait for each
 * other) and the mark in a file of its own.  Arenas come into being at their first write; memory is
 * taken as pages are written.  Nothing is mapped: pwrite into cold pages is faster, and a full
 * tmpfs is an error rather than SIGBUS. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "target/backing.h"
#include "target/fork.h"

#define MARK_NAME    "target.mark"
#define ARENA_PREFIX "arena."

enum {
    NAME_BYTES = 32,
    NO_FD = -1,
    /* Of the descriptors a process may have, one in so many is ours at most, but some at least. */
    FD_SHARE_DIVISOR = 8,
    FD_SHARE_MIN = 8,
};

struct ram_state {
    int dir_fd;
    int mark_fd; /* holds the shared lock */
    uint64_t arena_bytes;
    uint64_t capacity_bytes;
    atomic_long fd_budget; /* arenas that may still be kept open */
    /* When no descriptor is to be had, arenas are used one at a time through this one, with the
     * lock of fork.h held: a duplicate of dir_fd as long as it is not needed. */
    int spare_fd;
    char *path;
    atomic_int arena_fds[]; /* NO_FD until opened; then constant until close */
};

/* ---- the directory ---- */

/* Opens the directory, refusing links and other owners.  -ENOENT is not logged. */
static int open_directory(const char *path)
{
    struct stat status;
    if (lstat(path, &status) != 0)
        return -errno;
    cte_status rc = cte__target_check_stat(&status, S_IFDIR, path);
    if (rc != 0)
        return rc;
    int fd = cte__target_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        cte__log_error("cannot open target %s: %s", path, strerror(-fd));
        return fd;
    }
    /* Again, on what was really opened. */
    rc = fstat(fd, &status) != 0 ? -errno : cte__target_check_stat(&status, S_IFDIR, path);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

static bool is_arena_name(const char *name)
{
    if (strncmp(name, ARENA_PREFIX, strlen(ARENA_PREFIX)) != 0)
        return false;
    const char *digits = name + strlen(ARENA_PREFIX);
    return isdigit((unsigned char)*digits) && digits[strspn(digits, "0123456789")] == '\0';
}

/* Counts the arenas in a directory, or removes them: their number, or -errno. */
static int scan_arenas(int dir_fd, bool remove)
{
    int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd < 0)
        return -errno;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    rewinddir(dir); /* the position is shared with dir_fd */
    int count = 0;
    int rc = 0;
    const struct dirent *entry;
    while (rc == 0 && (errno = 0, entry = readdir(dir))) {
        if (!is_arena_name(entry->d_name))
            continue;
        count++;
        if (remove && unlinkat(dir_fd, entry->d_name, 0) != 0 && errno != ENOENT)
            rc = -errno;
    }
    if (rc == 0)
        rc = -errno;
    closedir(dir);
    return rc != 0 ? rc : count;
}

/* ---- the mark ---- */

/* Opens and reads the mark; -ENOENT, not logged, if there is none or its maker died before writing
 * it. */
static int open_mark(int dir_fd, const char *path, struct cte__target_mark *mark)
{
    int fd = cte__target_openat(dir_fd, MARK_NAME, O_RDWR, 0);
    if (fd < 0)
        return fd;
    struct stat status;
    cte_status rc = fstat(fd, &status) != 0 ? -errno : 0;
    if (rc == 0)
        rc = cte__target_check_stat(&status, S_IFREG, path);
    if (rc == 0)
        rc = cte__target_mark_read(fd, 0, mark);
    if (rc == -ENOENT && status.st_size != 0) {
        cte__log_error("%s/" MARK_NAME
                       " is damaged or was not made by cte; give the target another "
                       "path, or remove the directory if its data is not needed",
                       path);
        rc = CTE_ERR_STORE_CORRUPT;
    }
    if (rc != 0) {
        close(fd);
        return rc;
    }
    return fd;
}

/* May what is here be removed?  Arenas only with the mark of this store beside them; where there is
 * neither, nothing is lost. */
static cte_status check_ours(int dir_fd, const struct cte__target_spec *spec, bool want_unused)
{
    struct cte__target_mark mark;
    int mark_fd = open_mark(dir_fd, spec->path, &mark);
    if (mark_fd < 0 && mark_fd != -ENOENT)
        return mark_fd;
    bool marked = mark_fd >= 0;
    cte_status rc = 0;
    if (marked && want_unused)
        rc = cte__target_lock(mark_fd, true, spec->path);
    if (marked)
        close(mark_fd);
    if (rc != 0 || (marked && mark.store_id == spec->store_id))
        return rc;
    int arena_count = scan_arenas(dir_fd, false);
    if (arena_count < 0 || (arena_count == 0 && !marked))
        return arena_count;
    cte__log_error(
        "directory %s holds files %s and is left alone; give the target another path, or "
        "remove the directory if its data is not needed",
        spec->path, marked ? "of another store" : "that were not made by cte");
    return -EEXIST;
}

static cte_status write_mark(int dir_fd, const struct cte__target_spec *spec)
{
    int fd = cte__target_openat(dir_fd, MARK_NAME, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    cte_status rc = fchmod(fd, 0600) != 0 ? -errno : 0;
    if (rc == 0)
        rc = cte__target_mark_write(fd, 0, spec);
    close(fd);
    return rc;
}

/* ---- create and destroy ---- */

/* The directory of a store is nobody else's to enter.  One that is open to others is likely to be a
 * mistake, and not ours to change. */
static cte_status make_private(int dir_fd, const char *path, bool made)
{
    struct stat status;
    if (made)
        return fchmod(dir_fd, 0700) != 0 ? -errno : 0; /* whatever the umask did */
    if (fstat(dir_fd, &status) != 0)
        return -errno;
    if ((status.st_mode & 0077) == 0)
        return 0;
    cte__log_error(
        "target %s is a directory that other users may enter (mode %o); give a directory of "
        "its own, or chmod it to 700",
        path, (unsigned)(status.st_mode & 07777));
    return -EACCES;
}

/* Makes the directory, or opens the one there is. */
static int make_directory(const char *path, bool *made)
{
    *made = mkdir(path, 0700) == 0;
    if (!*made && errno != EEXIST) {
        int error = errno;
        cte__log_error("cannot make target %s: %s; give a path in a directory you may write to",
                       path, strerror(error));
        return -error;
    }
    int fd = open_directory(path);
    if (fd == -ENOENT)
        cte__log_error("cannot make target %s: another process removed it meanwhile", path);
    if (fd < 0 && *made)
        rmdir(path); /* best effort: it is empty, and the error is told already */
    return fd;
}

/* In an order that leaves something recognisable wherever the process dies: arenas never stand in a
 * directory without a mark. */
static cte_status fill(int dir_fd, const struct cte__target_spec *spec)
{
    int removed = scan_arenas(dir_fd, true);
    if (removed < 0)
        return removed;
    return write_mark(dir_fd, spec);
}

/* Pages of the arenas that fill() is going to remove. */
static uint64_t reclaimable_bytes(int dir_fd, const struct cte__target_spec *spec)
{
    uint64_t bytes = 0;
    char name[NAME_BYTES];
    struct stat status;
    for (uint64_t index = 0; index < spec->capacity_bytes / spec->arena_bytes; index++) {
        snprintf(name, sizeof name, ARENA_PREFIX "%" PRIu64, index);
        if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0)
            bytes += (uint64_t)status.st_blocks * 512;
    }
    return bytes;
}

static cte_status make_backing(int dir_fd, const struct cte__target_spec *spec)
{
    cte_status rc = check_ours(dir_fd, spec, true);
    if (rc == 0)
        rc = cte__target_check_space(dir_fd, spec->path,
                                     spec->capacity_bytes + CTE__TARGET_MARK_BYTES,
                                     reclaimable_bytes(dir_fd, spec));
    if (rc != 0)
        return rc;
    rc = fill(dir_fd, spec);
    if (rc != 0)
        cte__log_error("cannot make target %s: %s", spec->path, cte_status_string(rc));
    return rc;
}

/* Removes a directory just made, whose making failed. */
static void take_back(int dir_fd, const char *path)
{
    bool clean = unlinkat(dir_fd, MARK_NAME, 0) == 0 || errno == ENOENT;
    if (!clean || rmdir(path) != 0)
        cte__log_warn("%s could not be removed: %s", path, strerror(errno));
}

static cte_status ram_create(const struct cte__target_spec *spec)
{
    cte_status rc = cte__target_check_spec(spec, spec->arena_bytes);
    if (rc != 0)
        return rc;
    bool made;
    int dir_fd = make_directory(spec->path, &made);
    if (dir_fd < 0)
        return dir_fd;
    rc = make_private(dir_fd, spec->path, made);
    if (rc == 0)
        rc = make_backing(dir_fd, spec);
    if (rc != 0 && made)
        take_back(dir_fd, spec->path);
    close(dir_fd);
    return rc;
}

/* The mark goes last, the directory only if nothing else is in it.  One without arenas and mark is
 * what remains where a process died between two of these steps. */
static cte_status remove_backing(int dir_fd, const struct cte__target_spec *spec)
{
    cte_status rc = check_ours(dir_fd, spec, false);
    if (rc != 0)
        return rc;
    rc = scan_arenas(dir_fd, true);
    if (rc >= 0)
        rc = unlinkat(dir_fd, MARK_NAME, 0) != 0 && errno != ENOENT ? -errno : 0;
    if (rc == 0 && rmdir(spec->path) != 0 && errno != ENOTEMPTY && errno != EEXIST &&
        errno != ENOENT)
        rc = -errno;
    if (rc != 0)
        cte__log_error("cannot remove target %s: %s", spec->path, cte_status_string(rc));
    return rc;
}

static cte_status ram_destroy(const struct cte__target_spec *spec)
{
    cte_status rc = cte__target_check_spec(spec, 0);
    if (rc != 0)
        return rc;
    int dir_fd = open_directory(spec->path);
    if (dir_fd == -ENOENT)
        return 0;
    if (dir_fd < 0)
        return dir_fd;
    rc = remove_backing(dir_fd, spec);
    close(dir_fd);
    return rc;
}

/* ---- open and close ---- */

static long fd_share(uint64_t arena_count)
{
    struct rlimit limit;
    uint64_t share = FD_SHARE_MIN;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        share = cte__max(share, limit.rlim_cur / FD_SHARE_DIVISOR);
    return (long)cte__min(share, arena_count);
}

/* Fills in the descriptors; what was opened is closed by ram_close() also on failure. */
static cte_status open_backing(struct ram_state *state, const struct cte__target_spec *spec)
{
    state->dir_fd = open_directory(spec->path);
    if (state->dir_fd < 0)
        return state->dir_fd;
    struct cte__target_mark mark;
    state->mark_fd = open_mark(state->dir_fd, spec->path, &mark);
    if (state->mark_fd == -ENOENT)
        return CTE_ERR_STORE_CORRUPT;
    if (state->mark_fd < 0)
        return state->mark_fd;
    cte_status rc = cte__target_mark_check(&mark, spec);
    if (rc == 0)
        rc = cte__target_lock(state->mark_fd, false, spec->path);
    if (rc != 0)
        return rc;
    state->spare_fd = fcntl(state->dir_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return state->spare_fd < 0 ? -errno : 0;
}

static struct ram_state *new_state(const struct cte__target_spec *spec)
{
    uint64_t arena_count = spec->capacity_bytes / spec->arena_bytes;
    struct ram_state *state = malloc(sizeof *state + arena_count * sizeof state->arena_fds[0]);
    if (!state)
        return NULL;
    state->path = strdup(spec->path);
    if (!state->path) {
        free(state);
        return NULL;
    }
    state->dir_fd = state->mark_fd = state->spare_fd = NO_FD;
    state->arena_bytes = spec->arena_bytes;
    state->capacity_bytes = spec->capacity_bytes;
    atomic_init(&state->fd_budget, fd_share(arena_count));
    for (uint64_t i = 0; i < arena_count; i++)
        atomic_init(&state->arena_fds[i], NO_FD);
    return state;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void ram_close(void *opaque)
{
    struct ram_state *state = opaque;
    if (!state)
        return;
    for (uint64_t i = 0; i < state->capacity_bytes / state->arena_bytes; i++)
        close_if_open(atomic_load_explicit(&state->arena_fds[i], memory_order_relaxed));
    close_if_open(state->spare_fd);
    close_if_open(state->mark_fd);
    close_if_open(state->dir_fd);
    free(state->path);
    free(state);
}

static cte_status ram_open(const struct cte__target_spec *spec, void **out)
{
    cte_status rc = cte__target_check_spec(spec, spec->arena_bytes);
    if (rc == 0)
        rc = cte__target_watch_forks();
    if (rc != 0)
        return rc;
    struct ram_state *state = new_state(spec);
    if (!state)
        return -ENOMEM;
    rc = open_backing(state, spec);
    if (rc != 0) {
        cte__log_error("cannot open target %s: %s", spec->path, cte_status_string(rc));
        ram_close(state);
        return rc;
    }
    *out = state;
    return 0;
}

/* ---- arenas ---- */

/* Whoever opens an arena gives it its size: its maker may have died before doing so.  Nobody writes
 * before the size is right, and racing openers set the same one. */
static cte_status size_arena(const struct ram_state *state, int fd)
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
static int open_arena(const struct ram_state *state, uint64_t index, bool write)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, ARENA_PREFIX "%" PRIu64, index);
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

/* Keeps the descriptor for later if there is room.  Returns the one to use and whether to close it.
 */
static int keep_arena(struct ram_state *state, uint64_t index, int fd, bool *transient)
{
    *transient = false;
    if (atomic_fetch_sub_explicit(&state->fd_budget, 1, memory_order_relaxed) > 0) {
        int kept = NO_FD;
        /* Release: whoever sees the number sees an open descriptor of an arena of full size. */
        if (atomic_compare_exchange_strong_explicit(&state->arena_fds[index], &kept, fd,
                                                    memory_order_release, memory_order_acquire))
            return fd;
        atomic_fetch_add_explicit(&state->fd_budget, 1, memory_order_relaxed);
        close(fd);
        return kept; /* another thread was first */
    }
    atomic_fetch_add_explicit(&state->fd_budget, 1, memory_order_relaxed);
    *transient = true;
    return fd;
}

/* ---- io ---- */

/* For an arena that does not exist.  That it was never written is only true as long as nobody
 * removed the target behind our back, as some systems do when a user logs out. */
static cte_status read_zeros(const struct ram_state *state, const struct cte__target_io *io)
{
    struct stat status;
    if (fstat(state->mark_fd, &status) != 0)
        return -errno;
    if (status.st_nlink == 0) {
        cte__log_error("target %s was removed while in use; its data is lost", state->path);
        return CTE_ERR_STORE_CORRUPT;
    }
    for (int i = 0; i < io->iov_count; i++)
        if (io->iov[i].iov_len > 0)
            memset(io->iov[i].iov_base, 0, io->iov[i].iov_len);
    return 0;
}

static cte_status io_through_spare(struct ram_state *state, uint64_t index,
                                   const struct cte__target_io *io)
{
    cte__target_fork_lock();
    close_if_open(state->spare_fd);
    state->spare_fd = open_arena(state, index, io->write);
    cte_status rc = state->spare_fd;
    if (rc >= 0)
        rc = cte__target_transfer(state->spare_fd, io->offset % state->arena_bytes, io);
    else
        state->spare_fd = fcntl(state->dir_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    cte__target_fork_unlock();
    return rc;
}

static cte_status io_first(struct ram_state *state, uint64_t index, const struct cte__target_io *io)
{
    bool transient = false;
    cte__target_fork_lock();
    int fd = open_arena(state, index, io->write);
    if (fd >= 0)
        fd = keep_arena(state, index, fd, &transient);
    cte__target_fork_unlock();
    if (fd == -EMFILE || fd == -ENFILE)
        return io_through_spare(state, index, io);
    if (fd < 0)
        return fd;
    cte_status rc = cte__target_transfer(fd, io->offset % state->arena_bytes, io);
    if (transient)
        close(fd);
    return rc;
}

static cte_status ram_io(void *opaque, const struct cte__target_io *io)
{
    struct ram_state *state = opaque;
    cte_status rc = cte__target_check_io(io, state->capacity_bytes, state->arena_bytes);
    if (rc != 0 || io->bytes == 0)
        return rc;
    uint64_t index = io->offset / state->arena_bytes;
    int fd = atomic_load_explicit(&state->arena_fds[index], memory_order_acquire);
    if (fd >= 0)
        rc = cte__target_transfer(fd, io->offset % state->arena_bytes, io);
    else
        rc = io_first(state, index, io);
    if (rc == -ENOENT && !io->write)
        rc = read_zeros(state, io);
    /* A full medium is the caller's business: it has other targets. */
    if (rc != 0 && rc != -ENOSPC)
        cte__log_error("cannot %s %llu bytes at %llu of target %s: %s",
                       io->write ? "write" : "read", (unsigned long long)io->bytes,
                       (unsigned long long)io->offset, state->path, cte_status_string(rc));
    return rc;
}

/* Memory is as durable as it gets. */
static cte_status ram_sync(void *opaque)
{
    (void)opaque;
    return 0;
}

const struct cte__target_ops cte__target_ram = {
    .kind = "ram",
    .capabilities = CTE__TARGET_SURVIVES_PROCESS,
    .kind_rank = 1.0f,
    .nominal_bytes_per_s = 8000000000,
    .nominal_latency_ns = 1000,
    .create = ram_create,
    .open = ram_open,
    .io = ram_io,
    .sync = ram_sync,
    .close = ram_close,
    .destroy = ram_destroy,
};
