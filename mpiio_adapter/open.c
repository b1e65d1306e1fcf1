/* SPDX-License-Identifier: BSD-3-Clause */
/* Open and close.  Whether a file is tracked is decided here once, by all its processes together.
 */
#include "adapter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cte/mpiio.h>
#include <cte/telemetry.h>

/*
 * MPICH takes all up to a colon for the name of a file system driver ("ufs:"), if it knows one of
 * that name.  NULL if it cannot be told which file it has opened.
 */
static const char *real_path(const char *name)
{
    const char *colon = strchr(name, ':');
    if (!colon)
        return name;
    bool as_given = access(name, F_OK) == 0;
    bool without_driver = access(colon + 1, F_OK) == 0;
    if (as_given == without_driver)
        return NULL;
    return as_given ? name : colon + 1;
}

static int open_flags(int amode)
{
    if (amode & MPI_MODE_RDONLY)
        return O_RDONLY;
    return amode & MPI_MODE_WRONLY ? O_WRONLY : O_RDWR;
}

/* Test only: drives files through the adapter even where core passes them through. */
static bool track_passthrough(void)
{
    const char *value = getenv("CTE_TEST_TRACK_PASSTHROUGH");
    return value && strcmp(value, "1") == 0;
}

/* Why this process would not track the file; NULL says nothing about the others. */
static const char *why_not(int amode, const struct cte__mpi_hints *hints)
{
    if (!cte__mpi_world_is_one_node())
        return "the job is not on one node, or MPI was not started by MPI_Init";
    if (amode & MPI_MODE_SEQUENTIAL)
        return "MPI_MODE_SEQUENTIAL";
    if (hints->mode == CTE_FILE_MODE_BYPASS)
        return "hint " CTE_MPIIO_HINT_MODE "=bypass";
    return cte__mpi_client() ? NULL : "the store cannot be used";
}

/* The first process tells the run summary that a file is all MPICH's. */
static int pass_through(MPI_Comm comm, const char *name, const char *why)
{
    int rank = 0;
    PMPI_Comm_rank(comm, &rank);
    if (rank == 0)
        cte_summary_passed_through(name, 0, why ? why : "another process cannot track it");
    return MPI_SUCCESS;
}

/* What the processes say of an open before it goes on, as the least of each. */
struct vote {
    int tracks; /* 1: can track the file */
    int plain;  /* 1: was given no hints of ours */
};

/* On the user's communicator, which is his for this call only after it returns. */
static struct vote agree_to_track(MPI_Comm comm, struct vote mine)
{
    struct vote all = {0, 0};
    int code = PMPI_Allreduce(&mine, &all, sizeof mine / sizeof(int), MPI_INT, MPI_MIN, comm);
    return code == MPI_SUCCESS ? all : (struct vote){0, 0};
}

static void free_file(struct cte__mpi_file *file)
{
    cte__mpi_view_free(&file->view);
    pthread_mutex_destroy(&file->pointer_lock);
    free(file->path);
    free(file);
}

static struct cte__mpi_file *new_file(const char *name, int amode, MPI_File handle)
{
    struct cte__mpi_file *file = calloc(1, sizeof *file);
    if (!file)
        return NULL;
    pthread_mutex_init(&file->pointer_lock, NULL);
    file->handle = handle;
    file->amode = amode;
    const char *path = real_path(name);
    file->path = path ? strdup(path) : NULL;
    if (!file->path || cte__mpi_view_init(&file->view) != 0) {
        free_file(file);
        return NULL;
    }
    return file;
}

/* True if all processes are of this process's MPI_COMM_WORLD; then that is true for all of them. */
static bool is_of_world(const struct cte__mpi_comm *comm)
{
    enum { AT_ONCE = 64 };
    int ranks[AT_ONCE], in_world[AT_ONCE], outside = 0;
    MPI_Group world, group;
    PMPI_Comm_group(MPI_COMM_WORLD, &world);
    PMPI_Comm_group(comm->comm, &group);
    for (int first = 0; first < comm->table.rank_count; first += AT_ONCE) {
        int count = comm->table.rank_count - first;
        count = count < AT_ONCE ? count : AT_ONCE;
        for (int i = 0; i < count; i++)
            ranks[i] = first + i;
        PMPI_Group_translate_ranks(group, count, ranks, world, in_world);
        for (int i = 0; i < count; i++)
            outside += in_world[i] == MPI_UNDEFINED;
    }
    PMPI_Group_free(&world);
    PMPI_Group_free(&group);
    return outside == 0;
}

/* Opens the file below; all processes come to the same result.  `plain`: nobody gave hints. */
static cte_status attach(struct cte__mpi_file *file, struct cte__mpi_hints *hints, bool plain)
{
    struct cte__mpi_comm *comm = &file->comm;
    cte_file_options options = CTE_FILE_OPTIONS_INIT;
    cte_status status = CTE_OK;
    if (!plain)
        status = comm->table.broadcast(comm, hints, sizeof *hints, 0);
    options.mode = (cte_file_mode)hints->mode;
    if (file->amode & MPI_MODE_DELETE_ON_CLOSE)
        options.mode = CTE_FILE_MODE_SCRATCH;
    options.drain = (cte_file_drain_policy)hints->drain;
    options.score = hints->score;
    options.chunk_bytes = hints->chunk_bytes;
    options.comm = &comm->table;
    if (status == CTE_OK)
        status = cte_file_open(cte__mpi_client(), file->path, open_flags(file->amode), 0, &options,
                               &file->file);
    if (status == CTE_OK && !cte_file_is_tracked(file->file) && !track_passthrough())
        status = -ENOTSUP;
    cte_status worst = cte__mpi_shared_attach(file, status);
    if (worst != CTE_OK) {
        comm->severed = true;
        cte_file_close(file->file);
    }
    return worst;
}

