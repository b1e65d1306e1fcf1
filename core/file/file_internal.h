/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the file layer share. */
#ifndef CTE_CORE_FILE_FILE_INTERNAL_H
#define CTE_CORE_FILE_FILE_INTERNAL_H

#include <stdatomic.h>

#include <cte/file.h>

struct cte_file {
    int fd;        /* the real file */
    bool readable; /* fd may be read, writable: written */
    bool writable;
    cte_comm comm; /* rank_count 1 when opened alone */
    struct {
        _Atomic uint64_t bytes_written, bytes_read, bytes_written_through, bytes_read_store,
            bytes_drained, drain_ns;
    } stats;
};

/* Direct transfers on the real file (passthrough.c): whole or an error, EINTR and short counts
 * continued; a read stops at the end of the file. */
cte_status cte__fd_write_all(int fd, const void *base, size_t length, uint64_t offset);
cte_status cte__fd_read_all(int fd, void *base, size_t length, uint64_t offset, size_t *transferred);

#endif
