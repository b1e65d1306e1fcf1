/* SPDX-License-Identifier: BSD-3-Clause */
/* Draining files that nobody has open: what `async` left, or a process that died. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "file/drain.h"

/* What is needed of a record, copied while the list of names is locked. */
struct unopened_file {
    char *path;
    uint64_t device, inode;
    cte_file_mode mode;
    cte_file_drain_policy drain;
};

struct unopened {
    struct cte__store *store;
    const char *path; /* NULL: all */
    bool force;
    bool leaving; /* others that have the store may do it */
    struct unopened_file *files;
    size_t count, capacity;
};

static bool wanted(const struct unopened *list, const struct cte__tag_record *record)
{
    if (list->path && strcmp(list->path, record->path) != 0)
        return false;
    if (record->file.mode == CTE_FILE_MODE_SCRATCH || cte__file_has_openers(&record->file) ||
        atomic_load(&record->file.settled))
        return false;
    return list->force || record->file.drain != CTE_FILE_DRAIN_NEVER;
}

static cte_status add_file(void *context, cte__unit unit, const struct cte__entry *entry)
{
    struct unopened *list = context;
    (void)unit;
    if (entry->type != CTE__ENTRY_FILE)
        return CTE_OK;
    struct cte__tag_record *record = cte__tag_at(list->store, cte__entry_record(entry));
    if (!wanted(list, record))
        return CTE_OK;
    /* Who names the file, or asks for all, takes its kept data for the right one. */
    if (list->force)
        atomic_store(&record->file.orphaned, 0);
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct unopened_file *larger = realloc(list->files, capacity * sizeof *larger);
        if (!larger)
            return -ENOMEM;
        list->files = larger;
        list->capacity = capacity;
    }
    char *path = strdup(record->path);
    if (!path)
        return -ENOMEM;
    list->files[list->count++] = (struct unopened_file){
        path, record->file.device, record->file.inode, (cte_file_mode)record->file.mode,
        (cte_file_drain_policy)record->file.drain};
    return CTE_OK;
}

/* Opens the real file, if it is still the same one. */
static cte_status open_real(const struct unopened_file *file, int *fd)
{
    struct stat st;
    *fd = open(file->path, O_RDWR | O_CLOEXEC);
    if (*fd < 0 && errno == EACCES)
        *fd = open(file->path, O_WRONLY | O_CLOEXEC);
    cte_status status = *fd < 0 || fstat(*fd, &st) != 0 ? -errno : CTE_OK;
    if (status == CTE_OK &&
        ((uint64_t)st.st_dev != file->device || (uint64_t)st.st_ino != file->inode))
        status = -ESTALE;
    if (status != CTE_OK && *fd >= 0)
        close(*fd);
    return status;
}

/* Opens the file as any program does, so that nobody takes its record away meanwhile. */
cte_status cte__drain_closed(cte_client *client, const char *path, int fd, cte_file_mode mode,
                             cte_file_drain_policy drain, uint64_t *bytes)
{
    cte__unit tag;
    *bytes = 0;
    cte_status status = cte__tracked_open(client, fd, path, mode, drain, 0, &tag);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__monotonic_ns();
    status = cte__drain(client, tag, fd, bytes);
    cte__tracked_close(client, tag, fd);
    cte_file_stats stats = {.bytes_drained = *bytes, .drain_ns = cte__monotonic_ns() - start};
    cte__client_summarise(client, path, &stats);
    return status;
}

static cte_status drain_unopened_file(cte_client *client, const struct unopened_file *file,
                                      uint64_t *bytes)
{
    int fd;
    *bytes = 0;
    cte_status status = open_real(file, &fd);
    if (status != CTE_OK) {
        cte__log_error(
            "%s: cannot be opened to take what was written to it: %s; the data is kept in "
            "the store",
            file->path, cte_status_string(status));
        return status;
    }
    status = cte__drain_closed(client, file->path, fd, file->mode, file->drain, bytes);
    close(fd);
    return status;
}

/* True for a file that is not where it was while others have the store: whoever closed it may have
 * kept its descriptor (kept.c).  The last to leave tells if nobody had. */
static bool is_left_to_others(const struct unopened *list, const struct unopened_file *file)
{
    struct stat st;
    bool in_place = stat(file->path, &st) == 0 && (uint64_t)st.st_dev == file->device &&
                    (uint64_t)st.st_ino == file->inode;
    return list->leaving && !in_place && cte__slots_live(list->store) > 1;
}

/* Drains the files that nobody has open right now; `*found` is their number. */
static cte_status drain_pass(cte_client *client, struct unopened *list, cte__drained_visitor visit,
                             void *context, size_t *found)
{
    struct cte__store *store = client->store;
    cte_status status =
        cte__tag_each(store, cte__tag_at(store, store->header->root_tag), add_file, list);
    *found = 0;
    for (size_t i = 0; i < list->count; i++) {
        cte_store_drained drained = {.path = list->files[i].path};
        if (!is_left_to_others(list, &list->files[i])) {
            drained.status = drain_unopened_file(client, &list->files[i], &drained.bytes_drained);
            cte_status visited = visit ? visit(context, &drained) : CTE_OK;
            status = status != CTE_OK           ? status
                     : drained.status != CTE_OK ? drained.status
                                                : visited;
            ++*found;
        }
        free(list->files[i].path);
    }
    free(list->files);
    return status;
}

cte_status cte__drain_unopened_each(cte_client *client, const char *path, bool force,
                                    cte__drained_visitor visit, void *context)
{
    enum { PASSES_MAX = 64 };
    cte_status status = CTE_OK;
    size_t found = 1;
    /* Who wrote to a file and left while this process had it open to drain it, left the rest to
     * this process: look again until nothing is left. */
    for (int i = 0; i < PASSES_MAX && found > 0 && status == CTE_OK; i++) {
        struct unopened list = {
            .store = client->store, .path = path, .force = force, .leaving = !visit};
        status = drain_pass(client, &list, visit, context, &found);
    }
    return status;
}

cte_status cte__drain_unopened(cte_client *client, const char *path, bool force)
{
    return cte__drain_unopened_each(client, path, force, NULL, NULL);
}
