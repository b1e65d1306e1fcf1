/* SPDX-License-Identifier: BSD-3-Clause */
/* The one way that all data accesses go. */
#include "adapter.h"

#include <errno.h>

/* MPICH's own access of the same kind on the real file; the counts fit all variants. */
static int real_access(struct cte__mpi_file *file, const struct cte__mpi_op *op, bool collective,
                       MPI_Offset offset, MPI_Status *status)
{
    MPI_File fh = file->handle;
    if (op->write && collective)
        return REAL(write_at_all_c)(fh, offset, op->buffer, op->count, op->type, status);
    if (op->write)
        return REAL(write_at_c)(fh, offset, op->buffer, op->count, op->type, status);
    if (collective)
        return REAL(read_at_all_c)(fh, offset, op->buffer, op->count, op->type, status);
    return REAL(read_at_c)(fh, offset, op->buffer, op->count, op->type, status);
}

/* Makes an access that moves nothing, of the kind that was asked for: MPICH's nonblocking calls
 * call the error handler more than once. */
static int judge(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Offset offset)
{
    MPI_Request request = MPI_REQUEST_NULL;
    if (!op->nonblocking)
        return real_access(file, op, false, offset, MPI_STATUS_IGNORE);
    int code =
        op->write
            ? REAL(iwrite_at_c)(file->handle, offset, op->buffer, op->count, op->type, &request)
            : REAL(iread_at_c)(file->handle, offset, op->buffer, op->count, op->type, &request);
    return code == MPI_SUCCESS ? PMPI_Wait(&request, MPI_STATUS_IGNORE) : code;
}

/*
 * Lets MPICH judge the arguments, so that errors and their handling are its own: an access it will
 * refuse is simply made, any other is made with a count of 0.  On success *bytes is the size of
 * the access.
 */
static int check(struct cte__mpi_file *file, const struct cte__mpi_op *op, uint64_t *bytes)
{
    MPI_Offset offset = op->place == CTE__MPI_EXPLICIT ? op->offset : 0;
    *bytes = 0;
    if (op->count < 0 || offset < 0 || op->type == MPI_DATATYPE_NULL)
        return judge(file, op, offset);
    if (!cte__mpi_typemap_common(op->type)) {
        struct cte__mpi_op probe = *op;
        probe.count = 0;
        int code = judge(file, &probe, offset);
        if (code != MPI_SUCCESS)
            return code;
    }
    MPI_Count size = 0;
    int code = PMPI_Type_size_x(op->type, &size);
    if (code != MPI_SUCCESS || size == 0 || op->count == 0)
        return code;
    if (op->count > INT64_MAX / size || (uint64_t)offset > INT64_MAX / file->view.etype_bytes)
        return cte__mpi_raise_code(file, MPI_ERR_ARG);
    uint64_t total = (uint64_t)op->count * (uint64_t)size;
    int refused = op->write ? MPI_MODE_RDONLY : MPI_MODE_WRONLY;
    if (total % file->view.etype_bytes != 0 || (file->amode & refused))
        return judge(file, op, offset);
    *bytes = total;
    return MPI_SUCCESS;
}

/* What an access came to. */
struct outcome {
    uint64_t counted;  /* bytes that the status tells */
    uint64_t advanced; /* bytes that the individual pointer moves */
};

/* Counts of reads beyond the end of the file are MPICH's: true where file and memory are
 * contiguous, full elsewhere; requests of collective reads tell the full count always. */
static void count_read(const struct cte__mpi_op *op, bool contiguous, uint64_t bytes,
                       uint64_t there, struct outcome *outcome)
{
    bool exact = contiguous && !(op->nonblocking && op->collective);
    outcome->counted = exact ? there : bytes;
    outcome->advanced = contiguous && !(op->nonblocking && !op->collective) ? there : bytes;
}

/* `collective`: all processes take the hatch together. */
static int through_hatch(struct cte__mpi_file *file, const struct cte__mpi_op *op, bool collective,
                         MPI_Offset offset, struct outcome *outcome)
{
    MPI_Status status;
    MPI_Count count = 0;
    int code = cte__mpi_hatch_enter(file, collective);
    if (code != MPI_SUCCESS)
        return code;
    code = real_access(file, op, collective, offset, &status);
    if (code == MPI_SUCCESS)
        PMPI_Get_elements_x(&status, MPI_BYTE, &count);
    outcome->counted = (uint64_t)count;
    outcome->advanced = (uint64_t)count;
    return cte__mpi_hatch_leave(file, collective, code);
}

/* Also of a process that is the only one to take it; in atomic mode it keeps all others out. */
static int alone_through_hatch(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                               MPI_Offset offset, struct outcome *outcome)
{
    cte_file_range range;
    cte_status status =
        cte_file_lock(file->file, op->write, 0, file->atomic ? INT64_MAX : 0, &range);
    if (status != CTE_OK)
        return cte__mpi_raise(file, status);
    int code = through_hatch(file, op, false, offset, outcome);
    cte_file_unlock(file->file, &range);
    return code;
}

