/* SPDX-License-Identifier: BSD-3-Clause */
/* Setting views: which bytes of the file a process sees. */
#include "adapter.h"

#include <errno.h>
#include <strings.h>

/* "internal" may differ from "native" between implementations only; here it does not. */
static bool is_native(const char *representation)
{
    return strcasecmp(representation, "native") == 0 || strcasecmp(representation, "internal") == 0;
}

static cte_status view_make(MPI_Offset displacement, MPI_Datatype etype, MPI_Datatype filetype,
                            struct cte__mpi_view *view)
{
    MPI_Count etype_bytes = 0;
    if (PMPI_Type_size_x(etype, &etype_bytes) != MPI_SUCCESS || etype_bytes < 0)
        return -EINVAL;
    *view = (struct cte__mpi_view){.displacement = displacement,
                                   .etype_bytes = etype_bytes > 0 ? (uint64_t)etype_bytes : 1,
                                   .no_etype = etype_bytes == 0};
    return cte__mpi_typemap_get(filetype, &view->filetype);
}

int MPI_File_set_view(MPI_File fh, MPI_Offset displacement, MPI_Datatype etype,
                      MPI_Datatype filetype, const char *representation, MPI_Info info)
{
    int code = REAL(set_view)(fh, displacement, etype, filetype, representation, info);
    struct cte__mpi_file *file = cte__mpi_find(fh);
    if (!file)
        return code;
    struct cte__mpi_view view = {0};
    cte_status status = CTE_OK;
    if (code == MPI_SUCCESS)
        status = view_make(displacement, etype, filetype, &view);
    /* MPICH waits for all processes: their accesses by the view before are over. */
    if (code == MPI_SUCCESS && file->shared_keeper != CTE__MPI_KEPT_BY_MPICH &&
        file->comm.table.rank == 0)
        cte__mpi_shared_set(file, 0);
    /* Collective accesses are either ours or MPICH's, for all processes. */
    bool foreign = cte__mpi_agree(&file->comm, status) != CTE_OK || !is_native(representation);
    if (code != MPI_SUCCESS)
        return code;
    if (status != CTE_OK && cte__mpi_view_init(&view) != CTE_OK)
        return cte__mpi_raise_code(file, MPI_ERR_NO_MEM);
    cte__mpi_hints_apply(file, info);
    view.foreign = foreign;
    pthread_mutex_lock(&file->pointer_lock);
    cte__mpi_view_free(&file->view);
    file->view = view;
    file->pointer_bytes = 0;
    pthread_mutex_unlock(&file->pointer_lock);
    return MPI_SUCCESS;
}

CTE__MPI_PROFILING_NAME(set_view)
