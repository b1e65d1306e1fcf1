/* SPDX-License-Identifier: BSD-3-Clause */
/* Draining files that nobody has open: what `async` left, or a process that died. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "file/drain.h"
#include "file/inspect.h"
#include "file/kept.h"
#include "file/whereabouts.h"
#include "store/journal_record.h"

/* What is needed of a record, copied while the list of names is locked. */
struct unopened_file {
    struct cte__real_file real; /* owns its path */
    cte_file_mode mode;
    cte_file_drain_policy drain;
    bool missed;    /* CTE__FILE_MISSED */
    bool undrained; /* not to be drained: only dropped if it was deleted */
};

struct unopened {
    struct cte__store *store;
    const char *path; /* NULL: all */
    bool force;
    bool leaving; /* others that have the store may do it */
    bool durable; /* what was drained is synced */
    bool forget;  /* what is missing is given up, and nothing drained */
    struct unopened_file *files;
    size_t count, capacity;
};

static bool wanted(const struct unopened *list, const struct cte__tag_record *record)
{
    if (list->path && strcmp(list->path, record->path) != 0)
        return false;
    return !cte__file_has_openers(&record->file) && !atomic_load(&record->file.settled);
}

static bool is_drained(const struct unopened *list, const struct cte__tag_record *record)
{
    return record->file.mode != CTE_FILE_MODE_SCRATCH &&
           (list->force || record->file.drain != CTE_FILE_DRAIN_NEVER);
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
    if (list->force && !list->forget)
        atomic_store(&record->file.orphaned, 0);
    struct unopened_file *files =
        cte__array_reserve(list->files, list->count, &list->capacity, sizeof *files);
    if (!files)
        return -ENOMEM;
    list->files = files;
    struct unopened_file *file = &list->files[list->count];
    *file = (struct unopened_file){.real = cte__real_file_of(record),
                                   .mode = (cte_file_mode)record->file.mode,
                                   .drain = (cte_file_drain_policy)record->file.drain,
                                   .missed = atomic_load(&record->file.flags) & CTE__FILE_MISSED,
                                   .undrained = !is_drained(list, record)};
    file->real.path = strdup(record->path);
    if (!file->real.path)
        return -ENOMEM;
    list->count++;
    return CTE_OK;
}

cte_status cte__drain_closed(cte_client *client, const struct cte__closed_file *file,
                             struct cte__background *background, uint64_t *bytes)
{
    cte__unit tag;
    *bytes = 0;
    cte_status status =
        cte__tracked_open(client, file->fd, file->path, file->mode, file->drain, 0, &tag);
    if (status != CTE_OK)
        return status;
    uint64_t start = cte__monotonic_ns();
    status = cte__drain(client, tag, file->fd, background, bytes);
    cte__tracked_close(client, tag, file->fd);
    cte_file_stats stats = {.bytes_drained = *bytes, .drain_ns = cte__monotonic_ns() - start};
    cte__client_summarise(client, file->path, &stats);
    return status;
}

/* ---- files that are not where they were ------------------------------------------------------ */

/* Calls a function for the file's record, unless somebody has opened the file meanwhile. */
static cte_status with_record(cte_client *client, const struct unopened_file *file,
                              cte_status (*change)(struct cte__store *store, cte__unit tag))
{
    struct cte__file_identity name = {
        .mark = CTE__FILE_MARK, .device = file->real.device, .inode = file->real.inode};
    struct cte__held_file held;
    cte_status status = cte__file_hold(client, &name, &held);
    if (status != CTE_OK)
        return status == CTE_ERR_NOT_FOUND ? CTE_OK : status;
    status = cte__file_is_joined(&held.record->file) ? -EBUSY : change(client->store, held.tag);
    cte__file_release(&held);
    return status;
}

static cte_status note_missed(struct cte__store *store, cte__unit tag)
{
    atomic_fetch_or(&cte__tag_at(store, tag)->file.flags, CTE__FILE_MISSED);
    return CTE_OK;
}

static cte_status drop_clean(struct cte__store *store, cte__unit tag)
{
    return cte__tracked_is_dirty(store, tag) ? -ENOENT : cte__tracked_forget(store, tag);
}

static cte_status keep_missing(cte_client *client, const struct unopened_file *file,
                               cte_status status)
{
    if (with_record(client, file, drop_clean) == CTE_OK)
        return CTE_OK;
    cte__log_error("%s: the file is not where it was (%s): what was written to it is kept in the "
                   "store; if it was moved, move it back and run `cte drain`; if it was deleted, "
                   "`cte drain --drop-missing` gives its data up",
                   file->real.path, cte_status_string(status));
    (void)with_record(client, file, note_missed); /* else it is said again */
    return status;
}

