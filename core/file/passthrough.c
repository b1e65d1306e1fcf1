/* SPDX-License-Identifier: BSD-3-Clause */
/* Transfers on the real file. */
#include "file/file_internal.h"

#include <errno.h>
#include <unistd.h>

/* Linux moves at most 0x7ffff000 bytes a call; pieces well below keep the loop simple. */
enum { TRANSFER_BYTES_MAX = 1 << 30 };

cte_status cte__fd_write_all(int fd, const void *base, size_t length, uint64_t offset)
{
    const char *at = base;
    while (length > 0) {
        size_t piece = length < TRANSFER_BYTES_MAX ? length : TRANSFER_BYTES_MAX;
        ssize_t n = pwrite(fd, at, piece, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        at += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return CTE_OK;
}

cte_status cte__fd_read_all(int fd, void *base, size_t length, uint64_t offset, size_t *transferred)
{
    size_t done = 0;
    while (done < length) {
        size_t piece = length - done < TRANSFER_BYTES_MAX ? length - done : TRANSFER_BYTES_MAX;
        ssize_t n = pread(fd, (char *)base + done, piece, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *transferred = done;
    return CTE_OK;
}

cte_status cte__passthrough_write(cte_file *file, const cte_file_segment *segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cte_status status =
            cte__fd_write_all(file->fd, segments[i].base, segments[i].length, segments[i].offset);
        if (status != CTE_OK)
            return status;
        file->stats.bytes_written += segments[i].length;
    }
    return CTE_OK;
}

cte_status cte__passthrough_read(cte_file *file, const cte_file_segment *segments, size_t count,
                                 uint64_t *transferred)
{
    *transferred = 0;
    for (size_t i = 0; i < count; i++) {
        size_t done = 0;
        cte_status status = cte__fd_read_all(file->fd, segments[i].base, segments[i].length,
                                             segments[i].offset, &done);
        if (status != CTE_OK)
            return status;
        *transferred += done;
    }
    file->stats.bytes_read += *transferred;
    return CTE_OK;
}
