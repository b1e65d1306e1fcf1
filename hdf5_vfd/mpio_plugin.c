/* SPDX-License-Identifier: BSD-3-Clause */
/* The plugin "cte_mpio": only the way by which HDF5's plugin loader comes to the driver, which is
 * in the library that programs link too, so that a process has it once. */
#include <hdf5.h>

#include <H5PLextern.h>

#include <cte/hdf5.h>

H5PL_type_t H5PLget_plugin_type(void)
{
    return H5PL_TYPE_VFD;
}

const void *H5PLget_plugin_info(void)
{
    return cte_hdf5_mpio_class();
}
