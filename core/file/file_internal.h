/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the file layer share. */
#ifndef CTE_CORE_FILE_FILE_INTERNAL_H
#define CTE_CORE_FILE_FILE_INTERNAL_H

#include <stdatomic.h>

#include <cte/file.h>

#include "coherence/coherence.h"
#include "store/layout.h"

enum { CTE__CHUNK_BYTES_MIN = 64 << 10, CTE__CHUNK_BYTES_MAX = 16 << 20 }; /* as file.chunk_size */

struct cte_file {
    int fd; /* the real file */
    bool readable, writable;
    bool scratch;
    _Atomic(cte_file_drain_policy) drain; /* both may be changed by cte_file_set_options() */
    _Atomic(float) score;
    cte_comm comm; /* rank_count 1 when opened alone */

    cte_client *client;                         /* NULL: straight to the real file */
    const struct cte__coherence_ops *coherence; /* of a tracked file */
    cte__unit tag;
    uint64_t chunk_bytes;
    uint32_t pointer_claimed; /* its number + 1; 0: none */
    char *path; /* absolute, when it was opened; NULL only if that is not known and it passes
                   through */
    struct cte__prefetch *prefetch; /* NULL: nothing is read ahead */
    struct cte__open_file *open;    /* of a tracked file: the process's own */
    cte_file *next_writer;          /* with the client's lock held */
    atomic_bool eager;              /* a writer: the background thread may drain to it */
    bool closing;                   /* counted in open->closers */

    struct {
        _Atomic uint64_t bytes_written, bytes_read, bytes_written_through, bytes_read_store,
            bytes_drained, drain_ns, writes, reads;
    } stats;
};

/* Direct transfers on the real file (passthrough.c): whole or an error, EINTR and short counts
 * continued; a read stops at the end of the file. */
cte_status cte__fd_write_all(int fd, const void *base, size_t length, uint64_t offset);
cte_status cte__fd_read_all(int fd, void *base, size_t length, uint64_t offset,
                            size_t *transferred);

/* Transfers of a whole request, straight to the real file (passthrough.c) or through the tiers
 * (transfer.c). */
cte_status cte__passthrough_write(cte_file *file, const cte_file_segment *segments, size_t count);
cte_status cte__passthrough_read(cte_file *file, const cte_file_segment *segments, size_t count,
                                 uint64_t *transferred);
cte_status cte__tracked_write(cte_file *file, const cte_file_segment *segments, size_t count);
cte_status cte__tracked_read(cte_file *file, const cte_file_segment *segments, size_t count,
                             uint64_t *transferred);

#endif
