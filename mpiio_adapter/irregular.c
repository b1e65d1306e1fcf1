/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes, pointers, sync and atomicity.  Calls that MPICH would refuse are handed to it to refuse.
 */
#include "adapter.h"

#include <errno.h>

int MPI_File_get_size(MPI_File fh, MPI_Offset *size)
{
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file || !size)
        return REAL(get_size)(fh, size);
    uint64_t bytes = 0;
    cte_status status = cte_file_size(file->file, &bytes);
    if (status != CTE_OK)
        return cte__mpi_raise(file, status);
    *size = (MPI_Offset)bytes;
    return MPI_SUCCESS;
}

/* One process does it, all know how that went; first of all they must want the same. */
static int resize(struct cte__mpi_file *file, MPI_Offset size,
                  cte_status (*act)(cte_file *file, uint64_t size_bytes))
{
    cte_status status = cte__mpi_same(&file->comm, size);
    if (status == -EINVAL)
        return cte__mpi_raise_code(file, MPI_ERR_ARG);
    if (status == CTE_OK && file->comm.table.rank == 0)
        status = act(file->file, (uint64_t)size);
    status = cte__mpi_agree(&file->comm, status);
    return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
}

int MPI_File_set_size(MPI_File fh, MPI_Offset size)
{
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file || size < 0 || (file->amode & MPI_MODE_RDONLY))
        return REAL(set_size)(fh, size);
    return resize(file, size, cte_file_truncate);
}

int MPI_File_preallocate(MPI_File fh, MPI_Offset size)
{
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file || size < 0 || (file->amode & MPI_MODE_RDONLY))
        return REAL(preallocate)(fh, size);
    return resize(file, size, cte_file_allocate);
}

int MPI_File_sync(MPI_File fh)
{
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file || (file->amode & MPI_MODE_RDONLY))
        return REAL(sync)(fh);
    cte_status status = cte_file_sync(file->file);
    cte_status kept = cte__mpi_async_kept_error(file);
    status = kept != CTE_OK ? kept : status;
    return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
}

/* MPICH notes it too: it answers MPI_File_get_atomicity, and does what only it can do. */
int MPI_File_set_atomicity(MPI_File fh, int flag)
{
    int code = REAL(set_atomicity)(fh, flag);
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file)
        return code;
    if (code == MPI_SUCCESS)
        file->atomic = flag != 0;
    /* Nobody's next access may meet an access of somebody who is not in the new mode yet. */
    cte_status status = cte__mpi_barrier(file);
    if (code != MPI_SUCCESS)
        return code;
    return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
}

/* The pointer's new place in etypes; negative if MPICH would refuse it. */
static cte_status seek_target(struct cte__mpi_file *file, MPI_Offset offset, int whence,
                              MPI_Offset *target)
{
    uint64_t unit = file->view.etype_bytes;
    uint64_t size = 0;
    cte_status status = CTE_OK;
    switch (whence) {
    case MPI_SEEK_SET:
        *target = offset;
        break;
    case MPI_SEEK_CUR:
        *target = (MPI_Offset)(file->pointer_bytes / unit) + offset;
        break;
    case MPI_SEEK_END:
        status = cte_file_size(file->file, &size);
        *target = cte__mpi_view_end(&file->view, size) + offset;
        break;
    default:
        *target = -1;
    }
    return status;
}

int MPI_File_seek(MPI_File fh, MPI_Offset offset, int whence)
{
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file)
        return REAL(seek)(fh, offset, whence);
    /* The end of a view without data is wherever MPICH has it. */
    bool no_data = file->view.filetype->size == 0 && !file->view.no_etype;
    if ((file->view.foreign || no_data) && whence == MPI_SEEK_END) {
        int code = cte__mpi_hatch_enter(file, false, CTE__MPI_WHY_VIEW);
        if (code == MPI_SUCCESS)
            code = REAL(seek)(fh, 0, MPI_SEEK_END);
        MPI_Offset end = 0;
        if (code == MPI_SUCCESS)
            code = REAL(get_position)(fh, &end);
        if (code != MPI_SUCCESS)
            return code;
        offset += end;
        whence = MPI_SEEK_SET;
    }
    MPI_Offset target;
    pthread_mutex_lock(&file->pointer_lock);
    cte_status status = seek_target(file, offset, whence, &target);
    if (status == CTE_OK && target >= 0)
        file->pointer_bytes = (uint64_t)target * file->view.etype_bytes;
    pthread_mutex_unlock(&file->pointer_lock);
    if (status != CTE_OK)
        return cte__mpi_raise(file, status);
    return target >= 0 ? MPI_SUCCESS : REAL(seek)(fh, -1, MPI_SEEK_SET);
}

int MPI_File_get_position(MPI_File fh, MPI_Offset *offset)
{
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file || !offset)
        return REAL(get_position)(fh, offset);
    pthread_mutex_lock(&file->pointer_lock);
    *offset = (MPI_Offset)(file->pointer_bytes / file->view.etype_bytes);
    pthread_mutex_unlock(&file->pointer_lock);
    return MPI_SUCCESS;
}

CTE__MPI_PROFILING_NAME(get_size)
CTE__MPI_PROFILING_NAME(set_size)
CTE__MPI_PROFILING_NAME(preallocate)
CTE__MPI_PROFILING_NAME(sync)
CTE__MPI_PROFILING_NAME(set_atomicity)
CTE__MPI_PROFILING_NAME(seek)
CTE__MPI_PROFILING_NAME(get_position)
