/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapter.h"

#include <errno.h>

/* In bytes: MPI_Get_count and MPI_Get_elements derive theirs from that, whatever type they are
 * asked for. */
void cte__mpi_status_set(MPI_Status *status, MPI_Count bytes)
{
    if (status == MPI_STATUS_IGNORE)
        return;
    PMPI_Status_set_elements_x(status, MPI_BYTE, bytes);
    PMPI_Status_set_cancelled(status, 0);
}

int cte__mpi_error_class(cte_status status)
{
    switch (cte_status_errno(status)) {
    case 0:
        return MPI_SUCCESS;
    case ENOSPC:
        return MPI_ERR_NO_SPACE;
    case EDQUOT:
        return MPI_ERR_QUOTA;
    case EROFS:
        return MPI_ERR_READ_ONLY;
    case EACCES:
        return MPI_ERR_ACCESS;
    default:
        return MPI_ERR_IO;
    }
}

int cte__mpi_raise_code(struct cte__mpi_file *file, int code)
{
    PMPI_File_call_errhandler(file->handle, code);
    return code;
}

int cte__mpi_raise(struct cte__mpi_file *file, cte_status status)
{
    cte__mpi_message(CTE__MPI_INFO, "%s: %s", file->path, cte_status_string(status));
    return cte__mpi_raise_code(file, cte__mpi_error_class(status));
}