static cte_status keep_closed(const struct unopened_file *file, cte_status status)
{
    cte__log_error("%s: cannot be opened to take what was written to it: %s; the data is kept in "
                   "the store",
                   file->real.path, cte_status_string(status));
    return status;
}

/* ---- draining -------------------------------------------------------------------------------- */

/* What is in the page cache of this node does not survive its next death. */
static void drain_found(cte_client *client, const struct unopened *list,
                        const struct unopened_file *file, int fd, cte_store_drained *drained)
{
    const struct cte__closed_file closed = {file->real.path, fd, file->mode, file->drain};
    drained->status = cte__drain_closed(client, &closed, NULL, &drained->bytes_drained);
    if (drained->status == CTE_OK && list->durable && drained->bytes_drained > 0 && fsync(fd) != 0)
        drained->status = -errno;
}

static void drop(cte_client *client, const struct unopened_file *file, cte_store_drained *drained)
{
    drained->status = with_record(client, file, cte__tracked_forget);
    drained->deleted = drained->status == CTE_OK;
}

/* False: there was nothing to do. */
static bool handle_file(cte_client *client, const struct unopened *list,
                        const struct unopened_file *file, cte_store_drained *drained)
{
    int fd;
    cte_status status;
    enum cte__whereabouts found = cte__real_find(&file->real, &fd, &status);
    bool act = found == CTE__REAL_DELETED ||
               (list->forget ? found == CTE__REAL_MISSING : !file->undrained);
    if (act && found == CTE__REAL_FOUND)
        drain_found(client, list, file, fd, drained);
    else if (act && (found == CTE__REAL_DELETED || list->forget))
        drop(client, file, drained);
    else if (act)
        drained->status = found == CTE__REAL_MISSING ? keep_missing(client, file, status)
                                                     : keep_closed(file, status);
    if (act && found == CTE__REAL_DELETED && drained->deleted)
        cte__log_warn("%s: the file was deleted; what was kept of it is dropped", file->real.path);
    if (found == CTE__REAL_FOUND)
        close(fd);
    return act;
}

/* True for a file that this process drains by its descriptor (kept.c).  When the client is closed,
 * for one that is not where it was: while others have the store, whoever closed the file may have
 * kept its descriptor, and the last to leave tells if nobody had; but not what somebody was told
 * before. */
static bool is_left_alone(cte_client *client, const struct unopened *list,
                          const struct unopened_file *file)
{
    struct stat st;
    bool in_place = stat(file->real.path, &st) == 0 && (uint64_t)st.st_dev == file->real.device &&
                    (uint64_t)st.st_ino == file->real.inode;
    bool elsewhere = !in_place && (cte__slots_live(list->store) > 1 || file->missed);
    return list->leaving ? elsewhere : cte__kept_has(client, file->real.device, file->real.inode);
}

/* Handles the files that nobody has open right now; `*found` is their number. */
static cte_status drain_pass(cte_client *client, struct unopened *list, cte__drained_visitor visit,
                             void *context, size_t *found)
{
    struct cte__store *store = client->store;
    cte_status status =
        cte__tag_each(store, cte__tag_at(store, store->header->root_tag), add_file, list);
    *found = 0;
    for (size_t i = 0; i < list->count; i++) {
        cte_store_drained drained = {.path = list->files[i].real.path};
        if (!is_left_alone(client, list, &list->files[i]) &&
            handle_file(client, list, &list->files[i], &drained)) {
            cte_status visited = visit ? visit(context, &drained) : CTE_OK;
            status = status != CTE_OK           ? status
                     : drained.status != CTE_OK ? drained.status
                                                : visited;
            ++*found;
        }
        free((char *)list->files[i].real.path);
    }
    free(list->files);
    return status;
}

cte_status cte_store_forget_missing(cte_client *client, const char *path,
                                    cte__drained_visitor visit, void *context)
{
    struct unopened list = {.store = client->store, .path = path, .force = true, .forget = true};
    size_t found;
    return drain_pass(client, &list, visit, context, &found);
}

cte_status cte__drain_unopened_each(cte_client *client, const struct cte__drain_request *request,
                                    cte__drained_visitor visit, void *context)
{
    enum { PASSES_MAX = 64 };
    cte_status status = CTE_OK;
    size_t found = 1;
    /* Who wrote to a file and left while this process had it open to drain it, left the rest to
     * this process: look again until nothing is left. */
    for (int i = 0; i < PASSES_MAX && found > 0 && status == CTE_OK; i++) {
        struct unopened list = {.store = client->store,
                                .path = request->path,
                                .force = request->force,
                                .durable = request->durable,
                                .leaving = request->leaving};
        status = drain_pass(client, &list, visit, context, &found);
    }
    return status;
}
