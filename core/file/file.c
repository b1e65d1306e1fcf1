/* SPDX-License-Identifier: BSD-3-Clause */
#include "file/file_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

cte_status cte_file_open(cte_client *client, const char *path, int flags, mode_t perm,
                         const cte_file_options *options, cte_file **out)
{
    (void)client;
    *out = NULL;
    cte_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->fd = open(path, flags | O_CLOEXEC, perm);
    if (file->fd < 0) {
        cte_status status = -errno;
        free(file);
        return status;
    }
    file->readable = (flags & O_ACCMODE) != O_WRONLY;
    file->writable = (flags & O_ACCMODE) != O_RDONLY;
    file->comm.rank_count = 1;
    if (options && options->comm)
        file->comm = *options->comm;
    *out = file;
    return CTE_OK;
}

bool cte_file_is_tracked(const cte_file *file)
{
    (void)file;
    return false;
}

cte_status cte_file_write(cte_file *file, const cte_file_segment *segments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cte_status status = cte__fd_write_all(file->fd, segments[i].base, segments[i].length,
                                              segments[i].offset);
        if (status != CTE_OK)
            return status;
        file->stats.bytes_written += segments[i].length;
    }
    return CTE_OK;
}

cte_status cte_file_read(cte_file *file, const cte_file_segment *segments, size_t count,
                         uint64_t *transferred)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t done = 0;
        cte_status status = cte__fd_read_all(file->fd, segments[i].base, segments[i].length,
                                             segments[i].offset, &done);
        if (status != CTE_OK)
            return status;
        total += done;
    }
    file->stats.bytes_read += total;
    if (transferred)
        *transferred = total;
    return CTE_OK;
}

cte_status cte_file_size(cte_file *file, uint64_t *size_bytes)
{
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return -errno;
    *size_bytes = (uint64_t)st.st_size;
    return CTE_OK;
}

cte_status cte_file_truncate(cte_file *file, uint64_t size_bytes)
{
    return ftruncate(file->fd, (off_t)size_bytes) == 0 ? CTE_OK : -errno;
}

cte_status cte_file_sync(cte_file *file)
{
    (void)file;
    return CTE_OK;
}

cte_status cte_file_drain(cte_file *file)
{
    (void)file;
    return CTE_OK;
}

cte_status cte_file_refresh(cte_file *file)
{
    (void)file;
    return CTE_OK;
}

void cte_file_get_stats(const cte_file *file, cte_file_stats *stats)
{
    stats->bytes_written = file->stats.bytes_written;
    stats->bytes_read = file->stats.bytes_read;
    stats->bytes_written_through = file->stats.bytes_written_through;
    stats->bytes_read_store = file->stats.bytes_read_store;
    stats->bytes_drained = file->stats.bytes_drained;
    stats->drain_ns = file->stats.drain_ns;
}

cte_status cte_file_close(cte_file *file)
{
    if (!file)
        return CTE_OK;
    cte_status status = close(file->fd) == 0 ? CTE_OK : -errno;
    free(file);
    return status;
}
