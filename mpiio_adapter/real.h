/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MPI library's own functions.
 *
 * The adapter exports the PMPI names too, because the mpi_f08 binding and profiling tools call
 * them; so its own calls to MPICH must go through this table and never name an intercepted PMPI
 * function.
 */
#ifndef CTE_MPIIO_ADAPTER_REAL_H
#define CTE_MPIIO_ADAPTER_REAL_H

#include <mpi.h>
#include <stdbool.h>

struct cte__mpi_real {
#define CALL(name) __typeof__(&MPI_File_##name) name;
#define UNTOUCHED(name, why)
#include "mpi_calls.def"
    __typeof__(&MPI_Init) init;
    __typeof__(&MPI_Init_thread) init_thread;
    __typeof__(&MPI_Request_get_status) request_get_status;
};

/* Resolved at the first call. */
const struct cte__mpi_real *cte__mpi_real(void);

#define REAL(name) (cte__mpi_real()->name)

#endif
