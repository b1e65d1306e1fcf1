/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The collective calls of core, on an MPI communicator of their own.
 */
#ifndef CTE_MPI_COMMON_COMM_H
#define CTE_MPI_COMMON_COMM_H

#include <mpi.h>
#include <stdbool.h>

#include <cte/comm.h>

struct cte__mpi_comm {
    MPI_Comm comm;
    bool severed; /* some process could not open the file: collective calls must not be made */
    cte_comm table;
};

/* Collective over `of`, whose rank order it keeps.  Returns an MPI error code. */
int cte__mpi_comm_init(struct cte__mpi_comm *comm, MPI_Comm of);
void cte__mpi_comm_free(struct cte__mpi_comm *comm);
cte_status cte__mpi_comm_barrier(struct cte__mpi_comm *comm);
/* The worst status of all processes; all get the same one. */
cte_status cte__mpi_agree(struct cte__mpi_comm *comm, cte_status status);
/* CTE_OK if all processes have the same value, else -EINVAL, for all. */
cte_status cte__mpi_same(struct cte__mpi_comm *comm, int64_t value);
/* Collective: true if all processes are on one node.  They need not all belong to one
 * MPI_COMM_WORLD. */
bool cte__mpi_is_one_node(MPI_Comm comm);

#endif
