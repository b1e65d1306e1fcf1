/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the MPI driver share.  Only with an HDF5 that is built for MPI and takes MPI
 * drivers from outside (1.14). */
#ifndef CTE_HDF5_VFD_MPIO_H
#define CTE_HDF5_VFD_MPIO_H

#include "driver.h"

#include <mpi.h>

#include "handles.h"
#include "mpi_common/access.h"
#include "mpi_common/comm.h"

struct cte__mpio_file {
    H5FD_t pub; /* must be first */
    /* Must be second: H5Fset_mpi_atomicity() takes what follows `pub` for the MPI_File of any MPI
     * driver.  It is this process's alone and moves no data: it only keeps that mode.
     * MPI_FILE_NULL if it could not be had: then HDF5 refuses to set the mode. */
    MPI_File atomicity;
    MPI_Comm comm; /* HDF5's; core calls through one of its own */
    MPI_Info info; /* never MPI_INFO_NULL, which HDF5 takes for an error */
    struct cte__mpi_comm core;
    struct cte__handles handles;
    haddr_t eoa;       /* what HDF5 has allocated */
    haddr_t sized_for; /* eoa at the last truncation */
    haddr_t eof;       /* as far as this process knows */
    /* HDF5 takes a selection apart for us: the vectors that come are no accesses of their own. */
    bool in_selection;
    cte_hdf5_config config;
    struct cte__settings *settings;
    char name[];
};

/* mpio_open.c */
H5FD_t *cte__mpio_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr);
herr_t cte__mpio_close(H5FD_t *pub);
herr_t cte__mpio_delete(const char *name, hid_t fapl);

/* mpio_transfer.c */
herr_t cte__mpio_read(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                      void *buffer);
herr_t cte__mpio_write(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, haddr_t addr, size_t size,
                       const void *buffer);
herr_t cte__mpio_read_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                             haddr_t addrs[], size_t sizes[], void *buffers[]);
herr_t cte__mpio_write_vector(H5FD_t *pub, hid_t dxpl, uint32_t count, H5FD_mem_t types[],
                              haddr_t addrs[], size_t sizes[], const void *buffers[]);
herr_t cte__mpio_read_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                                hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                                size_t element_sizes[], void *buffers[]);
herr_t cte__mpio_write_selection(H5FD_t *pub, H5FD_mem_t type, hid_t dxpl, size_t count,
                                 hid_t in_memory[], hid_t in_file[], haddr_t offsets[],
                                 size_t element_sizes[], const void *buffers[]);

#endif
