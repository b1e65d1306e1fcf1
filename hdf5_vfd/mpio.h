/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the MPI driver share.  Only with an HDF5 that is built for MPI and takes MPI
 * drivers from outside (1.14). */
#ifndef CTE_HDF5_VFD_MPIO_H
#define CTE_HDF5_VFD_MPIO_H

#include "driver.h"

#include <mpi.h>

#include "mpi_common/access.h"
#include "mpi_common/comm.h"

struct cte__mpio_file {
    struct cte__vfd_common common; /* must be first */
    MPI_Comm comm;                 /* HDF5's; core calls through one of its own */
    MPI_Info info;                 /* never MPI_INFO_NULL, which HDF5 takes for an error */
    struct cte__mpi_comm core;
    haddr_t sized_for; /* eoa at the last truncation */
    char name_text[];
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
