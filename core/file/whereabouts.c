/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/whereabouts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file/drain.h"
#include "store/journal.h"

/* ---- what a record knows --------------------------------------------------------------------- */

struct cte__real_file cte__real_file_of(const struct cte__tag_record *record)
{
    const struct cte__file_state *state = &record->file;
    return (struct cte__real_file){.path = record->path,
                                   .device = state->device,
                                   .inode = state->inode,
                                   .born_ns = state->born_ns,
                                   .handle = state->handle,
                                   .deleted = atomic_load(&state->flags) & CTE__FILE_DELETED};
}

uint64_t cte__real_born_ns(int fd)
{
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) != 0 || !(stx.stx_mask & STATX_BTIME))
        return 0;
    return (uint64_t)stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec;
}

/* struct file_handle with its bytes. */
union handle {
    struct file_handle kernel;
    char space[sizeof(struct file_handle) + CTE__REAL_HANDLE_BYTES];
};

void cte__real_note_handle(struct cte__file_state *state, int fd)
{
    union handle handle = {.kernel.handle_bytes = CTE__REAL_HANDLE_BYTES};
    int mount;
    state->handle.bytes = 0;
    if (name_to_handle_at(fd, "", &handle.kernel, &mount, AT_EMPTY_PATH) != 0)
        return; /* it does without */
    memcpy(state->handle.data, handle.kernel.f_handle, handle.kernel.handle_bytes);
    state->handle.type = handle.kernel.handle_type;
    state->handle.bytes = handle.kernel.handle_bytes;
}

bool cte__real_is_deleted(struct cte__store *store, cte__unit tag, int fd)
{
    struct cte__file_state *state = &cte__tag_at(store, tag)->file;
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_nlink > 0)
        return false;
    if (!(atomic_fetch_or(&state->flags, CTE__FILE_DELETED) & CTE__FILE_DELETED))
        cte__journal_file(store, tag, false);
    return true;
}

/* ---- looking for it -------------------------------------------------------------------------- */

static bool has_inode(const struct cte__real_file *file, const struct stat *st)
{
    return (uint64_t)st->st_dev == file->device && (uint64_t)st->st_ino == file->inode;
}

/* The inode is that of a younger file.  Where births are not told, none is. */
static bool is_reused(const struct cte__real_file *file, int fd)
{
    uint64_t born_ns = cte__real_born_ns(fd);
    return born_ns != 0 && file->born_ns != 0 && born_ns != file->born_ns;
}

/* Without waiting for whatever else the name may lead to by now. */
static int open_for_drain(int directory, const char *name)
{
    int fd = openat(directory, name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd < 0 && errno == EACCES
               ? openat(directory, name, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
               : fd;
}

/* By its path.  MISSING: something else is there, or nothing. */
static enum cte__whereabouts find_in_place(const struct cte__real_file *file, int *fd,
                                           cte_status *status)
{
    struct stat st;
    *status = stat(file->path, &st) == 0 ? CTE_OK : -errno;
    if (*status == CTE_OK && !has_inode(file, &st))
        *status = -ENOENT;
    if (*status == -ENOENT || *status == -ENOTDIR || *status == -ESTALE)
        return CTE__REAL_MISSING;
    *fd = *status == CTE_OK ? open_for_drain(AT_FDCWD, file->path) : -1;
    if (*fd < 0) {
        *status = *status == CTE_OK ? -errno : *status;
        return CTE__REAL_CLOSED;
    }
    bool same = fstat(*fd, &st) == 0 && has_inode(file, &st); /* it may just have been replaced */
    bool reused = same && is_reused(file, *fd);
    if (same && !reused)
        return CTE__REAL_FOUND;
    close(*fd);
    *status = -ENOENT;
    return reused ? CTE__REAL_DELETED : CTE__REAL_MISSING;
}

/* The nearest directory above the path that is there, if it is of the same file system: else that
 * is not mounted, and nothing can be told.  *parent: it is the file's own. */
static int open_above(const struct cte__real_file *file, bool *parent)
{
    char *path = strdup(file->path), *slash;
    struct stat st;
    int fd = -1;
    *parent = true;
    while (path && fd < 0 && (slash = strrchr(path, '/')) != NULL) {
        slash[slash == path] = '\0';
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (slash == path || (fd < 0 && errno != ENOENT && errno != ENOTDIR))
            break;
        *parent = *parent && fd >= 0;
    }
    free(path);
    if (fd >= 0 && (fstat(fd, &st) != 0 || (uint64_t)st.st_dev != file->device)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Renamed in its directory?  Where births are not told, another file may have got its inode. */
static enum cte__whereabouts find_beside(const struct cte__real_file *file, int directory, int *fd)
{
    int copy = file->born_ns != 0 ? fcntl(directory, F_DUPFD_CLOEXEC, 0) : -1;
    DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
    enum cte__whereabouts found = CTE__REAL_MISSING;
    const struct dirent *entry;
    while (list && found == CTE__REAL_MISSING && (entry = readdir(list)) != NULL) {
        struct stat st;
        if ((uint64_t)entry->d_ino != file->inode ||
            fstatat(directory, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !has_inode(file, &st) || !S_ISREG(st.st_mode))
            continue;
        *fd = open_for_drain(directory, entry->d_name);
        if (*fd < 0)
            break;
        if (fstat(*fd, &st) == 0 && has_inode(file, &st))
            found = is_reused(file, *fd) ? CTE__REAL_DELETED : CTE__REAL_FOUND;
        if (found != CTE__REAL_FOUND)
            close(*fd);
    }
    if (list)
        closedir(list);
    else if (copy >= 0)
        close(copy);
    return found;
}

/* By its handle, which few may use.  A server's word that a handle is stale may mean the server. */
static enum cte__whereabouts find_by_handle(const struct cte__real_file *file, int directory,
                                            int *fd)
{
    union handle handle = {.kernel.handle_bytes = file->handle.bytes,
                           .kernel.handle_type = file->handle.type};
    struct stat st = {0};
    if (file->handle.bytes == 0 || file->handle.bytes > CTE__REAL_HANDLE_BYTES)
        return CTE__REAL_MISSING;
    memcpy(handle.kernel.f_handle, file->handle.data, file->handle.bytes);
    *fd = open_by_handle_at(directory, &handle.kernel, O_RDWR | O_CLOEXEC);
    if (*fd < 0)
        return errno == ESTALE && !cte__drain_reports_late(directory) ? CTE__REAL_DELETED
                                                                      : CTE__REAL_MISSING;
    if (fstat(*fd, &st) == 0 && has_inode(file, &st) && st.st_nlink > 0 && !is_reused(file, *fd))
        return CTE__REAL_FOUND;
    close(*fd);
    return has_inode(file, &st) && st.st_nlink == 0 ? CTE__REAL_DELETED : CTE__REAL_MISSING;
}

enum cte__whereabouts cte__real_find(const struct cte__real_file *file, int *fd, cte_status *status)
{
    bool parent;
    *fd = -1;
    *status = CTE_OK;
    if (file->deleted)
        return CTE__REAL_DELETED;
    enum cte__whereabouts found = find_in_place(file, fd, status);
    int above = found == CTE__REAL_MISSING ? open_above(file, &parent) : -1;
    if (above >= 0 && parent)
        found = find_beside(file, above, fd);
    if (above >= 0 && found == CTE__REAL_MISSING)
        found = find_by_handle(file, above, fd);
    if (above >= 0)
        close(above);
    if (found == CTE__REAL_FOUND)
        *status = CTE_OK;
    else
        *fd = -1;
    return found;
}
