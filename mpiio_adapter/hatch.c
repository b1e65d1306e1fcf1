/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The escape hatch: MPICH works on the real file, which is complete before and read anew after.
 *
 * Collective use waits for all processes on both sides, so that what any of them wrote before is
 * drained, and nobody writes anew before all have taken over what MPICH did.
 */
#include "adapter.h"

#include <errno.h>

#include <cte/telemetry.h>

/* Without permission to write there is nobody of this user who could have written. */
static cte_status drain_all(struct cte__mpi_file *file)
{
    cte_status status = cte_file_drain(file->file);
    bool nobody_wrote = file->amode & MPI_MODE_RDONLY && (status == -EACCES || status == -EROFS);
    return nobody_wrote ? CTE_OK : status;
}

int cte__mpi_hatch_enter(struct cte__mpi_file *file, bool collective, enum cte__mpi_why why)
{
    bool by_view = file->view.foreign || file->view.filetype->size == 0;
    file->handed_over[by_view ? CTE__MPI_WHY_VIEW : why]++;
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

void cte__mpi_hatch_summarise(struct cte__mpi_file *file)
{
    static const char *const words[CTE__MPI_WHYS] = {
        [CTE__MPI_WHY_VIEW] = "the data representation of the view, or its filetype, is MPICH's",
        [CTE__MPI_WHY_MEMORY] = "MPI does not tell how the memory datatype is made",
        [CTE__MPI_WHY_POINTER] = "MPICH keeps the shared file pointer",
    };
    for (int i = 0; i < CTE__MPI_WHYS; i++)
        if (file->handed_over[i] > 0)
            cte_summary_passed_through(file->path, file->handed_over[i], words[i]);
}
