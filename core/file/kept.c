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
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "file/drain.h"

/* A process has not many descriptors: the oldest file is drained when there are more, or more than
 * a part of those that it may have. */
enum { KEPT_MAX = 128, KEPT_MIN = 4, KEPT_SHARE = 8 };

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

static uint32_t kept_most(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return KEPT_MIN;
    return (uint32_t)cte__max(cte__min(limit.rlim_cur / KEPT_SHARE, KEPT_MAX), KEPT_MIN);
}

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

static void finish(cte_client *client, const struct cte__kept_file *kept,
                   struct cte__background *background, cte_store_drained *drained)
{
    const struct cte__closed_file file = {kept->path, kept->fd, kept->mode, kept->drain};
    *drained = (cte_store_drained){.path = kept->path, .deleted = cte__kept_is_deleted(kept)};
    drained->status = drained->deleted
                          ? drop(client, kept)
                          : cte__drain_closed(client, &file, background, &drained->bytes_drained);
    if (drained->status != CTE_OK)
        cte__log_error("%s: not drained yet: %s", kept->path, cte_status_string(drained->status));
}

/* What fails stays in the store, and is tried by name and told by who closes the client. */
static void finish_and_free(cte_client *client, struct cte__kept_file *kept,
                            struct cte__background *background)
{
    cte_store_drained unused;
    finish(client, kept, background, &unused);
    free_kept(kept);
}

static struct cte__kept_file *take(cte_client *client, struct cte__kept_file **link)
{
    struct cte__kept_file *kept = *link;
    *link = kept->next;
    client->kept_count--;
    return kept;
}

/* Takes the first one that is deleted, or (`path`) was opened by that path, or is there at all; the
 * client is locked.  *borrowed: the background thread has one of these. */
static struct cte__kept_file *take_first(cte_client *client, bool deleted_only, const char *path,
                                         bool *borrowed)
{
    *borrowed = false;
    for (struct cte__kept_file **link = &client->kept_files; *link; link = &(*link)->next) {
        struct cte__kept_file *kept = *link;
        if (path && strcmp(path, kept->path) != 0)
            continue;
        if (kept->borrowed)
            *borrowed = true;
        else if (!deleted_only || cte__kept_is_deleted(kept))
            return take(client, link);
    }
    return NULL;
}

static bool any_borrowed(const cte_client *client)
{
    const struct cte__kept_file *kept = client->kept_files;
    while (kept && !kept->borrowed)
        kept = kept->next;
    return kept != NULL;
}

static struct cte__kept_file *take_deleted(cte_client *client)
{
    bool unused;
    pthread_mutex_lock(&client->lock);
    struct cte__kept_file *kept = take_first(client, true, NULL, &unused);
    pthread_mutex_unlock(&client->lock);
    return kept;
}

/* Until the background thread has none: it needs the gate for that. */
static void wait_for_borrowed(cte_client *client, struct cte__background *background)
{
    if (background)
        cte__background_block(background);
    pthread_mutex_lock(&client->lock);
    while (any_borrowed(client))
        pthread_cond_wait(&client->pass_ended, &client->lock);
    pthread_mutex_unlock(&client->lock);
    if (background)
        cte__background_unblock(background);
}

/* The next one, when the background thread is done with it; NULL: there is none. */
static struct cte__kept_file *take_waiting(cte_client *client, const char *path,
                                           struct cte__background *background)
{
    for (;;) {
        bool borrowed;
        pthread_mutex_lock(&client->lock);
        struct cte__kept_file *kept = take_first(client, false, path, &borrowed);
        pthread_mutex_unlock(&client->lock);
        if (kept || !borrowed)
            return kept;
        wait_for_borrowed(client, background);
    }
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
        while ((*link)->borrowed) /* only one is, and this is not the only one */
            link = &(*link)->next;
        if (++client->kept_count > kept_most())
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
        finish_and_free(client, extra, NULL);
    while ((deleted = take_deleted(client)) != NULL)
        finish_and_free(client, deleted, NULL);
    cte__background_rouse(client->background);
    return CTE_OK;
}

/* ---- for the background thread --------------------------------------------------------------- */

bool cte__kept_any_locked(cte_client *client)
{
    return client->kept_files != NULL;
}

bool cte__kept_due_locked(const cte_client *client, uint64_t now_ns)
{
    const struct cte__kept_file *kept = client->kept_files;
    while (kept && kept->due_ns > now_ns)
        kept = kept->next;
    return kept != NULL;
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
    pthread_cond_broadcast(&client->pass_ended);
    pthread_mutex_unlock(&client->lock);
    if (!done)
        return;
    summarise(client, kept);
    free_kept(kept);
}

/* ---------------------------------------------------------------------------------------------- */

void cte__kept_finish(cte_client *client, struct cte__background *background)
{
    struct cte__kept_file *kept;
    while ((kept = take_waiting(client, NULL, background)) != NULL)
        finish_and_free(client, kept, background);
}

/* Puts back what could not be drained. */
static void put_back(cte_client *client, struct cte__kept_file *failed)
{
    pthread_mutex_lock(&client->lock);
    while (failed) {
        struct cte__kept_file *kept = failed;
        failed = kept->next;
        kept->next = client->kept_files;
        client->kept_files = kept;
        client->kept_count++;
    }
    pthread_mutex_unlock(&client->lock);
}

cte_status cte__kept_drain(cte_client *client, const char *path, cte__drained_visitor visit,
                           void *context)
{
    struct cte__kept_file *kept, *failed = NULL;
    cte_status status = CTE_OK, visited = CTE_OK;
    while (visited == CTE_OK && (kept = take_waiting(client, path, NULL)) != NULL) {
        cte_store_drained drained;
        finish(client, kept, NULL, &drained);
        status = status == CTE_OK ? drained.status : status;
        visited = visit ? visit(context, &drained) : CTE_OK;
        if (drained.status == CTE_OK) {
            free_kept(kept);
            continue;
        }
        kept->next = failed;
        failed = kept;
    }
    put_back(client, failed);
    return status == CTE_OK ? visited : status;
}

bool cte__kept_has(cte_client *client, uint64_t device, uint64_t inode)
{
    bool found = false;
    pthread_mutex_lock(&client->lock);
    for (const struct cte__kept_file *kept = client->kept_files; kept && !found; kept = kept->next)
        found = kept->device == device && kept->inode == inode;
    pthread_mutex_unlock(&client->lock);
    return found;
}
