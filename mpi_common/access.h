/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data accesses that MPI datatypes describe: a view of the file against memory.
 */
#ifndef CTE_MPI_COMMON_ACCESS_H
#define CTE_MPI_COMMON_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

#include <cte/file.h>

#include "typemap.h"

/* A process's view of a file. */
struct cte__mpi_view {
    int64_t displacement;
    uint64_t etype_bytes;
    struct cte__mpi_typemap *filetype;
    bool foreign;  /* data representation or filetype that only MPICH handles */
    bool no_etype; /* its etype has no bytes, so that nothing can be accessed; etype_bytes is 1 */
};

/* A data access in bytes; it needs no MPI call and may be made by any thread. */
struct cte__mpi_access {
    cte_file *file;
    struct cte__mpi_view view;
    const struct cte__mpi_typemap *memory;
    void *buffer; /* only read when writing */
    bool write;
    bool atomic;
    uint64_t position_bytes; /* of the view's data */
    uint64_t bytes;
    uint64_t transferred; /* result: bytes below the end of the file */
};

/* view.c */
int cte__mpi_view_init(struct cte__mpi_view *view);
void cte__mpi_view_free(struct cte__mpi_view *view);
/* Where in the file `bytes` bytes of the view's data from `position_bytes` on lie: no byte is
 * outside.  They are file offsets (see cte__mpi_view_fits). */
void cte__mpi_view_bounds(const struct cte__mpi_view *view, uint64_t position_bytes, uint64_t bytes,
                          uint64_t *offset, uint64_t *length);
/* True if all places of the first `bytes` bytes of the view's data are file offsets, computed
 * without overflow: a wrapped offset would be a wrong place that looks right. */
bool cte__mpi_view_fits(const struct cte__mpi_view *view, uint64_t bytes);
/* Where MPI_SEEK_END is in a file of that size, in etypes; as MPICH has it, that may be below 0 for
 * a contiguous view that begins beyond the end. */
int64_t cte__mpi_view_end(const struct cte__mpi_view *view, uint64_t size_bytes);

/* pipeline.c */
/* Moves the data.  The access is one of at least a byte whose places all are file offsets. */
cte_status cte__mpi_move(struct cte__mpi_access *access);

#endif
