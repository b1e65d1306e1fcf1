/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * How the library talks to the other processes that opened a file together.
 *
 * The core never includes mpi.h: an adapter that has a communicator fills in this table.
 * Every function is collective over the `rank_count` processes, blocks until done, returns a
 * cte_status, and is called from one thread at a time.
 */
#ifndef CTE_COMM_H
#define CTE_COMM_H

#include <stddef.h>

#include <cte/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cte_comm {
    void *context;    /**< passed to each function; owned by the adapter */
    int rank;         /**< 0 … rank_count-1 */
    int rank_count;   /**< processes that take part */
    int node;         /**< 0 … node_count-1, from the shared-memory split, never from hostnames */
    int node_count;   /**< nodes the processes run on */

    cte_status (*barrier)(void *context);
    /** `bytes` from `root` to all. */
    cte_status (*broadcast)(void *context, void *buffer, size_t bytes, int root);
    /** `bytes` of each rank, in rank order, to all; `receive` has rank_count * bytes. */
    cte_status (*allgather)(void *context, const void *send, void *receive, size_t bytes);
    /** Byte counts and displacements per rank, as MPI_Alltoallv. */
    cte_status (*alltoallv)(void *context, const void *send, const size_t *send_bytes,
                            const size_t *send_offsets, void *receive, const size_t *receive_bytes,
                            const size_t *receive_offsets);
} cte_comm;

#ifdef __cplusplus
}
#endif
#endif
