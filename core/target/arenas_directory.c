/* SPDX-License-Identifier: BSD-3-Clause */
/* The directory and its mark: what may be made, replaced and removed. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "target/arenas.h"

#define MARK_NAME "target.mark"

/* ---- the directory ---- */

/* Opens the directory, refusing links and other owners.  -ENOENT is not logged. */
int cte__arenas_open_directory(const char *path)
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
    if (strncmp(name, CTE__ARENA_PREFIX, strlen(CTE__ARENA_PREFIX)) != 0)
        return false;
    const char *digits = name + strlen(CTE__ARENA_PREFIX);
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
int cte__arenas_open_mark(int dir_fd, const char *path, struct cte__target_mark *mark)
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
    int mark_fd = cte__arenas_open_mark(dir_fd, spec->path, &mark);
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

static cte_status write_mark(int dir_fd, const struct cte__target_spec *spec, bool durable)
{
    int fd = cte__target_openat(dir_fd, MARK_NAME, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    cte_status rc = fchmod(fd, 0600) != 0 ? -errno : 0;
    if (rc == 0)
        rc = cte__target_mark_write(fd, 0, spec);
    if (rc == 0 && durable)
        rc = fsync(fd) != 0 ? -errno : cte__target_sync_directory(dir_fd);
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
    int fd = cte__arenas_open_directory(path);
    if (fd == -ENOENT)
        cte__log_error("cannot make target %s: another process removed it meanwhile", path);
    if (fd < 0 && *made)
        rmdir(path); /* best effort: it is empty, and the error is told already */
    return fd;
}

/* The name of the directory survives the node only with the directory it stands in. */
static cte_status sync_parent(const char *path)
{
    int fd = cte__target_open_parent(path);
    if (fd < 0)
        return fd;
    cte_status rc = cte__target_sync_directory(fd);
    close(fd);
    return rc;
}

/* In an order that leaves something recognisable wherever the process dies: arenas never stand in a
 * directory without a mark. */
static cte_status fill(int dir_fd, const struct cte__target_spec *spec, bool durable)
{
    int removed = scan_arenas(dir_fd, true);
    if (removed < 0)
        return removed;
    cte_status rc = write_mark(dir_fd, spec, durable);
    return rc == 0 && durable ? sync_parent(spec->path) : rc;
}

/* Pages of the arenas that fill() is going to remove. */
static uint64_t reclaimable_bytes(int dir_fd, const struct cte__target_spec *spec)
{
    uint64_t bytes = 0;
    char name[CTE__ARENA_NAME_BYTES];
    struct stat status;
    for (uint64_t index = 0; index < spec->capacity_bytes / spec->arena_bytes; index++) {
        snprintf(name, sizeof name, CTE__ARENA_PREFIX "%" PRIu64, index);
        if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0)
            bytes += (uint64_t)status.st_blocks * 512;
    }
    return bytes;
}

static cte_status make_backing(int dir_fd, const struct cte__target_spec *spec, bool durable)
{
    cte_status rc = check_ours(dir_fd, spec, true);
    if (rc == 0)
        rc = cte__target_check_space(dir_fd, spec->path,
                                     spec->capacity_bytes + CTE__TARGET_MARK_BYTES,
                                     reclaimable_bytes(dir_fd, spec));
    if (rc != 0)
        return rc;
    rc = fill(dir_fd, spec, durable);
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

cte_status cte__arenas_create(const struct cte__target_spec *spec, bool durable)
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
        rc = make_backing(dir_fd, spec, durable);
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

cte_status cte__arenas_destroy(const struct cte__target_spec *spec)
{
    cte_status rc = cte__target_check_spec(spec, 0);
    if (rc != 0)
        return rc;
    int dir_fd = cte__arenas_open_directory(spec->path);
    if (dir_fd == -ENOENT)
        return 0;
    if (dir_fd < 0)
        return dir_fd;
    rc = remove_backing(dir_fd, spec);
    close(dir_fd);
    return rc;
}
