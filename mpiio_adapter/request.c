/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests of nonblocking accesses: generalized ones, of accesses that are over or that go on.
 *
 * MPI has a request completed by a call, for which our workers would need MPI_THREAD_MULTIPLE.  So
 * it is made by whoever waits or tests: MPICH asks its extended generalized requests how they are.
 */
#include "adapter.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

struct pending {
    struct pending *next, **link;
    struct cte__mpi_async *async;
    MPI_Request request;
    atomic_bool completed;
    unsigned polls;
};

/* Not of any one file: MPI_Request_get_status() knows a request only. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pending *first;
static atomic_uint pending_count;

/* Too late to cancel, as MPI allows. */
static int cancel(void *state, int complete)
{
    (void)state;
    (void)complete;
    return MPI_SUCCESS;
}

static void set_status(MPI_Status *status, MPI_Count bytes)
{
    cte__mpi_status_set(status, bytes);
    status->MPI_SOURCE = MPI_UNDEFINED;
    status->MPI_TAG = MPI_UNDEFINED;
}

/* ---- accesses that are over --------------------------------------------------------------------
 */

static int query_done(void *state, MPI_Status *status)
{
    set_status(status, *(MPI_Count *)state);
    return MPI_SUCCESS;
}

static int free_done(void *state)
{
    free(state);
    return MPI_SUCCESS;
}

int cte__mpi_completed_request(MPI_Count bytes, MPI_Request *request)
{
    MPI_Count *state = malloc(sizeof *state);
    if (!state)
        return MPI_ERR_NO_MEM;
    *state = bytes;
    int code = PMPI_Grequest_start(query_done, free_done, cancel, state, request);
    if (code != MPI_SUCCESS) {
        free(state);
        return code;
    }
    return PMPI_Grequest_complete(*request);
}

/* ---- accesses that go on ------------------------------------------------------------------------
 */

static int complete(struct pending *pending)
{
    if (atomic_exchange(&pending->completed, true))
        return MPI_SUCCESS;
    return PMPI_Grequest_complete(pending->request);
}

/* MPI_Wait() asks without a break: let the worker have the processor. */
static int poll(void *state, MPI_Status *status)
{
    enum { POLLS_PATIENT = 32 };
    struct pending *pending = state;
    (void)status;
    if (cte__mpi_async_is_over(pending->async))
        return complete(pending);
    if (pending->polls++ >= POLLS_PATIENT)
        sched_yield();
    return MPI_SUCCESS;
}

/* MPICH comes back until all are complete; in between others get into MPI, who may have to. */
static int wait_some(int count, void **states, double timeout, MPI_Status *status)
{
    enum { NAP_MS = 1 };
    int code = MPI_SUCCESS;
    (void)timeout;
    (void)status;
    for (int i = 0; i < count; i++) {
        struct pending *pending = states[i];
        cte__mpi_async_wait(pending->async, NAP_MS);
        if (!cte__mpi_async_is_over(pending->async))
            break;
        if (code == MPI_SUCCESS)
            code = complete(pending);
    }
    return code;
}

/* MPICH hands what a query returns to the error handler of MPI_COMM_WORLD, not the file's. */
static bool world_survives_errors(void)
{
    MPI_Errhandler handler;
    if (PMPI_Comm_get_errhandler(MPI_COMM_WORLD, &handler) != MPI_SUCCESS)
        return false;
    bool fatal = handler == MPI_ERRORS_ARE_FATAL || handler == MPI_ERRORS_ABORT;
    PMPI_Errhandler_free(&handler);
    return !fatal;
}

/* An error that the wait must not return, since that would end the job, is kept for the close. */
static int query(void *state, MPI_Status *status)
{
    struct pending *pending = state;
    MPI_Count bytes;
    cte_status result = cte__mpi_async_result(pending->async, &bytes);
    set_status(status, bytes);
    if (result == CTE_OK)
        return MPI_SUCCESS;
    int code = cte__mpi_async_tell(pending->async, result);
    if (world_survives_errors())
        return code;
    cte__mpi_async_keep_error(pending->async, result);
    return MPI_SUCCESS;
}

/* When the wait is over, or at once if the program frees the request: the access goes on then. */
static int release(void *state)
{
    struct pending *pending = state;
    pthread_mutex_lock(&lock);
    *pending->link = pending->next;
    if (pending->next)
        pending->next->link = pending->link;
    atomic_fetch_sub(&pending_count, 1);
    pthread_mutex_unlock(&lock);
    int code = complete(pending);
    cte__mpi_async_abandon(pending->async);
    free(pending);
    return code;
}

static void link_it(struct pending *pending)
{
    pthread_mutex_lock(&lock);
    pending->link = &first;
    pending->next = first;
    if (first)
        first->link = &pending->next;
    first = pending;
    atomic_fetch_add(&pending_count, 1);
    pthread_mutex_unlock(&lock);
}

int cte__mpi_pending_request(struct cte__mpi_async *async, MPI_Request *request)
{
    struct pending *pending = calloc(1, sizeof *pending);
    if (!pending)
        return MPI_ERR_NO_MEM;
    pending->async = async;
    int code =
        MPIX_Grequest_start(query, release, cancel, poll, wait_some, pending, &pending->request);
    if (code != MPI_SUCCESS) {
        free(pending);
        return code;
    }
    link_it(pending);
    *request = pending->request;
    return MPI_SUCCESS;
}

static bool is_over_of(MPI_Request request, struct pending **found)
{
    pthread_mutex_lock(&lock);
    struct pending *pending = first;
    while (pending && pending->request != request)
        pending = pending->next;
    pthread_mutex_unlock(&lock);
    *found = pending;
    return pending && cte__mpi_async_is_over(pending->async);
}

/* The one call that does not ask generalized requests how they are. */
int MPI_Request_get_status(MPI_Request request, int *flag, MPI_Status *status)
{
    struct pending *pending;
    if (atomic_load(&pending_count) > 0 && is_over_of(request, &pending))
        complete(pending);
    return cte__mpi_real()->request_get_status(request, flag, status);
}

extern __typeof__(MPI_Request_get_status) PMPI_Request_get_status
    __attribute__((alias("MPI_Request_get_status"), copy(MPI_Request_get_status)));
