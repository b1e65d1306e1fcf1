/* SPDX-License-Identifier: BSD-3-Clause */
/* What HDF5 calls by its own private name. */
#ifndef CTE_HDF5_VFD_PRELOAD_H
#define CTE_HDF5_VFD_PRELOAD_H

#include <stdint.h>

int64_t H5FD_sec2_init(void);

#endif
