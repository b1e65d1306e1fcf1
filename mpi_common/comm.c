/* SPDX-License-Identifier: BSD-3-Clause */
#include "comm.h"

#include <errno.h>

static cte_status status_of(int code)
{
    return code == MPI_SUCCESS ? CTE_OK : -EIO;
}

static cte_status comm_barrier(void *context)
{
    struct cte__mpi_comm *comm = context;
    return comm->severed ? -ECONNABORTED : status_of(PMPI_Barrier(comm->comm));
}

static cte_status comm_broadcast(void *context, void *buffer, size_t bytes, int root)
{
    struct cte__mpi_comm *comm = context;
    if (comm->severed)
        return -ECONNABORTED;
    return status_of(PMPI_Bcast_c(buffer, (MPI_Count)bytes, MPI_BYTE, root, comm->comm));
}

static cte_status comm_allgather(void *context, const void *send, void *receive, size_t bytes)
{
    struct cte__mpi_comm *comm = context;
    if (comm->severed)
        return -ECONNABORTED;
    return status_of(PMPI_Allgather_c(send, (MPI_Count)bytes, MPI_BYTE, receive, (MPI_Count)bytes,
                                      MPI_BYTE, comm->comm));
}

_Static_assert(sizeof(size_t) == sizeof(MPI_Count) && sizeof(size_t) == sizeof(MPI_Aint),
               "byte counts are handed to MPI as they are");

static cte_status comm_alltoallv(void *context, const void *send, const size_t *send_bytes,
                                 const size_t *send_offsets, void *receive,
                                 const size_t *receive_bytes, const size_t *receive_offsets)
{
    struct cte__mpi_comm *comm = context;
    if (comm->severed)
        return -ECONNABORTED;
    return status_of(PMPI_Alltoallv_c(
        send, (const MPI_Count *)send_bytes, (const MPI_Aint *)send_offsets, MPI_BYTE, receive,
        (const MPI_Count *)receive_bytes, (const MPI_Aint *)receive_offsets, MPI_BYTE, comm->comm));
}

int cte__mpi_comm_init(struct cte__mpi_comm *comm, MPI_Comm of)
{
    int rank;
    int size;
    PMPI_Comm_rank(of, &rank);
    PMPI_Comm_size(of, &size);
    /* Not a dup: the user's attributes must not be copied. */
    MPI_Group group;
    PMPI_Comm_group(of, &group);
    int code = PMPI_Comm_create(of, group, &comm->comm);
    PMPI_Group_free(&group);
    if (code != MPI_SUCCESS)
        return code;
    PMPI_Comm_set_errhandler(comm->comm, MPI_ERRORS_RETURN);
    comm->severed = false;
    comm->table = (cte_comm){.context = comm,
                             .rank = rank,
                             .rank_count = size,
                             .node = 0,
                             .node_count = 1,
                             .barrier = comm_barrier,
                             .broadcast = comm_broadcast,
                             .allgather = comm_allgather,
                             .alltoallv = comm_alltoallv};
    return MPI_SUCCESS;
}

void cte__mpi_comm_free(struct cte__mpi_comm *comm)
{
    PMPI_Comm_free(&comm->comm);
}

cte_status cte__mpi_comm_barrier(struct cte__mpi_comm *comm)
{
    return comm->table.rank_count == 1 ? CTE_OK : comm_barrier(comm);
}

cte_status cte__mpi_same(struct cte__mpi_comm *comm, int64_t value)
{
    int64_t mine[2] = {value, ~value};
    int64_t least[2] = {value, ~value};
    if (comm->table.rank_count > 1 &&
        PMPI_Allreduce(mine, least, 2, MPI_INT64_T, MPI_MIN, comm->comm) != MPI_SUCCESS)
        return -EIO;
    return least[0] == ~least[1] ? CTE_OK : -EINVAL;
}

cte_status cte__mpi_agree(struct cte__mpi_comm *comm, cte_status status)
{
    if (comm->table.rank_count == 1)
        return status;
    int mine = status;
    int worst = 0;
    int code = PMPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MIN, comm->comm);
    return code == MPI_SUCCESS ? worst : -EIO;
}

bool cte__mpi_is_one_node(MPI_Comm comm)
{
    MPI_Comm node;
    int all = 0;
    int here = -1;
    if (PMPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node) != MPI_SUCCESS)
        return false;
    PMPI_Comm_size(comm, &all);
    PMPI_Comm_size(node, &here);
    PMPI_Comm_free(&node);
    return here == all;
}