/* Appending starts at the end that includes data not drained yet; if MPICH keeps the shared
 * pointer, it knows that end only after a drain. */
static int start_at_end(struct cte__mpi_file *file)
{
    uint64_t size = 0;
    MPI_Offset real_size = 0;
    cte_status status = cte_file_size(file->file, &size);
    if (status != CTE_OK)
        return cte__mpi_raise(file, status);
    file->pointer_bytes = size;
    if (cte__mpi_shared_is_ours(file)) {
        if (file->comm.table.rank == 0)
            cte__mpi_shared_set(file, size);
        status = cte__mpi_barrier(file);
        return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
    }
    int code = REAL(get_size)(file->handle, &real_size);
    if (code != MPI_SUCCESS)
        return code;
    bool differs = (uint64_t)real_size != size;
    if (cte__mpi_agree(&file->comm, differs ? -EAGAIN : CTE_OK) == CTE_OK)
        return MPI_SUCCESS;
    return MPI_File_seek_shared(file->handle, 0, MPI_SEEK_END);
}

static int track(MPI_Comm user, struct cte__mpi_file *file, struct cte__mpi_hints *hints,
                 bool plain)
{
    if (cte__mpi_comm_init(&file->comm, user) != MPI_SUCCESS) {
        free_file(file);
        return MPI_SUCCESS;
    }
    /* Of MPI_COMM_WORLD it is known (why_not), but they need not all belong to one. */
    bool one_node = is_of_world(&file->comm) || cte__mpi_is_one_node(file->comm.comm);
    cte_status status = one_node ? attach(file, hints, plain) : -ENOTSUP;
    if (status != CTE_OK) {
        if (status != -ENOTSUP)
            cte__mpi_message(CTE__MPI_WARN, "%s: passes through untouched: %s", file->path,
                             cte_status_string(status));
        pass_through(user, file->path,
                     status == -ENOTSUP ? "its mode is bypass, or it is no regular file on one node"
                                        : cte_status_string(status));
        cte__mpi_comm_free(&file->comm);
        free_file(file);
        return MPI_SUCCESS;
    }
    cte__mpi_insert(file);
    if (file->comm.table.rank == 0)
        cte__mpi_message(CTE__MPI_INFO, "%s: is tracked for %d processes", file->path,
                         file->comm.table.rank_count);
    return file->amode & MPI_MODE_APPEND ? start_at_end(file) : MPI_SUCCESS;
}

int MPI_File_open(MPI_Comm comm, const char *name, int amode, MPI_Info info, MPI_File *fh)
{
    int code = REAL(open)(comm, name, amode, info, fh);
    if (code != MPI_SUCCESS)
        return code;
    struct cte__mpi_hints hints;
    struct cte__mpi_file *file = NULL;
    cte__mpi_hints_get(info, &hints);
    const char *why = why_not(amode, &hints);
    if (!why) {
        file = new_file(name, amode, *fh);
        why = file ? NULL : "its name is ambiguous, or memory is short";
    }
    struct vote mine = {file != NULL, cte__mpi_hints_are_plain(&hints)};
    struct vote all = agree_to_track(comm, mine);
    if (all.tracks)
        return track(comm, file, &hints, all.plain);
    if (file)
        free_file(file);
    return pass_through(comm, name, why);
}

/* Returns what all processes agree on.  The file is gone then, whatever that is.  The close below
 * waits for all processes before it drains. */
cte_status cte__mpi_release(struct cte__mpi_file *file)
{
    cte_status pending = cte__mpi_async_finish_all(file);
    if (file->split_async)
        cte__mpi_async_free(file->split_async);
    cte_status closed = cte_file_close(file->file);
    cte_status status = cte__mpi_agree(&file->comm, pending != CTE_OK ? pending : closed);
    if (status != CTE_OK && file->comm.table.rank == 0)
        cte__mpi_message(CTE__MPI_ERROR, "closing %s: %s", file->path, cte_status_string(status));
    cte__mpi_hatch_summarise(file);
    cte__mpi_comm_free(&file->comm);
    free_file(file);
    return status;
}

/* The error handler is called while the handle it is told still exists. */
int MPI_File_close(MPI_File *fh)
{
    struct cte__mpi_file *file = fh ? cte__mpi_find(*fh) : NULL;
    if (!file)
        return REAL(close)(fh);
    /* Off the table first: MPICH may give the handle to another thread's open. */
    cte__mpi_remove(file);
    int mine = cte__mpi_error_class(cte__mpi_release(file));
    if (mine != MPI_SUCCESS)
        PMPI_File_call_errhandler(*fh, mine);
    int code = REAL(close)(fh);
    return code == MPI_SUCCESS ? mine : code;
}

CTE__MPI_PROFILING_NAME(open)
CTE__MPI_PROFILING_NAME(close)
