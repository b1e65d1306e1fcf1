/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors of files that were closed before they were drained.
 *
 * A program may rename or delete a file that it has closed.  Whoever keeps the descriptor drains to
 * the file it was, whatever its name is by then, and knows when nobody can ever read it again.
 */
#include "file/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "file/drain.h"

/* A process has not many descriptors: the oldest file is drained when there are more. */
enum { KEPT_MAX = 128 };

struct cte__kept_file {
    struct cte__kept_file *next;
    int fd;
    uint64_t device, inode;
    cte_file_mode mode;
    cte_file_drain_policy drain;
    bool borrowed;   /* by the background thread */
    bool again;      /* it was opened and closed since it was borrowed */
    uint64_t due_ns; /* for it: not before; CLOCK_MONOTONIC */
    uint64_t bytes_drained;
    char path[]; /* when it was opened */
};

static void free_kept(struct cte__kept_file *kept)
{
    close(kept->fd);
    free(kept);
}

bool cte__kept_is_deleted(const struct cte__kept_file *kept)
{
    struct stat st;
    return fstat(kept->fd, &st) == 0 && st.st_nlink == 0;
}

cte_status cte__kept_open(cte_client *client, const struct cte__kept_file *kept, bool deleted,
                          cte__unit *tag)
{
    return deleted
               ? cte__tracked_open(client, kept->fd, kept->path, CTE_FILE_MODE_SCRATCH,
                                   CTE_FILE_DRAIN_NEVER, 0, tag)
               : cte__tracked_open(client, kept->fd, kept->path, kept->mode, kept->drain, 0, tag);
}

/* Nobody can read it any more: the last to leave a scratch file drops its data. */
static cte_status drop(cte_client *client, const struct cte__kept_file *kept)
{
    cte__unit tag;
    cte_status status = cte__kept_open(client, kept, true, &tag);
    if (status == CTE_OK)
        cte__tracked_close(client, tag, kept->fd);
    return status;
}

/* Frees it.  What fails stays in the store, and is tried by name and told by who closes the client.
 */
static void finish(cte_client *client, struct cte__kept_file *kept)
{
    uint64_t bytes;
    cte_status status =
        cte__kept_is_deleted(kept)
            ? drop(client, kept)
            : cte__drain_closed(client, kept->path, kept->fd, kept->mode, kept->drain, &bytes);
    if (status != CTE_OK)
        cte__log_error("%s: not drained yet: %s", kept->path, cte_status_string(status));
    free_kept(kept);
}

static struct cte__kept_file *take(cte_client *client, struct cte__kept_file **link)
{
    struct cte__kept_file *kept = *link;
    *link = kept->next;
    client->kept_count--;
    return kept;
}

static struct cte__kept_file *take_first(cte_client *client, bool deleted_only)
{
    struct cte__kept_file *kept = NULL;
    pthread_mutex_lock(&client->lock);
    struct cte__kept_file **link = &client->kept_files;
    while (*link && ((*link)->borrowed || (deleted_only && !cte__kept_is_deleted(*link))))
        link = &(*link)->next;
    if (*link)
        kept = take(client, link);
    pthread_mutex_unlock(&client->lock);
    return kept;
}

/* Takes the one that is in the way of a new one. */
static struct cte__kept_file *append(cte_client *client, struct cte__kept_file *kept)
{
    struct cte__kept_file *extra = NULL;
    pthread_mutex_lock(&client->lock);
    struct cte__kept_file **link = &client->kept_files;
    while (*link && ((*link)->device != kept->device || (*link)->inode != kept->inode))
        link = &(*link)->next;
    if (*link) {
        (*link)->again = true;
        extra = kept;
    } else {
        *link = kept;
        link = &client->kept_files;
        while ((*link)->borrowed)
            link = &(*link)->next;
        if (++client->kept_count > KEPT_MAX)
            extra = take(client, link);
    }
    pthread_mutex_unlock(&client->lock);
    return extra;
}

cte_status cte__kept_add(cte_client *client, const cte_file *file)
{
    struct stat st;
    struct cte__kept_file *deleted;
    size_t path_bytes = strlen(file->path) + 1;
    struct cte__kept_file *kept = malloc(sizeof *kept + path_bytes);
    if (!kept)
        return -ENOMEM;
    *kept = (struct cte__kept_file){.mode = CTE_FILE_MODE_DEFAULT, .drain = file->drain};
    memcpy(kept->path, file->path, path_bytes);
    kept->fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
    if (kept->fd < 0 || fstat(kept->fd, &st) != 0) {
        cte_status status = -errno;
        free_kept(kept);
        return status;
    }
    kept->device = (uint64_t)st.st_dev;
    kept->inode = (uint64_t)st.st_ino;
    struct cte__kept_file *extra = append(client, kept);
    if (extra == kept)
        free_kept(extra);
    else if (extra)
        finish(client, extra);
    while ((deleted = take_first(client, true)) != NULL)
        finish(client, deleted);
    cte__background_rouse(client->background);
    return CTE_OK;
}

/* ---- for the background thread --------------------------------------------------------------- */

bool cte__kept_any_locked(cte_client *client)
{
    return client->kept_files != NULL;
}

struct cte__kept_file *cte__kept_borrow(cte_client *client, uint64_t now_ns, uint64_t *due_ns)
{
    struct cte__kept_file *found = NULL;
    *due_ns = UINT64_MAX;
    pthread_mutex_lock(&client->lock);
    for (struct cte__kept_file *kept = client->kept_files; kept && !found; kept = kept->next) {
        *due_ns = cte__min(*due_ns, kept->due_ns);
        if (kept->due_ns <= now_ns) {
            found = kept;
            found->borrowed = true;
            found->again = false;
        }
    }
    pthread_mutex_unlock(&client->lock);
    return found;
}

int cte__kept_fd(const struct cte__kept_file *kept)
{
    return kept->fd;
}

static void summarise(cte_client *client, const struct cte__kept_file *kept)
{
    cte_file_stats stats = {.bytes_drained_background = kept->bytes_drained};
    cte__client_summarise(client, kept->path, &stats);
}

void cte__kept_return(cte_client *client, struct cte__kept_file *kept, bool done, uint64_t bytes,
                      uint64_t due_ns)
{
    pthread_mutex_lock(&client->lock);
    kept->bytes_drained += bytes;
    kept->due_ns = due_ns;
    kept->borrowed = false;
    done = done && !kept->again;
    if (done) {
        struct cte__kept_file **link = &client->kept_files;
        while (*link != kept)
            link = &(*link)->next;
        take(client, link);
    }
    pthread_mutex_unlock(&client->lock);
    if (!done)
        return;
    summarise(client, kept);
    free_kept(kept);
}

/* ---------------------------------------------------------------------------------------------- */

void cte__kept_finish(cte_client *client)
{
    struct cte__kept_file *kept;
    while ((kept = take_first(client, false)) != NULL)
        finish(client, kept);
}
