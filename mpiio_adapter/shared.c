/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The shared file pointer: one per collective open, in etypes of the current view.
 *
 * What runs in MPICH (foreign views) uses MPICH's own one: a view is all processes', and begins
 * with the pointer at 0, so there is never anything to hand over.
 */
#include "adapter.h"

#include <errno.h>
#include <limits.h>

enum { NO_NUMBER = INT_MAX - 1 };

bool cte__mpi_shared_is_ours(const struct cte__mpi_file *file)
{
    return file->shared_keeper != CTE__MPI_KEPT_BY_MPICH && !file->view.foreign;
}

uint64_t cte__mpi_shared_advance(struct cte__mpi_file *file, uint64_t etypes)
{
    if (file->shared_keeper == CTE__MPI_KEPT_HERE)
        return atomic_fetch_add(&file->shared_etypes, etypes);
    return cte_file_pointer_advance(file->file, file->shared_number, etypes);
}

void cte__mpi_shared_set(struct cte__mpi_file *file, uint64_t etypes)
{
    if (file->shared_keeper == CTE__MPI_KEPT_HERE)
        atomic_store(&file->shared_etypes, etypes);
    else
        cte_file_pointer_set(file->file, file->shared_number, etypes);
}

/* The last process knows how much all want, and begins when all others have come. */
cte_status cte__mpi_shared_in_order(struct cte__mpi_file *file, uint64_t etypes, uint64_t *position)
{
    const struct cte_comm *table = &file->comm.table;
    uint64_t before = 0, base = 0;
    int last = table->rank_count - 1;
    if (last == 0) {
        *position = cte__mpi_shared_advance(file, etypes);
        return CTE_OK;
    }
    int code = PMPI_Exscan(&etypes, &before, 1, MPI_UINT64_T, MPI_SUM, file->comm.comm);
    if (table->rank == 0)
        before = 0;
    if (code == MPI_SUCCESS && table->rank == last)
        base = cte__mpi_shared_advance(file, before + etypes);
    if (code == MPI_SUCCESS)
        code = PMPI_Bcast(&base, 1, MPI_UINT64_T, last, file->comm.comm);
    *position = base + before;
    return code == MPI_SUCCESS ? CTE_OK : -EIO;
}

/* The first process claims a pointer, and its number is the least that anybody votes with. */
cte_status cte__mpi_shared_attach(struct cte__mpi_file *file, cte_status status)
{
    uint32_t number;
    int vote = status == CTE_OK ? INT_MAX : status;
    bool alone = file->comm.table.rank_count == 1;
    if (status == CTE_OK && !alone && file->comm.table.rank == 0)
        vote = cte_file_pointer_claim(file->file, &number) == CTE_OK ? (int)number : NO_NUMBER;
    int agreed = cte__mpi_agree(&file->comm, vote);
    if (agreed < 0)
        return agreed;
    if (alone)
        file->shared_keeper = CTE__MPI_KEPT_HERE;
    else if (agreed < NO_NUMBER)
        file->shared_keeper = CTE__MPI_KEPT_IN_STORE;
    file->shared_number = (uint32_t)agreed;
    return CTE_OK;
}

/* What processes disagree about, or would be before the view, is nobody's. */
static int seek_together(struct cte__mpi_file *file, MPI_Offset offset, int whence)
{
    struct {
        MPI_Offset offset;
        int whence;
        int padding;
    } first = {.offset = offset, .whence = whence};
    cte_status status = CTE_OK;
    uint64_t size = 0;
    MPI_Offset target = offset;
    if (file->comm.table.rank_count > 1)
        status = file->comm.table.broadcast(&file->comm, &first, sizeof first, 0);
    if (status == CTE_OK && (first.offset != offset || first.whence != whence))
        status = -EINVAL;
    status = cte__mpi_agree(&file->comm, status);
    if (status == CTE_OK && whence == MPI_SEEK_END)
        status = cte_file_size(file->file, &size);
    if (status == CTE_OK && whence == MPI_SEEK_END)
        target += cte__mpi_view_end(&file->view, size);
    if (status == CTE_OK && whence == MPI_SEEK_CUR)
        target += (MPI_Offset)cte__mpi_shared_advance(file, 0);
    if (status == CTE_OK && target < 0)
        status = -EINVAL;
    /* All know the place from the same state, since nobody is past the next line. */
    status = cte__mpi_agree(&file->comm, status);
    if (status == CTE_OK && file->comm.table.rank == 0)
        cte__mpi_shared_set(file, (uint64_t)target);
    cte_status waited = cte__mpi_barrier(file);
    status = status == CTE_OK ? waited : status;
    if (status == -EINVAL)
        return cte__mpi_raise_code(file, MPI_ERR_ARG);
    return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
}

/* The end that MPICH seeks from is that of the real file. */
int MPI_File_seek_shared(MPI_File fh, MPI_Offset offset, int whence)
{
    struct cte__mpi_file *file = cte__mpi_find(fh);
    bool known = whence == MPI_SEEK_SET || whence == MPI_SEEK_CUR || whence == MPI_SEEK_END;
    if (!file || !known)
        return REAL(seek_shared)(fh, offset, whence);
    if (cte__mpi_shared_is_ours(file))
        return seek_together(file, offset, whence);
    int code = cte__mpi_hatch_enter(file, true, CTE__MPI_WHY_POINTER);
    if (code != MPI_SUCCESS)
        return code;
    return cte__mpi_hatch_leave(file, true, REAL(seek_shared)(fh, offset, whence));
}

int MPI_File_get_position_shared(MPI_File fh, MPI_Offset *offset)
{
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file || !offset || !cte__mpi_shared_is_ours(file))
        return REAL(get_position_shared)(fh, offset);
    *offset = (MPI_Offset)cte__mpi_shared_advance(file, 0);
    return MPI_SUCCESS;
}

CTE__MPI_PROFILING_NAME(seek_shared)
CTE__MPI_PROFILING_NAME(get_position_shared)
