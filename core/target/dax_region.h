/* SPDX-License-Identifier: BSD-3-Clause */
/* A persistent memory device as the place of a target: capacity_bytes of data, and the mark in the
 * last page of the device, wherever the data ends.  All through the mapping, as such devices cannot
 * be read or written.  Errors are logged. */
#ifndef CTE_CORE_TARGET_DAX_REGION_H
#define CTE_CORE_TARGET_DAX_REGION_H

#include <stdint.h>

#include "target/target.h"

/* A device, mapped as a whole.  `set` fills memory and makes it durable. */
struct cte__dax_region {
    char *base;
    uint64_t bytes;
    void *(*set)(void *memory, int value, size_t bytes);
    void *(*copy)(void *memory, const void *from, size_t bytes);
};

/* What create, open and destroy of struct cte__target_ops mean for the contents of a device.  One
 * without a mark is only taken if its first MiB and its last page are zeros, as a new one's are. */
cte_status cte__dax_region_create(const struct cte__dax_region *region,
                                  const struct cte__target_spec *spec);
cte_status cte__dax_region_check(const struct cte__dax_region *region,
                                 const struct cte__target_spec *spec);
cte_status cte__dax_region_destroy(const struct cte__dax_region *region,
                                   const struct cte__target_spec *spec);

#endif
