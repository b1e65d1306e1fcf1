/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Accesses that go on after the call that began them: a worker of the engine moves the data.
 *
 * The worker makes no MPI call, so any thread level will do.  What it needs is its own: view and
 * memory type may be replaced or freed meanwhile.
 */
#include "adapter.h"

#include <errno.h>
#include <stdlib.h>

#include <cte/task.h>

struct cte__mpi_async {
    struct cte__mpi_async *next, **link; /* among those of its file */
    struct cte__mpi_file *file;          /* NULL once it is closed */
    struct cte__mpi_access access;
    struct cte__mpi_typemap *memory;
    bool exact; /* counts the bytes that are there, else those that were asked for */
    cte_task *task;
    bool told;      /* its error has been */
    bool abandoned; /* its request was freed before it was over */
};

/* The list of each file, and who is on it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static cte_status run(void *context)
{
    struct cte__mpi_async *async = context;
    return cte__mpi_move(&async->access);
}

static void link_it(struct cte__mpi_async *async, struct cte__mpi_file *file)
{
    pthread_mutex_lock(&lock);
    async->file = file;
    async->link = &file->pending;
    async->next = file->pending;
    if (async->next)
        async->next->link = &async->next;
    file->pending = async;
    pthread_mutex_unlock(&lock);
}

/* The first one counts. */
static void keep_error_locked(struct cte__mpi_file *file, cte_status status)
{
    if (file->kept_error == CTE_OK)
        file->kept_error = status;
}

static void unlink_locked(struct cte__mpi_async *async)
{
    if (!async->file)
        return;
    *async->link = async->next;
    if (async->next)
        async->next->link = async->link;
    async->file = NULL;
}

static void dispose(struct cte__mpi_async *async)
{
    cte_task_free(async->task);
    cte__mpi_typemap_put(async->memory);
    cte__mpi_typemap_put(async->access.view.filetype);
    free(async);
}

/* Takes those out whose requests are gone, and which are over themselves. */
static void reap(struct cte__mpi_file *file)
{
    pthread_mutex_lock(&lock);
    for (struct cte__mpi_async *async = file->pending, *next; async; async = next) {
        next = async->next;
        if (!async->abandoned || !cte_task_test(async->task))
            continue;
        keep_error_locked(file, cte_task_status(async->task));
        unlink_locked(async);
        dispose(async);
    }
    pthread_mutex_unlock(&lock);
}

struct cte__mpi_async *cte__mpi_async_start(struct cte__mpi_file *file,
                                            const struct cte__mpi_access *access,
                                            struct cte__mpi_typemap *memory, bool exact)
{
    reap(file);
    struct cte__mpi_async *async = calloc(1, sizeof *async);
    if (!async)
        return NULL;
    async->access = *access;
    async->memory = memory;
    async->exact = exact;
    async->access.memory = memory;
    cte__mpi_typemap_hold(memory);
    cte__mpi_typemap_hold(access->view.filetype);
    link_it(async, file);
    if (cte_client_run_async(cte__mpi_client(), run, async, NULL, &async->task) == CTE_OK)
        return async;
    cte__mpi_async_free(async);
    return NULL;
}

bool cte__mpi_async_is_over(const struct cte__mpi_async *async)
{
    return cte_task_test(async->task);
}

void cte__mpi_async_wait(struct cte__mpi_async *async, int timeout_ms)
{
    cte_status status = cte_task_wait(async->task, timeout_ms);
    (void)status; /* the result says all */
}

cte_status cte__mpi_async_result(struct cte__mpi_async *async, MPI_Count *counted)
{
    cte_status status = cte_task_status(async->task);
    *counted = 0;
    if (status == CTE_OK)
        *counted = (MPI_Count)(async->exact ? async->access.transferred : async->access.bytes);
    return status;
}

int cte__mpi_async_tell(struct cte__mpi_async *async, cte_status status)
{
    pthread_mutex_lock(&lock);
    struct cte__mpi_file *file = async->told ? NULL : async->file;
    async->told = true;
    pthread_mutex_unlock(&lock);
    return file ? cte__mpi_raise(file, status) : cte__mpi_error_class(status);
}

void cte__mpi_async_keep_error(struct cte__mpi_async *async, cte_status status)
{
    pthread_mutex_lock(&lock);
    if (async->file)
        keep_error_locked(async->file, status);
    pthread_mutex_unlock(&lock);
}

void cte__mpi_async_free(struct cte__mpi_async *async)
{
    pthread_mutex_lock(&lock);
    unlink_locked(async);
    pthread_mutex_unlock(&lock);
    dispose(async);
}

void cte__mpi_async_abandon(struct cte__mpi_async *async)
{
    pthread_mutex_lock(&lock);
    bool goes_on = async->file && !cte_task_test(async->task);
    async->abandoned = goes_on;
    if (async->file && !goes_on && !async->told)
        keep_error_locked(async->file, cte_task_status(async->task));
    pthread_mutex_unlock(&lock);
    if (!goes_on)
        cte__mpi_async_free(async);
}

cte_status cte__mpi_async_kept_error(struct cte__mpi_file *file)
{
    reap(file);
    pthread_mutex_lock(&lock);
    cte_status status = file->kept_error;
    pthread_mutex_unlock(&lock);
    return status;
}

/* Who is told of an error elsewhere, or will be, is not told twice; others must learn of it here.
 */
cte_status cte__mpi_async_finish_all(struct cte__mpi_file *file)
{
    MPI_Count counted;
    pthread_mutex_lock(&lock);
    while (file->pending) {
        struct cte__mpi_async *async = file->pending;
        pthread_mutex_unlock(&lock);
        cte__mpi_async_wait(async, -1);
        cte_status status = cte__mpi_async_result(async, &counted);
        pthread_mutex_lock(&lock);
        if (!async->told)
            keep_error_locked(file, status);
        unlink_locked(async);
        if (async->abandoned)
            dispose(async);
    }
    pthread_mutex_unlock(&lock);
    return file->kept_error;
}
