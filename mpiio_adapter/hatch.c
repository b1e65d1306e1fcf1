/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The escape hatch: MPICH works on the real file, which is complete before and read anew after.
 *
 * Collective use waits for all processes on both sides, so that what any of them wrote before is
 * drained, and nobody writes anew before all have taken over what MPICH did.
 */
#include "adapter.h"

#include <errno.h>

/* Without permission to write there is nobody of this user who could have written. */
static cte_status drain_all(struct cte__mpi_file *file)
{
    cte_status status = cte_file_drain(file->file);
    bool nobody_wrote = file->amode & MPI_MODE_RDONLY && (status == -EACCES || status == -EROFS);
    return nobody_wrote ? CTE_OK : status;
}

int cte__mpi_hatch_enter(struct cte__mpi_file *file, bool collective)
{
    if (collective)
        cte__mpi_barrier(file);
    cte_status status = drain_all(file);
    if (collective)
        status = cte__mpi_agree(&file->comm, status);
    return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
}

int cte__mpi_hatch_leave(struct cte__mpi_file *file, bool collective, int code)
{
    if (collective)
        cte__mpi_barrier(file);
    cte_status status = cte_file_refresh(file->file);
    if (collective)
        status = cte__mpi_agree(&file->comm, status);
    if (code != MPI_SUCCESS)
        return code; /* MPICH has called the error handler */
    return status == CTE_OK ? MPI_SUCCESS : cte__mpi_raise(file, status);
}
