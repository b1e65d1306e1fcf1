/* SPDX-License-Identifier: BSD-3-Clause */
/* The one place that knows about differences between HDF5 versions. */
#ifndef CTE_HDF5_VFD_HDF5_COMPAT_H
#define CTE_HDF5_VFD_HDF5_COMPAT_H

#include <hdf5.h>

#if H5_VERSION_GE(1, 14, 0) && !H5_VERSION_GE(1, 15, 0)
/* Drivers have a version and a value, are found by name in plugin directories, take their
 * configuration as a string, and may take vectors and selections. */
#define CTE__HDF5_PLUGINS 1
#include <H5FDdevelop.h>
#include <H5PLextern.h>
#elif H5_VERSION_GE(1, 10, 8) && !H5_VERSION_GE(1, 11, 0)
#define CTE__HDF5_PLUGINS 0
#else
#error "The cte driver is written for and tested with HDF5 1.10.8 and later 1.10 and 1.14 releases."
#endif

#if CTE__HDF5_PLUGINS
/* From the range that HDF5 leaves to drivers without a registered value (256 to 511). */
#define CTE__VFD_VALUE      ((H5FD_class_value_t)431)
#define CTE__VFD_MPIO_VALUE ((H5FD_class_value_t)432)
#endif

/* Only from 1.14 on can a driver outside the library be one for MPI. */
#if CTE__HDF5_PLUGINS && defined(H5_HAVE_PARALLEL)
#define CTE__HDF5_MPI_DRIVERS 1
#else
#define CTE__HDF5_MPI_DRIVERS 0
#endif

#if !CTE__HDF5_PLUGINS
/* Private to HDF5 but exported: what its own drivers register themselves by, also while HDF5 is
 * still setting itself up, when H5FDregister() does not work.  Weak: without it only the preload
 * fails. */
hid_t H5FD_register(const void *driver_class, size_t bytes, hbool_t by_program)
    __attribute__((weak));
#endif

/* The library asks for the handle of a symbolic link's target only to fstat it, and says so by
 * this property of the list that it passes to get_handle. */
#define CTE__FAPL_WANT_POSIX_FD "want_posix_fd"

/* Superblocks that carry consistency flags, and where (HDF5 file format, versions 2 and 3). */
enum {
    CTE__SUPERBLOCK_VERSION_AT = 8,
    CTE__SUPERBLOCK_FLAGS_AT = 11,
    CTE__SUPERBLOCK_BYTES_MIN = 12,
    CTE__SUPERBLOCK_VERSION_SWMR = 3,
    CTE__SUPERBLOCK_SWMR_WRITE = 0x04,
};
#define CTE__SUPERBLOCK_SIGNATURE "\211HDF\r\n\032\n"

#endif
