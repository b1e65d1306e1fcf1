/* SPDX-License-Identifier: BSD-3-Clause */
/* The handles of the file layer that an open file has: a score belongs to a handle, so there is one
 * for each score that its types of file memory have.  All reach the same bytes. */
#ifndef CTE_HDF5_VFD_HANDLES_H
#define CTE_HDF5_VFD_HANDLES_H

#include <stdbool.h>
#include <stdint.h>

#include "hdf5_compat.h"

#include <cte/file.h>
#include <cte/hdf5.h>

struct cte__settings;

struct cte__handles {
    cte_file *items[H5FD_MEM_NTYPES];
    float scores[H5FD_MEM_NTYPES]; /* of the handles; negative: as configured */
    uint32_t count;                /* at least 1 while the file is open */
    uint8_t of[H5FD_MEM_NTYPES];   /* the handle of a type of file memory */
    bool tracked;
};

/* How to open them. */
struct cte__handles_from {
    const char *name;
    struct cte__settings *settings;
    const cte_hdf5_config *config;
    cte_file_mode mode;
    const cte_comm *comm; /* of the first handle; NULL: alone */
};

/* The first handle, for raw data, makes the file if `flags`, as for open(2), say so. */
cte_status cte__handles_open_first(struct cte__handles *handles,
                                   const struct cte__handles_from *from, int flags);
/* Those for other scores.  They mean nothing for a file that passes through. */
cte_status cte__handles_open_others(struct cte__handles *handles,
                                    const struct cte__handles_from *from, int flags);
/* Closes all; returns the first error. */
cte_status cte__handles_close(struct cte__handles *handles);
cte_status cte__handles_sync(struct cte__handles *handles);

static inline cte_file *cte__handle_for(const struct cte__handles *handles, H5FD_mem_t type)
{
    return handles->items[handles->of[type]];
}

#endif