/* At an offset in etypes. */
static int access_data(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Offset offset,
                       uint64_t bytes, struct outcome *outcome)
{
    /* A nonblocking collective must not wait for the others here. */
    if (file->view.foreign)
        return through_hatch(file, op, op->collective && !op->nonblocking, offset, outcome);
    if (bytes == 0)
        return MPI_SUCCESS;
    if ((uint64_t)offset > INT64_MAX / file->view.etype_bytes)
        return cte__mpi_raise(file, -EFBIG);
    struct cte__mpi_typemap *memory;
    if (cte__mpi_typemap_get(op->type, &memory) != 0)
        return alone_through_hatch(file, op, offset, outcome);
    uint64_t position_bytes = (uint64_t)offset * file->view.etype_bytes;
    uint64_t there = 0;
    cte_status status = cte__mpi_move(file, op, memory, position_bytes, bytes, &there);
    outcome->counted = outcome->advanced = bytes;
    if (!op->write)
        count_read(op, memory->contiguous && file->view.filetype->contiguous, bytes, there,
                   outcome);
    cte__mpi_typemap_put(memory);
    return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
}

static int access_at_pointer(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                             uint64_t bytes, struct outcome *outcome)
{
    pthread_mutex_lock(&file->pointer_lock);
    MPI_Offset offset = (MPI_Offset)(file->pointer_bytes / file->view.etype_bytes);
    int code = access_data(file, op, offset, bytes, outcome);
    if (code == MPI_SUCCESS)
        file->pointer_bytes += outcome->advanced;
    pthread_mutex_unlock(&file->pointer_lock);
    return code;
}

/*
 * All processes enter before any data moves, since no data of an earlier collective access may be
 * changed while somebody still reads it; and written data is everywhere before anybody leaves.
 */
static int transfer(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Count *counted)
{
    uint64_t bytes = 0;
    struct outcome outcome = {0};
    bool together = op->collective && !op->nonblocking;
    int code = file->view.foreign ? MPI_SUCCESS : check(file, op, &bytes);
    uint64_t shared = 0;
    cte_status status = CTE_OK;
    if (together && op->place == CTE__MPI_SHARED)
        status = cte__mpi_shared_in_order(file, bytes / file->view.etype_bytes, &shared);
    else if (together)
        cte__mpi_barrier(file);
    else if (code == MPI_SUCCESS && op->place == CTE__MPI_SHARED)
        shared = cte__mpi_shared_advance(file, bytes / file->view.etype_bytes);
    if (code == MPI_SUCCESS && status != CTE_OK)
        code = cte__mpi_raise(file, status);
    if (code == MPI_SUCCESS && op->place == CTE__MPI_INDIVIDUAL)
        code = access_at_pointer(file, op, bytes, &outcome);
    else if (code == MPI_SUCCESS)
        code =
            access_data(file, op, op->place == CTE__MPI_EXPLICIT ? op->offset : (MPI_Offset)shared,
                        bytes, &outcome);
    if (together && op->write)
        cte__mpi_barrier(file);
    *counted = (MPI_Count)outcome.counted;
    return code;
}

int cte__mpi_blocking(struct cte__mpi_file *file, const struct cte__mpi_op *op, MPI_Status *status)
{
    MPI_Count counted;
    int code = transfer(file, op, &counted);
    if (code == MPI_SUCCESS)
        cte__mpi_status_set(status, counted);
    return code;
}

int cte__mpi_nonblocking(struct cte__mpi_file *file, const struct cte__mpi_op *op,
                         MPI_Request *request)
{
    MPI_Count counted;
    int code = transfer(file, op, &counted);
    if (code != MPI_SUCCESS) {
        *request = MPI_REQUEST_NULL;
        return code;
    }
    code = cte__mpi_completed_request(counted, request);
    return code == MPI_SUCCESS ? code : cte__mpi_raise_code(file, code);
}

int cte__mpi_split_begin(struct cte__mpi_file *file, const struct cte__mpi_op *op)
{
    if (file->split != CTE__MPI_SPLIT_NONE)
        return cte__mpi_raise_code(file, MPI_ERR_IO);
    int code = transfer(file, op, &file->split_bytes);
    if (code == MPI_SUCCESS)
        file->split = CTE__MPI_SPLIT_OURS;
    return code;
}

bool cte__mpi_split_end(struct cte__mpi_file *file, MPI_Status *status)
{
    bool ours = file->split == CTE__MPI_SPLIT_OURS;
    file->split = CTE__MPI_SPLIT_NONE;
    if (ours)
        cte__mpi_status_set(status, file->split_bytes);
    return ours;
}
