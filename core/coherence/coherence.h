/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Coherence: which node may use what its store has of a file, and who has to be told.
 *
 * The file layer asks for the protocol that fits the processes which open a file together, and
 * calls its hooks around each access.  On one node the shared store is coherent by itself, so the
 * protocol `local` has no hooks and costs a test of a pointer.  There is none yet for several
 * nodes: such files are handled without the store.
 */
#ifndef CTE_CORE_COHERENCE_COHERENCE_H
#define CTE_CORE_COHERENCE_COHERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include <cte/comm.h>
#include <cte/status.h>

/* A member that is NULL stands for nothing to do.  Hooks may block; no lock of the store is held.
 */
struct cte__coherence_ops {
    const char *name;

    /* Before bytes [offset, offset+length) of the file `tag_id` are written or read by this node:
     * gets the right to, and other nodes' newer bytes. */
    cte_status (*acquire)(const cte_comm *comm, uint64_t tag_id, uint64_t offset, uint64_t length,
                          bool write);

    /* After bytes were written to this node's store: tells those who must know. */
    cte_status (*publish)(const cte_comm *comm, uint64_t tag_id, uint64_t offset, uint64_t length);
};

/* The protocol for a file opened by these processes; NULL if there is none. */
const struct cte__coherence_ops *cte__coherence_for(const cte_comm *comm);

#endif
