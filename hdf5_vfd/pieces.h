/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses of many pieces: what HDF5 1.14 says as a vector or as selections becomes pieces, and
 * pieces become segments of the file layer, those that follow each other as one. */
#ifndef CTE_HDF5_VFD_PIECES_H
#define CTE_HDF5_VFD_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hdf5_compat.h"

#include <cte/file.h>

/* Bytes in a row, in the file and in memory. */
struct cte__piece {
    haddr_t addr;
    size_t size;
    void *base; /* only read when writing */
};

enum { CTE__PIECES_MAX = 512 };

/* Takes some of an access's pieces, in order, at most CTE__PIECES_MAX; `whole` if these are all. */
typedef herr_t cte__take_pieces(void *context, H5FD_mem_t type, const struct cte__piece *pieces,
                                size_t count, bool whole);

/* Segments of one handle. */
struct cte__batch {
    cte_file_segment segments[CTE__PIECES_MAX];
    size_t count;
    haddr_t low, high; /* of all of them */
};

static inline bool cte__batch_is_full(const struct cte__batch *batch)
{
    return batch->count == CTE__PIECES_MAX;
}

/* There must be room. */
void cte__batch_add(struct cte__batch *batch, const struct cte__piece *piece);
/* One access of the file layer; the batch is empty then. */
cte_status cte__batch_write(struct cte__batch *batch, cte_file *handle);
/* HDF5 reads beyond the end of the file, and finds zeros there. */
cte_status cte__batch_read(struct cte__batch *batch, cte_file *handle);

#if CTE__HDF5_PLUGINS
struct cte__vector {
    uint32_t count;
    const H5FD_mem_t *types; /* NOLIST: as the one before, from here on */
    const haddr_t *addrs;
    const size_t *sizes; /* 0: the same */
    void *const *buffers;
};

/* Pieces come by types of file memory, in order within a type; none is empty. */
herr_t cte__vector_pieces(const struct cte__vector *vector, cte__take_pieces *take, void *context);

struct cte__selections {
    H5FD_mem_t type;
    size_t count;
    const hid_t *in_memory, *in_file;
    const haddr_t *offsets;      /* of the first element of each, absolute */
    const size_t *element_sizes; /* 0: as the one before, from here on */
    void *const *buffers;        /* NULL: the same */
};

/* Errors are pushed. */
herr_t cte__selection_pieces(const struct cte__selections *selections, cte__take_pieces *take,
                             void *context);
#endif

#endif
